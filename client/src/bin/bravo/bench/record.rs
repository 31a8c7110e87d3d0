//! What was measured.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use hdrhistogram::Histogram;
use parking_lot::Mutex;

use super::payload::Payload;
use super::schedule::Starter;

/// Microseconds; longer is counted as this.
const LONGEST_US: u64 = 600_000_000;

/// One side's events.
struct Side {
    latency: Mutex<Histogram<u64>>,
    /// In the measured part of the run.
    counted: AtomicU64,
    all: AtomicU64,
}

impl Side {
    fn new() -> Result<Self, String> {
        let latency = Histogram::new_with_max(LONGEST_US, 3).map_err(|error| error.to_string())?;
        Ok(Self { latency: Mutex::new(latency), counted: AtomicU64::new(0), all: AtomicU64::new(0) })
    }
}

/// Counts what happens, and when, over a whole run.
pub(super) struct Record {
    starter: Starter,
    payload: Payload,
    /// Before that, nothing counts.
    warmup_us: u64,
    enqueued: Side,
    delivered: Side,
    finished: AtomicU64,
    finished_counted: AtomicU64,
    errors: Mutex<BTreeMap<String, u64>>,
}

/// Latencies in microseconds.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub(super) struct Latency {
    pub(super) p50_us: u64,
    pub(super) p90_us: u64,
    pub(super) p95_us: u64,
    pub(super) p99_us: u64,
    pub(super) p999_us: u64,
    pub(super) max_us: u64,
    pub(super) mean_us: f64,
    pub(super) samples: u64,
}

impl Record {
    pub(super) fn new(starter: Starter, payload: Payload, warmup_us: u64) -> Result<Self, String> {
        Ok(Self {
            starter,
            payload,
            warmup_us,
            enqueued: Side::new()?,
            delivered: Side::new()?,
            finished: AtomicU64::new(0),
            finished_counted: AtomicU64::new(0),
            errors: Mutex::default(),
        })
    }

    /// When calls start.
    pub(super) fn starter(&self) -> &Starter {
        &self.starter
    }

    /// The payload of a job that was meant to start then.
    pub(super) fn payload(&self, start_us: u64) -> bytes::Bytes {
        self.payload.at(start_us)
    }

    fn measured(&self, at_us: u64) -> bool {
        (self.warmup_us..self.starter.end_us()).contains(&at_us)
    }

    /// A call that was meant to start then took in jobs now.
    pub(super) fn enqueued(&self, due_us: u64, jobs: u64) {
        let now = self.starter.now_us();
        self.enqueued.all.fetch_add(jobs, Ordering::Relaxed);
        if self.measured(now) {
            self.enqueued.counted.fetch_add(jobs, Ordering::Relaxed);
        }
        if self.measured(due_us) {
            self.enqueued.latency.lock().saturating_record(now.saturating_sub(due_us));
        }
    }

    /// Calls that were due and never started took at least until now.
    pub(super) fn unstarted(&self, due: &[u64]) {
        let now = self.starter.now_us();
        let mut latency = self.enqueued.latency.lock();
        for due_us in due.iter().filter(|due_us| self.measured(**due_us)) {
            latency.saturating_record(now.saturating_sub(*due_us));
        }
    }

    /// A job with this payload came to a worker now.
    pub(super) fn delivered(&self, payload: &[u8]) {
        self.delivered.all.fetch_add(1, Ordering::Relaxed);
        if let Some(start_us) = self.payload.start_us(payload).filter(|start| self.measured(*start)) {
            self.delivered.latency.lock().saturating_record(self.starter.now_us().saturating_sub(start_us));
        }
    }

    /// Jobs were finished now.
    pub(super) fn finished(&self, jobs: u64) {
        self.finished.fetch_add(jobs, Ordering::Relaxed);
        if self.measured(self.starter.now_us()) {
            self.finished_counted.fetch_add(jobs, Ordering::Relaxed);
        }
    }

    /// Something was refused or broke.
    pub(super) fn failed(&self, code: &str) {
        let mut errors = self.errors.lock();
        match errors.get_mut(code) {
            Some(count) => *count += 1,
            None => drop(errors.insert(code.to_owned(), 1)),
        }
    }

    /// Jobs that were enqueued and not finished.
    pub(super) fn open(&self) -> u64 {
        self.enqueued.all.load(Ordering::Relaxed).saturating_sub(self.finished.load(Ordering::Relaxed))
    }

    /// In the measured part: enqueued and finished.
    pub(super) fn counted(&self) -> (u64, u64) {
        (self.enqueued.counted.load(Ordering::Relaxed), self.finished_counted.load(Ordering::Relaxed))
    }

    /// Failures by code.
    pub(super) fn errors(&self) -> BTreeMap<String, u64> {
        self.errors.lock().clone()
    }

    /// From the intended start to the acknowledgement, and to the worker.
    pub(super) fn latencies(&self) -> [Option<Latency>; 2] {
        [&self.enqueued, &self.delivered].map(|side| latency(&side.latency.lock()))
    }
}

fn latency(histogram: &Histogram<u64>) -> Option<Latency> {
    let at = |quantile| histogram.value_at_quantile(quantile);
    (!histogram.is_empty()).then(|| Latency {
        p50_us: at(0.5),
        p90_us: at(0.9),
        p95_us: at(0.95),
        p99_us: at(0.99),
        p999_us: at(0.999),
        max_us: histogram.max(),
        mean_us: histogram.mean(),
        samples: histogram.len(),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn record(warmup_us: u64) -> Record {
        Record::new(Starter::new(Duration::from_secs(10), None), Payload::new(7, 32), warmup_us).unwrap()
    }

    #[test]
    fn the_warmup_does_not_count() {
        let record = record(5_000_000);
        record.enqueued(0, 3);
        record.finished(1);
        assert_eq!((record.counted(), record.open()), ((0, 0), 2));
        assert!(record.latencies()[0].is_none());
    }

    #[test]
    fn latency_counts_from_the_intended_start() {
        let record = record(0);
        std::thread::sleep(Duration::from_millis(20));
        record.enqueued(0, 1);
        record.delivered(&record.payload(1_000));
        record.delivered(b"null");
        let [enqueue, delivery] = record.latencies().map(Option::unwrap);
        assert!(enqueue.p50_us >= 20_000 && enqueue.samples == 1);
        assert!(delivery.max_us >= 18_900 && delivery.samples == 1, "a foreign job has no start");
    }

    #[test]
    fn errors_are_counted_by_code() {
        let record = record(0);
        ["shed", "shed", "broken"].into_iter().for_each(|code| record.failed(code));
        assert_eq!(record.errors(), BTreeMap::from([("broken".into(), 1), ("shed".into(), 2)]));
    }
}
