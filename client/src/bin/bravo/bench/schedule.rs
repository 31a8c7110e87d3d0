//! When jobs are meant to start.
//!
//! In an open loop the k-th call is due at k / rate, whatever became of the calls before it, and
//! its latency counts from then on: a server that stalls is charged for every call that it kept
//! from starting. That is what "free of coordinated omission" means.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

/// Calls that are due within this are let go together: waking up costs CPU that the daemons need.
const STEP: Duration = Duration::from_micros(200);
/// Between two looks at how many jobs are open.
const LOOK: Duration = Duration::from_millis(4);

/// The times at which calls are due: evenly spaced from zero to the end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rhythm {
    per_second: f64,
    end_us: u64,
}

impl Rhythm {
    /// This many calls a second until the end.
    pub(super) fn new(per_second: f64, end_us: u64) -> Self {
        Self { per_second, end_us }
    }

    /// When the k-th call is due, in microseconds.
    pub(super) fn due_us(&self, call: u64) -> u64 {
        (call as f64 * 1e6 / self.per_second) as u64
    }

    /// How many calls are due by this time, those at the end and after it left out.
    pub(super) fn due_by(&self, now_us: u64) -> u64 {
        // The first call whose time is not come yet.
        let mut calls = (now_us.min(self.end_us.saturating_sub(1)) as f64 * self.per_second / 1e6) as u64;
        while self.due_us(calls) <= now_us && self.due_us(calls) < self.end_us {
            calls += 1;
        }
        calls
    }

    /// All of them.
    pub(super) fn all(&self) -> u64 {
        self.due_by(u64::MAX)
    }
}

/// Tells producers when the next call was meant to start.
pub(super) struct Starter {
    start: Instant,
    end_us: u64,
    rhythm: Option<Rhythm>,
    due: Semaphore,
    taken: AtomicU64,
    ended: AtomicBool,
}

impl Starter {
    /// A closed loop without a rhythm: the next call is meant to start when somebody is free for it.
    pub(super) fn new(end: Duration, per_second: Option<f64>) -> Self {
        let end_us = micros(end);
        Self {
            start: Instant::now(),
            end_us,
            rhythm: per_second.map(|rate| Rhythm::new(rate, end_us)),
            due: Semaphore::new(0),
            taken: AtomicU64::new(0),
            ended: AtomicBool::new(false),
        }
    }

    /// Microseconds since the start.
    pub(super) fn now_us(&self) -> u64 {
        micros(self.start.elapsed())
    }

    /// When the run ends, in microseconds since the start.
    pub(super) fn end_us(&self) -> u64 {
        self.end_us
    }

    /// Waits for the next call; when it was meant to start, or none after the end. While `full`
    /// holds nobody starts, and in an open loop that time counts.
    pub(super) async fn next(&self, full: impl Fn() -> bool) -> Option<u64> {
        let due = match &self.rhythm {
            Some(rhythm) => {
                self.due.acquire().await.ok()?.forget();
                Some(rhythm.due_us(self.taken.fetch_add(1, Ordering::Relaxed)))
            }
            None => None,
        };
        while full() && !self.is_over() {
            tokio::time::sleep(LOOK).await;
        }
        match due {
            // What was taken is sent, so that its latency is known.
            Some(due) => Some(due),
            None => (!self.is_over()).then(|| self.now_us()),
        }
    }

    fn is_over(&self) -> bool {
        self.ended.load(Ordering::Relaxed) || self.now_us() >= self.end_us
    }

    /// Lets calls go when they are due, until the end. Blocks: timers of the runtime are a
    /// millisecond coarse.
    pub(super) fn beat(&self) {
        let Some(rhythm) = &self.rhythm else { return };
        let (mut given, all) = (0, rhythm.all());
        while given < all && !self.ended.load(Ordering::Relaxed) {
            let now = self.now_us();
            let due = rhythm.due_by(now);
            self.due.add_permits(usize::try_from(due - given).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS >> 1));
            given = due;
            let next = Duration::from_micros(rhythm.due_us(given).saturating_sub(now)).max(STEP);
            std::thread::sleep(next.min(Duration::from_millis(50)));
        }
    }

    /// The end: nobody waits any longer. When the calls were due that never started.
    pub(super) fn end(&self) -> Vec<u64> {
        self.ended.store(true, Ordering::Relaxed);
        self.due.close();
        let Some(rhythm) = &self.rhythm else { return Vec::new() };
        (self.taken.load(Ordering::Relaxed)..rhythm.all()).map(|call| rhythm.due_us(call)).collect()
    }
}

/// A duration in microseconds.
pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_evenly_spaced() {
        for rate in [0.7, 3.0, 999.0, 12_345.6, 250_000.0] {
            let rhythm = Rhythm::new(rate, 10_000_000);
            let all = rhythm.all();
            assert!((all as f64 - rate * 10.0).abs() <= 1.0, "{rate}: {all}");
            assert!(rhythm.due_us(all) >= 10_000_000 && rhythm.due_us(all - 1) < 10_000_000);
            for at in [0, 1, 999, 500_000, 9_999_999] {
                let due = rhythm.due_by(at);
                assert!(rhythm.due_us(due) > at && (due == 0 || rhythm.due_us(due - 1) <= at), "{rate} at {at}");
            }
        }
    }

    #[tokio::test]
    async fn a_stall_is_charged_to_the_calls_that_it_kept_waiting() {
        let starter = Starter::new(Duration::from_millis(100), Some(1_000.0));
        std::thread::scope(|scope| {
            scope.spawn(|| starter.beat());
        });
        // One caller takes the first call and stalls for the rest of the run.
        assert_eq!(starter.next(|| false).await, Some(0));
        assert_eq!(starter.next(|| false).await, Some(1_000), "not the time at which it was free again");
        let unstarted = starter.end();
        assert_eq!((unstarted.len(), unstarted[0]), (98, 2_000));
        assert_eq!(starter.next(|| false).await, None);
    }

    #[tokio::test]
    async fn a_closed_loop_starts_when_somebody_is_free() {
        let starter = Starter::new(Duration::from_millis(30), None);
        assert!(starter.next(|| false).await.is_some_and(|due| due < 30_000));
        assert_eq!(starter.next(|| true).await, None, "nothing starts while too much is open");
        assert!(starter.end().is_empty());
    }
}
