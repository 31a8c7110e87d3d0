//! Leases, and what ends or prolongs them.
//!
//! Each item of an ack, nack or extend stands for itself: one that is refused here is answered in
//! its place, and the others go on.

use std::collections::BTreeMap;

use bravo_model::reply::{self, LeasedJob};
use bravo_model::{JobId, Name, Payload, command, webhook};

use super::{At, Trust, invalid, jobs};
use crate::{Code, Refusal, WAIT_MS_MAX, limits, proto};

/// Payload bytes of one lease.
pub const LEASE_BYTES_MAX: u32 = 4 << 20;

/// Highest weight of a worker.
pub const WEIGHT_MAX: u32 = 1_000;
/// Most jobs that a worker may say it works on at once.
pub const CAPACITY_MAX: u32 = 1 << 20;

/// The worker id of a caller that gives none.
const ANONYMOUS: &str = "anonymous";

/// What a lease call asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseCall {
    /// For the partition.
    pub lease: command::Lease,
    /// How long to wait for the first job.
    pub wait_ms: u64,
    /// The type that scaling counts the worker under.
    pub agent_type: Option<Name>,
    /// Jobs that it works on at once, if it says so.
    pub capacity: Option<u32>,
    /// Its weight.
    pub weight: Option<u32>,
}

/// A worker at the start of its stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worker {
    /// Who holds the leases.
    pub id: Name,
    /// Where its jobs come from; at least one, each once.
    pub queues: Vec<Name>,
    /// The type that scaling counts it under.
    pub agent_type: Option<Name>,
    /// Jobs that it works on at once.
    pub capacity: u32,
    /// Overrides the queues'.
    pub lease_ms: Option<u64>,
    /// Jobs that it holds from before.
    pub in_flight: u32,
    /// What it is.
    pub labels: BTreeMap<String, String>,
    /// Its weight.
    pub weight: Option<u32>,
}

/// One item of an ack, nack or extend: the job's id, and the item for the partition of it.
pub type Item<T> = Result<(JobId, T), Refusal>;

/// A lease call.
pub fn lease(request: proto::LeaseRequest) -> Result<LeaseCall, Refusal> {
    let at = At::Root;
    let max = request.max.unwrap_or(1);
    at.within("max", max.into(), 1, limits::LEASE_JOBS_MAX.into())?;
    let worker = if request.worker_id.is_empty() { ANONYMOUS } else { &request.worker_id };
    Ok(LeaseCall {
        lease: command::Lease {
            queue: queue("queue", &request.queue)?,
            worker: at.name("worker_id", worker)?,
            max,
            bytes_max: LEASE_BYTES_MAX,
            lease_ms: lease_ms(at, request.lease_ms)?,
            project: None,
            labels: at.labels("labels", request.labels, limits::LABELS_MAX)?,
            sticky: None,
        },
        wait_ms: at.within("wait_ms", request.wait_ms, 0, WAIT_MS_MAX)?,
        agent_type: agent_type(at, &request.agent_type)?,
        capacity: capacity(at, request.capacity)?,
        weight: weight(at, request.weight)?,
    })
}

/// A queue that callers are given jobs of.
fn queue(what: &str, name: &str) -> Result<Name, Refusal> {
    let name = Name::parse(what, name)?;
    webhook::refuse_queue(what, &name)?;
    Ok(name)
}

/// A worker's hello.
pub fn hello(hello: proto::Hello) -> Result<Worker, Refusal> {
    const QUEUES_MAX: usize = 1_000;
    let at = At::Root;
    if hello.queues.is_empty() || hello.queues.len() > QUEUES_MAX {
        return Err(invalid(format!("queues: 1 to {QUEUES_MAX}, these are {}", hello.queues.len())));
    }
    let mut queues = Vec::with_capacity(hello.queues.len());
    for (index, queue) in hello.queues.iter().enumerate() {
        queues.push(self::queue(&format!("queues[{index}]"), queue)?);
    }
    queues.sort();
    queues.dedup();
    Ok(Worker {
        id: at.name("worker_id", &hello.worker_id)?,
        queues,
        agent_type: agent_type(at, &hello.agent_type)?,
        capacity: hello.capacity,
        lease_ms: lease_ms(at, hello.lease_ms)?,
        in_flight: hello.in_flight,
        labels: at.labels("labels", hello.labels, limits::LABELS_MAX)?,
        weight: weight(at, hello.weight)?,
    })
}

fn agent_type(at: At, text: &str) -> Result<Option<Name>, Refusal> {
    if text.is_empty() { Ok(None) } else { at.name("agent_type", text).map(Some) }
}

fn weight(at: At, weight: Option<u32>) -> Result<Option<u32>, Refusal> {
    if let Some(weight) = weight {
        at.within("weight", weight.into(), 1, WEIGHT_MAX.into())?;
    }
    Ok(weight)
}

