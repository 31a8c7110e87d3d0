//! What a handler gets, and what it gives back.

use std::sync::Arc;

use bravo_api::proto;
use bytes::Bytes;
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{Client, Error, limits};

/// A job that is being worked on; cheap to clone.
#[derive(Clone, Debug)]
pub struct JobContext {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    job: proto::LeasedJob,
    cancel: CancellationToken,
    progress: Mutex<Option<Bytes>>,
    /// Tells the runtime that there is progress to report.
    reported: Arc<Notify>,
}

impl JobContext {
    pub(super) fn new(job: proto::LeasedJob, reported: Arc<Notify>) -> Self {
        let inner = Inner { job, cancel: CancellationToken::new(), progress: Mutex::new(None), reported };
        Self { inner: Arc::new(inner) }
    }

    /// The job's id.
    pub fn id(&self) -> &str {
        &self.inner.job.id
    }

    /// The queue it came from.
    pub fn queue(&self) -> &str {
        &self.inner.job.queue
    }

    /// The project it belongs to.
    pub fn project(&self) -> &str {
        &self.inner.job.project_id
    }

    /// From 1.
    pub fn attempt(&self) -> u32 {
        self.inner.job.attempt
    }

    /// The fencing token: grows with every lease of the job. Give it to whatever the job writes to.
    pub fn lease_token(&self) -> u64 {
        self.inner.job.lease_token
    }

    /// The workflow it is a step of.
    pub fn workflow(&self) -> Option<&str> {
        self.inner.job.workflow_id.as_deref()
    }

    /// The payload as it was sent.
    pub fn payload(&self) -> &[u8] {
        self.inner.job.payload.as_ref().map_or(b"null", |payload| &payload.data)
    }

    /// Whether the payload is JSON text.
    pub fn is_json(&self) -> bool {
        self.inner.job.payload.as_ref().is_none_or(|payload| payload.json)
    }

    /// The payload as what it is in JSON.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(self.payload())
    }

    /// The metadata: a JSON object as text, as it was sent; empty if there is none.
    pub fn metadata(&self) -> &[u8] {
        &self.inner.job.metadata
    }

    /// Ready when the work is in vain or unwanted: a caller cancelled the job, its lease was lost,
    /// or the worker has to stop.
    pub async fn cancelled(&self) {
        self.inner.cancel.cancelled().await;
    }

    /// Whether [`cancelled`](Self::cancelled) is ready.
    pub fn is_cancelled(&self) -> bool {
        self.inner.cancel.is_cancelled()
    }

    /// Tells how far the work is: anything that serializes to JSON of up to 16 KiB. Sent with the
    /// next heartbeat, at most once a second; what was told before and not sent is replaced.
    pub fn progress(&self, progress: &impl Serialize) -> Result<(), serde_json::Error> {
        let text = serde_json::to_vec(progress)?;
        if text.len() > limits::METADATA_BYTES_MAX {
            return Err(serde::de::Error::custom("progress is larger than 16 KiB"));
        }
        *self.inner.progress.lock() = Some(text.into());
        self.inner.reported.notify_one();
        Ok(())
    }

    /// Adds tasks to the workflow that the job is a step of, under this lease: if the job was given to somebody
    /// else meanwhile, nothing is added. `tasks` serializes to a list of tasks as the REST interface takes it.
    /// Tasks that are there already, exactly so, are left alone, so that a later attempt may add them again.
    pub async fn add_tasks(&self, client: &Client, tasks: &impl Serialize) -> Result<(), Error> {
        let workflow = self.workflow().ok_or_else(|| Error::Invalid("the job is no step of a workflow".into()))?;
        let tasks = serde_json::to_vec(tasks).map_err(|error| Error::Invalid(format!("tasks: {error}")))?;
        let request = proto::AddTasksRequest {
            id: workflow.into(),
            lease_token: self.lease_token(),
            job_id: self.id().into(),
            task_id: String::new(),
            tasks: tasks.into(),
        };
        client.add_tasks(request).await.map(drop)
    }

    pub(super) fn cancel(&self) {
        self.inner.cancel.cancel();
    }

    pub(super) fn lease_ms(&self) -> u64 {
        self.inner.job.lease_ms.max(limits::LEASE_MS_MIN)
    }

    pub(super) fn has_progress(&self) -> bool {
        self.inner.progress.lock().is_some()
    }

    pub(super) fn take_progress(&self) -> Bytes {
        self.inner.progress.lock().take().unwrap_or_default()
    }
}

/// What a finished job leaves: a result, or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output(pub(super) Option<Payload>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Payload {
    pub(super) data: Bytes,
    pub(super) json: bool,
}

impl Output {
    /// No result.
    pub fn none() -> Self {
        Self(None)
    }

    /// A result that serializes to JSON.
    pub fn json(result: &impl Serialize) -> Result<Self, serde_json::Error> {
        Ok(Self::json_text(serde_json::to_vec(result)?))
    }

    /// A result that is JSON text already.
    pub fn json_text(text: impl Into<Bytes>) -> Self {
        Self(Some(Payload { data: text.into(), json: true }))
    }

    /// A result of plain bytes.
    pub fn bytes(data: impl Into<Bytes>) -> Self {
        Self(Some(Payload { data: data.into(), json: false }))
    }
}

impl From<()> for Output {
    fn from((): ()) -> Self {
        Self::none()
    }
}

/// Why an attempt failed. Any error becomes one with `?`, and is tried again after the queue's backoff.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failure {
    pub(super) error: String,
    pub(super) retry_in_ms: Option<u64>,
    pub(super) dead: bool,
}

impl Failure {
    /// A failure in these words; the job is tried again after the queue's backoff.
    pub fn new(error: impl Into<String>) -> Self {
        Self { error: error.into(), ..Self::default() }
    }

    /// Tries the job again after this pause instead.
    pub fn retry_in(mut self, pause: std::time::Duration) -> Self {
        self.retry_in_ms = Some(crate::job::millis(pause));
        self
    }

    /// Does not try the job again: it is dead.
    pub fn dead(mut self) -> Self {
        self.dead = true;
        self
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(error.to_string())
    }
}
