//! The controller of one agent type: observations in, recommendations out. The daemon, the evaluator and the
//! backtest all run this code.

mod decision;
mod outlook;

use serde::{Deserialize, Serialize};

use crate::advice::Recommendation;
use crate::behaviour::Brake;
use crate::boot::Boot;
use crate::forecast::{self, Model, WINDOW, quantile};
use crate::history::{History, ROLLUP_TICKS, TICKS_MAX};
use crate::judge::Judge;
use crate::observation::{Due, Observation};
use crate::past::Past;
use crate::plan::Planner;
use crate::reactive::{Reactive, USE_AIM};
use crate::service::Service;
use crate::settings::{Behaviour, Policy, Settings};
use crate::shadow::Shadow;
use crate::threshold;
use crate::usage::Usage;

/// Ticks until a forecast rests on anything.
const TICKS_MIN: usize = 8;
/// Ticks that one late observation may stand for: all that are remembered.
const GAP_TICKS_MAX: u32 = TICKS_MAX as u32;
const LEAD_MAX: usize = 40;

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

impl State {
    /// What is known before anything was seen.
    pub fn new(settings: &Settings) -> Self {
        Self {
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
        }
    }

    /// What is known of a past that was not seen here, and that ends now. How forecasts did is not known.
    pub fn of_past(settings: &Settings, past: &Past) -> Self {
        let service_s = past.service_s.unwrap_or(settings.service_s);
        let boot_s = past.boot_s.unwrap_or(settings.boot_s);
        let known = Settings { service_s, boot_s, ..settings.clone() }.within_limits();
        Self { history: past.history(), ..Self::new(&known) }
    }

    /// What of it can be carried away.
    pub fn past(&self, tick_s: f64) -> Past {
        let (older, ticks) = self.history.parts();
        Past { tick_s, older, ticks, service_s: Some(self.service.mean_s()), boot_s: Some(self.boot.mean_s()) }
    }
}

/// The controller.
#[derive(Debug)]
pub struct Controller {
    settings: Settings,
    state: State,
    model: Model,
    planner: Planner,
    p90s: (f64, f64),
    /// What was known to come at the last tick.
    due: Vec<Due>,
}

impl Controller {
    /// A controller that knows nothing yet.
    pub fn new(settings: Settings) -> Self {
        let state = State::new(&settings);
        Self::resume(settings, state)
    }

    /// A controller that goes on from what another one, or an earlier process, had learned. The model is fitted anew.
    pub fn resume(settings: Settings, state: State) -> Self {
        let settings = settings.within_limits();
        let (model, planner) = (Model::new(1), Planner::default());
        let mut own = Self { settings, state, model, planner, p90s: (0.0, 0.0), due: Vec::new() };
        own.model = forecast::refit(&own.state.history, own.lead());
        own.p90s = (
            own.near_load(quantile(&own.model.near(), own.state.near.calibration.level())),
            own.far_load(quantile(&own.model.far(), own.state.far.calibration.level())),
        );
        own
    }

    /// Agents' worth of so many arrivals in the window of the short forecast.
    fn near_load(&self, arrivals: f64) -> f64 {
        arrivals * self.state.service.mean_s() / (WINDOW as f64 * self.settings.tick_s)
    }

    /// The same of the long one.
    fn far_load(&self, arrivals: f64) -> f64 {
        arrivals * self.state.service.mean_s() / (ROLLUP_TICKS as f64 * self.settings.tick_s)
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

    /// Seconds that an agent takes to start, as was seen lately.
    pub fn boot_s(&self) -> f64 {
        self.state.boot.mean_s()
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
        self.due.clone_from(&seen.due);
        let chances = self.model.near();
        let upper = quantile(&chances, self.state.near.calibration.level());
        self.state.near.bet(upper, self.model.level() * WINDOW as f64 / USE_AIM);
        self.p90s.0 = self.near_load(upper);
        let (min, max) = self.bounds();
        let now = seen.replicas.max(1);
        let busy_s = self.busy_s(seen);
        let blocks = self.settings.behaviour.unwrap_or(Behaviour::KUBERNETES);
        let reactive = self.state.reactive.decide_within(&blocks, seen, busy_s, self.settings.tick_s, min, max);
        let p50 = self.near_load(quantile(&chances, 0.5));
        let mut advice = Recommendation { p50, p90: self.p90s.0, ..Recommendation::default() };
        // Roll-ups that came from elsewhere are no ticks.
        let early = self.state.history.ticks().len() < TICKS_MIN;
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
            advice.replicas = self.state.brake.apply(seen.t, now, wish, &self.settings.behaviour.unwrap_or_default());
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
}
