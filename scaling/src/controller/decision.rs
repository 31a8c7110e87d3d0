//! One decision of the predictive policy: its price, its plan, and the sentence that says why.

use super::Controller;
use crate::Observation;
use crate::advice::Recommendation;
use crate::forecast::{Chance, WINDOW};
use crate::plan::{Job, Plan, Question};

/// Below this cost relative to the plain rule the price of a late job rises, by so much for each unit below.
const CHEAP: f64 = 0.92;
const CHEAP_STEEPNESS: f64 = 2.0;
/// By how much it falls for each unit above `Settings::dear`, and what share of it is left at least.
const DEAR_STEEPNESS: f64 = 8.0;
const PRICE_SHARE_MIN: f64 = 0.25;

impl Controller {
    /// The price of a late job: lower where ours already costs more than the plain rule would, higher where it
    /// saves so much that some of it is better spent.
    fn price(&self) -> f64 {
        let ratio = self.state.shadow.cost_ratio();
        let over = (ratio - self.settings.dear).max(0.0);
        let spared = (CHEAP - ratio).max(0.0);
        self.settings.late_job_price
            * (1.0 - over * DEAR_STEEPNESS).max(PRICE_SHARE_MIN)
            * (1.0 + spared * CHEAP_STEEPNESS)
    }

    pub(super) fn plan(&mut self, seen: &Observation, chances: &[Chance]) -> Plan {
        let (min, max) = self.bounds();
        let (tick_s, boot_s) = (self.settings.tick_s, self.state.boot.mean_s());
        let job = Job { service_s: self.state.service.mean_s(), scv: self.state.service.scv() };
        let serving = |step: usize| {
            seen.ready.saturating_add(self.state.boot.ready_by(seen.t, step as f64 * tick_s).min(seen.booting))
        };
        let agents: Vec<u32> = (0..self.lead()).map(serving).collect();
        let window_s = WINDOW as f64 * tick_s;
        let known = |from: f64, to: f64| seen.due_between(from, to) * job.service_s / (to - from);
        self.planner.plan(&Question {
            chances,
            window_s,
            job,
            now: self.model.level() / tick_s * job.service_s,
            queue: f64::from(seen.queue),
            agents: &agents,
            tick_s,
            late_s: self.settings.late_s(),
            price: self.price(),
            known: (known(0.0, boot_s.max(tick_s)), known(boot_s, boot_s + window_s)),
            min,
            max,
        })
    }

    pub(super) fn excuse(&self, agents: u32) -> String {
        match self.state.near.verdict() {
            Some(ratio) => format!(
                "{agents} agents by the plain reactive rule: lately the forecast did {ratio:.2} times as badly as it"
            ),
            None => format!(
                "{agents} agents by the plain reactive rule: {} ticks are too little to forecast from",
                self.state.history.ticks().len()
            ),
        }
    }

    pub(super) fn reason(&self, seen: &Observation, plan: &Plan, advice: &Recommendation) -> String {
        let in_s = self.state.boot.mean_s() + self.settings.tick_s;
        format!(
            "{} agents: in {in_s:.0} s {:.1} agents' worth of jobs of {:.1} s is expected, {:.1} at most nine times in ten, and {} wait; {:.1} % would start later than {:.0} s, with one agent less {:.1} %",
            plan.agents,
            advice.p50,
            self.state.service.mean_s(),
            advice.p90,
            seen.queue,
            plan.late * 100.0,
            self.settings.late_s(),
            plan.late_with_less * 100.0,
        )
    }
}
