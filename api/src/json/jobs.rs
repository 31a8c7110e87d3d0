//! `GET /api/v1/jobs…`, cancel, retry, why.

use std::collections::BTreeMap;

use bravo_model::JobState;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::{IntoParams, ToSchema};

use super::raw::{self, RawJson};
use crate::{Code, Refusal, Timestamp, convert, proto};

/// A job's state by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State(pub JobState);

impl State {
    /// The state of a message; an unknown one, of a newer daemon, counts as blocked.
    pub(crate) fn of(number: i32) -> Self {
        Self(convert::jobs::job_state(number).unwrap_or(JobState::Blocked))
    }
}

impl Serialize for State {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.as_str())
    }
}

impl<'de> Deserialize<'de> for State {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = std::borrow::Cow::<str>::deserialize(deserializer)?;
        let names = "a job state is blocked, scheduled, ready, leased, succeeded, dead or cancelled";
        JobState::parse(&name).map(Self).ok_or_else(|| serde::de::Error::custom(names))
    }
}

/// `?consistency=&max_staleness_ms=` of a read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct ReadQuery {
    /// `linearizable` or `stale`.
    pub consistency: Option<String>,
    /// How old a stale answer may be.
    pub max_staleness_ms: Option<u64>,
}

impl ReadQuery {
    /// How fresh the read must be.
    pub fn into_message(self) -> Result<Option<proto::Read>, Refusal> {
        let refuse = |detail: &str| Err(Refusal::new(Code::InvalidArgument, detail));
        let max_staleness_ms = self.max_staleness_ms;
        match self.consistency.as_deref() {
            Some("stale") => Ok(Some(proto::Read { stale: true, max_staleness_ms })),
            None if max_staleness_ms.is_some() => Ok(Some(proto::Read { stale: true, max_staleness_ms })),
            None => Ok(None),
            Some("linearizable") if max_staleness_ms.is_some() => refuse("max_staleness_ms: only a stale read has one"),
            Some("linearizable") => Ok(Some(proto::Read { stale: false, max_staleness_ms: None })),
            Some(_) => refuse("consistency: linearizable or stale"),
        }
    }
}

/// The query of `GET /api/v1/jobs`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct ListJobsQuery {
    /// Jobs of this queue only.
    pub queue: Option<String>,
    /// Jobs in this state only.
    pub state: Option<State>,
    /// Jobs of this project only.
    pub project_id: Option<String>,
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

impl ListJobsQuery {
    /// The list that is asked for.
    pub fn into_message(self) -> Result<proto::ListJobsRequest, Refusal> {
        let read = ReadQuery { consistency: self.consistency, max_staleness_ms: self.max_staleness_ms };
        Ok(proto::ListJobsRequest {
            queue: self.queue.unwrap_or_default(),
            state: self.state.map_or(0, |state| proto::JobState::from(state.0).into()),
            project_id: self.project_id.unwrap_or_default(),
            limit: self.limit,
            cursor: self.cursor.unwrap_or_default(),
            read: read.into_message()?,
        })
    }
}

/// A job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobAnswer {
    /// Its id.
    pub id: String,
    /// The queue it is in.
    pub queue: String,
    /// The project it belongs to.
    pub project_id: String,
    /// Where it stands.
    pub state: State,
    /// Leases so far.
    pub attempt: u32,
    /// It dies when `attempt` has reached this and fails.
    pub max_attempts: u32,
    /// 0 (lowest) to 9.
    pub priority: u32,
    /// When it was taken in.
    pub enqueued_at: Timestamp,
    /// Not delivered before.
    pub run_at: Timestamp,
    /// First lease of the latest attempt.
    pub started_at: Option<Timestamp>,
    /// When it became final.
    pub finished_at: Option<Timestamp>,
    /// When it is too late to deliver it.
    pub deadline: Option<Timestamp>,
    /// Who holds or last held it.
    pub worker_id: Option<String>,
    /// What the worker last said about how far it is.
    pub progress: Option<RawJson>,
    /// The last failure.
    pub error: Option<String>,
    /// What the worker gave back: JSON.
    pub result: Option<RawJson>,
    /// What the worker gave back: bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_base64: Option<String>,
    /// A JSON object, as it was sent.
    #[schema(value_type = Object)]
    pub metadata: RawJson,
    /// The workflow it is a step of.
    pub workflow_id: Option<String>,
    /// A caller wants it cancelled.
    pub cancel_requested: bool,
    /// Labels that a worker must have to get it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub requirements: BTreeMap<String, String>,
    /// Jobs of one key go to one worker, if it takes them soon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sticky_key: Option<String>,
    /// What the worker gets: JSON; absent in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<RawJson>,
    /// What the worker gets: bytes; absent in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_base64: Option<String>,
}

impl From<proto::Job> for JobAnswer {
    fn from(job: proto::Job) -> Self {
        let (result, result_base64) = raw::split(job.result);
        let (payload, payload_base64) = raw::split(job.payload);
        Self {
            id: job.id,
            queue: job.queue,
            project_id: job.project_id,
            state: State::of(job.state),
            attempt: job.attempt,
            max_attempts: job.max_attempts,
            priority: job.priority,
            enqueued_at: Timestamp(job.enqueued_at_ms),
            run_at: Timestamp(job.run_at_ms),
            started_at: job.started_at_ms.map(Timestamp),
            finished_at: job.finished_at_ms.map(Timestamp),
            deadline: job.deadline_at_ms.map(Timestamp),
            worker_id: job.worker_id,
            progress: RawJson::some(job.progress),
            error: job.error,
            result,
            result_base64,
            metadata: RawJson::object(job.metadata),
            workflow_id: job.workflow_id,
            cancel_requested: job.cancel_requested,
            requirements: job.requirements,
            sticky_key: job.sticky_key,
            payload,
            payload_base64,
        }
    }
}

/// A page of jobs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobListAnswer {
    /// The jobs.
    pub jobs: Vec<JobAnswer>,
    /// Where the next page starts; null: this was the last.
    pub next_cursor: Option<String>,
    /// How old the answer may be.
    pub as_of: Timestamp,
}

impl From<proto::ListJobsResponse> for JobListAnswer {
    fn from(page: proto::ListJobsResponse) -> Self {
        Self {
            jobs: page.jobs.into_iter().map(JobAnswer::from).collect(),
            next_cursor: Some(page.next_cursor).filter(|cursor| !cursor.is_empty()),
            as_of: Timestamp(page.as_of_ms),
        }
    }
}

/// Where a job stands after a cancel or retry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobStateAnswer {
    /// The job.
    pub id: String,
    /// Where it stands.
    pub state: State,
}

impl From<proto::JobStateResponse> for JobStateAnswer {
    fn from(response: proto::JobStateResponse) -> Self {
        Self { state: State::of(response.state), id: response.id }
    }
}

/// The one reason why a job waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WhyAnswer {
    /// For programs.
    pub reason: String,
    /// For people.
    pub detail: String,
    /// Where it is known: when that ends.
    pub until: Option<Timestamp>,
}

impl From<proto::WhyResponse> for WhyAnswer {
    fn from(why: proto::WhyResponse) -> Self {
        Self { reason: why.reason, detail: why.detail, until: why.until_at_ms.map(Timestamp) }
    }
}
