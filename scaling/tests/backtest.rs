//! The backtest on a small trace that is kept beside the tests, and the controller behind a pipe.

mod common;

use std::fmt::Write;

use bravo_scaling::sim::{Backtest, Jobs, Making, Trace, TraceError, World, backtest, clairvoyant, simulate, svg};
use bravo_scaling::{Observation, Settings, serve};
use common::Draws;

const SMALL: &str = include_str!("data/small.csv");

/// Two days of minutes: a wave by the hour, and a burst by the clock at every second half hour or so.
fn recipe() -> String {
    let (mut draws, mut csv, mut burst) = (Draws(21), String::from("timestamp_s,arrivals\n"), false);
    for minute in 0..2 * 1440_u32 {
        if minute % 30 == 5 {
            burst = draws.even() < 0.5;
        }
        let wave = 12.0 + 6.0 * (f64::from(minute) * std::f64::consts::TAU / 720.0).sin();
        let mean = if burst && (5..11).contains(&(minute % 30)) { 3.0 * wave } else { wave };
        csv += &format!("{},{}\n", minute * 60, draws.count(mean));
    }
    csv
}

#[test]
fn the_small_trace_is_what_its_recipe_makes() {
    if std::env::var_os("BRAVO_UPDATE_DOCS").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/small.csv"), recipe()).unwrap();
        return;
    }
    assert_eq!(SMALL, recipe());
}

#[test]
fn on_the_small_trace_most_late_jobs_are_spared_and_the_upper_quantile_holds() {
    let trace = Trace::parse(SMALL).unwrap();
    let report = backtest(&trace, &Backtest::default()).unwrap();
    assert!(
        report.reactive.late_fraction() > 0.02,
        "the bursts are too much for the plain rule: {:?}",
        report.reactive
    );
    assert!(report.avoidable_ratio() < 0.3, "{} {:?}", report.avoidable_ratio(), report.ours);
    assert!(report.cost_ratio() < 1.1, "{}", report.cost_ratio());
    assert!((0.87..=0.93).contains(&report.coverage), "{}", report.coverage);
    assert!(report.clairvoyant.late <= report.ours.late);
    assert!((100..=500).contains(&report.steps.len()));
}

#[test]
fn the_same_backtest_gives_the_same_report_and_another_seed_another() {
    let trace = Trace::parse(SMALL).unwrap();
    let run = |seed| {
        let ask = Backtest { making: Making { seed, ..Making::default() }, ..Backtest::default() };
        serde_json::to_string(&backtest(&trace, &ask).unwrap()).unwrap()
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn the_picture_is_small_and_closed() {
    let report = backtest(&Trace::parse(SMALL).unwrap(), &Backtest::default()).unwrap();
    let picture = svg(&report, "small <&>");
    assert!(picture.len() < 60_000, "{}", picture.len());
    assert!(picture.starts_with("<svg ") && picture.trim_end().ends_with("</svg>"));
    assert!(picture.contains("small &lt;&amp;&gt;") && !picture.contains("NaN"));
}

#[test]
fn what_is_no_trace_is_refused_with_its_reason() {
    assert_eq!(Trace::parse(""), Err(TraceError::Column("timestamp_s")));
    assert_eq!(Trace::parse("timestamp_s,count\n"), Err(TraceError::Column("arrivals")));
    assert_eq!(Trace::parse("timestamp_s,arrivals\n0,5\n60,x\n"), Err(TraceError::Line(3)));
    assert_eq!(Trace::parse("timestamp_s,arrivals\n0,-5\n60,1\n"), Err(TraceError::Line(2)));
    assert_eq!(Trace::parse("timestamp_s,arrivals\n0,5\n"), Err(TraceError::Short));
    let huge = Trace::parse("timestamp_s,arrivals\n0,1e300\n60,1\n").unwrap();
    assert_eq!(huge.jobs(&Making { peak: 0.0, ..Making::default() }), Err(TraceError::Long));
}

#[test]
fn the_pool_serves_in_order_pays_from_the_request_and_lets_busy_agents_finish() {
    let jobs = Jobs { arrivals: vec![1.0, 2.0, 100.0], services: vec![50.0, 10.0, 5.0], end_s: 150.0 };
    let world = World { boot_s: 30.0, late_s: 40.0, tick_s: 15.0, min: 0, max: 5 };
    let run = simulate(&jobs, &world, 0.0, |seen, _| u32::from(seen.t < 40.0 || seen.t > 100.0));
    // One agent, ready at 30; it drains from 45 on, until its job ends at 80. The next is asked for at 105.
    assert_eq!(run.waits[0], 29.0);
    assert_eq!(run.waits[1], 135.0 - 2.0);
    assert_eq!(run.waits[2], 145.0 - 100.0);
    assert_eq!(run.score.late, 2);
    assert_eq!(run.score.agent_seconds, 80.0 + 45.0);
}

#[test]
fn hindsight_starts_agents_just_in_time() {
    let jobs = Jobs { arrivals: vec![100.0, 101.0], services: vec![20.0, 20.0], end_s: 300.0 };
    let world = World { boot_s: 60.0, late_s: 30.0, tick_s: 15.0, min: 0, max: 5 };
    let wishes = clairvoyant(&jobs, &world);
    assert_eq!(wishes.iter().copied().max(), Some(1), "the second job can wait for the first");
    assert_eq!(wishes.iter().position(|wish| *wish == 1), Some(2), "asked for at 30, ready at 90");
}

#[test]
fn behind_a_pipe_each_observation_gets_one_number() {
    let mut input = String::new();
    for tick in 0..20 {
        let seen = Observation {
            t: f64::from(tick) * 15.0,
            arrivals: 5,
            replicas: 4,
            ready: 4,
            busy: 4,
            ..Observation::default()
        };
        writeln!(input, "{}", serde_json::to_string(&seen).unwrap()).unwrap();
    }
    input.push_str("{\"t\": 300.0, \"arrivals\": 1, \"busy_s\": 3.5}\n{\"last\": true}\n{\"t\": 1}\n");
    let mut output = Vec::new();
    serve(Settings::default(), input.as_bytes(), &mut output).unwrap();
    let numbers: Vec<u32> = String::from_utf8(output).unwrap().lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(numbers.len(), 21, "none for what follows the last");
    assert!(numbers.iter().all(|n| (2..=20).contains(n)));
    assert!(serve(Settings::default(), "no json\n".as_bytes(), Vec::new()).is_err());
}
