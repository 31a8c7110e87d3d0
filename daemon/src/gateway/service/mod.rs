//! What each call does, for REST and gRPC alike: functions over the cluster and the model's types.

pub(crate) mod artifacts;
pub(crate) mod audit;
mod claimed;
pub(crate) mod cluster;
pub(crate) mod definitions;
pub(crate) mod digest;
pub(crate) mod enqueue;
pub(crate) mod events;
pub(crate) mod follow;
pub(crate) mod gauges;
pub(crate) mod held;
pub(crate) mod items;
pub(crate) mod jobs;
pub(crate) mod keys;
pub(crate) mod lease;
pub(crate) mod lifecycle;
pub(crate) mod list;
pub(crate) mod placement;
pub(crate) mod queues;
pub(crate) mod quotas;
pub(crate) mod readiness;
pub(crate) mod reads;
pub(crate) mod scaling;
pub(crate) mod schedules;
pub(crate) mod spread;
pub(crate) mod templates;
pub(crate) mod webhooks;
pub(crate) mod workers;
pub(crate) mod workflows;

use bravo_model::{Code, Refusal, Reply};

/// A reply of the wrong kind: a fault of this program.
fn wrong_reply(reply: &Reply) -> Refusal {
    Refusal::new(Code::Internal, format!("a command was answered with the wrong kind: {reply:?}"))
}
