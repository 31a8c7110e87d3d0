//! A job as it is asked for, and what comes back.

use std::fmt;
use std::time::Duration;

use bravo_api::proto::new_job::{End, Start};
use bravo_api::{Timestamp, convert, proto};
use bytes::Bytes;
use serde::Serialize;

use crate::Error;

/// A job's id; opaque.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(String);

impl JobId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<String> for JobId {
    fn from(id: String) -> Self {
        Self(id)
    }
}

impl From<&str> for JobId {
    fn from(id: &str) -> Self {
        Self(id.into())
    }
}

impl From<JobId> for String {
    fn from(id: JobId) -> Self {
        id.0
    }
}

/// A job that was taken in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enqueued {
    /// Its id.
    pub id: JobId,
    /// It was there already, by its unique key.
    pub duplicate: bool,
    /// Where it stands: `ready`, `scheduled`, …
    pub state: proto::JobState,
    /// How long it will probably wait for a worker, where that can be told.
    pub eta: Option<proto::Eta>,
}

impl From<proto::EnqueuedJob> for Enqueued {
    fn from(job: proto::EnqueuedJob) -> Self {
        let state = convert::jobs::job_state(job.state).map_or(proto::JobState::Unspecified, Into::into);
        Self { id: JobId(job.id), duplicate: job.duplicate, state, eta: job.eta }
    }
}

/// A job to enqueue. What is not set takes the queue's or the contract's default.
#[derive(Clone, Debug, PartialEq)]
pub struct NewJob(pub(crate) proto::NewJob);

impl NewJob {
    /// A job for a queue, with JSON `null` as payload.
    pub fn new(queue: impl Into<String>) -> Self {
        Self(proto::NewJob { queue: queue.into(), ..Default::default() })
    }

    /// The payload: anything that serializes to JSON.
    pub fn json(self, payload: &impl Serialize) -> Result<Self, Error> {
        let text = serde_json::to_vec(payload).map_err(|error| Error::Invalid(format!("payload: {error}")))?;
        Ok(self.json_text(text))
    }

    /// The payload: JSON text, which the daemon checks and returns unchanged.
    pub fn json_text(mut self, text: impl Into<Bytes>) -> Self {
        self.0.payload = Some(proto::Payload { data: text.into(), json: true });
        self
    }

    /// The payload: plain bytes.
    pub fn bytes(mut self, data: impl Into<Bytes>) -> Self {
        self.0.payload = Some(proto::Payload { data: data.into(), json: false });
        self
    }

    /// The project it belongs to.
    pub fn project(mut self, project: impl Into<String>) -> Self {
        self.0.project_id = project.into();
        self
    }

    /// 0 (lowest) to 9; 4 unless set.
    pub fn priority(mut self, priority: u8) -> Self {
        self.0.priority = Some(priority.into());
        self
    }

    /// Not delivered before this time.
    pub fn run_at(mut self, time: Timestamp) -> Self {
        self.0.start = Some(Start::RunAtMs(time.0));
        self
    }

    /// Not delivered before this much later.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.0.start = Some(Start::DelayMs(millis(delay)));
        self
    }

    /// Dies if it waits at this time.
    pub fn deadline(mut self, time: Timestamp) -> Self {
        self.0.end = Some(End::DeadlineAtMs(time.0));
        self
    }

    /// Dies if it waits this much later.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.0.end = Some(End::TtlMs(millis(ttl)));
        self
    }

    /// Overrides the queue's.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.0.max_attempts = Some(attempts);
        self
    }

    /// At most one job of this key, project and queue, until the job is final.
    pub fn unique_key(mut self, key: impl Into<String>) -> Self {
        self.0.unique_key = Some(key.into());
        self
    }

    /// How long the unique key holds instead.
    pub fn unique_for(mut self, window: Duration) -> Self {
        self.0.unique_for_ms = Some(millis(window));
        self
    }

    /// Jobs of one order key run one after the other.
    pub fn order_key(mut self, key: impl Into<String>) -> Self {
        self.0.order_key = Some(key.into());
        self
    }

    /// At most `concurrency_per_key` jobs of this key run at once.
    pub fn concurrency_key(mut self, key: impl Into<String>) -> Self {
        self.0.concurrency_key = Some(key.into());
        self
    }

    /// Shares the queue fairly between keys.
    pub fn fairness_key(mut self, key: impl Into<String>) -> Self {
        self.0.fairness_key = Some(key.into());
        self
    }

    /// A label that a worker must have, with this value, to get the job.
    pub fn requirement(mut self, label: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.requirements.insert(label.into(), value.into());
        self
    }

    /// Jobs of this key go to the worker that has the key's state, if it takes them soon.
    pub fn sticky_key(mut self, key: impl Into<String>) -> Self {
        self.0.sticky_key = Some(key.into());
        self
    }

    /// A JSON object as text, returned as it was sent.
    pub fn metadata_text(mut self, text: impl Into<Bytes>) -> Self {
        self.0.metadata = text.into();
        self
    }
}

impl From<proto::NewJob> for NewJob {
    fn from(job: proto::NewJob) -> Self {
        Self(job)
    }
}

impl From<NewJob> for proto::NewJob {
    fn from(job: NewJob) -> Self {
        job.0
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
