//! What the reactive rule would have cost with the same jobs: its pool is carried along as a shadow of ours.
//!
//! The shadow serves the arrivals that we see, at the pace at which our agents complete jobs, with agents that take
//! as long to start. It is a yardstick for the price of late jobs, not a simulation.

use std::collections::VecDeque;

use crate::Observation;
use crate::reactive::Reactive;

/// Ticks over which both costs are compared: about a day.
const MEMORY_TICKS: f64 = 4000.0;
/// Agent-ticks before a comparison weighs as much as the belief that both cost the same.
const UNSURE: f64 = 200.0;
const BOOTING_MAX: usize = 64;

/// The shadow.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Shadow {
    rule: Reactive,
    ready: f64,
    booting: VecDeque<(f64, f64)>,
    jobs: f64,
    ours: f64,
    theirs: f64,
}

impl Shadow {
    /// One tick on: the same jobs come, and the rule decides. Limits are those of the pool itself.
    pub(crate) fn step(&mut self, seen: &Observation, tick_s: f64, boot_s: f64, service_s: f64, min: u32, max: u32) {
        while self.booting.front().is_some_and(|(asked, _)| asked + boot_s <= seen.t + 1e-9) {
            self.ready += self.booting.pop_front().map_or(0.0, |(_, agents)| agents);
        }
        // Completions of ours carry the randomness of the day; our pace is taken where ours and theirs serve alike.
        let at_work = self.jobs.min(self.ready);
        let pace = if seen.busy > 0 { f64::from(seen.completed) / f64::from(seen.busy) } else { tick_s / service_s };
        self.jobs = (self.jobs + f64::from(seen.arrivals) - (at_work * pace).min(self.jobs)).max(0.0);
        let busy = self.jobs.min(self.ready);
        let starting: f64 = self.booting.iter().map(|(_, agents)| agents).sum();
        let theirs = Observation {
            t: seen.t,
            queue: (self.jobs - busy).max(0.0) as u32,
            ready: self.ready as u32,
            booting: starting as u32,
            replicas: (self.ready + starting) as u32,
            ..Observation::default()
        };
        let want = self.rule.decide(&theirs, (at_work + busy) / 2.0 * tick_s, tick_s, min, max);
        self.resize(f64::from(want), seen.t);
        let keep = 1.0 - 1.0 / MEMORY_TICKS;
        self.ours = self.ours * keep + f64::from(seen.replicas.max(seen.busy));
        self.theirs = self.theirs * keep + f64::from(want).max(busy);
    }

    fn resize(&mut self, want: f64, t: f64) {
        let starting: f64 = self.booting.iter().map(|(_, agents)| agents).sum();
        let mut less = self.ready + starting - want;
        if less < 0.0 && self.booting.len() < BOOTING_MAX {
            self.booting.push_back((t, -less));
        }
        while less > 0.0 {
            let Some((asked, agents)) = self.booting.pop_back() else { break };
            if agents > less {
                self.booting.push_back((asked, agents - less));
            }
            less -= agents.min(less);
        }
        self.ready -= less.max(0.0);
    }

    /// Our cost relative to that of the rule, lately; 1 while there is too little to tell.
    pub(crate) fn cost_ratio(&self) -> f64 {
        let weight = self.theirs / (self.theirs + UNSURE);
        1.0 + weight * (self.ours / self.theirs.max(1.0) - 1.0)
    }
}
