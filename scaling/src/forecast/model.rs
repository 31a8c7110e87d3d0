//! All that is learned of one agent type's arrivals. A model is a function of the history: `refit` may run
//! anywhere, and `adopt` brings its result up to date with what came meanwhile.

use super::ensemble::{Chance, Ensemble, OUTSIDE};
use super::season::{forecast, seasons};
use super::trend::Trend;
use super::{rhythm, season};
use crate::history::{History, ROLLUP_TICKS};

/// Memories of the averages in ticks of 15 s: from half a minute to eight hours.
const MEMORIES: [f64; 6] = [2.0, 6.0, 20.0, 80.0, 400.0, 2000.0];
/// Memories in roll-ups: from five minutes to two days.
const SLOW_MEMORIES: [f64; 6] = [1.0, 2.0, 4.0, 12.0, 72.0, 576.0];
/// The window over which arrivals are forecast, in ticks.
pub(crate) const WINDOW: usize = 2;
/// Roll-ups from now to the window of the long forecast: it ends in a quarter of an hour.
const SLOW_LEAD: usize = 2;
/// The first fit that looks for rhythms, in ticks: two hours. Each next one is after as long again, up to a day.
const FIT_FIRST: u64 = 480;
const FIT_EVERY_MAX: u64 = 5760;

/// The model.
#[derive(Clone, Debug)]
pub struct Model {
    lead: usize,
    near: Ensemble,
    far: Ensemble,
    seasons: Vec<usize>,
    trend: Trend,
    fitted: u64,
}

/// Fits a model to all that `history` remembers, for decisions that show after `lead` ticks.
pub fn refit(history: &History, lead: usize) -> Model {
    let ticks: Vec<f64> = history.ticks().collect();
    let rollups = history.rollups();
    let counts: Vec<f64> = rollups.iter().map(|n| f64::from(*n)).collect();
    let seasons = seasons(&counts);
    let trend = Trend::fit(&counts, history.first_rollup(), &seasons);
    let near = Ensemble::new(lead, WINDOW, &MEMORIES, &rhythm::rhythms(&ticks), history.first());
    let far = Ensemble::new(SLOW_LEAD, 1, &SLOW_MEMORIES, &[], history.first_rollup());
    let mut model = Model { lead, near, far, seasons, trend: Trend::default(), fitted: history.seen };
    let past = Past { rollups, first: history.first_rollup() };
    for (i, arrivals) in ticks.into_iter().enumerate() {
        let seen = history.first() + i as u64 + 1;
        model.learn_tick(arrivals, seen, &past.until(seen / ROLLUP_TICKS));
    }
    for (i, arrivals) in rollups.iter().enumerate() {
        let seen = history.first_rollup() + i as u64 + 1;
        model.learn_rollup(f64::from(*arrivals), seen, &past.until(seen));
    }
    model.trend = trend;
    model
}

/// The roll-ups that were over at some time.
struct Past<'a> {
    rollups: &'a [u32],
    first: u64,
}

impl<'a> Past<'a> {
    fn until(&self, rollup: u64) -> Past<'a> {
        let over = rollup.saturating_sub(self.first) as usize;
        Past { rollups: &self.rollups[..over.min(self.rollups.len())], first: self.first }
    }
}

impl Model {
    /// A model of nothing.
    pub fn new(lead: usize) -> Self {
        refit(&History::default(), lead)
    }

    /// The ticks from a decision until it shows.
    pub fn lead(&self) -> usize {
        self.lead
    }

    /// Whether a new fit is worth its while.
    pub fn is_stale(&self, history: &History, lead: usize) -> bool {
        let age = history.seen - self.fitted.min(history.seen);
        let wait = self.fitted.clamp(FIT_FIRST, FIT_EVERY_MAX);
        age >= wait || (lead != self.lead && age >= 4)
    }

    /// Takes in what `history` got since the model was fitted.
    pub fn catch_up(&mut self, history: &History) {
        let past = Past { rollups: history.rollups(), first: history.first_rollup() };
        let from = self.near.tick.max(history.first());
        for (i, arrivals) in history.ticks_from(from).enumerate() {
            let seen = from + i as u64 + 1;
            let known = past.until(seen / ROLLUP_TICKS);
            self.learn_tick(arrivals, seen, &known);
            if seen.is_multiple_of(ROLLUP_TICKS)
                && self.far.tick < seen / ROLLUP_TICKS
                && let Some(last) = known.rollups.last()
            {
                self.learn_rollup(f64::from(*last), seen / ROLLUP_TICKS, &known);
            }
        }
    }

    /// Season and trend of a roll-up that is `ahead` roll-ups after `at`.
    fn outside(&self, target: f64, past: &Past<'_>) -> [Option<f64>; OUTSIDE] {
        let season = self.seasons.last().filter(|_| !past.rollups.is_empty());
        let season = season.and_then(|season| forecast(past.rollups, past.first, *season, target));
        [season, self.trend.at(target)]
    }

    fn learn_tick(&mut self, arrivals: f64, seen: u64, past: &Past<'_>) {
        let scale = WINDOW as f64 / ROLLUP_TICKS as f64;
        let target = (seen as f64 + self.lead as f64 + WINDOW as f64 / 2.0) / ROLLUP_TICKS as f64 - 0.5;
        let outside = self.outside(target, past).map(|forecast| forecast.map(|rollup| rollup * scale));
        self.near.learn(arrivals, outside);
    }

    fn learn_rollup(&mut self, arrivals: f64, seen: u64, past: &Past<'_>) {
        let outside = self.outside((seen as usize + SLOW_LEAD) as f64, past);
        self.far.learn(arrivals, outside);
    }

    /// What may arrive in the window that the next decision is for.
    pub fn near(&self) -> Vec<Chance> {
        self.near.chances()
    }

    /// What may arrive in the five minutes that end in a quarter of an hour.
    pub fn far(&self) -> Vec<Chance> {
        self.far.chances()
    }

    /// Arrivals a tick, lately.
    pub fn level(&self) -> f64 {
        self.near.level()
    }

    /// The rhythms that were found, in ticks.
    pub fn rhythms(&self) -> &[usize] {
        self.near.rhythms()
    }

    /// The seasons that were found, in roll-ups.
    pub fn seasons(&self) -> &[usize] {
        &self.seasons
    }
}

/// The lengths of the seasons of a series, in its steps.
pub fn seasons_of(counts: &[f64]) -> Vec<usize> {
    season::seasons(counts)
}