fn capacity(at: At, capacity: Option<u32>) -> Result<Option<u32>, Refusal> {
    if let Some(capacity) = capacity {
        at.within("capacity", capacity.into(), 1, CAPACITY_MAX.into())?;
    }
    Ok(capacity)
}

/// The items of an ack.
pub fn acks(acks: Vec<proto::Ack>) -> Result<Vec<Item<command::Ack>>, Refusal> {
    acks_of(acks, Trust::Unseen)
}

pub(crate) fn acks_of(acks: Vec<proto::Ack>, trust: Trust) -> Result<Vec<Item<command::Ack>>, Refusal> {
    items("acks", acks, |at, ack| {
        let id = jobs::job_id(&ack.id)?;
        let result = ack.result.map(|result| at.payload("result", result, trust)).transpose()?;
        Ok((id, command::Ack { seq: id.seq, token: ack.lease_token, result }))
    })
}

/// The items of a nack.
pub fn nacks(nacks: Vec<proto::Nack>) -> Result<Vec<Item<command::Nack>>, Refusal> {
    items("nacks", nacks, |at, mut nack| {
        let id = jobs::job_id(&nack.id)?;
        if let Some(error) = &mut nack.error {
            cut(error, limits::ERROR_BYTES_MAX);
        }
        if let Some(ms) = nack.retry_in_ms {
            at.within("retry_in_ms", ms, 0, limits::HORIZON_MS_MAX)?;
        }
        let proto::Nack { lease_token: token, error, retry_in_ms, dead, .. } = nack;
        Ok((id, command::Nack { seq: id.seq, token, error, retry_in_ms, dead, unseen: false }))
    })
}

/// The items of an extend.
pub fn extends(leases: Vec<proto::Extend>) -> Result<Vec<Item<command::Extend>>, Refusal> {
    extends_of(leases, Trust::Unseen)
}

pub(crate) fn extends_of(leases: Vec<proto::Extend>, trust: Trust) -> Result<Vec<Item<command::Extend>>, Refusal> {
    items("leases", leases, |at, extend| {
        let id = jobs::job_id(&extend.id)?;
        let bytes = extend.progress.len();
        if bytes > limits::METADATA_BYTES_MAX {
            let what = format_args!("{bytes} bytes, at most {} are taken", limits::METADATA_BYTES_MAX);
            return Err(at.refuse(Code::PayloadTooLarge, "progress", what));
        }
        if bytes > 0 && trust == Trust::Unseen {
            at.json("progress", &extend.progress)?;
        }
        let progress = (bytes > 0).then_some(extend.progress);
        let lease_ms = lease_ms(at, extend.lease_ms)?;
        Ok((id, command::Extend { seq: id.seq, token: extend.lease_token, lease_ms, progress }))
    })
}

fn items<P, T>(list: &'static str, items: Vec<P>, convert: impl Fn(At, P) -> Item<T>) -> Result<Vec<Item<T>>, Refusal> {
    if items.len() > limits::ACK_ITEMS_MAX {
        return Err(invalid(format!("{list}: at most {}, these are {}", limits::ACK_ITEMS_MAX, items.len())));
    }
    Ok(items.into_iter().enumerate().map(|(index, item)| convert(At::Item(list, index), item)).collect())
}

/// Cuts a text at the last character that fits.
fn cut(text: &mut String, bytes_max: usize) {
    let end = (0..=bytes_max.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.truncate(end.unwrap_or(0));
}

fn lease_ms(at: At, ms: Option<u64>) -> Result<Option<u64>, Refusal> {
    ms.map(|ms| at.within("lease_ms", ms, limits::LEASE_MS_MIN, limits::LEASE_MS_MAX)).transpose()
}

/// A job that a worker now holds, with its payload, from the partition that leased it.
pub fn leased(partition: u16, job: LeasedJob, payload: Payload) -> proto::LeasedJob {
    proto::LeasedJob {
        id: JobId { partition, seq: job.seq }.to_string(),
        queue: job.queue.into(),
        project_id: job.project.into(),
        payload: Some(payload.into()),
        attempt: job.attempt,
        lease_token: job.token,
        lease_expires_at_ms: job.expires_at,
        lease_ms: job.lease_ms,
        metadata: job.metadata,
        workflow_id: job.workflow.map(String::from),
    }
}

/// A lease, by job and token.
pub fn held(job: JobId, token: u64) -> proto::HeldLease {
    proto::HeldLease { id: job.to_string(), lease_token: token }
}

impl From<reply::ItemResult> for proto::ItemResult {
    fn from(result: reply::ItemResult) -> Self {
        Self {
            code: result.code.map_or_else(String::new, |code| code.as_str().into()),
            cancel_requested: result.cancel_requested,
            lease_expires_at_ms: result.expires_at,
        }
    }
}

impl From<Code> for proto::ItemResult {
    fn from(code: Code) -> Self {
        Self { code: code.as_str().into(), cancel_requested: false, lease_expires_at_ms: None }
    }
}
