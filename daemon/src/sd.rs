//! What the service manager is told: ready, stopping, how it goes, and that this process still works.
//!
//! Outside systemd (`NOTIFY_SOCKET` is not set) all of it does nothing.

use sd_notify::NotifyState;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// The node can serve.
pub fn ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The node is on its way out.
pub fn stopping(status: &str) {
    notify(&[NotifyState::Stopping, NotifyState::Status(status)]);
}

/// One line for `systemctl status`.
pub fn status(status: &str) {
    notify(&[NotifyState::Status(status)]);
}

/// The unit may start later than `TimeoutStartSec` (a long log to replay): gives it this much more.
pub fn extend_timeout(more: Duration) {
    notify(&[NotifyState::ExtendTimeoutUsec(u32::try_from(more.as_micros()).unwrap_or(u32::MAX))]);
}

fn notify(states: &[NotifyState<'_>]) {
    // The environment stays as it is: changing it is not safe once there are threads.
    if let Err(error) = sd_notify::notify(false, states) {
        warn!(%error, "the service manager cannot be told");
    }
}

/// The watchdog of the unit (`WatchdogSec`), which kills the process when it is not told in time that
/// the process works.
#[derive(Debug)]
pub struct Watchdog {
    interval: Duration,
}

impl Watchdog {
    /// The watchdog that the environment asks for, if it does.
    pub fn from_env() -> Option<Self> {
        let mut usec = 0;
        (sd_notify::watchdog_enabled(false, &mut usec) && usec > 0).then(|| Self::every(usec))
    }

    /// Told at half its time, so that one late turn is no death.
    fn every(usec: u64) -> Self {
        Self { interval: Duration::from_micros((usec / 2).max(1)) }
    }

    /// Tells the watchdog that all is well for as long as `alive` says so, until stopped. It is a task
    /// of the runtime on purpose: a runtime that is stuck does not come round to it, and the unit is
    /// started anew.
    pub async fn run(self, alive: impl Fn() -> bool, stop: CancellationToken) {
        self.run_with(alive, || notify(&[NotifyState::Watchdog]), stop).await;
    }

    async fn run_with(self, alive: impl Fn() -> bool, mut pet: impl FnMut(), stop: CancellationToken) {
        let mut turns = interval(self.interval);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(turns.tick()).await.is_some() {
            if alive() {
                pet();
            } else {
                warn!("the node does not make progress: the watchdog is left to bark");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[tokio::test]
    async fn only_a_node_that_lives_is_reported_and_only_until_stopped() {
        let (turns, pets) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let stop = CancellationToken::new();
        let (asked, told, ender) = (turns.clone(), pets.clone(), stop.clone());
        let alive = move || {
            let turn = asked.fetch_add(1, Ordering::SeqCst);
            if turn == 4 {
                ender.cancel();
            }
            turn < 2
        };
        let pet = move || {
            told.fetch_add(1, Ordering::SeqCst);
        };
        let run = Watchdog::every(2_000).run_with(alive, pet, stop);
        tokio::time::timeout(Duration::from_secs(5), run).await.unwrap();
        assert_eq!((turns.load(Ordering::SeqCst), pets.load(Ordering::SeqCst)), (5, 2));
    }

    #[test]
    fn the_watchdog_is_told_at_half_its_time() {
        assert_eq!(Watchdog::every(30_000_000).interval, Duration::from_secs(15));
    }
}
