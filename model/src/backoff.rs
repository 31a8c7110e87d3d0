//! The pause between two attempts: exponential, with jitter that the job's id and attempt decide,
//! so that every replica takes the same and jobs that failed together do not come back together.

use crate::queue::Backoff;

/// Milliseconds to wait after the attempt with this number failed.
pub(crate) fn pause_ms(backoff: &Backoff, seq: u64, attempt: u32) -> u64 {
    let max = backoff.max_ms as f64;
    let mut pause = backoff.initial_ms as f64;
    // Plain multiplications rather than powi: the same bits on every platform.
    for _ in 1..attempt {
        if pause >= max || backoff.factor <= 1.0 {
            break;
        }
        pause *= backoff.factor;
    }
    let pause = (pause.min(max)) as u64;
    let taken = (pause as f64 * backoff.jitter.clamp(0.0, 1.0)) as u64;
    pause - chance(seq, attempt, taken.min(pause))
}

/// A number from 0 to `max` that looks random and is not.
fn chance(seq: u64, attempt: u32, max: u64) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seq.to_be_bytes());
    hasher.update(&attempt.to_be_bytes());
    let drawn = hasher.finalize().as_bytes().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
    drawn % max.saturating_add(1).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_by_the_factor_up_to_the_longest() {
        let backoff = Backoff { jitter: 0.0, ..Backoff::default() };
        let pauses: Vec<u64> = [1, 2, 3, 9, 10, 10_000].map(|attempt| pause_ms(&backoff, 1, attempt)).to_vec();
        assert_eq!(pauses, [1_000, 2_000, 4_000, 256_000, 300_000, 300_000]);
    }

    #[test]
    fn jitter_takes_off_at_most_its_share() {
        let backoff = Backoff::default();
        let pauses: Vec<u64> = (0..100).map(|seq| pause_ms(&backoff, seq, 1)).collect();
        assert!(pauses.iter().all(|ms| (800..=1_000).contains(ms)), "{pauses:?}");
        assert!(pauses.iter().max() > pauses.iter().min());
    }
}
