//! Pasts that are carried away and come back, on virtual time.

mod common;

use bravo_scaling::sim::{Backtest, Making, Trace, backtest};
use bravo_scaling::{Controller, History, Observation, Past, ROLLUPS_MAX, Settings, State, TICKS_MAX};
use common::Draws;

const TICK_S: f64 = 15.0;

fn state_of(ticks: usize) -> State {
    let (mut draws, mut state) = (Draws(3), State::new(&Settings::default()));
    for _ in 0..ticks {
        state.history.push(draws.count(3.0));
    }
    state
}

fn came_back(past: &Past) -> Past {
    State::of_past(&Settings::default(), past).past(TICK_S)
}

#[test]
fn what_is_carried_away_comes_back_whole_while_it_is_young() {
    let state = state_of(5003);
    let past = state.past(TICK_S);
    assert_eq!((past.older.len(), past.ticks.len()), (0, 5003));
    let again = State::of_past(&Settings::default(), &past);
    assert_eq!((&again.history, again.past(TICK_S)), (&state.history, past));
}

#[test]
fn what_is_old_comes_back_by_five_minutes_and_in_its_place_of_the_day() {
    let state = state_of(60_007);
    let past = state.past(TICK_S);
    assert!(past.ticks.len() <= TICKS_MAX && past.ticks.len() + 20 > TICKS_MAX, "{}", past.ticks.len());
    assert_eq!(past.older.len() * 20 + past.ticks.len(), 60_007, "no tick is missing or there twice");
    let again = State::of_past(&Settings::default(), &past);
    assert_eq!((again.history.seen, again.history.rollups()), (60_007, state.history.rollups()));
    assert_eq!(came_back(&past), past);
    let longest = Past { older: vec![7; ROLLUPS_MAX + 50], ticks: vec![1; TICKS_MAX + 50], ..past };
    let kept = came_back(&longest);
    assert!(kept.older.len() <= ROLLUPS_MAX && kept.ticks.len() <= TICKS_MAX);
}

#[test]
fn a_trace_of_other_steps_is_spread_over_ticks_without_losing_a_job() {
    let trace =
        Trace { bin_s: 60.0, counts: vec![4.0, 1.0, 0.0, 7.0], services: vec![Some(2.0), None, None, Some(6.0)] };
    let past = Past::of_trace(&trace, TICK_S);
    assert_eq!(past.ticks.len(), 16);
    let sums: Vec<u32> = past.ticks.chunks(4).map(|ticks| ticks.iter().sum()).collect();
    assert_eq!((sums, past.older.len()), (vec![4, 1, 0, 7], 0));
    assert!(past.service_s.is_some_and(|mean| (mean - 50.0 / 11.0).abs() < 1e-9));
    let minutes = Trace { bin_s: 60.0, counts: vec![5.0; 40 * 1440], services: vec![None; 40 * 1440] };
    let past = Past::of_trace(&minutes, TICK_S);
    let all = past.older.iter().chain(&past.ticks).sum::<u32>();
    assert_eq!((past.older.len() * 20 + past.ticks.len(), all), (ROLLUPS_MAX * 20, 28 * 1440 * 5));
    let fast = Trace { bin_s: 1.0, counts: vec![1.0; 3600], services: vec![None; 3600] };
    assert_eq!(Past::of_trace(&fast, TICK_S).ticks, vec![15; 240]);
}

#[test]
fn a_controller_with_a_past_foresees_what_it_never_saw() {
    // Six jobs a tick for ten ticks, once every eighty.
    let burst = |tick: usize| if tick % 80 < 10 { 6 } else { 0 };
    let ticks: Vec<u32> = (0..80 * 100 + 60).map(burst).collect();
    let past = Past { tick_s: TICK_S, ticks, service_s: Some(20.0), ..Past::default() };
    let quiet = |tick: usize| Observation { t: tick as f64 * TICK_S, ready: 2, replicas: 2, ..Observation::default() };
    let settings = Settings::default();
    let most =
        |mut controller: Controller| (0..18).map(|tick| controller.tick(&quiet(tick)).replicas).max().unwrap_or(0);
    let with = most(Controller::resume(settings.clone(), State::of_past(&settings, &past)));
    let without = most(Controller::new(settings));
    assert!(with >= 6 && without <= 3, "before the burst: {with} and {without}");
}

#[test]
fn a_past_is_replayed_through_the_same_controller_as_a_trace() {
    let mut history = History::default();
    for tick in 0..2000_u32 {
        history.push(if tick % 80 < 10 { 6 } else { 1 });
    }
    let mut state = State::new(&Settings::default());
    state.history = history;
    let past = state.past(TICK_S);
    let ask = Backtest { making: Making { peak: 0.0, ..Making::default() }, ..Backtest::default() };
    let report = backtest(&past.trace(), &ask).unwrap();
    assert_eq!(past.trace().counts.len(), 2000);
    let second_half: u32 = past.ticks[1000..].iter().sum();
    assert_eq!(report.ours.jobs, second_half as usize, "counts are left as they are");
}
