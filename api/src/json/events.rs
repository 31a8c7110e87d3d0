//! `GET /api/v1/events`.

use bravo_model::JobId;
use bravo_model::happened::JobEvent;
use serde::{Deserialize, Serialize};

use super::jobs::State;
use crate::Timestamp;

/// The query of `GET /api/v1/events`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EventsQuery {
    /// Jobs of this queue only.
    pub queue: Option<String>,
    /// Of this project only.
    pub project_id: Option<String>,
}

/// The data of a job's event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobEventAnswer {
    /// Such as `job.succeeded`.
    pub event: String,
    /// When.
    pub at: Timestamp,
    /// The job.
    pub job_id: String,
    /// The queue it is in.
    pub queue: String,
    /// The project it belongs to.
    pub project_id: String,
    /// Where it stands now.
    pub state: State,
    /// Leases so far.
    pub attempt: u32,
    /// Who holds or last held it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_id: Option<String>,
    /// The last failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The workflow it is a step of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow_id: Option<String>,
}

impl JobEventAnswer {
    /// What happened to a job.
    pub fn new(id: JobId, event: JobEvent) -> Self {
        Self {
            event: event.kind.into(),
            at: Timestamp(event.at),
            job_id: id.to_string(),
            queue: event.queue.into(),
            project_id: event.project.into(),
            state: State(event.state),
            attempt: event.attempt,
            worker_id: event.worker.map(String::from),
            error: event.error,
            workflow_id: event.workflow.map(String::from),
        }
    }
}
