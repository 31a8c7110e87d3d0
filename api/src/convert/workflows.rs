//! Workflows: how they stand, and which a list shows.

use bravo_model::view::{TaskView, WorkflowFilter};
use bravo_model::workflow::{Action, Phase, Status, TaskRef, Workflow, WorkflowId};
use bravo_model::{JobId, Name};
use bytes::Bytes;

use super::reads::{Page, page};
use super::{At, invalid};
use crate::{DEFAULT_PROJECT, Refusal, proto};

impl From<Status> for proto::WorkflowStatus {
    fn from(status: Status) -> Self {
        match status {
            Status::Pending => Self::Pending,
            Status::Running => Self::Running,
            Status::Paused => Self::Paused,
            Status::Succeeded => Self::Succeeded,
            Status::Failed => Self::Failed,
            Status::Cancelled => Self::Cancelled,
        }
    }
}

/// The status of a message; none if it is unspecified or unknown.
pub fn status(number: i32) -> Option<Status> {
    Some(match proto::WorkflowStatus::try_from(number).ok()? {
        proto::WorkflowStatus::Unspecified => return None,
        proto::WorkflowStatus::Pending => Status::Pending,
        proto::WorkflowStatus::Running => Status::Running,
        proto::WorkflowStatus::Paused => Status::Paused,
        proto::WorkflowStatus::Succeeded => Status::Succeeded,
        proto::WorkflowStatus::Failed => Status::Failed,
        proto::WorkflowStatus::Cancelled => Status::Cancelled,
    })
}

/// A project's name; the default one if it is empty.
pub fn project(text: &str) -> Result<Name, Refusal> {
    At::Root.name("project_id", if text.is_empty() { DEFAULT_PROJECT } else { text })
}

/// A workflow without its tasks.
pub fn summary(partition: u16, workflow: Workflow) -> proto::Workflow {
    let id = |seq| WorkflowId { partition, seq }.to_string();
    let phase = match workflow.phase {
        _ if workflow.status.is_final() => "",
        Phase::Forward => "forward",
        Phase::Ending => "ending",
        Phase::Compensating => "compensating",
        Phase::OnFailure => "on_failure",
    };
    let (template, template_version) =
        workflow.template.map_or((String::new(), 0), |template| (template.name.into(), template.version));
    proto::Workflow {
        id: id(workflow.seq),
        name: workflow.name,
        project_id: workflow.project.into(),
        template,
        template_version,
        status: proto::WorkflowStatus::from(workflow.status).into(),
        error: workflow.error,
        phase: phase.into(),
        started_at_ms: workflow.started_at,
        finished_at_ms: workflow.finished_at,
        deadline_at_ms: workflow.deadline,
        parent_id: workflow.parent.map(|parent| id(parent.workflow)).unwrap_or_default(),
        tasks_open: workflow.open,
        tasks_total: workflow.tasks,
        input: Bytes::new(),
        tasks: Vec::new(),
    }
}

/// A task.
pub fn task(partition: u16, view: TaskView) -> proto::Task {
    let TaskView { spec, task, result, .. } = view;
    let queue = match spec.action {
        Action::Job { queue, .. } => queue.into(),
        _ => String::new(),
    };
    proto::Task {
        id: spec.id.into(),
        state: task.state.as_str().into(),
        job_id: task.job.map(|seq| JobId { partition, seq }.to_string()).unwrap_or_default(),
        workflow_id: task.child.map(|seq| WorkflowId { partition, seq }.to_string()).unwrap_or_default(),
        attempt: task.attempt,
        result: result.unwrap_or_default(),
        error: task.error,
        started_at_ms: task.started_at,
        finished_at_ms: task.finished_at,
        depends_on: spec.depends_on.into_iter().map(String::from).collect(),
        queue,
        items: task.items.map(|items| proto::Items { total: items.total, done: items.done, running: items.running }),
    }
}

/// An event; `id_of` tells a task's name by its place.
pub fn event(
    workflow: WorkflowId,
    number: u32,
    event: bravo_model::workflow::Event,
    id_of: impl Fn(u32) -> Option<String>,
) -> proto::WorkflowEvent {
    let (task, item) = event.task.map_or((None, 0), |(task, item)| (Some(task), item));
    proto::WorkflowEvent {
        id: number,
        event: event.kind.as_str().into(),
        at_ms: event.at,
        workflow_id: workflow.to_string(),
        task_id: task.and_then(id_of).unwrap_or_default(),
        index: (item > 0 && item != TaskRef::UNDO).then(|| item - 1),
        detail: event.detail,
    }
}

/// A list of workflows.
pub fn list_workflows(request: proto::ListWorkflowsRequest) -> Result<(WorkflowFilter, Page), Refusal> {
    let name = |field, text: &str| -> Result<Option<Name>, Refusal> {
        if text.is_empty() { Ok(None) } else { At::Root.name(field, text).map(Some) }
    };
    let filter = WorkflowFilter {
        status: match request.status {
            0 => None,
            number => Some(status(number).ok_or_else(|| invalid("status: not a workflow status"))?),
        },
        project: name("project_id", &request.project_id)?,
        template: name("template", &request.template)?,
        started_after: request.started_after_at_ms,
    };
    Ok((filter, page(request.limit, request.cursor, request.read)?))
}
