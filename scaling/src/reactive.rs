//! The plain reactive rule: that of Kubernetes, 70 % use and five waiting jobs for each agent.
//!
//! Forecasts are measured against it and fall back to it; the backtest shows it beside ours.

use std::collections::VecDeque;

use crate::Observation;
use crate::behaviour::Brake;
use crate::settings::Behaviour;

/// Use that is aimed at.
pub(crate) const USE_AIM: f64 = 0.70;
const USE_TOLERANCE: f64 = 0.1;
const WAITING_EACH: u32 = 5;

/// The state of the rule.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Reactive {
    used: VecDeque<f64>,
    brake: Brake,
}

impl Reactive {
    fn by_use(&mut self, seen: &Observation, busy_s: f64, tick_s: f64, now: u32) -> u32 {
        let ready = f64::from(seen.ready);
        self.used.push_back((busy_s / ready.max(1.0) / tick_s).min(1.0));
        if self.used.len() > 2 {
            self.used.pop_front();
        }
        let mut ratio = self.used.iter().sum::<f64>() / self.used.len() as f64 / USE_AIM;
        if (ratio - 1.0).abs() <= USE_TOLERANCE || seen.ready == 0 {
            return now;
        }
        if ratio > 1.0 && seen.booting > 0 {
            // Agents that start count as idle while the pool grows.
            let all = ready + f64::from(seen.booting);
            ratio *= ready / all;
            return if ratio <= 1.0 + USE_TOLERANCE { now } else { (ratio * all).ceil() as u32 };
        }
        (ratio * ready).ceil() as u32
    }

    /// The wish for the next tick, within the blocks of Kubernetes; `busy_s` are the seconds that agents were busy in the tick
    /// before.
    pub fn decide(&mut self, seen: &Observation, busy_s: f64, tick_s: f64, min: u32, max: u32) -> u32 {
        self.decide_within(&Behaviour::KUBERNETES, seen, busy_s, tick_s, min, max)
    }

    /// The same within other blocks.
    pub(crate) fn decide_within(
        &mut self,
        blocks: &Behaviour,
        seen: &Observation,
        busy_s: f64,
        tick_s: f64,
        min: u32,
        max: u32,
    ) -> u32 {
        let now = seen.replicas.max(1);
        let wish = self.by_use(seen, busy_s, tick_s, now).max(seen.queue.div_ceil(WAITING_EACH));
        self.brake.apply(seen.t, now, wish.clamp(min, max), blocks)
    }
}
