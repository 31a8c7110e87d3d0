//! The experts together: what will arrive in a window ahead, as a distribution.
//!
//! Each expert gives a point forecast of the window's arrivals and its own residuals; they are mixed with weights
//! that grow with how likely each found what came (Cesa-Bianchi and Lugosi's exponential weights on the logarithmic
//! score). Everything is learned at the lead that matters: `lead` ticks ahead, over `window` ticks.

use std::collections::VecDeque;

use super::expert::{Phases, Residuals, Score, level};
use super::histogram::{BINS, Shares, bin, prior, ratio};

/// Forecasts from outside the ensemble: season and trend.
pub(crate) const OUTSIDE: usize = 2;
/// Experts whose score is that much behind have no voice.
const BEHIND_MAX: f64 = 7.0;

/// A moving average with exponential weights.
#[derive(Clone, Copy, Debug)]
struct Average {
    keep: f64,
    sum: f64,
    weight: f64,
}

/// What an expert said at one tick: the window's arrivals, if it said anything.
type Said = Vec<Option<f64>>;

/// One chance of a distribution: arrivals in the window, and how likely.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chance {
    /// Arrivals in the window.
    pub arrivals: f64,
    /// The likelihood; all chances add up to 1.
    pub share: f64,
}

/// The ensemble.
#[derive(Clone, Debug)]
pub struct Ensemble {
    lead: usize,
    window: usize,
    averages: Vec<Average>,
    residuals: Vec<Residuals>,
    scores: Vec<Score>,
    phases: Vec<(usize, Phases, Score)>,
    rhythms: Vec<usize>,
    recent: VecDeque<f64>,
    said: VecDeque<Said>,
    /// Ticks that were learned.
    pub(crate) tick: u64,
    prior: Shares,
    ratios: Shares,
}

impl Ensemble {
    /// An ensemble over moving averages of `memories` ticks that knows `rhythms`, and whose next tick is `tick`.
    pub(crate) fn new(lead: usize, window: usize, memories: &[f64], rhythms: &[usize], tick: u64) -> Self {
        let first = rhythms.first().copied();
        let experts = memories.len() + OUTSIDE;
        // The two fastest averages carry the phases: one that follows a rise at once and a calmer one.
        let phases = rhythms
            .iter()
            .flat_map(|period| (0..2.min(memories.len())).map(move |of| (of, Phases::new(*period), Score::new(first))));
        Self {
            lead,
            window,
            averages: memories.iter().map(|ticks| Average { keep: 1.0 - 1.0 / ticks, sum: 0.0, weight: 0.0 }).collect(),
            residuals: vec![Residuals::new(); experts],
            scores: vec![Score::new(first); experts],
            phases: phases.collect(),
            rhythms: rhythms.to_vec(),
            recent: VecDeque::with_capacity(window + 1),
            said: VecDeque::with_capacity(lead + window + 1),
            tick,
            prior: prior(),
            ratios: std::array::from_fn(ratio),
        }
    }

    /// The rhythms that it knows, in ticks.
    pub fn rhythms(&self) -> &[usize] {
        &self.rhythms
    }

    /// The mean of the second fastest average, in arrivals a tick.
    pub(crate) fn level(&self) -> f64 {
        self.averages.get(1).filter(|average| average.weight > 0.0).map_or(0.0, |average| average.sum / average.weight)
    }

    /// Takes in the arrivals of a tick, judges what was said of them, and lets all experts speak; `outside` are the
    /// forecasts of others for the same window.
    pub(crate) fn learn(&mut self, arrivals: f64, outside: [Option<f64>; OUTSIDE]) {
        self.tick += 1;
        for average in &mut self.averages {
            average.sum = average.sum * average.keep + arrivals;
            average.weight = average.weight * average.keep + 1.0;
        }
        self.recent.push_back(arrivals);
        if self.recent.len() > self.window {
            self.recent.pop_front();
        }
        let age = self.lead + self.window;
        if self.said.len() == age
            && let Some(said) = self.said.pop_front()
        {
            self.judge(&said, self.tick - age as u64);
        }
        let of_average = |average: &Average| Some(average.sum / average.weight * self.window as f64);
        let said = self.averages.iter().map(of_average).chain(outside).collect();
        self.said.push_back(said);
    }

    fn judge(&mut self, said: &Said, then: u64) {
        let came: f64 = self.recent.iter().sum();
        for (of, phases, score) in &mut self.phases {
            let Some(forecast) = said[*of] else { continue };
            let (level, bin) = (level(forecast), bin(came, forecast));
            let parent = self.residuals[*of].shares(level, &self.prior);
            score.learn(then, phases.shares(then, level, &parent)[bin]);
            phases.learn(then, level, bin);
        }
        for ((forecast, residuals), score) in said.iter().zip(&mut self.residuals).zip(&mut self.scores) {
            // Who says nothing is judged as if everything were as likely: silence must not win.
            let Some(forecast) = forecast else {
                score.learn(then, 1.0 / BINS as f64);
                continue;
            };
            let (level, bin) = (level(*forecast), bin(came, *forecast));
            score.learn(then, residuals.shares(level, &self.prior)[bin]);
            residuals.learn(level, bin);
        }
    }

    /// The distribution of the arrivals in the window that begins `lead` ticks from now. Empty before the first tick.
    pub fn chances(&self) -> Vec<Chance> {
        let Some(said) = self.said.back() else { return Vec::new() };
        let scores = self.scores.iter().zip(said).filter(|(_, said)| said.is_some()).map(|(score, _)| score);
        let best = scores.chain(self.phases.iter().map(|(_, _, score)| score)).map(|score| score.at(self.tick));
        let best = best.fold(f64::MIN, f64::max);
        let mut chances = Vec::with_capacity(BINS * 4);
        let mut all = 0.0;
        let mut voice = |score: &Score, forecast: f64, shares: Shares| {
            let weight = (score.at(self.tick) - best).exp();
            all += weight;
            chances.extend(shares.iter().zip(&self.ratios).filter(|(share, _)| **share > 1e-5).map(
                |(share, ratio)| Chance { arrivals: ((forecast + 0.5) * ratio - 0.5).max(0.0), share: share * weight },
            ));
        };
        let heard = |score: &Score| score.at(self.tick) > best - BEHIND_MAX;
        for (i, forecast) in said.iter().enumerate() {
            if let Some(forecast) = forecast.filter(|_| heard(&self.scores[i])) {
                voice(&self.scores[i], forecast, self.residuals[i].shares(level(forecast), &self.prior));
            }
        }
        for (of, phases, score) in self.phases.iter().filter(|(_, _, score)| heard(score)) {
            if let Some(forecast) = said[*of] {
                let parent = self.residuals[*of].shares(level(forecast), &self.prior);
                voice(score, forecast, phases.shares(self.tick, level(forecast), &parent));
            }
        }
        for chance in &mut chances {
            chance.share /= all;
        }
        chances
    }
}

/// The arrivals below which a share of `level` of the chances lies.
pub fn quantile(chances: &[Chance], level: f64) -> f64 {
    let mut sorted: Vec<_> = chances.iter().filter(|chance| chance.share > 0.0).collect();
    sorted.sort_by(|a, b| a.arrivals.total_cmp(&b.arrivals));
    let mut sum = 0.0;
    for chance in &sorted {
        sum += chance.share;
        if sum >= level {
            return chance.arrivals;
        }
    }
    sorted.last().map_or(0.0, |chance| chance.arrivals)
}

/// The mean of the chances.
pub fn mean(chances: &[Chance]) -> f64 {
    chances.iter().map(|chance| chance.arrivals * chance.share).sum()
}
