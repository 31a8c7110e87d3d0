//! The rate limit of a queue: a token bucket in integers, so that every replica counts the same.

use crate::Time;
use crate::queue::RateLimit;
use crate::row::Stats;

/// Parts of a token that are counted.
const TOKEN: u64 = 1_000_000_000;

/// Whole tokens now.
pub(crate) fn tokens(stats: &Stats, rate: &RateLimit, now: Time) -> u64 {
    level(stats, rate, now) / TOKEN
}

/// Takes tokens that are there.
pub(crate) fn take(stats: &mut Stats, rate: &RateLimit, now: Time, tokens: u64) {
    stats.bucket = level(stats, rate, now).saturating_sub(tokens.saturating_mul(TOKEN));
    stats.bucket_at = Some(now);
}

/// When there is a whole token; now, if there is one.
pub(crate) fn next_at(stats: &Stats, rate: &RateLimit, now: Time) -> Time {
    let missing = TOKEN.saturating_sub(level(stats, rate, now));
    now.saturating_add(missing.div_ceil(per_ms(rate)))
}

fn level(stats: &Stats, rate: &RateLimit, now: Time) -> u64 {
    let full = u64::from(rate.burst.max(1)).saturating_mul(TOKEN);
    let Some(at) = stats.bucket_at else { return full };
    let gained = now.saturating_sub(at).saturating_mul(per_ms(rate));
    stats.bucket.saturating_add(gained).min(full)
}

/// Parts of a token per millisecond: at least one, so that the slowest rate is one in eleven days.
fn per_ms(rate: &RateLimit) -> u64 {
    // A float to integer cast saturates, and one multiplication is the same everywhere.
    ((rate.per_second * 1_000_000.0) as u64).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_bucket_gives_its_burst_and_then_one_at_a_time() {
        let rate = RateLimit { per_second: 2.0, burst: 3 };
        let mut stats = Stats::default();
        assert_eq!(tokens(&stats, &rate, 1000), 3);
        take(&mut stats, &rate, 1000, 3);
        assert_eq!(tokens(&stats, &rate, 1499), 0);
        assert_eq!(next_at(&stats, &rate, 1000), 1500);
        assert_eq!(next_at(&stats, &rate, 1200), 1500);
        assert_eq!(tokens(&stats, &rate, 1500), 1);
        assert_eq!(tokens(&stats, &rate, 1_000_000), 3, "never more than the burst");
    }

    #[test]
    fn extreme_rates_neither_stop_nor_overflow() {
        let slow = RateLimit { per_second: 1e-12, burst: u32::MAX };
        let mut stats = Stats::default();
        take(&mut stats, &slow, 0, u64::from(u32::MAX));
        assert_eq!(next_at(&stats, &slow, 0), TOKEN);
        let fast = RateLimit { per_second: 1e9, burst: u32::MAX };
        assert_eq!(tokens(&stats, &fast, u64::MAX), u64::from(u32::MAX));
    }
}
