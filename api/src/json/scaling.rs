//! `/api/v1/scaling…`: policies, and how pools stand.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Timestamp, proto};

/// What is to be kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ObjectiveBody {
    /// The wait that 95 % of the jobs shall stay below; 30,000 if absent.
    pub start_delay_p95_ms: Option<u32>,
}

/// How fast a pool may change in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BlockBody {
    /// A wish counts only when all wishes of so long agree, an hour at most; 60,000 up and 300,000 down if absent.
    pub stabilisation_ms: Option<u32>,
    /// The largest change in one period, in percent of the pool; 100 up and 10 down if absent. Down 100 at most.
    pub percent: Option<u32>,
    /// The period, an hour at most; 0 sets no limit. 15,000 up and 60,000 down if absent.
    pub period_ms: Option<u32>,
}

/// How fast a pool may change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BehaviourBody {
    /// When it grows.
    pub up: BlockBody,
    /// When it shrinks.
    pub down: BlockBody,
}

impl BehaviourBody {
    fn into_message(self) -> proto::ScalingBehaviour {
        let block = |BlockBody { stabilisation_ms, percent, period_ms }| proto::ScalingBlock {
            stabilisation_ms,
            percent,
            period_ms,
        };
        proto::ScalingBehaviour { up: Some(block(self.up)), down: Some(block(self.down)) }
    }
}

impl From<proto::ScalingBehaviour> for BehaviourBody {
    fn from(told: proto::ScalingBehaviour) -> Self {
        let block = |told: Option<proto::ScalingBlock>| {
            let proto::ScalingBlock { stabilisation_ms, percent, period_ms } = told.unwrap_or_default();
            BlockBody { stabilisation_ms, percent, period_ms }
        };
        Self { up: block(told.up), down: block(told.down) }
    }
}

/// The body of `PUT /api/v1/scaling/{agent_type}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ScalingBody {
    /// The smallest pool; 2 if absent.
    pub min: Option<u32>,
    /// The largest pool; 15 if absent, 20 at most.
    pub max: Option<u32>,
    /// What is to be kept.
    pub objective: ObjectiveBody,
    /// `off`, `advise` or `act`; `advise` if absent.
    pub mode: Option<String>,
    /// What recommends: `predictive`, `reactive` or `threshold`; `predictive` if absent.
    pub policy: Option<String>,
    /// How fast the pool may change; if absent, as its policy has it: `reactive` by the defaults of the fields below, the others
    /// without a limit.
    pub behaviour: Option<BehaviourBody>,
}

impl ScalingBody {
    /// The policy that is asked for.
    pub fn into_message(self, agent_type: String) -> proto::PutScalingRequest {
        let policy = proto::ScalingPolicy {
            agent_type,
            min: self.min,
            max: self.max,
            start_delay_p95_ms: self.objective.start_delay_p95_ms,
            mode: self.mode.unwrap_or_default(),
            policy: self.policy.unwrap_or_default(),
            behaviour: self.behaviour.map(BehaviourBody::into_message),
        };
        proto::PutScalingRequest { policy: Some(policy) }
    }
}

/// How a pool stands, and what it is sized by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ScalingAnswer {
    /// The type of its agents.
    pub agent_type: String,
    /// The smallest pool.
    pub min: u32,
    /// The largest pool.
    pub max: u32,
    /// What is to be kept.
    pub objective: ObjectiveBody,
    /// `off`, `advise` or `act`.
    pub mode: String,
    /// What recommends: `predictive`, `reactive` or `threshold`.
    pub policy: String,
    /// How fast the pool may change; null: as its policy has it.
    pub behaviour: Option<BehaviourBody>,
    /// Whether a policy was put; else these are the defaults.
    pub is_set: bool,
    /// Agents that are there; null as long as nobody has looked at the load: for one tick (`scaling.tick_ms`) after a policy is
    /// put or another node comes to lead.
    pub current: Option<u32>,
    /// Agents that should be; null likewise.
    pub recommended: Option<u32>,
    /// One sentence with the numbers that led there.
    pub why: String,
    /// What is expected.
    pub forecast: ForecastAnswer,
    /// Of when that is.
    pub at: Timestamp,
}

/// What is expected.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ForecastAnswer {
    /// How far it looks.
    pub horizon_ms: u64,
    /// The nearest first; empty where too little was seen.
    pub points: Vec<ForecastPointAnswer>,
}

