//! The controller of one agent type: observations in, recommendations out. The daemon, the evaluator and the
//! backtest all run this code.

use serde::{Deserialize, Serialize};

use crate::Observation;
use crate::advice::{Point, Recommendation};
use crate::behaviour::Brake;
use crate::boot::Boot;
use crate::forecast::{self, Chance, Model, WINDOW, quantile};
use crate::history::{History, ROLLUP_TICKS};
use crate::judge::Judge;
use crate::plan::{Job, Plan, Planner, Question};
use crate::reactive::{Reactive, USE_AIM};
use crate::service::Service;
use crate::settings::{Policy, Settings};
use crate::shadow::Shadow;
use crate::threshold;
use crate::usage::Usage;

/// Ticks until a forecast rests on anything.
const TICKS_MIN: u64 = 8;
/// Ticks that one late observation may stand for.
const GAP_TICKS_MAX: u32 = 240;
const LEAD_MAX: usize = 40;
const HORIZON_S: f64 = 900.0;
/// Below this cost relative to the plain rule the price of a late job rises, by so much for each unit below.
const CHEAP: f64 = 0.92;
const CHEAP_STEEPNESS: f64 = 3.0;
/// By how much it falls for each unit above `Settings::dear`, and what share of it is left at least.
const DEAR_STEEPNESS: f64 = 8.0;
const PRICE_SHARE_MIN: f64 = 0.25;

/// All that must outlive a process: bounded, and the same on every replica that gets it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Arrivals.
    pub history: History,
    service: Service,
    boot: Boot,
    near: Judge,
    far: Judge,
    reactive: Reactive,
    shadow: Shadow,
    brake: Brake,
    usage: Usage,
    last: Option<(f64, u32)>,
}

/// The controller.
#[derive(Debug)]
pub struct Controller {
    settings: Settings,
    state: State,
    model: Model,
    planner: Planner,
    p90s: (f64, f64),
}

impl Controller {
    /// A controller that knows nothing yet.
    pub fn new(settings: Settings) -> Self {
        let state = State {
            history: History::default(),
            service: Service::new(settings.service_s),
            boot: Boot::new(settings.boot_s),
            near: Judge::default(),
            far: Judge::default(),
            reactive: Reactive::default(),
            shadow: Shadow::default(),
            brake: Brake::default(),
            usage: Usage::default(),
            last: None,
        };
        Self::resume(settings, state)
    }

    /// A controller that goes on from what another one, or an earlier process, had learned. The model is fitted anew.
    pub fn resume(settings: Settings, state: State) -> Self {
        let settings = settings.within_limits();
        let mut own = Self { settings, state, model: Model::new(1), planner: Planner::default(), p90s: (0.0, 0.0) };
        own.model = forecast::refit(&own.state.history, own.lead());
        own
    }

