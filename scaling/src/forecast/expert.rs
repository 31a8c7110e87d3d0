//! One forecaster among several: a point forecast, how reality came to lie beside it, and how well that did lately.

use super::histogram::{Histogram, Shares};

/// Steps of the forecast's height by which residuals are told apart: noise weighs more where little comes.
pub(crate) const LEVELS: usize = 14;
const COARSE: usize = LEVELS / 2;
/// Rhythms up to so many ticks are told apart by height as well.
const FINE_PERIOD_MAX: usize = 64;

const KEEP: f32 = 0.9995;
const PHASE_KEEP: f32 = 0.99;
const ROOT_STRENGTH: f64 = 10.0;
const STRENGTH: f64 = 4.0;
const SCORE_KEEP: f64 = 0.99;
const PHASE_SCORE_KEEP: f64 = 0.9;

/// The level of a forecast.
pub(crate) fn level(forecast: f64) -> usize {
    ((forecast.max(0.0) + 0.5).log2() * 1.5 + 2.0).clamp(0.0, (LEVELS - 1) as f64) as usize
}

/// Residuals by level.
#[derive(Clone, Debug)]
pub(crate) struct Residuals {
    all: Histogram,
    levels: Vec<Histogram>,
}

impl Residuals {
    pub(crate) fn new() -> Self {
        Self { all: Histogram::default(), levels: vec![Histogram::default(); LEVELS] }
    }

    pub(crate) fn shares(&self, level: usize, prior: &Shares) -> Shares {
        let all = self.all.shares(prior, ROOT_STRENGTH);
        self.levels[level].shares(&all, STRENGTH)
    }

    pub(crate) fn learn(&mut self, level: usize, bin: usize) {
        self.all.learn(bin, KEEP);
        self.levels[level].learn(bin, KEEP);
    }
}

/// Residuals by the phase of a rhythm, over those by level.
#[derive(Clone, Debug)]
pub(crate) struct Phases {
    pub(crate) period: usize,
    phases: Vec<Histogram>,
    fine: Vec<Histogram>,
}

impl Phases {
    pub(crate) fn new(period: usize) -> Self {
        let fine = if period <= FINE_PERIOD_MAX { period * COARSE } else { 0 };
        Self { period, phases: vec![Histogram::default(); period], fine: vec![Histogram::default(); fine] }
    }

    fn at(&self, tick: u64) -> usize {
        (tick % self.period as u64) as usize
    }

    pub(crate) fn shares(&self, tick: u64, level: usize, parent: &Shares) -> Shares {
        let phase = self.at(tick);
        let shares = self.phases[phase].shares(parent, STRENGTH);
        let fine = self.fine.get(phase * COARSE + level / 2);
        fine.map_or(shares, |fine| fine.shares(&shares, STRENGTH))
    }

    pub(crate) fn learn(&mut self, tick: u64, level: usize, bin: usize) {
        let phase = self.at(tick);
        self.phases[phase].learn(bin, PHASE_KEEP);
        if let Some(fine) = self.fine.get_mut(phase * COARSE + level / 2) {
            fine.learn(bin, PHASE_KEEP);
        }
    }
}

/// How likely reality was lately under an expert (the logarithm, summed and fading): for each phase of the shortest
/// rhythm by itself, since one expert may know when a burst comes and another how long it stays.
#[derive(Clone, Debug)]
pub(crate) struct Score {
    phases: Vec<f64>,
    keep: f64,
}

impl Score {
    pub(crate) fn new(period: Option<usize>) -> Self {
        let keep = if period.is_some() { PHASE_SCORE_KEEP } else { SCORE_KEEP };
        Self { phases: vec![0.0; period.unwrap_or(1)], keep }
    }

    pub(crate) fn at(&self, tick: u64) -> f64 {
        self.phases[(tick % self.phases.len() as u64) as usize]
    }

    pub(crate) fn learn(&mut self, tick: u64, likelihood: f64) {
        let phase = (tick % self.phases.len() as u64) as usize;
        self.phases[phase] = self.phases[phase] * self.keep + likelihood.max(1e-9).ln();
    }
}
