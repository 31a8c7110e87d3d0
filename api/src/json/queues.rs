//! `PUT /api/v1/queues/{queue}`, `GET /api/v1/queues…`, the switches and sweeps.

use std::collections::BTreeMap;

use bravo_model::QueueConfig;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::jobs::ReadQuery;
use crate::{Refusal, Timestamp, convert, proto};

/// A queue's configuration; what is absent takes the default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct QueueConfigBody {
    /// Attempts of a job that names none; 5.
    pub max_attempts: Option<u32>,
    /// The pause before the next attempt.
    pub backoff: Option<BackoffBody>,
    /// Length of a lease that names none; 30,000.
    pub lease_ms: Option<u64>,
    /// Leases a second; null: unlimited.
    pub rate_limit: Option<RateLimitBody>,
    /// Leases at a time; null: unlimited.
    pub max_in_flight: Option<u32>,
    /// Leases at a time of one concurrency key; 1.
    pub concurrency_per_key: Option<u32>,
    /// How fairness keys share the queue.
    pub fairness: Option<FairnessBody>,
    /// How long a final job is kept; seven days.
    pub retention_ms: Option<u64>,
    /// The queue that gets a copy of each dead job.
    pub dead_letter: Option<String>,
    /// Waiting jobs beyond which enqueues are refused.
    pub max_ready: Option<u64>,
    /// The type of agent that works this queue; null: the queue's own name.
    pub agent_type: Option<String>,
}

/// Exponential backoff.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BackoffBody {
    /// Pause after the first failure; 1,000.
    pub initial_ms: Option<u64>,
    /// Growth per failure, 1 to 100; 2.
    pub factor: Option<f64>,
    /// Longest pause; 300,000.
    pub max_ms: Option<u64>,
    /// Share of the pause that may be taken off, 0 to 1; 0.2.
    pub jitter: Option<f64>,
}

/// A token bucket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RateLimitBody {
    /// Tokens a second; above 0.
    pub per_second: f64,
    /// Most tokens at a time; one second's, and at least 1, if absent.
    #[serde(default)]
    pub burst: Option<u32>,
}

/// How fairness keys share a queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FairnessBody {
    /// Weight of a key; 1 unless named.
    pub weights: BTreeMap<String, u32>,
}

impl QueueConfigBody {
    /// The configuration, checked, with defaults for what is absent.
    pub fn into_model(self) -> Result<QueueConfig, Refusal> {
        convert::queues::config(self.into())
    }
}

impl From<QueueConfigBody> for proto::QueueConfig {
    fn from(body: QueueConfigBody) -> Self {
        Self {
            max_attempts: body.max_attempts,
            backoff: body.backoff.map(|backoff| proto::Backoff {
                initial_ms: backoff.initial_ms,
                factor: backoff.factor,
                max_ms: backoff.max_ms,
                jitter: backoff.jitter,
            }),
            lease_ms: body.lease_ms,
            rate_limit: body
                .rate_limit
                .map(|limit| proto::RateLimit { per_second: limit.per_second, burst: limit.burst }),
            max_in_flight: body.max_in_flight,
            concurrency_per_key: body.concurrency_per_key,
            fairness: body.fairness.map(|fairness| proto::Fairness { weights: fairness.weights }),
            retention_ms: body.retention_ms,
            dead_letter: body.dead_letter,
            max_ready: body.max_ready,
            agent_type: body.agent_type,
        }
    }
}

impl From<proto::QueueConfig> for QueueConfigBody {
    fn from(config: proto::QueueConfig) -> Self {
        Self {
            max_attempts: config.max_attempts,
            backoff: config.backoff.map(|backoff| BackoffBody {
                initial_ms: backoff.initial_ms,
                factor: backoff.factor,
                max_ms: backoff.max_ms,
                jitter: backoff.jitter,
            }),
            lease_ms: config.lease_ms,
            rate_limit: config
                .rate_limit
                .map(|limit| RateLimitBody { per_second: limit.per_second, burst: limit.burst }),
            max_in_flight: config.max_in_flight,
            concurrency_per_key: config.concurrency_per_key,
            fairness: config.fairness.map(|fairness| FairnessBody { weights: fairness.weights }),
            retention_ms: config.retention_ms,
            dead_letter: config.dead_letter,
            max_ready: config.max_ready,
            agent_type: config.agent_type,
        }
    }
}

