//! From what may come to how many agents: the pool at which one more would cost more than the late jobs it spares.
//!
//! For each load that may come and each size of the pool, the share of late jobs follows from a diffusion: work
//! that waits drifts by load minus agents and strays with the variance of arrivals and service; at rest it has the
//! exponential tail of Erlang C with Allen and Cunneen's correction. Sizes are then compared as a newsvendor
//! compares orders: agents that idle against jobs that come late, both in agents.

use crate::erlang::{Variability, normal, smallest_pool, waiting_chance};
use crate::forecast::Chance;

const CELLS: usize = 40;
/// Seconds for which a load is followed, once the decision shows.
const AHEAD_S: f64 = 30.0;
/// How much of a late job work that merely piles up is worth: what waits at the end will be late later.
const PILE_PRICE: f64 = 0.3;
/// Steps from now until a decision shows, at most.
const STEPS_MAX: usize = 40;

/// The load of a cell of the grid on which distributions are put, in agents. Cells are 16 % wide.
fn load(cell: usize) -> f64 {
    (-2.5 + cell as f64 * 0.15).exp() - 0.05
}

fn cell(load: f64) -> usize {
    (((load.max(0.0) + 0.05).ln() + 2.5) / 0.15).round().clamp(0.0, (CELLS - 1) as f64) as usize
}

/// The share of jobs that wait longer than `late_s`, `ahead_s` after `waiting_s` seconds of work waited.
fn late(waiting_s: f64, load: f64, agents: f64, job: Job, ahead_s: f64, late_s: f64) -> f64 {
    if load <= 0.0 && waiting_s <= 0.0 {
        return 0.0;
    }
    let spread = job.service_s * (1.0 + job.scv);
    let (drift, bound) = (load - agents, agents * late_s);
    let stray = (load.max(0.05) * spread * ahead_s).sqrt();
    let reached = normal((waiting_s + drift * ahead_s - bound) / stray);
    let rest = if drift < 0.0 {
        let tail = (2.0 * drift * late_s / spread).exp() * waiting_chance(load, agents as u32);
        tail * normal((-bound - waiting_s - drift * ahead_s) / stray)
    } else {
        0.0
    };
    (reached + rest).min(1.0)
}

/// What a job is like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Job {
    /// Mean seconds of service.
    pub(crate) service_s: f64,
    /// Squared coefficient of variation of the service.
    pub(crate) scv: f64,
}

/// What is to be planned for.
#[derive(Clone, Debug)]
pub(crate) struct Question<'a> {
    pub(crate) chances: &'a [Chance],
    /// Seconds of the window that the chances are of.
    pub(crate) window_s: f64,
    pub(crate) job: Job,
    /// Load in agents now.
    pub(crate) now: f64,
    /// Jobs that wait.
    pub(crate) queue: f64,
    /// Agents that serve in each tick until the decision shows, if none is let go.
    pub(crate) agents: &'a [u32],
    pub(crate) tick_s: f64,
    pub(crate) late_s: f64,
    /// What a late job costs in times its service.
    pub(crate) price: f64,
    /// Loads that are certain, in agents: until the decision shows, and in the window.
    pub(crate) known: (f64, f64),
    pub(crate) min: u32,
    pub(crate) max: u32,
}

/// The answer with the numbers that it rests on.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Plan {
    pub(crate) agents: u32,
    /// The share of jobs that will be late, and that would be with one agent less.
    pub(crate) late: f64,
    pub(crate) late_with_less: f64,
    /// The smallest pool that keeps the objective at the median load.
    pub(crate) floor: u32,
}

/// The planner: it keeps the table of late shares for queues that are empty, which is most of its work.
#[derive(Clone, Debug, Default)]
pub(crate) struct Planner {
    table: Vec<f64>,
    of: Option<(Job, f64, u32)>,
}

impl Planner {
    fn renew(&mut self, job: Job, late_s: f64, max: u32) {
        let near = |a: f64, b: f64, share: f64| (a / b - 1.0).abs() <= share;
        let fits = |of: &(Job, f64, u32)| {
            near(of.0.service_s, job.service_s, 0.03) && near(of.0.scv, job.scv, 0.1) && of.1 == late_s && of.2 == max
        };
        if self.of.as_ref().is_some_and(fits) {
            return;
        }
        let row = |i: usize| (0..=max).map(move |n| late(0.0, load(i), f64::from(n.max(1)), job, AHEAD_S, late_s));
        self.table = (0..CELLS).flat_map(row).collect();
        self.of = Some((job, late_s, max));
    }

    fn late(&self, waiting_s: f64, cell: usize, agents: u32, ask: &Question<'_>) -> f64 {
        if waiting_s <= 0.0 {
            return self.table[cell * (ask.max as usize + 1) + agents.min(ask.max) as usize];
        }
        late(waiting_s, load(cell), f64::from(agents.max(1)), ask.job, AHEAD_S, ask.late_s)
    }

    /// Late jobs and work that piles up, in agents, for a pool of `want`; and the share of late jobs.
    fn loss(&self, grid: &[f64; CELLS], want: u32, ask: &Question<'_>) -> (f64, f64) {
        let (mut loss, mut late, mut all) = (0.0, 0.0, 0.0);
        let steps = ask.agents.len().min(STEPS_MAX);
        for (cell_of, share) in grid.iter().enumerate().filter(|(_, share)| **share > 1e-5) {
            let then = load(cell_of);
            // On its way from today's load to that one it is half way, on average.
            let between = ((then + ask.now) / 2.0).max(ask.known.0);
            let (mut waiting_s, mut late_soon) = (ask.queue * ask.job.service_s, 0.0);
            for (step, agents) in ask.agents[..steps].iter().enumerate() {
                let agents = want.min(*agents);
                if step == steps / 2 {
                    late_soon = self.late(waiting_s, cell(between), agents, ask);
                }
                waiting_s = (waiting_s + (between - f64::from(agents)) * ask.tick_s).max(0.0);
            }
            let late_then = self.late(waiting_s, cell_of, want, ask);
            let pile = (waiting_s / AHEAD_S + then - f64::from(want)).max(0.0);
            loss += share * (then * late_then + between * late_soon + PILE_PRICE * pile);
            late += share * then * late_then;
            all += share * then;
        }
        (loss, late / all.max(1e-9))
    }

    /// The best pool.
    pub(crate) fn plan(&mut self, ask: &Question<'_>) -> Plan {
        self.renew(ask.job, ask.late_s, ask.max);
        let to_load = ask.job.service_s / ask.window_s;
        let mut grid = [0.0; CELLS];
        for chance in ask.chances {
            grid[cell((chance.arrivals * to_load).max(ask.known.1))] += chance.share;
        }
        let losses: Vec<_> = (ask.min..=ask.max).map(|want| self.loss(&grid, want, ask)).collect();
        let cost = |i: usize| f64::from(ask.min) + i as f64 + ask.price * losses[i].0;
        let best = (0..losses.len()).min_by(|a, b| cost(*a).total_cmp(&cost(*b))).unwrap_or(0);
        let median = (crate::forecast::quantile(ask.chances, 0.5) * to_load).max(ask.known.1);
        let of = Variability { arrivals: 1.0, service: ask.job.scv };
        let floor = smallest_pool(median, ask.job.service_s, of, ask.late_s, 0.05, ask.min, ask.max);
        let agents = (ask.min + best as u32).max(floor);
        let late_of = |agents: u32| losses[(agents - ask.min) as usize].1;
        let late_with_less = late_of(agents.saturating_sub(1).max(ask.min));
        Plan { agents, late: late_of(agents), late_with_less, floor }
    }
}
