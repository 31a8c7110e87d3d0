//! How many jobs a worker takes, shared by everything that asks on its behalf.
//!
//! ```text
//!   grant ──► open ──take──► asked ──settle──► used by a delivery
//!              ▲                │
//!              └─── unused ─────┘      (forgotten once closed)
//! ```
//!
//! One worker's credit may stand in line at several queues; it is taken only when a partition is
//! asked, so that it is never promised twice, and never stuck where there is nothing.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// A worker's credit.
#[derive(Debug, Default)]
pub struct Credit {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    open: u32,
    asked: u32,
    closed: bool,
}

impl Credit {
    /// Credit for `jobs` jobs.
    pub fn new(jobs: u32) -> Arc<Self> {
        let this = Arc::new(Self::default());
        this.grant(jobs);
        this
    }

    /// The worker takes that many more.
    pub fn grant(&self, jobs: u32) {
        let mut state = self.state.lock();
        if !state.closed {
            state.open = state.open.saturating_add(jobs);
        }
    }

    /// The worker takes no more: what is open is forgotten, what is asked for may still come.
    pub fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.open = 0;
    }

    /// Whether the worker takes no more.
    pub fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    /// Credit that is neither used nor asked for.
    pub fn open(&self) -> u32 {
        self.state.lock().open
    }

    /// Credit that a partition is being asked for.
    pub fn asked(&self) -> u32 {
        self.state.lock().asked
    }

    /// Waits until an ask has ended since the last time this was awaited.
    pub async fn settled(&self) {
        self.changed.notified().await;
    }

    /// Takes up to `max` for an ask.
    pub(super) fn take(&self, max: u32) -> u32 {
        let mut state = self.state.lock();
        let taken = state.open.min(max);
        state.open -= taken;
        state.asked += taken;
        taken
    }

    /// Gives back what was taken and is not asked for after all; nobody need be told.
    pub(super) fn put_back(&self, jobs: u32) {
        let mut state = self.state.lock();
        state.asked = state.asked.saturating_sub(jobs);
        if !state.closed {
            state.open = state.open.saturating_add(jobs);
        }
    }

    /// An ask has ended: of what was taken, this much was used.
    pub(super) fn settle(&self, taken: u32, used: u32) {
        let mut state = self.state.lock();
        state.asked = state.asked.saturating_sub(taken);
        if !state.closed {
            state.open = state.open.saturating_add(taken.saturating_sub(used));
        }
        drop(state);
        self.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credit_is_never_promised_twice() {
        let credit = Credit::new(10);
        assert_eq!((credit.take(8), credit.take(8), credit.take(8)), (8, 2, 0));
        credit.settle(8, 5);
        assert_eq!((credit.open(), credit.asked()), (3, 2));
    }

    #[test]
    fn closed_credit_is_forgotten_but_what_is_asked_is_known() {
        let credit = Credit::new(10);
        assert_eq!(credit.take(4), 4);
        credit.close();
        credit.grant(5);
        assert_eq!((credit.open(), credit.asked(), credit.take(1)), (0, 4, 0));
        credit.settle(4, 1);
        assert_eq!((credit.open(), credit.asked()), (0, 0));
    }
}
