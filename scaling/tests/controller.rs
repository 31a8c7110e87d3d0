//! What the controller of one type promises, on virtual time.

mod common;

use bravo_scaling::{
    Behaviour, Block, Brake, Controller, Due, Observation, Policy, ROLLUPS_MAX, Settings, State, TICKS_MAX,
};
use common::Draws;

fn seen(tick: usize, arrivals: u32, replicas: u32) -> Observation {
    let busy = arrivals.min(replicas);
    Observation {
        t: tick as f64 * 15.0,
        arrivals,
        completed: arrivals,
        service_sum: f64::from(arrivals) * 20.0,
        busy,
        ready: replicas,
        replicas,
        ..Observation::default()
    }
}

/// A controller that saw `ticks` ticks of about `mean` arrivals, and the size of its pool.
fn steady(settings: Settings, ticks: usize, mean: f64) -> (Controller, u32) {
    let (mut controller, mut draws, mut replicas) = (Controller::new(settings), Draws(1), 2);
    for tick in 0..ticks {
        replicas = controller.tick(&seen(tick, draws.count(mean), replicas)).replicas;
    }
    (controller, replicas)
}

#[test]
fn a_pool_is_as_large_as_its_load_with_something_to_spare() {
    let (_, replicas) = steady(Settings::default(), 600, 6.0);
    assert!((9..=14).contains(&replicas), "8 agents' worth of jobs: {replicas}");
}

#[test]
fn every_recommendation_says_why_with_its_numbers() {
    for policy in [Policy::Predictive, Policy::Reactive, Policy::Threshold] {
        let (mut controller, replicas) = steady(Settings { policy, ..Settings::default() }, 100, 6.0);
        let advice = controller.tick(&seen(100, 6, replicas));
        let numbers = advice.why.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty()).count();
        assert!(advice.why.contains("agents") && numbers >= 3, "{}", advice.why);
        assert!(!advice.why.contains('\n'), "one sentence");
    }
}

#[test]
fn a_controller_without_history_falls_back_to_the_plain_rule_and_says_so() {
    let mut controller = Controller::new(Settings::default());
    let first = controller.tick(&seen(0, 5, 2));
    assert!(first.fallback && first.why.contains("plain reactive rule"), "{}", first.why);
    let (mut later, replicas) = steady(Settings::default(), 100, 6.0);
    assert!(!later.tick(&seen(100, 6, replicas)).fallback);
}

#[test]
fn jobs_that_are_known_to_come_are_planned_for() {
    let (mut controller, replicas) = steady(Settings::default(), 300, 2.0);
    let usual = controller.tick(&seen(300, 2, replicas)).replicas;
    let due = vec![Due { in_s: 65.0, jobs: 20 }];
    let known = controller.tick(&Observation { due, ..seen(301, 2, usual) }).replicas;
    assert!(known >= usual + 4, "{usual} {known}");
}

#[test]
fn bounds_hold_whatever_is_seen() {
    let settings = Settings { min: 3, max: 7, ..Settings::default() };
    let (mut controller, replicas) = steady(settings.clone(), 200, 30.0);
    assert_eq!(replicas, 7);
    let mut last = 7;
    for tick in 200..1200 {
        last = controller.tick(&seen(tick, 0, last)).replicas;
    }
    assert_eq!(last, 3);
    let wild = Observation {
        t: f64::NAN,
        arrivals: u32::MAX,
        completed: u32::MAX,
        service_sum: f64::INFINITY,
        queue: u32::MAX,
        busy: u32::MAX,
        ready: u32::MAX,
        booting: u32::MAX,
        replicas: u32::MAX,
        cpu: f64::NAN,
        memory: -1.0,
        workflows: u32::MAX,
        due: vec![Due { in_s: f64::NAN, jobs: u32::MAX }],
        last: false,
    };
    for policy in [Policy::Predictive, Policy::Reactive, Policy::Threshold] {
        controller.configure(Settings { policy, ..settings.clone() });
        for t in [f64::NAN, f64::INFINITY, -1e300, 1e300, 5e4] {
            let advice = controller.tick(&Observation { t, ..wild.clone() });
            assert!((3..=7).contains(&advice.replicas), "{advice:?}");
        }
    }
    assert!(controller.predict_load().iter().all(|point| point.p90.is_finite()));
}

#[test]
fn settings_out_of_all_bounds_are_brought_into_them() {
    let wild = Settings {
        min: 900,
        max: 0,
        tick_s: f64::NAN,
        boot_s: -1.0,
        service_s: 0.0,
        late_job_price: f64::INFINITY,
        start_delay_p95_ms: 0,
        ..Settings::default()
    };
    let (_, replicas) = steady(wild, 50, 3.0);
    assert_eq!(replicas, 1);
}

