//! What nodes tell each other of pools of agents and of what they use.

use bravo_model::scaling::ScalingPolicy;
use bravo_model::{Name, Time};
use serde::{Deserialize, Serialize};

/// The arrivals that are remembered of a type of agents.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PastSeen {
    /// Milliseconds of a tick.
    pub tick_ms: u64,
    /// When the last tick was over, or later.
    pub at: Time,
    /// Of twenty ticks each, before those of `ticks`; the oldest first.
    pub older: Vec<u32>,
    /// By tick, the oldest first.
    pub ticks: Vec<u32>,
    /// How long a job takes, where it is known.
    pub service_ms: Option<u64>,
    /// How long an agent takes to start, where it is known.
    pub boot_ms: Option<u64>,
}

/// What agents of one type use together, in agents fully used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentUse {
    /// Their type.
    pub agent_type: Name,
    /// How many they are.
    pub agents: u32,
    /// Of processors.
    pub cpu: f64,
    /// Of memory.
    pub memory: f64,
}

/// How a pool stands, and what it is expected to use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outlook {
    /// How it stands.
    pub seen: PoolSeen,
    /// One for each point of its forecast.
    pub uses: Vec<UseSeen>,
}

/// What a pool of the size that will be required is expected to use at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct UseSeen {
    /// Of its processors, 0 to 1.
    pub cpu: f64,
    /// Of its memory, 0 to 1.
    pub memory: f64,
    /// Workflows under way that have a task with it.
    pub workflows: f64,
}

/// What a node uses of its machine, 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeLoad {
    /// Of all processors.
    pub cpu: f64,
    /// Of all memory.
    pub memory: f64,
}

/// A pool of agents that a node looks after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolHere {
    /// Their type.
    pub agent_type: Name,
    /// Whether the node runs some of them, and other nodes others; else it sees to the whole pool.
    pub is_part: bool,
    /// Agents that it runs.
    pub running: u32,
}

/// What a node is to do for a pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// Agents that it is to run, or the whole pool is to have.
    pub agents: u32,
    /// What is recommended for the whole pool, and why.
    pub of: PoolSeen,
}

/// How the pool of one agent type stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PoolSeen {
    /// What it is sized by.
    pub policy: ScalingPolicy,
    /// Whether an operator said so; else these are the defaults.
    pub is_set: bool,
    /// Agents that are there.
    pub current: u32,
    /// Agents that should be.
    pub recommended: u32,
    /// One sentence with the numbers that led there.
    pub why: String,
    /// How long an agent takes to start; 0 if nobody has seen one.
    pub boot_ms: u64,
    /// How far the forecast looks.
    pub horizon_ms: u64,
    /// What is expected.
    pub points: Vec<PointSeen>,
    /// Of when that is.
    pub at: Time,
    /// Whether the load was looked at; else nobody knows what there is and what should be.
    pub is_seen: bool,
}

/// What is expected at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PointSeen {
    /// The moment.
    pub at: Time,
    /// Agents' worth of jobs that arrive, in the middle.
    pub p50: f64,
    /// The same, stayed below nine times in ten.
    pub p90: f64,
    /// Agents that will be required.
    pub agents: u32,
}
