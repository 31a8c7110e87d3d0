//! Makes estimates honest: learns from what jobs really waited how far the quantiles lie from the middle.
//!
//! Each quantile is tracked by itself: it moves up by a part of a step for each wait above it and down by
//! the rest of the step for each below, so that in the long run the right share lies on either side, whatever
//! the shape of the error. What is kept is a few numbers per class of waits.

use super::estimate::Guess;

/// How far one wait moves a quantile, in what waits are off the middle on average.
const STEP: f64 = 0.075;
/// The same while there were few.
const STEP_FIRST: f64 = 0.4;
/// Waits after which there were no longer few.
const FEW: u32 = 50;
/// How much the newest wait counts in that average.
const OFF_NEWEST: f64 = 0.05;
/// No quantile lies further out than so many spreads.
const OFFSET_MAX: f64 = 50.0;
/// Upper ends in milliseconds of the classes of waits that are calibrated apart; a last one is above.
const CLASSES: [f64; 4] = [0.0, 100.0, 1_000.0, 10_000.0];

/// When a job will start, as milliseconds from now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Interval {
    /// One of 20 waits is shorter.
    pub(crate) p5_ms: f64,
    /// Half of them are.
    pub(crate) p50_ms: f64,
    /// 19 of 20 are.
    pub(crate) p95_ms: f64,
    /// 99 of 100 are, if the far end is much like that of a normal distribution.
    pub(crate) p99_ms: f64,
}

impl Interval {
    /// Whether 18 of 20 waits are like this one.
    pub(crate) fn holds(&self, wait_ms: f64) -> bool {
        // Waits are whole milliseconds.
        (self.p5_ms.round()..=self.p95_ms.round()).contains(&wait_ms.round())
    }
}

/// One class's quantiles, in spreads from the middle.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Offsets {
    low: f64,
    middle: f64,
    high: f64,
    off: f64,
    seen: u32,
}

/// What was learned for one queue.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Calibration {
    classes: [Offsets; CLASSES.len() + 1],
}

impl Default for Calibration {
    fn default() -> Self {
        Self { classes: [Offsets::default(); CLASSES.len() + 1] }
    }
}

fn class(guess: Guess) -> usize {
    CLASSES.iter().position(|end| guess.wait_ms <= *end).unwrap_or(CLASSES.len())
}

impl Calibration {
    /// The guess with the quantiles that waits like it had.
    pub(crate) fn interval(&self, guess: Guess) -> Interval {
        let offsets = self.classes.get(class(guess)).copied().unwrap_or_default();
        let at = |offset: f64| guess.sigma_ms.mul_add(offset, guess.wait_ms).max(0.0);
        let far = (offsets.high - offsets.middle).max(0.5).mul_add(1.5, offsets.middle);
        Interval {
            p5_ms: at(offsets.low),
            p50_ms: at(offsets.middle),
            p95_ms: at(offsets.high),
            p99_ms: at(far.max(offsets.high)),
        }
    }

    /// A job waited so long for which this was guessed.
    pub(crate) fn learn(&mut self, guess: Guess, wait_ms: f64) {
        let Some(offsets) = self.classes.get_mut(class(guess)) else { return };
        let z = ((wait_ms - guess.wait_ms) / guess.sigma_ms.max(0.1)).clamp(-OFFSET_MAX, OFFSET_MAX);
        offsets.seen = offsets.seen.saturating_add(1);
        // A step must not be longer for the very wait that it is made for: the shares would not come out.
        let step = offsets.off.max(0.1) * if offsets.seen < FEW { STEP_FIRST } else { STEP };
        offsets.off += ((z - offsets.middle).abs() - offsets.off) * OFF_NEWEST;
        for (offset, share) in [(&mut offsets.low, 0.05), (&mut offsets.middle, 0.5), (&mut offsets.high, 0.95)] {
            *offset += if z > *offset { step * share } else { step * (share - 1.0) };
        }
        offsets.middle = offsets.middle.clamp(offsets.low.min(offsets.high), offsets.high.max(offsets.low));
    }
}

impl Default for Offsets {
    fn default() -> Self {
        Self { low: -1.645, middle: 0.0, high: 1.645, off: 0.8, seen: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::testing::Draws;

    /// A wait, from a uniform draw.
    type Shape = fn(f64) -> f64;

    /// The share of waits that the interval holds, when they are `wait` of a uniform draw.
    fn coverage(guess: Guess, wait: impl Fn(f64) -> f64) -> (f64, f64) {
        let (mut calibration, mut draws) = (Calibration::default(), Draws::new(7));
        let (mut held, mut below) = (0, 0);
        for n in 0..6_000 {
            let wait = wait(draws.uniform());
            let interval = calibration.interval(guess);
            if n >= 1_000 {
                held += u32::from(interval.holds(wait));
                below += u32::from(wait <= interval.p50_ms);
            }
            calibration.learn(guess, wait);
        }
        (f64::from(held) / 5_000.0, f64::from(below) / 5_000.0)
    }

    #[test]
    fn nine_of_ten_waits_are_held_however_wrong_the_guess_is() {
        let guess = Guess { wait_ms: 500.0, sigma_ms: 40.0 };
        let shapes: [(&str, Shape); 4] = [
            ("twice as long as guessed", |u| 1_000.0 + 300.0 * u),
            ("shorter, with a long tail", |u| 200.0 - 100.0 * (1.0 - u).ln()),
            ("nearly exact", |u| 500.0 + 80.0 * u),
            ("far off at once", |u| 1_700.0 + 700.0 * u * u),
        ];
        for (what, wait) in shapes {
            let (held, below) = coverage(guess, wait);
            assert!((0.85..=0.95).contains(&held), "{what}: {held}");
            assert!((0.4..=0.6).contains(&below), "{what}: {below}");
        }
    }

    #[test]
    fn waits_of_one_class_say_nothing_of_another() {
        let mut calibration = Calibration::default();
        let (short, long) = (Guess { wait_ms: 50.0, sigma_ms: 5.0 }, Guess { wait_ms: 5_000.0, sigma_ms: 500.0 });
        let before = calibration.interval(long);
        (0..100).for_each(|_| calibration.learn(short, 400.0));
        assert_eq!(calibration.interval(long), before);
        assert!(calibration.interval(short).p95_ms > 60.0);
    }

    #[test]
    fn an_interval_is_in_order_and_never_before_now() {
        let (mut calibration, mut draws) = (Calibration::default(), Draws::new(3));
        for _ in 0..2_000 {
            let guess = Guess { wait_ms: draws.uniform() * 300.0, sigma_ms: 0.1 + draws.uniform() * 100.0 };
            calibration.learn(guess, draws.uniform() * 1_000.0);
            let of = calibration.interval(guess);
            assert!(0.0 <= of.p5_ms && of.p50_ms <= of.p95_ms && of.p95_ms <= of.p99_ms, "{of:?}");
        }
    }
}