/// A queue: its name, its configuration's keys, its switches and its counts, side by side.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct QueueAnswer {
    /// Its name.
    pub name: String,
    /// What it is configured to do.
    #[serde(flatten)]
    pub config: QueueConfigBody,
    /// Nothing is delivered.
    pub paused: bool,
    /// Nothing is taken in.
    pub draining: bool,
    /// Jobs that may be delivered.
    pub ready: u64,
    /// Jobs that wait for their time.
    pub scheduled: u64,
    /// Jobs that wait for other tasks.
    pub blocked: u64,
    /// Jobs that workers hold.
    pub leased: u64,
    /// Jobs that wait for redrive.
    pub dead: u64,
    /// How long the oldest ready job has waited; null if there is none.
    pub oldest_ready_ms: Option<u64>,
    /// The breaker of its type of agent, as the node that answers sees it.
    pub breaker: String,
}

impl From<proto::Queue> for QueueAnswer {
    fn from(queue: proto::Queue) -> Self {
        let counts = queue.counts.unwrap_or_default();
        Self {
            name: queue.name,
            config: queue.config.unwrap_or_default().into(),
            paused: queue.paused,
            draining: queue.draining,
            ready: counts.ready,
            scheduled: counts.scheduled,
            blocked: counts.blocked,
            leased: counts.leased,
            dead: counts.dead,
            oldest_ready_ms: counts.oldest_ready_ms,
            breaker: queue.breaker,
        }
    }
}

/// The query of `GET /api/v1/queues`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct ListQueuesQuery {
    /// 1 to 1,000; 100 if absent.
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
    /// From the last page.
    pub cursor: Option<String>,
    /// `linearizable` or `stale`.
    pub consistency: Option<String>,
    /// How old a stale answer may be.
    pub max_staleness_ms: Option<u64>,
}

impl ListQueuesQuery {
    /// The list that is asked for.
    pub fn into_message(self) -> Result<proto::ListQueuesRequest, Refusal> {
        let read = ReadQuery { consistency: self.consistency, max_staleness_ms: self.max_staleness_ms };
        let cursor = self.cursor.unwrap_or_default();
        Ok(proto::ListQueuesRequest { limit: self.limit, cursor, read: read.into_message()? })
    }
}

/// A page of queues.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct QueueListAnswer {
    /// The queues.
    pub queues: Vec<QueueAnswer>,
    /// Where the next page starts; null: this was the last.
    pub next_cursor: Option<String>,
    /// How old the answer may be.
    pub as_of: Timestamp,
}

impl From<proto::ListQueuesResponse> for QueueListAnswer {
    fn from(page: proto::ListQueuesResponse) -> Self {
        Self {
            queues: page.queues.into_iter().map(QueueAnswer::from).collect(),
            next_cursor: Some(page.next_cursor).filter(|cursor| !cursor.is_empty()),
            as_of: Timestamp(page.as_of_ms),
        }
    }
}

/// The answer to pause, resume and drain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QueueSwitchesAnswer {
    /// The queue.
    pub name: String,
    /// Nothing is delivered.
    pub paused: bool,
    /// Nothing is taken in.
    pub draining: bool,
}

impl From<proto::QueueSwitches> for QueueSwitchesAnswer {
    fn from(switches: proto::QueueSwitches) -> Self {
        Self { name: switches.name, paused: switches.paused, draining: switches.draining }
    }
}

/// The answer to purge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PurgeAnswer {
    /// Jobs removed.
    pub purged: u64,
}

/// The answer to redrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RedriveAnswer {
    /// Jobs put back.
    pub redriven: u64,
}