#[test]
fn the_state_is_bounded_and_another_replica_goes_on_from_it() {
    let (mut controller, mut draws, mut replicas) = (Controller::new(Settings::default()), Draws(2), 2);
    for tick in 0..TICKS_MAX + 2000 {
        replicas = controller.tick(&seen(tick, draws.count(4.0), replicas)).replicas;
    }
    let bytes = postcard::to_stdvec(controller.state()).unwrap();
    assert!(bytes.len() < 100_000, "{}", bytes.len());
    let state: State = postcard::from_bytes(&bytes).unwrap();
    assert_eq!(&state, controller.state());
    assert_eq!(state.history.ticks().len(), TICKS_MAX);
    let mut other = Controller::resume(Settings::default(), state);
    let next = seen(TICKS_MAX + 2000, 4, replicas);
    let (own, others) = (controller.tick(&next), other.tick(&next));
    assert!(own.replicas.abs_diff(others.replicas) <= 1, "{} {}", own.why, others.why);
}

#[test]
fn four_weeks_of_roll_ups_are_kept_and_no_more() {
    let mut history = bravo_scaling::History::default();
    (0..(ROLLUPS_MAX + 500) * 20).for_each(|_| {
        history.push(1);
    });
    assert!(history.rollups().len() <= ROLLUPS_MAX && history.rollups().len() > ROLLUPS_MAX * 9 / 10);
    assert!(history.rollups().iter().all(|n| *n == 20));
}

#[test]
fn a_model_that_was_fitted_elsewhere_is_brought_up_to_date() {
    let (mut controller, _) = steady(Settings::default(), 1000, 4.0);
    let stale = bravo_scaling::refit(&controller.state().history, controller.lead());
    for tick in 1000..1030 {
        controller.step(&seen(tick, 5, 8));
    }
    controller.adopt(stale);
    let fresh = bravo_scaling::refit(&controller.state().history, controller.lead());
    assert_eq!(controller.model().near(), fresh.near(), "late or not, the same model");
}

#[test]
fn a_late_observation_stands_for_all_the_ticks_that_it_covers() {
    let (mut controller, replicas) = steady(Settings::default(), 100, 4.0);
    let before = controller.state().history.seen;
    controller.tick(&Observation { t: 103.0 * 15.0, ..seen(0, 16, replicas) });
    assert_eq!(controller.state().history.seen, before + 4);
    let last: Vec<f64> = controller.state().history.ticks().collect();
    assert_eq!(last[last.len() - 4..], [4.0; 4]);
}

#[test]
fn the_time_of_day_is_not_lost_while_nobody_looks_for_days() {
    let (mut controller, replicas) = steady(Settings::default(), 100, 4.0);
    let before = controller.state().history.seen;
    let ticks = 2 * 5760 + 7;
    controller.step(&Observation { t: (99 + ticks) as f64 * 15.0, ..seen(0, 40_000, replicas) });
    assert_eq!(controller.state().history.seen, before + ticks);
}

#[test]
fn ticks_of_more_arrivals_than_sixteen_bits_hold_are_what_they_were() {
    let (mut controller, replicas) = steady(Settings::default(), 100, 4.0);
    controller.step(&seen(100, 1_000_000, replicas));
    assert_eq!(controller.state().history.ticks().last(), Some(1e6));
}

#[test]
fn roll_ups_from_elsewhere_without_any_ticks_are_too_little_to_forecast_from() {
    let past = bravo_scaling::Past { tick_s: 15.0, older: vec![40; 500], ..Default::default() };
    let settings = Settings::default();
    let mut controller = Controller::resume(settings.clone(), State::of_past(&settings, &past));
    let advice = controller.tick(&seen(0, 2, 2));
    assert!(advice.fallback && advice.why.ends_with(": 0 ticks are too little to forecast from"), "{}", advice.why);
}

#[test]
fn who_goes_on_from_a_state_tells_the_upper_quantiles_at_once() {
    let (controller, _) = steady(Settings::default(), 600, 6.0);
    let next = Controller::resume(Settings::default(), controller.state().clone());
    for (own, others) in controller.predict_load().iter().zip(next.predict_load()) {
        assert!(others.p90 > 1.1 * others.p50 && (others.p90 / own.p90 - 1.0).abs() < 0.25, "{own:?} {others:?}");
    }
}

#[test]
fn the_start_up_time_stays_what_it_is_where_nobody_does_what_is_recommended() {
    let mut controller = Controller::new(Settings { boot_s: 20.0, ..Settings::default() });
    for tick in 0..2000 {
        // More are wished for all the time, and none ever come.
        controller.tick(&seen(tick, if tick % 60 < 30 { 1 } else { 9 }, 2));
    }
    assert!((controller.boot_s() - 20.0).abs() < 1e-9, "{}", controller.boot_s());
}

#[test]
fn the_start_up_time_is_learned() {
    let (mut controller, mut replicas, mut booting) =
        (Controller::new(Settings::default()), 2u32, Vec::<(usize, u32)>::new());
    for tick in 0..3000 {
        booting.retain(|(asked, _)| asked + 8 > tick);
        let starting: u32 = booting.iter().map(|(_, n)| n).sum();
        let arrivals = if tick / 60 % 2 == 0 { 1 } else { 9 };
        let busy = arrivals.min(replicas - starting.min(replicas));
        let now = Observation { ready: replicas - starting, booting: starting, busy, ..seen(tick, arrivals, replicas) };
        let want = controller.tick(&now).replicas;
        if want > replicas {
            booting.push((tick, want - replicas));
        }
        let mut less = replicas.saturating_sub(want);
        while let Some(newest) = booting.last_mut().filter(|_| less > 0) {
            let gone = newest.1.min(less);
            newest.1 -= gone;
            less -= gone;
            if newest.1 == 0 {
                booting.pop();
            }
        }
        replicas = want;
    }
    assert_eq!(controller.lead(), 8, "two minutes are eight ticks");
}

