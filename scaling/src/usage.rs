//! What agents use, and how many workflows stand behind a job: ratios that forget.
//!
//! Processors are used by work, memory by agents, whether they work or not.

use serde::{Deserialize, Serialize};

use crate::Observation;

const KEEP: f64 = 0.99;

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Ratio {
    over: f64,
    under: f64,
}

impl Ratio {
    fn learn(&mut self, over: f64, under: f64) {
        if over.is_finite() && under > 0.0 {
            self.over = self.over * KEEP + over.max(0.0);
            self.under = self.under * KEEP + under;
        }
    }

    /// None where nobody measures.
    fn get(&self) -> Option<f64> {
        (self.under > 0.0 && self.over > 0.0).then(|| self.over / self.under)
    }
}

/// The ratios.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Usage {
    cpu: Ratio,
    memory: Ratio,
    workflows: Ratio,
}

impl Usage {
    /// Learns from what is seen.
    pub(crate) fn learn(&mut self, seen: &Observation) {
        self.cpu.learn(seen.cpu, f64::from(seen.busy));
        self.memory.learn(seen.memory, f64::from(seen.ready));
        self.workflows.learn(f64::from(seen.workflows), f64::from(seen.busy) + f64::from(seen.queue));
    }

    /// Processor use of one agent at work; all of it, where nobody measures.
    pub(crate) fn cpu_each(&self) -> f64 {
        self.cpu.get().unwrap_or(1.0)
    }

    /// Memory use of one agent that is there, where it is measured.
    pub(crate) fn memory_each(&self) -> Option<f64> {
        self.memory.get()
    }

    /// Workflows for each job that waits or is served; none where none is known of.
    pub(crate) fn workflows_each(&self) -> f64 {
        self.workflows.get().unwrap_or(0.0)
    }
}
