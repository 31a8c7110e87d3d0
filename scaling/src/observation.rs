//! What a controller is told at each tick, of one agent type.

/// Counts are of what happened since the tick before. Fields that are absent in JSON are 0.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Observation {
    /// Seconds on a clock that never goes back.
    pub t: f64,
    /// Jobs that arrived.
    pub arrivals: u32,
    /// Jobs that were completed.
    pub completed: u32,
    /// Seconds that the completed jobs took to serve.
    pub service_sum: f64,
    /// Jobs that wait now.
    pub queue: u32,
    /// Agents that serve a job now.
    pub busy: u32,
    /// Agents that could serve one.
    pub ready: u32,
    /// Agents that start.
    pub booting: u32,
    /// All agents that were asked for.
    pub replicas: u32,
    /// Whether the trace has ended; such an observation needs no answer.
    pub last: bool,
    /// Processor use of all agents together, in agents fully used.
    pub cpu: f64,
    /// Memory use of all agents together, in agents fully used.
    pub memory: f64,
    /// Workflows that run.
    pub workflows: u32,
    /// Jobs that are known to come.
    pub due: Vec<Due>,
}

/// Jobs that will wait at a known time: delayed jobs, ticks of schedules, steps whose parents end, leases that run out.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Due {
    /// Seconds from now.
    pub in_s: f64,
    /// How many.
    pub jobs: u32,
}

impl Observation {
    /// The jobs that are known to come between two times from now.
    pub fn due_between(&self, from_s: f64, to_s: f64) -> f64 {
        due_between(&self.due, from_s, to_s)
    }
}

pub(crate) fn due_between(due: &[Due], from_s: f64, to_s: f64) -> f64 {
    let inside = due.iter().filter(|due| due.in_s >= from_s && due.in_s < to_s);
    inside.map(|due| f64::from(due.jobs)).sum()
}
