//! What happens during the run, counted where it happens.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use parking_lot::Mutex;

/// Microseconds; longer is counted as this.
const LONGEST_US: u64 = 600_000_000;

/// Counters and latencies of the run.
pub(super) struct Stats {
    /// When the run began.
    pub(super) start: Instant,
    /// Jobs whose enqueue was acknowledged.
    pub(super) enqueued: AtomicU64,
    /// Handlers that finished.
    pub(super) done: AtomicU64,
    enqueue: Mutex<Histogram<u64>>,
    delivery: Mutex<Histogram<u64>>,
}

impl Stats {
    pub(super) fn new() -> Result<Self, String> {
        let histogram = || Histogram::new_with_max(LONGEST_US, 3).map(Mutex::new).map_err(|error| error.to_string());
        Ok(Self {
            start: Instant::now(),
            enqueued: AtomicU64::new(0),
            done: AtomicU64::new(0),
            enqueue: histogram()?,
            delivery: histogram()?,
        })
    }

    /// Microseconds since the start.
    pub(super) fn now_us(&self) -> u64 {
        micros(self.start.elapsed())
    }

    /// A job that was sent then was acknowledged now.
    pub(super) fn acknowledged(&self, sent_us: u64) {
        self.enqueued.fetch_add(1, Ordering::Relaxed);
        self.enqueue.lock().saturating_record(self.now_us().saturating_sub(sent_us));
    }

    /// A job that was sent then came to a handler now, for the first time or again.
    pub(super) fn delivered(&self, sent_us: u64, first: bool) {
        if first {
            self.delivery.lock().saturating_record(self.now_us().saturating_sub(sent_us));
        }
    }

    /// A handler finished.
    pub(super) fn finished(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    /// Jobs that were enqueued and not finished.
    pub(super) fn open(&self) -> u64 {
        self.enqueued.load(Ordering::Relaxed).saturating_sub(self.done.load(Ordering::Relaxed))
    }

    /// Quantiles of enqueue and delivery, in milliseconds.
    pub(super) fn quantiles(&self) -> [[f64; 2]; 2] {
        [&self.enqueue, &self.delivery].map(|histogram| {
            let histogram = histogram.lock();
            [0.5, 0.99].map(|quantile| histogram.value_at_quantile(quantile) as f64 / 1e3)
        })
    }
}

pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
