//! Rhythms and seasons are found, and upper quantiles are what they say.

mod common;

use bravo_scaling::forecast::{refit, seasons_of};
use bravo_scaling::{Controller, History, Observation, Settings};
use common::Draws;

const DAY: usize = 288;

/// A wave of `period` steps between 20 % and 180 % of `mean`.
fn wave(step: usize, period: usize, mean: f64) -> f64 {
    mean * (1.0 + 0.8 * (step as f64 * std::f64::consts::TAU / period as f64).sin())
}

fn found(of: impl Fn(usize) -> f64, days: usize) -> Vec<usize> {
    let mut draws = Draws(7);
    seasons_of(&(0..days * DAY).map(|step| f64::from(draws.count(of(step)))).collect::<Vec<_>>())
}

fn about(found: usize, true_one: usize) -> bool {
    found.abs_diff(true_one) * 30 <= true_one
}

#[test]
fn a_daily_season_is_found() {
    let found = found(|step| wave(step, DAY, 60.0), 6);
    assert!(about(found[0], DAY), "{found:?}");
}

#[test]
fn a_season_of_two_hours_is_found() {
    let found = found(|step| wave(step, 24, 60.0), 3);
    assert!(about(found[0], 24), "{found:?}");
}

#[test]
fn a_week_is_found_beside_its_days() {
    let found = found(|step| wave(step, DAY, 60.0) * if step / DAY % 7 < 5 { 1.0 } else { 0.3 }, 28);
    assert!(about(found[0], DAY), "{found:?}");
    assert!(found.len() == 2 && about(found[1], 7 * DAY), "{found:?}");
}

#[test]
fn noise_has_no_season_and_no_rhythm() {
    let mut draws = Draws(11);
    assert_eq!(found(|_| 60.0, 7), Vec::<usize>::new());
    let mut history = History::default();
    for _ in 0..5760 {
        history.push(draws.count(5.0));
    }
    assert!(refit(&history, 4).rhythms().is_empty());
}

#[test]
fn bursts_by_the_clock_are_found_although_they_skip_beats() {
    let mut draws = Draws(3);
    let mut history = History::default();
    let mut burst = false;
    for tick in 0..2 * 5760 {
        if tick % 120 == 17 {
            burst = draws.even() < 0.5;
        }
        let mean = if burst && (17..29).contains(&(tick % 120)) { 12.0 } else { 2.0 };
        history.push(draws.count(mean));
    }
    let rhythms = refit(&history, 4).rhythms().to_vec();
    assert!(rhythms.contains(&120), "{rhythms:?}");
}

/// Runs a controller over arrivals and returns the coverage of its two upper quantiles.
fn coverage(ticks: usize, mut arrivals: impl FnMut(usize) -> u32) -> (f64, f64) {
    let mut controller = Controller::new(Settings::default());
    let (mut near, mut far, mut n) = (0.0, 0.0, 0.0);
    for tick in 0..ticks {
        let came = arrivals(tick);
        let seen = Observation {
            t: tick as f64 * 15.0,
            arrivals: came,
            completed: came,
            service_sum: f64::from(came) * 20.0,
            busy: came,
            ready: 20,
            replicas: 20,
            ..Observation::default()
        };
        controller.tick(&seen);
        if tick > ticks / 2 {
            let now = controller.coverage();
            (near, far, n) = (near + now.0, far + now.1, n + 1.0);
        }
    }
    (near / n, far / n)
}

#[test]
fn nine_windows_in_ten_stay_below_the_upper_quantile_on_a_daily_wave() {
    let mut draws = Draws(5);
    let (near, far) = coverage(4 * 5760, |tick| draws.count(wave(tick, 5760, 8.0)));
    assert!((0.87..=0.93).contains(&near), "{near}");
    assert!((0.87..=0.93).contains(&far), "{far}");
}

#[test]
fn nine_windows_in_ten_stay_below_the_upper_quantile_when_levels_jump() {
    let (mut draws, mut level) = (Draws(9), 4.0);
    let (near, _) = coverage(3 * 5760, |tick| {
        if tick % 40 == 0 {
            level = 2.0 + 12.0 * draws.even();
        }
        draws.count(level)
    });
    assert!((0.87..=0.93).contains(&near), "{near}");
}
