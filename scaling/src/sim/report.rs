//! The backtest and its report: what would have been, beside the rule of Kubernetes and beside hindsight.

use serde::Serialize;

use super::pool::Jobs;
use super::trace::{Making, Trace, TraceError};
use super::{Run, Score, World, clairvoyant, simulate};
use crate::{Controller, Reactive, Settings};

/// Steps into which a report divides a trace at most.
const STEPS_MAX: usize = 500;

/// What is asked of a backtest.
#[derive(Clone, Debug, PartialEq)]
pub struct Backtest {
    /// The settings that are tried.
    pub settings: Settings,
    /// How jobs are made of the trace.
    pub making: Making,
    /// Seconds that agents take to start; the controller is not told.
    pub boot_s: f64,
    /// The share of the trace that is there to learn from and is not scored.
    pub warmup: f64,
}

impl Default for Backtest {
    fn default() -> Self {
        Self { settings: Settings::default(), making: Making::default(), boot_s: 60.0, warmup: 0.5 }
    }
}

/// One step of a report: means over its ticks, and sums of late jobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Step {
    /// When it begins, in seconds.
    pub t: f64,
    /// Agents' worth of jobs that arrived.
    pub demand: f64,
    /// What had been forecast for it: the middle.
    pub p50: f64,
    /// What had been forecast for it: the upper quantile.
    pub p90: f64,
    /// Agents.
    pub pool: f64,
    /// Agents of the rule of Kubernetes.
    pub pool_reactive: f64,
    /// Late jobs.
    pub late: f64,
    /// Late jobs of the rule of Kubernetes.
    pub late_reactive: f64,
}

/// The report.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// The scores of the settings that were tried.
    pub ours: Score,
    /// Those of the rule of Kubernetes.
    pub reactive: Score,
    /// Those of a controller that knows every job beforehand.
    pub clairvoyant: Score,
    /// The share of windows in which reality stayed below the upper quantile.
    pub coverage: f64,
    /// The share of decisions that were left to the plain rule.
    pub fallback: f64,
    /// The last sentence that said why.
    pub why: String,
    /// Where scoring begins, in seconds.
    pub score_from_s: f64,
    /// The course of it.
    pub steps: Vec<Step>,
}

impl Report {
    /// Late jobs that hindsight could have spared, relative to those of the rule of Kubernetes; 0 where there are none.
    pub fn avoidable_ratio(&self) -> f64 {
        let best = self.clairvoyant.late_fraction();
        let theirs = self.reactive.late_fraction() - best;
        if theirs > 0.0 { (self.ours.late_fraction() - best) / theirs } else { 0.0 }
    }

    /// Agent-seconds relative to those of the rule of Kubernetes.
    pub fn cost_ratio(&self) -> f64 {
        self.ours.agent_seconds / self.reactive.agent_seconds.max(1.0)
    }
}

/// Replays `trace` with the settings, with the rule of Kubernetes and with hindsight. The same arguments give the
/// same report.
pub fn backtest(trace: &Trace, ask: &Backtest) -> Result<Report, TraceError> {
    let jobs = trace.jobs(&ask.making)?;
    let of = &ask.settings;
    let world = World { boot_s: ask.boot_s, late_s: of.late_s(), tick_s: of.tick_s, min: of.min, max: of.max };
    let mut rule = Reactive::default();
    let reactive =
        simulate(&jobs, &world, ask.warmup, |seen, busy_s| rule.decide(seen, busy_s, of.tick_s, of.min, of.max));
    let hindsight = clairvoyant(&jobs, &world);
    let mut wishes = hindsight.iter().copied();
    let best = simulate(&jobs, &world, ask.warmup, |_, _| wishes.next().unwrap_or(of.min));
    let mut controller = Controller::new(of.clone());
    let (mut bands, mut covered, mut fallbacks, mut why) = (Vec::new(), 0.0, 0, String::new());
    let ours = simulate(&jobs, &world, ask.warmup, |seen, _| {
        let advice = controller.tick(seen);
        bands.push((advice.p50, advice.p90));
        covered += controller.coverage().0;
        fallbacks += usize::from(advice.fallback);
        why = advice.why;
        advice.replicas
    });
    let ticks = bands.len().max(1) as f64;
    let steps = course(&jobs, &world, &bands, &ours, &reactive, controller.lead() + 1);
    Ok(Report {
        coverage: covered / ticks,
        fallback: fallbacks as f64 / ticks,
        why,
        score_from_s: jobs.end_s * ask.warmup,
        steps,
        ours: ours.score,
        reactive: reactive.score,
        clairvoyant: best.score,
    })
}

fn course(jobs: &Jobs, world: &World, bands: &[(f64, f64)], ours: &Run, theirs: &Run, lead: usize) -> Vec<Step> {
    let ticks = bands.len();
    let width = ticks.div_ceil(STEPS_MAX).max(1);
    let mut steps: Vec<Step> =
        (0..ticks.div_ceil(width)).map(|i| Step { t: (i * width) as f64 * world.tick_s, ..Step::default() }).collect();
    for (tick, band) in bands.iter().enumerate() {
        let step = &mut steps[tick / width];
        let share = 1.0 / width.min(ticks - tick / width * width) as f64;
        step.pool += f64::from(ours.wishes[tick]) * share;
        step.pool_reactive += f64::from(theirs.wishes[tick]) * share;
        // A forecast stands where it was for.
        let then = &mut steps[((tick + lead) / width).min(ticks.div_ceil(width) - 1)];
        then.p50 += band.0 * share;
        then.p90 += band.1 * share;
    }
    let of = |arrival: f64| ((arrival / world.tick_s) as usize / width).min(ticks.div_ceil(width).saturating_sub(1));
    for (i, (arrival, service)) in jobs.arrivals.iter().zip(&jobs.services).enumerate() {
        let step = &mut steps[of(*arrival)];
        step.demand += service / (width as f64 * world.tick_s);
        step.late += f64::from(u8::from(ours.waits[i] > world.late_s));
        step.late_reactive += f64::from(u8::from(theirs.waits[i] > world.late_s));
    }
    steps
}