    /// What must outlive the process.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The shares of windows that stayed below the upper quantile, of the short and of the long forecast, and the cost
    /// relative to the reactive rule.
    pub fn coverage(&self) -> (f64, f64, f64) {
        (self.state.near.coverage(), self.state.far.coverage(), self.state.shadow.cost_ratio())
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Changes the settings; what was learned stays.
    pub fn configure(&mut self, settings: Settings) {
        self.settings = settings.within_limits();
    }

    /// The model, for those who want to look.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Ticks from a decision until its agents serve.
    pub fn lead(&self) -> usize {
        ((self.state.boot.mean_s() / self.settings.tick_s).round() as usize).clamp(1, LEAD_MAX)
    }

    /// Whether `refit(&state.history, lead)` should be run, wherever there is time for it.
    pub fn wants_refit(&self) -> bool {
        self.model.is_stale(&self.state.history, self.lead())
    }

    /// Takes a model that was fitted elsewhere, and brings it up to date.
    pub fn adopt(&mut self, mut model: Model) {
        model.catch_up(&self.state.history);
        self.model = model;
    }

    /// One tick, refitting in place where that is due: what a backtest does.
    pub fn tick(&mut self, seen: &Observation) -> Recommendation {
        if self.wants_refit() {
            let model = forecast::refit(&self.state.history, self.lead());
            self.adopt(model);
        }
        self.step(seen)
    }

    /// One tick on the hot path.
    pub fn step(&mut self, seen: &Observation) -> Recommendation {
        self.learn(seen);
        let chances = self.model.near();
        let to_load = self.state.service.mean_s() / (WINDOW as f64 * self.settings.tick_s);
        let upper = quantile(&chances, self.state.near.calibration.level());
        self.state.near.bet(upper, self.model.level() * WINDOW as f64 / USE_AIM);
        self.p90s.0 = upper * to_load;
        let (min, max) = self.bounds();
        let now = seen.replicas.max(1);
        let busy_s = self.busy_s(seen);
        let reactive = self.state.reactive.decide(seen, busy_s, self.settings.tick_s, min, max);
        let mut advice =
            Recommendation { p50: quantile(&chances, 0.5) * to_load, p90: self.p90s.0, ..Recommendation::default() };
        let early = self.state.history.seen < TICKS_MIN;
        advice.fallback = early || self.state.near.verdict().is_some();
        (advice.replicas, advice.why) = match self.settings.policy {
            Policy::Threshold => threshold::decide(seen, min, max),
            Policy::Reactive => (
                reactive,
                format!(
                    "{reactive} agents: 70 % use is aimed at, {} of {now} are busy and {} jobs wait",
                    seen.busy, seen.queue
                ),
            ),
            Policy::Predictive if advice.fallback => (reactive, self.excuse(reactive)),
            Policy::Predictive => {
                let plan = self.plan(seen, &chances);
                (plan.agents, self.reason(seen, &plan, &advice))
            }
        };
        let wish = advice.replicas;
        let own_brake =
            self.settings.policy == Policy::Reactive || (self.settings.policy == Policy::Predictive && advice.fallback);
        if !own_brake {
            advice.replicas = self.state.brake.apply(seen.t, now, wish, &self.settings.behaviour);
        }
        // Whatever a rule or a block makes of a pool that is out of its bounds.
        advice.replicas = advice.replicas.clamp(min, max);
        if advice.replicas != wish {
            advice.why =
                format!("{}; only {} for now, since the pool may not change faster", advice.why, advice.replicas);
        }
        self.state.boot.request(seen, advice.replicas);
        self.state.last = Some((seen.t, seen.busy));
        advice
    }

    fn bounds(&self) -> (u32, u32) {
        (self.settings.min, self.settings.max)
    }

    fn busy_s(&self, seen: &Observation) -> f64 {
        let before = self.state.last.map_or(0, |(_, busy)| busy);
        (f64::from(before) + f64::from(seen.busy)) / 2.0 * self.settings.tick_s
    }

    fn learn(&mut self, seen: &Observation) {
        let (tick_s, state) = (self.settings.tick_s, &mut self.state);
        state.service.learn(seen.completed, seen.service_sum);
        state.boot.learn(seen);
        state.usage.learn(seen);
        // The first observation counts from nobody knows when.
        let Some((last, _)) = state.last else { return };
        let ticks = ((seen.t - last) / tick_s).round().clamp(1.0, f64::from(GAP_TICKS_MAX)) as u32;
        for i in 0..ticks {
            let until = |n: u32| u64::from(seen.arrivals) * u64::from(n) / u64::from(ticks);
            let arrivals = u32::try_from(until(i + 1) - until(i)).unwrap_or(u32::MAX);
            let rollup = state.history.push(arrivals);
            self.model.catch_up(&state.history);
            state.near.learn(f64::from(arrivals), self.model.lead(), WINDOW);
            if let Some(rollup) = rollup {
                state.far.learn(rollup, 2, 1);
                let upper = quantile(&self.model.far(), state.far.calibration.level());
                state.far.bet(upper, rollup / USE_AIM);
                self.p90s.1 = upper * state.service.mean_s() / (ROLLUP_TICKS as f64 * tick_s);
            }
        }
        let (min, max) = self.bounds();
        let state = &mut self.state;
        state.shadow.step(seen, tick_s, state.boot.mean_s(), state.service.mean_s(), min, max);
    }

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

    fn plan(&mut self, seen: &Observation, chances: &[Chance]) -> Plan {
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

    fn excuse(&self, agents: u32) -> String {
        match self.state.near.verdict() {
            Some(ratio) => format!(
                "{agents} agents by the plain reactive rule: lately the forecast did {ratio:.2} times as badly as it"
            ),
            None => format!(
                "{agents} agents by the plain reactive rule: {} ticks are too little to forecast from",
                self.state.history.seen
            ),
        }
    }

    fn reason(&self, seen: &Observation, plan: &Plan, advice: &Recommendation) -> String {
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

    /// What is expected until a quarter of an hour from now.
    pub fn predict_load(&self) -> Vec<Point> {
        let (tick_s, service_s) = (self.settings.tick_s, self.state.service.mean_s());
        let near = (quantile(&self.model.near(), 0.5) * service_s / (WINDOW as f64 * tick_s), self.p90s.0);
        let far = (quantile(&self.model.far(), 0.5) * service_s / (ROLLUP_TICKS as f64 * tick_s), self.p90s.1);
        let far = if self.state.history.seen < 3 * ROLLUP_TICKS { near } else { far };
        let first_s = self.lead() as f64 * tick_s + tick_s;
        let (min, max) = self.bounds();
        let point = |i: u32| {
            let part = f64::from(i) / 4.0;
            let at = |of: (f64, f64)| of.0 * (1.0 - part) + of.1 * part;
            let (p50, p90) = (at((near.0, far.0)), at((near.1, far.1)).max(at((near.0, far.0))));
            let of = crate::erlang::Variability { arrivals: 1.0, service: self.state.service.scv() };
            let agents = crate::erlang::smallest_pool(p90, service_s, of, self.settings.late_s(), 0.05, min, max);
            let used = p50.min(f64::from(agents)) / f64::from(agents.max(1));
            Point {
                in_s: at((first_s, HORIZON_S.max(first_s))),
                p50,
                p90,
                cpu: (used * self.state.usage.cpu_each()).min(1.0),
                memory: (used * self.state.usage.memory_each()).min(1.0),
                workflows: p50 * self.state.usage.workflows_each(),
                agents,
            }
        };
        (0..=4).map(point).collect()
    }
}
