//! The blocks that keep a pool from changing too fast or to and fro, as Kubernetes has them.

use std::collections::VecDeque;

use crate::settings::{Behaviour, Block};

/// Ticks that are remembered: an hour of 15 s.
const MEMORY_MAX: usize = 240;

/// Wishes and sizes of the last while.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Brake {
    wishes: VecDeque<(f64, u32)>,
    sizes: VecDeque<(f64, u32)>,
}

fn remember(past: &mut VecDeque<(f64, u32)>, t: f64, n: u32) {
    if past.len() == MEMORY_MAX {
        past.pop_front();
    }
    past.push_back((t, n));
}

fn since(past: &VecDeque<(f64, u32)>, from: f64) -> impl Iterator<Item = u32> {
    past.iter().filter(move |(t, _)| *t > from).map(|(_, n)| *n)
}

impl Brake {
    /// What may be done at `t` of the wish for `wish` agents, with `now` of them.
    pub fn apply(&mut self, t: f64, now: u32, wish: u32, limits: &Behaviour) -> u32 {
        remember(&mut self.wishes, t, wish);
        let low = since(&self.wishes, t - limits.up.stabilisation_s.max(1e-6)).min().unwrap_or(wish);
        let high = since(&self.wishes, t - limits.down.stabilisation_s.max(1e-6)).max().unwrap_or(wish);
        let calm = if now < low { low } else { now.min(high) };
        remember(&mut self.sizes, t, now);
        let base = |block: &Block| since(&self.sizes, t - block.period_s - 1e-6);
        if calm > now && limits.up.period_s > 0.0 {
            let base = base(&limits.up).min().unwrap_or(now);
            return calm.min((f64::from(base) * (1.0 + limits.up.percent / 100.0)).ceil() as u32).max(now);
        }
        if calm < now && limits.down.period_s > 0.0 {
            let base = base(&limits.down).max().unwrap_or(now);
            return calm.max((f64::from(base) * (1.0 - limits.down.percent / 100.0)) as u32).min(now);
        }
        calm
    }
}
