//! Seasons and trend together: MSTL takes the seasons off, exponential smoothing carries the trend on.
//!
//! It is refitted far from the hot path, on half hours, and only read there.

use augurs::ets::AutoETS;
use augurs::mstl::MSTLModel;
use augurs::{Fit, Predict};

/// Roll-ups of one step: half an hour.
const STEP: usize = 6;
/// Steps that are forecast: until the next fit, with a margin.
const AHEAD: usize = 100;

/// A forecast of the coming half hours.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trend {
    /// The roll-up with which the first step begins.
    from: f64,
    steps: Vec<f64>,
}

impl Trend {
    /// Fits `counts`, of which the first one is roll-up `first`, with `seasons` in roll-ups. Empty when there is too little,
    /// or nothing that repeats.
    pub(crate) fn fit(counts: &[f64], first: u64, seasons: &[usize]) -> Self {
        // The last roll-up ends the last step.
        let skip = counts.len() % STEP;
        let steps: Vec<f64> = counts[skip..].chunks(STEP).map(|step| step.iter().sum::<f64>() / STEP as f64).collect();
        let mut periods: Vec<usize> = seasons.iter().map(|season| (season + STEP / 2) / STEP).collect();
        periods.retain(|period| *period >= 4 && period * 2 < steps.len());
        if periods.is_empty() || steps.iter().all(|step| (step - steps[0]).abs() < 1e-9) {
            return Self::default();
        }
        let trend = AutoETS::non_seasonal().into_trend_model();
        let fitted = MSTLModel::new(periods, trend).fit(&steps);
        let ahead = fitted.ok().and_then(|fitted| fitted.predict(AHEAD, None).ok());
        let steps = ahead.map(|ahead| ahead.point).unwrap_or_default();
        let sane = steps.iter().all(|step| step.is_finite());
        Self { from: (first as usize + counts.len()) as f64, steps: if sane { steps } else { Vec::new() } }
    }

    /// The forecast of one roll-up's arrivals at `target`.
    pub(crate) fn at(&self, target: f64) -> Option<f64> {
        // A step's value stands at its middle.
        let at = ((target + 0.5 - self.from) / STEP as f64 - 0.5).max(0.0);
        let (below, part) = (at.floor() as usize, at.fract());
        let (low, high) = (self.steps.get(below)?, self.steps.get(below + 1)?);
        Some((low * (1.0 - part) + high * part).max(0.0))
    }
}