/// What is expected at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ForecastPointAnswer {
    /// The moment.
    pub at: Timestamp,
    /// Agents' worth of jobs that arrive, in the middle.
    pub p50: f64,
    /// The same, stayed below nine times in ten.
    pub p90: f64,
    /// Agents that will be required.
    pub agents: u32,
    /// The use of their processors, 0 to 1. Where nobody measures it, as if an agent at work used all it has.
    pub cpu: f64,
    /// The use of their memory, 0 to 1; likewise.
    pub memory: f64,
    /// Workflows that will have a task with them; of `bravod`, all that will run.
    pub workflows: f64,
}

impl From<proto::ScalingState> for ScalingAnswer {
    fn from(state: proto::ScalingState) -> Self {
        let policy = state.policy.unwrap_or_default();
        let point = |point: proto::ForecastPoint| ForecastPointAnswer {
            at: Timestamp(point.at_ms),
            p50: point.p50,
            p90: point.p90,
            agents: point.agents,
            cpu: point.cpu,
            memory: point.memory,
            workflows: point.workflows,
        };
        Self {
            agent_type: policy.agent_type,
            min: policy.min.unwrap_or_default(),
            max: policy.max.unwrap_or_default(),
            objective: ObjectiveBody { start_delay_p95_ms: policy.start_delay_p95_ms },
            mode: policy.mode,
            policy: policy.policy,
            behaviour: policy.behaviour.map(BehaviourBody::from),
            is_set: state.is_set,
            current: state.current,
            recommended: state.recommended,
            why: state.why,
            forecast: ForecastAnswer {
                horizon_ms: state.horizon_ms,
                points: state.points.into_iter().map(point).collect(),
            },
            at: Timestamp(state.at_ms),
        }
    }
}

/// All pools.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ScalingListAnswer {
    /// By agent type.
    pub scaling: Vec<ScalingAnswer>,
    /// Always null: the list is whole.
    pub next_cursor: Option<String>,
    /// Of when the answer is.
    pub as_of: Timestamp,
}

impl From<proto::ListScalingResponse> for ScalingListAnswer {
    fn from(list: proto::ListScalingResponse) -> Self {
        Self {
            scaling: list.scaling.into_iter().map(ScalingAnswer::from).collect(),
            next_cursor: None,
            as_of: Timestamp(list.as_of_ms),
        }
    }
}

/// The arrivals that are remembered, which forecasts rest on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ScalingHistoryAnswer {
    /// The type of the agents.
    pub agent_type: String,
    /// Milliseconds of a tick: those between two looks at the load.
    pub tick_ms: u64,
    /// Jobs of twenty ticks each, before those of `arrivals`; the oldest first.
    pub older: Vec<u32>,
    /// Jobs by tick, the oldest first.
    pub arrivals: Vec<u32>,
    /// How long a job takes in the mean.
    pub service_ms: Option<u64>,
    /// How long an agent takes to start.
    pub boot_ms: Option<u64>,
    /// Of when that is.
    pub at: Timestamp,
}

impl From<proto::ScalingHistory> for ScalingHistoryAnswer {
    fn from(history: proto::ScalingHistory) -> Self {
        Self {
            agent_type: history.agent_type,
            tick_ms: history.tick_ms.unwrap_or_default(),
            older: history.older,
            arrivals: history.arrivals,
            service_ms: history.service_ms,
            boot_ms: history.boot_ms,
            at: Timestamp(history.at_ms),
        }
    }
}

/// The body of `PUT /api/v1/scaling/{agent_type}/history`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ScalingHistoryBody {
    /// Milliseconds of a tick: those between two looks of the cluster at its load; 15,000 if absent.
    pub tick_ms: Option<u64>,
    /// Jobs of twenty ticks each, before those of `arrivals`; the oldest first, 8,064 at most.
    pub older: Vec<u32>,
    /// Jobs by tick, the oldest first, 23,040 at most. The last one is just over.
    pub arrivals: Vec<u32>,
    /// How long a job takes in the mean; 20,000 if absent, until it is seen.
    pub service_ms: Option<u64>,
    /// How long an agent takes to start; 60,000 if absent, until it is seen.
    pub boot_ms: Option<u64>,
}

impl ScalingHistoryBody {
    /// The history that is given.
    pub fn into_message(self, agent_type: String) -> proto::PutScalingHistoryRequest {
        let Self { tick_ms, older, arrivals, service_ms, boot_ms } = self;
        let history = proto::ScalingHistory { agent_type, tick_ms, older, arrivals, service_ms, boot_ms, at_ms: 0 };
        proto::PutScalingHistoryRequest { history: Some(history) }
    }
}
