//! `GET /api/v1/events`.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::WorkflowEventAnswer;
use super::jobs::State;
use crate::proto::watch_response::Event;
use crate::{Timestamp, proto};

/// The data of an event that says that others were missed.
const MISSED: &str = r#"{"detail":"some events are not kept any more; read the jobs' states"}"#;

/// The query of `GET /api/v1/events`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct EventsQuery {
    /// Jobs of this queue only.
    pub queue: Option<String>,
    /// Of this project only.
    pub project_id: Option<String>,
}

/// The data of a job's event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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

impl From<proto::JobEvent> for JobEventAnswer {
    fn from(event: proto::JobEvent) -> Self {
        let some = |text: String| Some(text).filter(|text| !text.is_empty());
        Self {
            event: event.event,
            at: Timestamp(event.at_ms),
            job_id: event.job_id,
            queue: event.queue,
            project_id: event.project_id,
            state: State::of(event.state),
            attempt: event.attempt,
            worker_id: some(event.worker_id),
            error: event.error,
            workflow_id: some(event.workflow_id),
        }
    }
}

/// An event's name and its data, as JSON text.
pub fn event_text(event: Event) -> (String, String) {
    let (name, text) = match event {
        Event::Job(event) => (event.event.clone(), serde_json::to_string(&JobEventAnswer::from(event))),
        Event::Workflow(event) => (event.event.clone(), serde_json::to_string(&WorkflowEventAnswer::from(event))),
        Event::Missed(_) => ("missed".to_owned(), Ok(MISSED.to_owned())),
    };
    (name, text.unwrap_or_default())
}
