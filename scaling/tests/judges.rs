//! A forecast that does worse than the plain rule is left aside, and one that does better is not.

use bravo_scaling::Judge;

/// Both bet on each of `n` windows of two steps; what came follows.
fn trial(judge: &mut Judge, n: usize, ours: f64, theirs: f64, came: impl Fn(usize) -> f64) {
    for i in 0..n {
        judge.learn(came(i), 4, 2);
        judge.bet(ours, theirs);
    }
}

#[test]
fn a_forecast_that_is_far_off_is_left_aside_until_it_is_good_again() {
    let mut judge = Judge::default();
    trial(&mut judge, 300, 400.0, 28.0, |_| 10.0);
    assert!(judge.verdict().is_some_and(|ratio| ratio > 2.0));
    trial(&mut judge, 3000, 21.0, 28.0, |_| 10.0);
    assert_eq!(judge.verdict(), None);
}

#[test]
fn a_forecast_that_is_better_stays() {
    let mut judge = Judge::default();
    trial(&mut judge, 300, 21.0, 28.0, |_| 10.0);
    assert_eq!(judge.verdict(), None);
}

#[test]
fn a_few_misses_are_no_verdict() {
    let mut judge = Judge::default();
    trial(&mut judge, 30, 400.0, 28.0, |_| 10.0);
    assert_eq!(judge.verdict(), None);
}

#[test]
fn the_level_is_raised_when_too_much_lies_above() {
    let mut judge = Judge::default();
    trial(&mut judge, 50, 5.0, 28.0, |_| 10.0);
    assert!(judge.calibration.level() > 0.95);
    assert!(judge.coverage() < 0.01);
    trial(&mut judge, 500, 400.0, 28.0, |_| 10.0);
    assert!(judge.calibration.level() < 0.7);
}
