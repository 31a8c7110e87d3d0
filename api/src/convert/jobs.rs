//! Jobs: as they are asked for, and as they stand.

use bravo_model::command::{self, When};
use bravo_model::reply::Enqueued;
use bravo_model::{Job, JobId, JobState, Name, Payload};
use bytes::Bytes;

use super::{At, Trust, invalid};
use crate::{Code, DEFAULT_PROJECT, Refusal, limits, proto};

/// The last moment that RFC 3339 can write.
const TIME_MAX: u64 = 253_402_300_799_999;

/// The jobs of an enqueue call or batch.
pub fn new_jobs(jobs: Vec<proto::NewJob>) -> Result<Vec<command::NewJob>, Refusal> {
    many(jobs, Trust::Unseen)
}

pub(crate) fn many(jobs: Vec<proto::NewJob>, trust: Trust) -> Result<Vec<command::NewJob>, Refusal> {
    if jobs.is_empty() || jobs.len() > limits::ENQUEUE_JOBS_MAX {
        return Err(invalid(format!("jobs: 1 to {}, these are {}", limits::ENQUEUE_JOBS_MAX, jobs.len())));
    }
    let bytes: usize = jobs.iter().filter_map(|job| job.payload.as_ref()).map(|payload| payload.data.len()).sum();
    if bytes > limits::ENQUEUE_BYTES_MAX {
        let detail = format!("jobs: payloads of {bytes} bytes, at most {} are taken", limits::ENQUEUE_BYTES_MAX);
        return Err(Refusal::new(Code::PayloadTooLarge, detail));
    }
    jobs.into_iter().enumerate().map(|(index, job)| one(job, At::Item("jobs", index), trust)).collect()
}

pub(crate) fn one(job: proto::NewJob, at: At, trust: Trust) -> Result<command::NewJob, Refusal> {
    use proto::new_job::{End, Start};
    let horizon = |field, ms| at.within(field, ms, 0, limits::HORIZON_MS_MAX);
    let time = |field, ms| if ms <= TIME_MAX { Ok(ms) } else { Err(at.invalid(field, "at most the year 9999")) };
    let priority = job.priority.unwrap_or(limits::PRIORITY_DEFAULT.into());
    let max_attempts = job.max_attempts.map(u64::from);
    if let Some(attempts) = max_attempts {
        at.within("max_attempts", attempts, 1, limits::ATTEMPTS_MAX.into())?;
    }
    Ok(command::NewJob {
        queue: at.name("queue", &job.queue)?,
        project: project(at, &job.project_id)?,
        payload: match job.payload {
            Some(payload) => at.payload("payload", payload, trust)?,
            None => Payload { json: true, bytes: Bytes::from_static(b"null") },
        },
        priority: u8::try_from(priority)
            .ok()
            .filter(|priority| *priority <= limits::PRIORITY_MAX)
            .ok_or_else(|| at.invalid("priority", format_args!("0 to {}", limits::PRIORITY_MAX)))?,
        run_at: match job.start {
            Some(Start::RunAtMs(ms)) => Some(When::At(time("run_at", ms)?)),
            Some(Start::DelayMs(ms)) => Some(When::In(horizon("delay_ms", ms)?)),
            None => None,
        },
        deadline: match job.end {
            Some(End::DeadlineAtMs(ms)) => Some(When::At(time("deadline", ms)?)),
            Some(End::TtlMs(ms)) => Some(When::In(horizon("ttl_ms", ms)?)),
            None => None,
        },
        max_attempts: job.max_attempts,
        unique_key: at.key("unique_key", job.unique_key)?,
        unique_for_ms: job.unique_for_ms.map(|ms| horizon("unique_for_ms", ms)).transpose()?,
        order_key: at.key("order_key", job.order_key)?,
        concurrency_key: at.key("concurrency_key", job.concurrency_key)?,
        fairness_key: at.key("fairness_key", job.fairness_key)?,
        metadata: at.metadata(job.metadata, trust)?,
        workflow: None,
        requirements: at.labels("requirements", job.requirements, limits::REQUIREMENTS_MAX)?,
        sticky_key: at.key("sticky_key", job.sticky_key)?,
    })
}

pub(crate) fn project(at: At, project: &str) -> Result<Name, Refusal> {
    at.name("project_id", if project.is_empty() { DEFAULT_PROJECT } else { project })
}

/// A job's id.
pub fn job_id(text: &str) -> Result<JobId, Refusal> {
    text.parse()
}

/// The answer for one job of an enqueue, in the partition that took it in.
pub fn enqueued(partition: u16, enqueued: Enqueued, eta: Option<proto::Eta>) -> proto::EnqueuedJob {
    proto::EnqueuedJob {
        id: JobId { partition, seq: enqueued.seq }.to_string(),
        state: proto::JobState::from(enqueued.state).into(),
        duplicate: enqueued.duplicate,
        eta,
    }
}

/// A job as it stands in its partition.
pub fn job(partition: u16, job: Job, payload: Option<Payload>, result: Option<Payload>) -> proto::Job {
    proto::Job {
        id: JobId { partition, seq: job.seq }.to_string(),
        queue: job.queue.into(),
        project_id: job.project.into(),
        state: proto::JobState::from(job.state).into(),
        attempt: job.attempt,
        max_attempts: job.max_attempts,
        priority: job.priority.into(),
        enqueued_at_ms: job.enqueued_at,
        run_at_ms: job.run_at,
        started_at_ms: job.started_at,
        finished_at_ms: job.finished_at,
        deadline_at_ms: job.deadline,
        worker_id: job.worker.map(String::from),
        progress: job.progress.unwrap_or_default(),
        error: job.error,
        result: result.map(proto::Payload::from),
        metadata: job.metadata,
        workflow_id: job.workflow.map(String::from),
        payload: payload.map(proto::Payload::from),
        cancel_requested: job.cancel_requested,
        requirements: job.requirements,
        sticky_key: job.sticky_key,
    }
}

impl From<Payload> for proto::Payload {
    fn from(payload: Payload) -> Self {
        Self { data: payload.bytes, json: payload.json }
    }
}

impl From<JobState> for proto::JobState {
    fn from(state: JobState) -> Self {
        match state {
            JobState::Blocked => Self::Blocked,
            JobState::Scheduled => Self::Scheduled,
            JobState::Ready => Self::Ready,
            JobState::Leased => Self::Leased,
            JobState::Succeeded => Self::Succeeded,
            JobState::Dead => Self::Dead,
            JobState::Cancelled => Self::Cancelled,
        }
    }
}

/// The state that a message's number stands for; none for `unspecified` and for numbers of a newer version.
pub fn job_state(number: i32) -> Option<JobState> {
    let index = usize::try_from(number.checked_sub(1)?).ok()?;
    JobState::ALL.get(index).copied()
}
