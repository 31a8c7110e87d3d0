//! What the judge can see of a machine under test.

use bravo_model::command::ListFilter;
use bravo_model::job::{JobState, Payload};
use bravo_model::reply::Outcome;
use bravo_model::{Name, Time};
use bytes::Bytes;

use crate::reference::{Counts, Reason, RefJob};

/// A state machine that the judge can question.
pub(crate) trait Machine {
    fn apply(&mut self, at: Time, commands: Vec<Bytes>) -> Vec<Outcome>;
    fn now(&self) -> Time;
    fn job(&self, seq: u64) -> Option<Shown>;
    fn counts(&self, queue: &Name) -> Counts;
    fn list(&self, filter: &ListFilter) -> Vec<u64>;
    fn why(&self, seq: u64) -> Option<Reason>;
    fn deliverable(&self, queue: &Name) -> bool;
    fn next_due(&self) -> Option<Time>;
    fn digest(&self) -> Vec<u8>;
    fn violations(&self) -> Vec<String>;
    /// Rows in all tables: what is forgotten must leave nothing behind.
    fn rows(&self) -> usize;
}

/// The visible state of a job.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Shown {
    pub(crate) seq: u64,
    pub(crate) queue: Name,
    pub(crate) project: Name,
    pub(crate) state: JobState,
    pub(crate) priority: u8,
    pub(crate) attempt: u32,
    pub(crate) max_attempts: u32,
    pub(crate) enqueued_at: Time,
    pub(crate) run_at: Time,
    pub(crate) deadline: Option<Time>,
    pub(crate) started_at: Option<Time>,
    pub(crate) finished_at: Option<Time>,
    pub(crate) token: u64,
    pub(crate) lease_expires_at: Option<Time>,
    pub(crate) worker: Option<Name>,
    /// While it is leased.
    pub(crate) cancel_requested: bool,
    pub(crate) progress: Option<Bytes>,
    /// The last failure, see [`own_words`].
    pub(crate) error: Option<String>,
    pub(crate) metadata: Bytes,
    pub(crate) workflow: Option<Name>,
    pub(crate) order_key: Option<String>,
    pub(crate) concurrency_key: Option<String>,
    pub(crate) fairness_key: Option<String>,
    pub(crate) payload: Payload,
    pub(crate) result: Option<Payload>,
}

/// A worker's words are kept as they are; the model's own are free. Whether a success wipes them out
/// is not promised, nor whose words stay with a job that failed and was too late as well.
pub(crate) fn own_words(error: Option<String>, state: JobState, late: bool) -> Option<String> {
    let error = error.filter(|_| state != JobState::Succeeded)?;
    let free = state == JobState::Dead && late || !error.starts_with("broke");
    Some(if free { "the model's words".into() } else { error })
}

/// Whether a job ended when its deadline had passed.
pub(crate) fn was_late(deadline: Option<Time>, finished_at: Option<Time>) -> bool {
    deadline.zip(finished_at).is_some_and(|(deadline, finished)| deadline <= finished)
}

impl From<&RefJob> for Shown {
    fn from(job: &RefJob) -> Self {
        let job = job.clone();
        let late = was_late(job.deadline, job.finished_at);
        Self {
            seq: job.seq,
            queue: job.queue,
            project: job.project,
            state: job.state,
            priority: job.priority,
            attempt: job.attempt,
            max_attempts: job.max_attempts,
            enqueued_at: job.enqueued_at,
            run_at: job.run_at,
            deadline: job.deadline,
            started_at: job.started_at,
            finished_at: job.finished_at,
            token: job.token,
            lease_expires_at: job.lease_expires_at,
            worker: job.worker,
            cancel_requested: job.cancel_requested && job.state == JobState::Leased,
            progress: job.progress,
            error: own_words(job.error, job.state, late),
            metadata: job.metadata,
            workflow: job.workflow,
            order_key: job.order_key,
            concurrency_key: job.concurrency_key,
            fairness_key: job.fairness_key,
            payload: job.payload,
            result: job.result,
        }
    }
}
