//! Predictive scaling, the pure part.

pub mod sim; pub mod erlang; pub mod histogram; pub mod controller;

/// What a controller is told at each tick.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Observation {
    /// Seconds on a clock that never goes back.
    pub t: f64,
    /// Jobs that arrived since the last tick.
    pub arrivals: u32,
    /// Jobs that were completed since then.
    pub completed: u32,
    /// Seconds that these took to serve.
    pub service_sum: f64,
    /// Jobs that wait.
    pub queue: u32,
    /// Agents that serve one.
    pub busy: u32,
    /// Agents that could.
    pub ready: u32,
    /// Agents that start.
    pub booting: u32,
    /// All agents that were asked for.
    pub replicas: u32,
    /// Whether this is the end of the trace.
    pub last: bool,
}
