//! The read side: what a leader or any replica can be asked about its tables.
//!
//! ```text
//!   one job      job, payload, result, why
//!   one answer   kept, is_claimed
//!   many jobs    list                        (bounded, by seq upwards)
//!   workflows    opened, workflow, workflow_input, tasks, events, workflows
//!   queues       queue, queues, load, lanes, deliverable, offer
//!   artifacts    artifact, artifacts, chunks, coded, is_referred, is_whole, lifecycle, lifecycles, moves, put_away,
//!                shard_refs, stays
//!   the clock    now, next_due
//!   meta group   audit, definition, definitions, formed, key, keys, nodes, quota, quotas, scalings, scaling_memories,
//!                scaling_memory, template, templates, webhook, webhooks
//!   partitions   known, subscriptions, usage
//!   all of it    digest
//! ```

mod access;
mod artifact;
mod known;
mod lanes;
mod list;
mod queue;
mod scaling;
mod schedule;
mod template;
mod webhook;
mod why;
mod workflow;

pub use access::{audit, key, keys, quota, quotas, usage};
pub use artifact::{
    Found, artifact, artifacts, chunks, coded, is_referred, is_whole, lifecycle, lifecycles, moves, put_away,
    shard_refs, stays,
};
pub use known::{Coming, Known, known};
pub use lanes::{LaneLoad, QueueLanes, lanes};
pub use list::{Page, list};
pub use queue::{Offer, QueueLoad, QueueView, definition, definitions, deliverable, load, offer, queue, queues};
pub use scaling::{scaling_memories, scaling_memory, scalings};
pub use schedule::{schedule, schedules};
pub use template::{template, template_changes, templates};
pub use webhook::{subscriptions, webhook, webhooks, webhooks_of};
pub use why::{Why, why};
pub use workflow::{TaskView, WorkflowFilter, events, opened, task_id, tasks, workflow, workflow_input, workflows};

use crate::Time;
use crate::command::{Idempotency, NodeRecord};
use crate::id::Name;
use crate::job::{Job, Payload};
use crate::reply::Reply;
use crate::row::{self, Kept, Meta, Unique};
use crate::table::{self, tag};
use crate::txn::{Key, Read, Value};
use crate::workflow::Workflow;

/// The state's clock.
pub fn now(rows: &impl Read) -> Time {
    row::read::<Meta>(rows, &table::meta()).map_or(0, |meta| meta.now)
}

/// Whether a job holds a unique key of a queue: a second one would be answered with it.
pub fn is_claimed(rows: &impl Read, queue: &Name, project: &Name, key: &str) -> bool {
    let Some(number) = row::queue_number(rows, queue) else { return false };
    let hash = table::h16(&[project.as_str(), key]);
    let unique: Option<Unique> = row::read(rows, &table::by_key(tag::UNIQUE, number, &hash));
    unique.is_some_and(|unique| unique.until.is_none_or(|until| until > now(rows)))
}

/// The answer that is kept under an idempotency key; a refusal if another request came with it.
pub fn kept(rows: &impl Read, idempotency: &Idempotency) -> Option<Reply> {
    let kept: Kept = row::read(rows, &table::by_hash(tag::KEPT, &idempotency.key))?;
    kept.answer(idempotency, now(rows))
}

/// A job's record.
pub fn job(rows: &impl Read, seq: u64) -> Option<Job> {
    row::job(rows, seq)
}

/// Whether a row of table JOB is of a job that is final.
pub fn is_job_over(row: &Value) -> bool {
    row::decode::<Job>(row).is_some_and(|job| job.state.is_final())
}

/// Whether a row of table WORKFLOW is of a workflow that is final.
pub fn is_workflow_over(row: &Value) -> bool {
    row::decode::<Workflow>(row).is_some_and(|workflow| workflow.status.is_final())
}

/// What the worker gets.
pub fn payload(rows: &impl Read, seq: u64) -> Option<Payload> {
    row::read(rows, &payload_key(seq))
}

/// What the worker gave back.
pub fn result(rows: &impl Read, seq: u64) -> Option<Payload> {
    row::read(rows, &result_key(seq))
}

/// Where [`payload`] is, for readers that fetch the row themselves; see [`decode_payload`].
pub fn payload_key(seq: u64) -> Key {
    table::by_seq(tag::PAYLOAD, seq)
}

/// Where [`result`] is.
pub fn result_key(seq: u64) -> Key {
    table::by_seq(tag::RESULT, seq)
}

/// What is in the row of a payload or result.
pub fn decode_payload(value: &Value) -> Option<Payload> {
    row::decode(value)
}

/// When a tick will next have something to do.
pub fn next_due(rows: &impl Read) -> Option<Time> {
    let (key, _) = row::front(rows, &table::key(tag::DUE, &[]))?;
    table::split_due(&key).map(|(at, _, _)| at)
}

/// The cluster's nodes, by id (meta group).
pub fn nodes(rows: &impl Read) -> Vec<NodeRecord> {
    let prefix = table::key(tag::NODE, &[]);
    let mut nodes = Vec::new();
    row::walk(rows, &prefix, &prefix, &mut |_, value| {
        nodes.extend(row::decode::<NodeRecord>(value));
        true
    });
    nodes
}

/// The cluster's name and number of job partitions, once it is formed (meta group).
pub fn formed(rows: &impl Read) -> Option<(String, u16)> {
    row::read(rows, &table::key(tag::CLUSTER, &[]))
}

/// BLAKE3 over all rows in key order: equal on replicas that applied the same entries.
pub fn digest(rows: &impl Read) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    rows.scan(&Key::new(&[]), &Key::new(&[0xff; Key::BYTES_MAX]), &mut |key, value| {
        let key = key.as_slice();
        hasher.update(&[key.len() as u8]);
        hasher.update(key);
        hasher.update(&(value.len() as u64).to_be_bytes());
        hasher.update(value);
        true
    });
    *hasher.finalize().as_bytes()
}
