//! `POST /api/v1/jobs`.

use std::collections::BTreeMap;

use bravo_model::command::NewJob;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::jobs::State;
use super::raw::{self, RawJson};
use crate::convert::{At, Trust, jobs};
use crate::proto::new_job::{End, Start};
use crate::{Refusal, Timestamp, limits, proto};

/// One job, or `{"jobs": […]}`: a job's fields, or `jobs` alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EnqueueBody {
    /// Up to 1,000 jobs; each has the fields below.
    #[schema(no_recursion, min_items = 1, max_items = 1000)]
    pub jobs: Option<Vec<EnqueueBody>>,
    /// The queue it goes to.
    pub queue: Option<String>,
    /// The project it belongs to; `default` if absent.
    pub project_id: Option<String>,
    /// What the worker gets: any JSON.
    pub payload: Option<RawJson>,
    /// What the worker gets: bytes.
    pub payload_base64: Option<String>,
    /// 0 to 9; 4 if absent.
    #[schema(minimum = 0, maximum = 9)]
    pub priority: Option<u64>,
    /// When it may first be delivered.
    pub run_at: Option<Timestamp>,
    /// How long after now it may first be delivered.
    pub delay_ms: Option<u64>,
    /// When it is too late to deliver it.
    pub deadline: Option<Timestamp>,
    /// How long after now it is too late to deliver it.
    pub ttl_ms: Option<u64>,
    /// Overrides the queue's.
    pub max_attempts: Option<u64>,
    /// At most one job of one unique key, project and queue, while the key holds.
    pub unique_key: Option<String>,
    /// How long the unique key holds; until the job is final if absent.
    pub unique_for_ms: Option<u64>,
    /// Jobs of one order key run one after the other.
    pub order_key: Option<String>,
    /// At most `concurrency_per_key` jobs of one key run at once.
    pub concurrency_key: Option<String>,
    /// Shares the queue fairly between keys.
    pub fairness_key: Option<String>,
    /// Labels that a worker must have, with their values, to get the job; up to 8.
    pub requirements: Option<BTreeMap<String, String>>,
    /// Jobs of one key go to the worker that has the key's state, if it takes them soon.
    pub sticky_key: Option<String>,
    /// A JSON object, returned as it was sent.
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<RawJson>,
}

impl EnqueueBody {
    /// Puts jobs that name no project into this one.
    pub fn fill_project(&mut self, project: &str) {
        match &mut self.jobs {
            Some(jobs) => jobs.iter_mut().for_each(|job| job.fill_project(project)),
            None => _ = self.project_id.get_or_insert_with(|| project.to_owned()),
        }
    }

    /// The jobs that the body asks for, checked.
    pub fn into_model(mut self) -> Result<Vec<NewJob>, Refusal> {
        let Some(bodies) = self.jobs.take() else {
            let job = self.into_message(At::Root)?;
            return Ok(vec![jobs::one(job, At::Root, Trust::Parsed)?]);
        };
        if self != Self::default() {
            return Err(At::Root.invalid("jobs", "a body with `jobs` has no other field"));
        }
        if bodies.len() > limits::ENQUEUE_JOBS_MAX {
            let what = format_args!("1 to {}, these are {}", limits::ENQUEUE_JOBS_MAX, bodies.len());
            return Err(At::Root.invalid("jobs", what));
        }
        let message = |(index, body): (usize, Self)| body.into_message(At::Item("jobs", index));
        let messages = bodies.into_iter().enumerate().map(message).collect::<Result<_, _>>()?;
        jobs::many(messages, Trust::Parsed)
    }

    pub(super) fn into_message(self, at: At) -> Result<proto::NewJob, Refusal> {
        if self.jobs.is_some() {
            return Err(at.invalid("jobs", "unknown field: a job holds no jobs"));
        }
        let both = |field, other| at.invalid(field, format_args!("{other} is given too; one of them is enough"));
        let start = match (self.run_at, self.delay_ms) {
            (None, None) => None,
            (Some(time), None) => Some(Start::RunAtMs(time.0)),
            (None, Some(ms)) => Some(Start::DelayMs(ms)),
            (Some(_), Some(_)) => return Err(both("delay_ms", "run_at")),
        };
        let end = match (self.deadline, self.ttl_ms) {
            (None, None) => None,
            (Some(time), None) => Some(End::DeadlineAtMs(time.0)),
            (None, Some(ms)) => Some(End::TtlMs(ms)),
            (Some(_), Some(_)) => return Err(both("ttl_ms", "deadline")),
        };
        // What does not fit is out of bounds anyway, and refused as such.
        let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        Ok(proto::NewJob {
            queue: self.queue.ok_or_else(|| at.invalid("queue", "missing"))?,
            project_id: self.project_id.unwrap_or_default(),
            payload: raw::join("payload", self.payload, self.payload_base64)
                .map_err(|(f, what)| at.invalid(&f, what))?,
            priority: self.priority.map(small),
            start,
            end,
            max_attempts: self.max_attempts.map(small),
            unique_key: self.unique_key,
            unique_for_ms: self.unique_for_ms,
            order_key: self.order_key,
            concurrency_key: self.concurrency_key,
            fairness_key: self.fairness_key,
            requirements: self.requirements.unwrap_or_default(),
            sticky_key: self.sticky_key,
            metadata: self.metadata.map(|metadata| metadata.0).unwrap_or_default(),
        })
    }
}

/// The answer: one per job, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EnqueueAnswer {
    /// What was taken in.
    pub jobs: Vec<EnqueuedAnswer>,
}

/// A job that was taken in, or found by its unique key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EnqueuedAnswer {
    /// The job.
    pub id: String,
    /// Where it stands.
    pub state: State,
    /// It was there already, by its unique key.
    pub duplicate: bool,
    /// How long it will probably wait for a worker, where that can be told.
    pub eta_ms: Option<EtaAnswer>,
}

/// Quantiles of an expected wait, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EtaAnswer {
    /// The median.
    pub p50: u64,
    /// 19 of 20 waits are shorter.
    pub p95: u64,
}

impl From<proto::EnqueueResponse> for EnqueueAnswer {
    fn from(response: proto::EnqueueResponse) -> Self {
        Self { jobs: response.jobs.into_iter().map(EnqueuedAnswer::from).collect() }
    }
}

impl From<proto::EnqueuedJob> for EnqueuedAnswer {
    fn from(job: proto::EnqueuedJob) -> Self {
        Self {
            state: State::of(job.state),
            duplicate: job.duplicate,
            eta_ms: job.eta.map(|eta| EtaAnswer { p50: eta.p50_ms, p95: eta.p95_ms }),
            id: job.id,
        }
    }
}
