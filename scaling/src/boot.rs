//! How long agents take to start, as far as it can be seen, and which are on their way.

use std::collections::VecDeque;

use crate::Observation;

/// Requests that are remembered.
const PENDING_MAX: usize = 256;

/// Agents that were asked for together.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Asked {
    t: f64,
    agents: u32,
    /// Whether they were seen to start: where nobody does what is recommended, none ever are.
    was_seen: bool,
}

/// Requests on their way, and the estimate.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Boot {
    mean_s: f64,
    pending: VecDeque<Asked>,
}

impl Boot {
    /// Begins with a guess.
    pub(crate) fn new(guess_s: f64) -> Self {
        Self { mean_s: guess_s, pending: VecDeque::new() }
    }

    fn on_the_way(&self) -> u32 {
        self.pending.iter().map(|asked| asked.agents).sum()
    }

    /// Notes what was decided at `t` after `seen`: agents that are new are on their way; those that were dropped
    /// were the newest.
    pub(crate) fn request(&mut self, seen: &Observation, want: u32) {
        if want > seen.replicas && self.pending.len() < PENDING_MAX {
            self.pending.push_back(Asked { t: seen.t, agents: want - seen.replicas, was_seen: false });
        }
        let mut dropped = seen.replicas.saturating_sub(want);
        while let Some(newest) = self.pending.back_mut().filter(|_| dropped > 0) {
            let gone = newest.agents.min(dropped);
            newest.agents -= gone;
            dropped -= gone;
            if newest.agents == 0 {
                self.pending.pop_back();
            }
        }
    }

    /// Learns from those that were starting and no longer are: the oldest were ready first.
    pub(crate) fn learn(&mut self, seen: &Observation) {
        while self.on_the_way() > seen.booting {
            let ready = self.on_the_way() - seen.booting;
            let Some(oldest) = self.pending.front_mut() else { break };
            // A tick sees it up to a tick late; agents taken back from draining were never starting.
            let (took_s, was_seen) = (seen.t - oldest.t, oldest.was_seen);
            oldest.agents -= ready.min(oldest.agents);
            if oldest.agents == 0 {
                self.pending.pop_front();
            }
            if was_seen && took_s > self.mean_s * 0.3 && took_s < 1800.0 {
                self.mean_s += 0.1 * (took_s - self.mean_s);
            }
        }
        self.pending.iter_mut().for_each(|asked| asked.was_seen = true);
    }

    /// The estimate in seconds.
    pub(crate) fn mean_s(&self) -> f64 {
        self.mean_s
    }

    /// The agents that will be ready `in_s` seconds from `now`, besides those that are.
    pub(crate) fn ready_by(&self, now: f64, in_s: f64) -> u32 {
        let done = |asked: &&Asked| asked.t + self.mean_s <= now + in_s + 1e-9;
        self.pending.iter().filter(done).map(|asked| asked.agents).sum()
    }
}
