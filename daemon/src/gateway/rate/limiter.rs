//! One limit: a bucket for each caller, and what headers say of it.

use std::fmt::Write;
use std::hash::Hash;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::{Quota, RateLimiter};
use parking_lot::Mutex;

use super::keys::Keys;

/// Callers are looked through for idle ones not more often than this.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Fewer callers are not worth looking through.
const SWEEP_FROM: usize = 1_024;

/// What a limiter is made of.
#[derive(Clone, Copy)]
pub(super) struct Rate {
    /// Its name in headers.
    pub(super) name: &'static str,
    /// Requests in a window; 0: no limit.
    pub(super) quota: u32,
    /// The window, in seconds.
    pub(super) window_s: u32,
    /// How many may come at once.
    pub(super) burst: u32,
    /// Callers that are told apart.
    pub(super) callers_max: usize,
}

/// Limits each of many callers.
pub(super) struct Limiter<K: Hash + Eq + Clone, C: Clock = DefaultClock> {
    rate: Rate,
    inner: RateLimiter<K, Keys<K>, C, StateInformationMiddleware>,
    swept: Mutex<C::Instant>,
}

/// How it stands with one caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    name: &'static str,
    quota: u32,
    window_s: u32,
    remaining: u32,
    /// Until all may come at once again, or, where none may, until the next one may.
    reset: Duration,
}

impl<K: Hash + Eq + Clone, C: Clock> Limiter<K, C> {
    /// None where the rate is no limit.
    pub(super) fn new(rate: Rate, clock: C) -> Option<Self> {
        let quota = NonZeroU32::new(rate.quota)?;
        let one = Duration::from_secs(rate.window_s.into()) / quota.get();
        let burst = NonZeroU32::new(rate.burst).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::with_period(one.max(Duration::from_nanos(1)))?.allow_burst(burst);
        let swept = Mutex::new(clock.now());
        let inner = RateLimiter::new(quota, Keys::new(rate.callers_max), clock);
        Some(Self { rate, inner, swept })
    }

    /// Counts one request of a caller. Refused: after how long it may come again.
    pub(super) fn count(&self, key: &K) -> (Standing, Result<(), Duration>) {
        self.sweep();
        let Rate { name, quota, window_s, burst, .. } = self.rate;
        let standing = |remaining, reset| Standing { name, quota, window_s, remaining, reset };
        match self.inner.check_key(key) {
            Ok(state) => {
                let remaining = state.remaining_burst_capacity();
                let reset = state.quota().replenish_interval() * burst.saturating_sub(remaining);
                (standing(remaining, reset), Ok(()))
            }
            Err(not_until) => {
                let wait = not_until.wait_time_from(self.inner.clock().now());
                (standing(0, wait), Err(wait))
            }
        }
    }

    /// Forgets those who have all their burst again: nothing tells them from those who never came.
    fn sweep(&self) {
        if self.inner.len() < SWEEP_FROM.min(self.rate.callers_max) {
            return;
        }
        let now = self.inner.clock().now();
        {
            let Some(mut swept) = self.swept.try_lock() else { return };
            if Duration::from(governor::clock::Reference::duration_since(&now, *swept)) < SWEEP_EVERY {
                return;
            }
            *swept = now;
        }
        self.inner.retain_recent();
        self.inner.shrink_to_fit();
    }
}

impl Standing {
    /// The value of `RateLimit-Policy`, one item per limit that was asked.
    pub(super) fn policies(all: &[Self]) -> String {
        all.iter().fold(String::new(), |mut text, Self { name, quota, window_s, .. }| {
            let _ = write!(text, "{}\"{name}\";q={quota};w={window_s}", comma(&text));
            text
        })
    }

    /// The value of `RateLimit`.
    pub(super) fn limits(all: &[Self]) -> String {
        all.iter().fold(String::new(), |mut text, Self { name, remaining, reset, .. }| {
            // Who may come says when all is well again, who may not is told to wait long enough.
            let seconds = if *remaining == 0 { reset.as_millis().div_ceil(1_000) } else { reset.as_secs().into() };
            let _ = write!(text, "{}\"{name}\";r={remaining};t={seconds}", comma(&text));
            text
        })
    }
}

fn comma(text: &str) -> &'static str {
    if text.is_empty() { "" } else { ", " }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    const ADDRESS: Rate = Rate { name: "address", quota: 100, window_s: 1, burst: 20, callers_max: 3 };

    fn limiter(rate: Rate) -> (Limiter<u32, FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        (Limiter::new(rate, clock.clone()).unwrap(), clock)
    }

    #[test]
    fn a_caller_has_its_burst_and_then_its_rate() {
        let (limiter, clock) = limiter(ADDRESS);
        let (first, passed) = limiter.count(&1);
        assert!(passed.is_ok());
        assert_eq!(Standing::policies(&[first]), r#""address";q=100;w=1"#);
        assert_eq!(Standing::limits(&[first]), r#""address";r=19;t=0"#);
        assert!((1..20).all(|_| limiter.count(&1).1.is_ok()));
        let (refused, wait) = limiter.count(&1);
        assert_eq!(wait, Err(Duration::from_millis(10)));
        assert_eq!(Standing::limits(&[refused, first]), r#""address";r=0;t=1, "address";r=19;t=0"#);
        assert!(limiter.count(&2).1.is_ok(), "another caller has its own");
        clock.advance(Duration::from_millis(1_000));
        let passed = (0..100).filter(|_| limiter.count(&1).1.is_ok()).count();
        assert_eq!(passed, 20, "what was not used is not saved beyond the burst");
    }

    #[test]
    fn a_rate_of_zero_is_no_limit() {
        assert!(Limiter::<u32, _>::new(Rate { quota: 0, ..ADDRESS }, FakeRelativeClock::default()).is_none());
    }

    #[test]
    fn callers_beyond_the_bound_share_one_bucket_until_others_are_idle() {
        let (limiter, clock) = limiter(Rate { burst: 2, ..ADDRESS });
        assert!((0..3).all(|caller| limiter.count(&caller).1.is_ok()));
        assert!(limiter.count(&100).1.is_ok() && limiter.count(&101).1.is_ok());
        assert!(limiter.count(&102).1.is_err(), "the shared bucket is empty");
        assert!(limiter.count(&1).1.is_ok(), "who is known has its own");
        assert_eq!(limiter.inner.len(), 3);
        clock.advance(Duration::from_secs(2));
        assert!(limiter.count(&102).1.is_ok() && limiter.count(&103).1.is_ok());
        assert_eq!(limiter.inner.len(), 2, "the idle were forgotten");
    }
}
