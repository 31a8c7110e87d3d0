//! What happened, for those who watch and for webhooks.

use bravo_model::JobId;
use bravo_model::happened::Happened;
use bravo_model::workflow::WorkflowId;

use super::workflows;
use crate::proto;
use crate::proto::watch_response::Event;

/// What happened in a partition, as it is told.
pub fn event(partition: u16, happened: Happened) -> Event {
    match happened {
        Happened::Job(event) => Event::Job(proto::JobEvent {
            event: event.kind.as_str().into(),
            at_ms: event.at,
            job_id: JobId { partition, seq: event.seq }.to_string(),
            queue: event.queue.into(),
            project_id: event.project.into(),
            state: proto::JobState::from(event.state).into(),
            attempt: event.attempt,
            worker_id: event.worker.map(String::from).unwrap_or_default(),
            error: event.error,
            workflow_id: event.workflow.map(String::from).unwrap_or_default(),
        }),
        Happened::Workflow { seq, number, event, task, .. } => {
            let task = |_| task.clone().map(String::from);
            Event::Workflow(workflows::event(WorkflowId { partition, seq }, number, event, task))
        }
    }
}
