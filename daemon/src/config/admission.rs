//! What a node lets in when there is more than can be done.

use super::key::{GIB, Kind, int, section};

section! {
    /// Which jobs a node refuses early, with `shed`, when there is more than can be done. What was accepted is never
    /// given up, and jobs of workflows and schedules are accepted with these.
    ["admission"] Admission {
        /// Whether jobs are refused whose deadline would be missed, as far as can be told.
        deadlines: bool = true, Kind::Boolean;
        /// Whether jobs are refused when this node is over one of the limits below: the lowest priority first, and
        /// within a priority always the same tenants for an hour.
        overload: bool = true, Kind::Boolean;
        /// Milliseconds between two looks at queues, workers and the node itself.
        tick_ms: u64 = 250, int(50, 10_000);
        /// Milliseconds that the fastest enqueue of a tick may take: over it, commands queue up. The default is well above
        /// the time that a partition takes to find a new leader on a slow machine.
        queue_time_target_ms: u64 = 5_000, int(10, 60_000);
        /// Bytes of memory that this process may have in RAM; 0 for nine tenths of what the machine, or the control
        /// group, has.
        memory_bytes_max: u64 = 0, int(0, 16_384 * GIB);
        /// Entries of a partition's log that its leader may have before it and not applied.
        log_backlog_entries_max: u64 = 1_000, int(10, 1_000_000);
    }
}
