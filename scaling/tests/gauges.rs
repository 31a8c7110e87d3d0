//! Uses are forecast as arrivals are, on virtual time.

use bravo_scaling::{Gauge, History};

const TICK_S: f64 = 15.0;
const DAY_TICKS: u32 = 5760;

fn gauge() -> Gauge {
    Gauge::resume(0.001, History::default())
}

/// A use that is high for an hour each day from the sixth hour on.
fn daily(tick: u32) -> f64 {
    let hour = f64::from(tick % DAY_TICKS) * TICK_S / 3600.0;
    if (6.0..7.0).contains(&hour) { 1.8 } else { 0.3 }
}

#[test]
fn nothing_is_expected_of_what_was_never_measured() {
    assert!(gauge().expected(TICK_S).is_empty());
}

#[test]
fn a_steady_use_stays_what_it_is_as_far_as_forecasts_tell_values_apart() {
    let mut gauge = gauge();
    (0..500).for_each(|_| gauge.push(0.4, 1));
    let expected = gauge.expected(TICK_S);
    assert_eq!((expected[0].in_s, expected[4].in_s), (30.0, 900.0));
    for point in expected {
        assert!((0.34..0.46).contains(&point.p50) && point.p90 >= point.p50, "{point:?}");
    }
}

#[test]
fn a_use_that_rises_at_the_same_hour_each_day_is_expected_before_it_does() {
    let mut gauge = gauge();
    // Six days, and up to ten minutes before the hour of the seventh.
    for tick in 0..6 * DAY_TICKS + 1400 {
        gauge.push(daily(tick), 1);
        if gauge.wants_refit() {
            gauge.refit();
        }
    }
    let expected = gauge.expected(TICK_S);
    assert!(expected[0].p50 < 0.4, "not yet: {expected:?}");
    assert!(expected[4].p90 > 1.0, "but in a quarter of an hour: {expected:?}");
}

#[test]
fn a_gauge_goes_on_from_its_history_and_takes_whatever_it_is_told() {
    let mut first = gauge();
    (0..200).for_each(|tick| first.push(daily(tick * 50), 1));
    let second = Gauge::resume(0.001, first.history().clone());
    assert_eq!(second.expected(TICK_S), first.expected(TICK_S));
    for wild in [f64::NAN, f64::INFINITY, -1.0, 1e300] {
        first.push(wild, 1);
    }
    assert!(first.expected(TICK_S).iter().all(|point| point.p90.is_finite()));
}

#[test]
fn a_value_after_a_while_in_which_nobody_looked_stands_for_all_of_it() {
    let mut gauge = gauge();
    gauge.push(0.1, 1);
    gauge.push(0.4, 30);
    assert_eq!((gauge.history().seen, gauge.history().ticks().last()), (31, Some(400.0)));
    gauge.push(0.4, usize::MAX);
    assert_eq!(gauge.history().ticks().len(), bravo_scaling::TICKS_MAX, "no more than is remembered");
}
