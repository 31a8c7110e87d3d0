//! What is remembered of one agent type: enough to build every model anew, and never more.
//!
//! Four days of arrivals by tick and four weeks by five minutes. It is all that a replica needs to go on where
//! another stopped, and a model is a function of it.

use std::collections::VecDeque;

/// Ticks that are kept: four days of 15 s.
pub const TICKS_MAX: usize = 23_040;
/// Roll-ups that are kept: four weeks of five minutes.
pub const ROLLUPS_MAX: usize = 8_064;
/// Ticks of one roll-up.
pub(crate) const ROLLUP_TICKS: u64 = 20;

/// Arrivals by tick and by five minutes.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct History {
    /// Ticks that were seen in all.
    pub seen: u64,
    ticks: VecDeque<u32>,
    rollups: Vec<u32>,
    open: u32,
}

impl History {
    /// A history of roll-ups alone, the oldest first; those that are too old are left out.
    pub(crate) fn of_older(rollups: &[u32]) -> Self {
        let kept = &rollups[rollups.len().saturating_sub(ROLLUPS_MAX)..];
        Self { seen: kept.len() as u64 * ROLLUP_TICKS, rollups: kept.to_vec(), ..Self::default() }
    }

    /// Roll-ups of what is older than the ticks, and the ticks that follow them; the oldest first. Ticks that are part of
    /// a roll-up whose first ones are forgotten are in the roll-up alone.
    pub(crate) fn parts(&self) -> (Vec<u32>, Vec<u32>) {
        let first = self.first().next_multiple_of(ROLLUP_TICKS);
        let older = (first / ROLLUP_TICKS).saturating_sub(self.first_rollup()) as usize;
        let older = &self.rollups[..older.min(self.rollups.len())];
        let skip = (first - self.first()) as usize;
        (older.to_vec(), self.ticks.iter().skip(skip).copied().collect())
    }

    /// Adds the arrivals of one tick; returns the roll-up that it completed.
    pub fn push(&mut self, arrivals: u32) -> Option<f64> {
        self.seen += 1;
        if self.ticks.len() == TICKS_MAX {
            self.ticks.pop_front();
        }
        self.ticks.push_back(arrivals);
        self.open = self.open.saturating_add(arrivals);
        if !self.seen.is_multiple_of(ROLLUP_TICKS) {
            return None;
        }
        if self.rollups.len() == ROLLUPS_MAX {
            // A day at once: a slice that is whole is worth a rare move.
            self.rollups.drain(..ROLLUPS_MAX / 28);
        }
        let whole = std::mem::take(&mut self.open);
        self.rollups.push(whole);
        Some(f64::from(whole))
    }

    /// The arrivals by tick, the oldest first.
    pub fn ticks(&self) -> impl ExactSizeIterator<Item = f64> {
        self.ticks.iter().map(|n| f64::from(*n))
    }

    /// The arrivals of the ticks from number `tick` on.
    pub(crate) fn ticks_from(&self, tick: u64) -> impl Iterator<Item = f64> {
        let skip = (tick.saturating_sub(self.first()) as usize).min(self.ticks.len());
        self.ticks.range(skip..).map(|n| f64::from(*n))
    }

    /// The arrivals by five minutes, the oldest first.
    pub fn rollups(&self) -> &[u32] {
        &self.rollups
    }

    /// The number of the first tick that is kept.
    pub fn first(&self) -> u64 {
        self.seen - self.ticks.len() as u64
    }

    /// The number of the first roll-up that is kept.
    pub fn first_rollup(&self) -> u64 {
        self.seen / ROLLUP_TICKS - self.rollups.len() as u64
    }
}
