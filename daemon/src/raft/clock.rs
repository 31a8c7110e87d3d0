//! The state's own clock.
//!
//! Leases and timers are measured by stamps in the log. A stamp is not the wall clock: every
//! replica keeps the offset between the state's time and its own monotonic clock, refreshed by
//! what it applies and by heartbeats, and a new leader goes on from there. The wall clock starts a
//! fresh or wholly restarted cluster, and afterwards pulls the state's time by at most 1 %, so that
//! a jump of a node's wall clock neither ends leases early nor delivers before `run_at`.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bravo_model::Time;
use parking_lot::Mutex;

/// The wall clock may speed up or slow down the state's time by one part in this many.
const PULL_SHARE: i64 = 100;

/// One group's clock on this node.
pub struct StateClock {
    inner: Mutex<Inner>,
}

struct Inner {
    /// The state's time at `since`.
    base: Time,
    since: Instant,
    /// Whether another replica has told the time since this process started.
    heard: bool,
}

impl Default for StateClock {
    fn default() -> Self {
        Self { inner: Mutex::new(Inner { base: 0, since: Instant::now(), heard: false }) }
    }
}

impl StateClock {
    /// The state's time as this node sees it.
    pub fn now(&self) -> Time {
        self.inner.lock().now(Instant::now())
    }

    /// An entry with this stamp was applied here: the clock is at least there.
    pub fn at_least(&self, stamp: Time) {
        let now = Instant::now();
        let mut inner = self.inner.lock();
        if stamp > inner.now(now) {
            inner.set(stamp, now);
        }
    }

    /// The leader said what its clock shows: follow it.
    pub fn follow(&self, leader: Time) {
        let now = Instant::now();
        let mut inner = self.inner.lock();
        inner.set(leader, now);
        inner.heard = true;
    }

    /// How long ago the state's time was last told (to a follower: by its leader).
    pub fn silent_for(&self) -> Duration {
        self.inner.lock().since.elapsed()
    }

    /// This node starts to lead: if no replica has told the time since this process started, the
    /// whole cluster was restarted (or is new), and the wall clock says how long it was away.
    pub fn lead(&self) {
        let now = Instant::now();
        let mut inner = self.inner.lock();
        if !inner.heard {
            let wall = wall();
            if wall > inner.now(now) {
                inner.set(wall, now);
            }
            inner.heard = true;
        }
    }

    /// While leading, called now and then: the wall clock pulls, gently.
    pub fn pull(&self) {
        let now = Instant::now();
        let mut inner = self.inner.lock();
        let elapsed = now.duration_since(inner.since).as_millis() as i64;
        if elapsed < PULL_SHARE {
            return;
        }
        let shown = inner.now(now);
        let drift = wall() as i64 - shown as i64;
        let most = elapsed / PULL_SHARE;
        let pulled = shown.saturating_add_signed(drift.clamp(-most, most));
        inner.set(pulled, now);
    }
}

impl Inner {
    fn now(&self, now: Instant) -> Time {
        self.base + now.saturating_duration_since(self.since).as_millis() as Time
    }

    fn set(&mut self, time: Time, now: Instant) {
        self.base = time;
        self.since = now;
    }
}

/// Milliseconds since the epoch by the node's wall clock.
pub(crate) fn wall() -> Time {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis() as Time
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_cluster_starts_with_the_wall_clock() {
        let clock = StateClock::default();
        clock.lead();
        assert!(clock.now().abs_diff(wall()) < 1_000);
    }

    #[test]
    fn a_new_leader_goes_on_from_what_it_heard_not_from_its_wall_clock() {
        let clock = StateClock::default();
        clock.follow(5_000);
        clock.lead();
        assert!((5_000..6_000).contains(&clock.now()));
    }

    #[test]
    fn a_stamp_moves_the_clock_forward_and_never_back() {
        let clock = StateClock::default();
        clock.at_least(9_000);
        clock.at_least(4_000);
        assert!((9_000..10_000).contains(&clock.now()));
    }
}
