//! Which worker gets what: thresholds of delivery.

use bravo_model::limits::STICKY_WAIT_MS_MAX;

use super::key::{int, section};

section! {
    /// How jobs are shared out among workers, and when one, or all of a type, get none for a while.
    ["balancing"] Balancing {
        /// Milliseconds over which a worker that has just come grows from a tenth of its capacity to the whole, as
        /// far as the choice between workers goes. 0 for none.
        slow_start_ms: u64 = 30_000, int(0, 3_600_000);
        /// Milliseconds that a ready job with a `sticky_key` is kept for the worker that has the key's state. Then
        /// anybody may have it.
        sticky_wait_ms: u64 = 1_000, int(0, STICKY_WAIT_MS_MAX);
        /// Failures of one worker that set it aside. 0: none is ever set aside.
        aside_failures: u32 = 3, int(0, 1_000_000);
        /// Milliseconds within which they must come.
        aside_window_ms: u64 = 30_000, int(100, 3_600_000);
        /// Milliseconds for which it is set aside.
        aside_ms: u64 = 30_000, int(100, 3_600_000);
        /// Percent of a queue's workers that may be kept from work at a time, by being set aside or by their breakers;
        /// the others get work however they fare. A single worker always does.
        aside_percent_max: u32 = 50, int(0, 100);
        /// Failures that open the breaker of a worker or of a type of agent. 0: breakers never open.
        breaker_failures: u32 = 5, int(0, 1_000_000);
        /// Milliseconds within which they must come.
        breaker_window_ms: u64 = 10_000, int(100, 3_600_000);
        /// Milliseconds after which an open breaker is half-open.
        breaker_open_ms: u64 = 30_000, int(100, 3_600_000);
        /// Jobs that a half-open breaker lets through, on each node.
        breaker_probes: u32 = 3, int(1, 10_000);
        /// Workers whose jobs must fail before the breaker of their type opens: one that is broken says nothing of
        /// the others.
        breaker_workers_min: u32 = 2, int(1, 4);
    }
}
