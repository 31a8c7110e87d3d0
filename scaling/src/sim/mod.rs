//! The backtest: a trace is replayed before a simulated pool, and a controller is judged by what it costs and
//! which jobs come late.

mod clairvoyant;
mod pool;
mod report;
mod svg;
mod trace;

pub use clairvoyant::{World, clairvoyant};
pub use pool::{Jobs, Pool};
pub use report::{Backtest, Report, Step, backtest};
pub use svg::svg;
pub use trace::{Making, Trace, TraceError};

use crate::Observation;

/// What one controller did with the jobs of a backtest.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Score {
    /// Jobs that count.
    pub jobs: usize,
    /// Jobs that waited longer than the objective allows.
    pub late: usize,
    /// Agent-seconds that were paid.
    pub agent_seconds: f64,
}

impl Score {
    /// Late jobs as a share of all.
    pub fn late_fraction(&self) -> f64 {
        self.late as f64 / self.jobs.max(1) as f64
    }
}

/// A run: its score, the wait of each job, and the wish of each tick.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Run {
    /// The score.
    pub score: Score,
    /// Seconds that each job waited; at least, for those that still do at the end.
    pub waits: Vec<f64>,
    /// Agents that were asked for.
    pub wishes: Vec<u32>,
}

/// Runs `decide` over the jobs; it gets each observation with the busy seconds of the tick before.
pub fn simulate(jobs: &Jobs, world: &World, warmup: f64, mut decide: impl FnMut(&Observation, f64) -> u32) -> Run {
    let score_from_s = jobs.end_s * warmup;
    let mut pool = Pool::new(jobs, world.boot_s, score_from_s);
    let (mut t, mut wishes) = (0.0, Vec::new());
    while t < jobs.end_s {
        let (seen, busy_s) = pool.observe(t);
        let want = decide(&seen, busy_s).clamp(world.min, world.max);
        wishes.push(want);
        pool.scale(t, want as usize);
        pool.run(t + world.tick_s);
        t += world.tick_s;
    }
    let (mut waits, agent_seconds) = pool.finish();
    waits.extend(jobs.arrivals.iter().skip(waits.len()).map(|arrival| jobs.end_s - arrival).collect::<Vec<_>>());
    let first = jobs.arrivals.partition_point(|arrival| *arrival < score_from_s);
    let late = waits[first..].iter().filter(|wait| **wait > world.late_s).count();
    Run { score: Score { jobs: waits.len() - first, late, agent_seconds }, waits, wishes }
}
