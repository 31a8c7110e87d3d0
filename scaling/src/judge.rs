//! Forecasts on trial: how often reality stays below the 90 % quantile, and whether the plain rule does better.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// The share of windows that are to stay below the upper quantile.
pub(crate) const UPPER: f64 = 0.9;
const STEP: f64 = 0.01;
const KEEP: f64 = 0.995;
/// Verdicts before the forecast may be sent away.
const TRIAL_MIN: f64 = 40.0;
/// How much worse than the plain rule a forecast must be to be sent away, and to be called back.
const WORSE: f64 = 2.0;
const WELL: f64 = 1.6;

/// Asks for that level of the forecast's distribution below which reality stays 90 % of the time, whatever the
/// distribution itself claims (adaptive conformal inference, Gibbs and Candès).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    level: f64,
}

impl Default for Calibration {
    fn default() -> Self {
        Self { level: UPPER }
    }
}

impl Calibration {
    /// The level to ask for.
    pub fn level(&self) -> f64 {
        self.level
    }

    /// Learns whether reality stayed below.
    pub fn learn(&mut self, below: bool) {
        let step = if below { -(1.0 - UPPER) } else { UPPER };
        self.level = (self.level + STEP * step).clamp(0.5, 0.999);
    }
}

/// A pending forecast: our upper quantile and that of the plain rule.
type Bet = (f64, f64);

/// The trial of the forecast beside the plain rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Judge {
    bets: VecDeque<Bet>,
    recent: VecDeque<f64>,
    /// Our loss, theirs, and how many verdicts they rest on.
    ours: f64,
    theirs: f64,
    verdicts: f64,
    covered: f64,
    away: bool,
    /// The calibration of the upper quantile.
    pub calibration: Calibration,
}

/// The pinball loss: what an upper quantile costs that was too low or too high.
fn loss(quantile: f64, came: f64) -> f64 {
    let above = came - quantile;
    if above > 0.0 { UPPER * above } else { (UPPER - 1.0) * above }
}

impl Judge {
    /// Takes in the arrivals of a step, and judges the bet whose window of `window` steps they end.
    pub fn learn(&mut self, arrivals: f64, lead: usize, window: usize) {
        self.recent.push_back(arrivals);
        while self.recent.len() > window {
            self.recent.pop_front();
        }
        while self.bets.len() >= lead + window {
            let Some((ours, theirs)) = self.bets.pop_front() else { break };
            let came: f64 = self.recent.iter().sum();
            let below = came <= ours;
            self.calibration.learn(below);
            self.ours = self.ours * KEEP + loss(ours, came);
            self.theirs = self.theirs * KEEP + loss(theirs, came);
            self.covered = self.covered * KEEP + f64::from(u8::from(below));
            self.verdicts = self.verdicts * KEEP + 1.0;
        }
        self.away = self.verdicts >= TRIAL_MIN && self.ours > self.theirs * if self.away { WELL } else { WORSE };
    }

    /// Notes what was forecast at this step.
    pub fn bet(&mut self, ours: f64, theirs: f64) {
        self.bets.push_back((ours, theirs));
    }

    /// Our loss over that of the plain rule, when the forecast is to be left aside.
    pub fn verdict(&self) -> Option<f64> {
        self.away.then(|| self.ours / self.theirs.max(1e-9))
    }

    /// The share of windows that stayed below the upper quantile, lately.
    pub fn coverage(&self) -> f64 {
        if self.verdicts > 0.0 { self.covered / self.verdicts } else { UPPER }
    }
}
