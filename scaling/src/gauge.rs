//! A quantity that is measured at each tick, such as the use of processors: what it will be, by the forecaster of arrivals.
//!
//! What that forecasts are counts over a window; a measure in small units is one, and the window's sum over its ticks is
//! the mean. So seasons and trends of a use are found as those of arrivals are, with one model to know.

use crate::forecast::{Model, WINDOW, quantile, refit};
use crate::history::{History, ROLLUP_TICKS, TICKS_MAX};

/// Where its forecasts are for: the next ticks.
const LEAD: usize = 1;
const HORIZON_S: f64 = 900.0;
/// Points of an outlook, besides the first.
const STEPS: u32 = 4;
/// The upper quantile.
const UPPER: f64 = 0.9;

/// See the module.
#[derive(Debug)]
pub struct Gauge {
    unit: f64,
    history: History,
    model: Model,
}

/// What is expected of it at one time ahead.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Expected {
    /// Seconds from now.
    pub in_s: f64,
    /// In the middle.
    pub p50: f64,
    /// Stayed below nine times in ten.
    pub p90: f64,
}

impl Gauge {
    /// A gauge that tells values apart that differ by `unit`, and goes on with a history of such units.
    pub fn resume(unit: f64, history: History) -> Self {
        let model = refit(&history, LEAD);
        Self { unit, history, model }
    }

    /// What was measured, in units.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Takes in what was measured, which stands for the last `ticks` ticks: more than one where nobody looked for a while.
    pub fn push(&mut self, value: f64, ticks: usize) {
        let units = (value / self.unit).round();
        for _ in 0..ticks.min(TICKS_MAX) {
            // What is no number is nothing, and what is too large is as large as can be.
            self.history.push(units as u32);
            self.model.catch_up(&self.history);
        }
    }

    /// Whether [`Gauge::refit`] is worth its while.
    pub fn wants_refit(&self) -> bool {
        self.model.is_stale(&self.history, LEAD)
    }

    /// Fits the model anew.
    pub fn refit(&mut self) {
        self.model = refit(&self.history, LEAD);
    }

    /// What is expected until a quarter of an hour from now; nothing before the first value.
    pub fn expected(&self, tick_s: f64) -> Vec<Expected> {
        let (near, far) = (self.model.near(), self.model.far());
        if near.is_empty() {
            return Vec::new();
        }
        let of = |chances: &[_], ticks: f64| [0.5, UPPER].map(|level| quantile(chances, level) * self.unit / ticks);
        let near = of(&near, WINDOW as f64);
        let far = if self.history.seen < 3 * ROLLUP_TICKS { near } else { of(&far, ROLLUP_TICKS as f64) };
        let first_s = (LEAD + 1) as f64 * tick_s;
        let point = |i: u32| {
            let part = f64::from(i) / f64::from(STEPS);
            let at = |near: f64, far: f64| near * (1.0 - part) + far * part;
            let (p50, p90) = (at(near[0], far[0]), at(near[1], far[1]));
            Expected { in_s: at(first_s, HORIZON_S.max(first_s)), p50, p90: p90.max(p50) }
        };
        (0..=STEPS).map(point).collect()
    }
}