#[test]
fn thresholds_grow_by_half_and_shrink_by_a_fifth() {
    let mut controller = Controller::new(Settings { policy: Policy::Threshold, ..Settings::default() });
    let mut t = 0.0;
    let mut wish = |busy: u32, replicas: u32| {
        t += 15.0;
        controller.tick(&Observation { t, busy, ready: replicas, replicas, ..Observation::default() })
    };
    assert_eq!(wish(8, 10).replicas, 15);
    assert_eq!(wish(5, 10).replicas, 10);
    assert_eq!(wish(2, 10).replicas, 8);
    assert_eq!(wish(0, 2).replicas, 2, "the bound");
    assert!(wish(8, 10).why.contains("0.80"));
}

#[test]
fn the_blocks_of_kubernetes_hold_on_virtual_time() {
    let (mut brake, limits, mut now) = (Brake::default(), Behaviour::KUBERNETES, 4);
    let mut sizes = Vec::new();
    for tick in 0..8 {
        now = brake.apply(f64::from(tick) * 15.0, now, if tick == 0 { 4 } else { 20 }, &limits);
        sizes.push(now);
    }
    assert_eq!(sizes, [4, 4, 4, 4, 8, 8, 16, 16], "a minute of the same wish, then twice as many in 15 s");
    for tick in 8..40 {
        let before = now;
        now = brake.apply(f64::from(tick) * 15.0, now, 2, &limits);
        assert!(now >= before.min(16) || tick >= 27, "five minutes are waited before the first step down");
        assert!(f64::from(now) >= f64::from(before) * 0.9 - 1.0);
    }
    assert!(now < 16);
}

#[test]
fn a_block_without_a_period_sets_no_limit() {
    let mut brake = Brake::default();
    assert_eq!(brake.apply(0.0, 2, 20, &Behaviour::default()), 20);
    assert_eq!(brake.apply(15.0, 20, 2, &Behaviour::default()), 2);
    let slow = Behaviour { down: Block { stabilisation_s: 60.0, ..Block::default() }, ..Behaviour::default() };
    assert_eq!(brake.apply(30.0, 20, 2, &slow), 20, "the wish for 20 is not a minute old");
}

#[test]
fn the_load_is_predicted_for_a_quarter_of_an_hour() {
    let (mut controller, mut draws) = (Controller::new(Settings::default()), Draws(4));
    for tick in 0..2000 {
        let now = Observation { cpu: 2.0, memory: 1.0, workflows: 3, busy: 4, ..seen(tick, draws.count(6.0), 12) };
        controller.tick(&now);
    }
    let points = controller.predict_load();
    assert_eq!((points.first().unwrap().in_s, points.last().unwrap().in_s), (75.0, 900.0));
    for point in points {
        assert!((6.0..10.0).contains(&point.p50) && point.p90 >= point.p50, "{point:?}");
        assert!((2..=20).contains(&point.agents) && f64::from(point.agents) > point.p50, "{point:?}");
        assert!(
            (point.cpu - point.p50 / f64::from(point.agents) / 2.0).abs() < 1e-6,
            "each agent at work uses half: {point:?}"
        );
        assert!((point.memory - 1.0 / 12.0).abs() < 1e-6, "each agent that is there has its part: {point:?}");
        assert!((point.workflows - point.p50 * 0.75).abs() < 1e-6, "{point:?}");
    }
}

#[test]
fn what_is_known_to_come_is_the_least_that_is_predicted() {
    let (mut controller, replicas) = steady(Settings::default(), 300, 2.0);
    let due = |in_s: f64| vec![Due { in_s, jobs: 150 }];
    for (in_s, place) in [(65.0, 0), (890.0, 4)] {
        controller.tick(&seen(300, 2, replicas));
        let usual = controller.predict_load()[place];
        controller.tick(&Observation { due: due(in_s), ..seen(301, 2, replicas) });
        let known = controller.predict_load()[place];
        assert!(known.p50 > 9.0 && usual.p50 < 5.0, "{usual:?} {known:?}");
        assert!(known.agents > usual.agents && known.p90 >= known.p50, "{usual:?} {known:?}");
    }
}

#[test]
fn where_nobody_measures_an_agent_at_work_uses_all_it_has_and_no_workflow_is_made_up() {
    let (controller, _) = steady(Settings::default(), 300, 6.0);
    for point in controller.predict_load() {
        let at_work = point.p50 / f64::from(point.agents);
        assert!((point.cpu - at_work).abs() < 1e-6 && (point.memory - at_work).abs() < 1e-6, "{point:?}");
        assert!(point.workflows.abs() < 1e-9, "{point:?}");
    }
}
