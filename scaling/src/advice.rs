//! What a controller answers: how many agents, why, and what it expects.

use serde::{Deserialize, Serialize};

/// What is expected at one time ahead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Seconds from now.
    pub in_s: f64,
    /// Agents' worth of arrivals, in the middle.
    pub p50: f64,
    /// The same, stayed below nine times in ten.
    pub p90: f64,
    /// Processor use of the agents that are required, 0 to 1.
    pub cpu: f64,
    /// Memory use of the agents that are required, 0 to 1.
    pub memory: f64,
    /// Workflows that will run.
    pub workflows: f64,
    /// Agents that will be required.
    pub agents: u32,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Recommendation {
    /// The agents to have.
    pub replicas: u32,
    /// One sentence with the numbers that led there.
    pub why: String,
    /// Whether the plain reactive rule decided in place of a forecast.
    pub fallback: bool,
    /// Agents' worth of arrivals when the decision shows: the middle and the upper quantile.
    pub p50: f64,
    /// See `p50`.
    pub p90: f64,
}
