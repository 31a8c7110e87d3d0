//! `…/workflows…`: start, look at, switch, signal, add to.

use bravo_model::workflow::Status;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::{IntoParams, ToSchema};

use super::jobs::ReadQuery;
use super::raw::RawJson;
use crate::workflow::TaskBody;
use crate::{Refusal, Timestamp, convert, proto};

/// A workflow's status by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkflowState(pub Status);

impl WorkflowState {
    /// The status of a message; an unknown one, of a newer daemon, counts as running.
    pub fn of(number: i32) -> Self {
        Self(convert::workflows::status(number).unwrap_or(Status::Running))
    }
}

impl Serialize for WorkflowState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.as_str())
    }
}

impl<'de> Deserialize<'de> for WorkflowState {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = std::borrow::Cow::<str>::deserialize(deserializer)?;
        let names = "a status is pending, running, paused, succeeded, failed or cancelled";
        Status::parse(&name).map(Self).ok_or_else(|| serde::de::Error::custom(names))
    }
}

/// The body of `POST /api/v1/workflows`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StartWorkflowBody {
    /// For people.
    pub name: Option<String>,
    /// The project it belongs to.
    pub project_id: Option<String>,
    /// The template's name.
    pub template: Option<String>,
    /// The template's version; the newest if absent.
    pub template_version: Option<u32>,
    /// An object whose `type` names the template; the whole is the input.
    #[schema(value_type = Option<Object>)]
    pub requirements: Option<RawJson>,
    /// What is to be done.
    #[schema(value_type = Option<Vec<TaskBody>>)]
    pub tasks: Option<RawJson>,
    /// Expressions see it as `input`.
    pub input: Option<RawJson>,
    /// How long it may take.
    pub deadline_ms: Option<u64>,
    /// How long it is kept once it is over.
    pub retention_ms: Option<u64>,
    /// A task that runs after a failure.
    #[schema(value_type = Option<TaskBody>)]
    pub on_failure: Option<RawJson>,
}

impl StartWorkflowBody {
    /// The workflow that is asked for.
    pub fn into_message(self) -> proto::StartWorkflowRequest {
        let text = |text: Option<RawJson>| text.map(|text| text.0).unwrap_or_default();
        proto::StartWorkflowRequest {
            name: self.name.unwrap_or_default(),
            project_id: self.project_id.unwrap_or_default(),
            template: self.template.unwrap_or_default(),
            template_version: self.template_version,
            requirements: text(self.requirements),
            tasks: text(self.tasks),
            input: text(self.input),
            deadline_ms: self.deadline_ms,
            retention_ms: self.retention_ms,
            on_failure: text(self.on_failure),
            idempotency_key: String::new(),
        }
    }
}

/// The body of `POST /api/v1/workflows/{id}/tasks`.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddTasksBody {
    /// The lease of the running task's job.
    pub lease_token: u64,
    /// That job; any running task's if absent.
    pub job_id: Option<String>,
    /// That task; any running one if absent.
    pub task_id: Option<String>,
    /// What is to be done.
    #[schema(value_type = Vec<TaskBody>)]
    pub tasks: RawJson,
}

/// A workflow, and how it stands now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkflowStatusAnswer {
    /// The workflow.
    pub id: String,
    /// Where it stands.
    pub status: WorkflowState,
}

impl From<proto::WorkflowStatusResponse> for WorkflowStatusAnswer {
    fn from(response: proto::WorkflowStatusResponse) -> Self {
        Self { status: WorkflowState::of(response.status), id: response.id }
    }
}

/// A workflow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkflowAnswer {
    /// Its id.
    pub id: String,
    /// For people.
    pub name: String,
    /// The project it belongs to.
    pub project_id: String,
    /// Where it stands.
    pub status: WorkflowState,
    /// The template it was made from.
    pub template: Option<String>,
    /// The template's version.
    pub template_version: Option<u32>,
    /// Why it failed.
    pub error: Option<String>,
    /// What it is doing, while it is not over.
    pub phase: Option<String>,
    /// When it was started.
    pub started_at: Timestamp,
    /// When it was over.
    pub finished_at: Option<Timestamp>,
    /// When it is too late.
    pub deadline: Option<Timestamp>,
    /// The workflow of which it is a task.
    pub parent_id: Option<String>,
    /// Tasks that neither succeeded nor were skipped.
    pub tasks_open: u32,
    /// All its tasks.
    pub tasks_total: u32,
    /// What it was started with; absent in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<RawJson>,
    /// Its tasks; absent in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks: Option<Vec<TaskAnswer>>,
}

impl WorkflowAnswer {
    /// A workflow as a list shows it.
    pub fn summary(workflow: proto::Workflow) -> Self {
        let some = |text: String| Some(text).filter(|text| !text.is_empty());
        Self {
            id: workflow.id,
            name: workflow.name,
            project_id: workflow.project_id,
            status: WorkflowState::of(workflow.status),
            template: some(workflow.template),
            template_version: Some(workflow.template_version).filter(|version| *version > 0),
            error: workflow.error,
            phase: some(workflow.phase),
            started_at: Timestamp(workflow.started_at_ms),
            finished_at: workflow.finished_at_ms.map(Timestamp),
            deadline: workflow.deadline_at_ms.map(Timestamp),
            parent_id: some(workflow.parent_id),
            tasks_open: workflow.tasks_open,
            tasks_total: workflow.tasks_total,
            input: None,
            tasks: None,
        }
    }

    /// A workflow with all that belongs to it.
    pub fn whole(mut workflow: proto::Workflow) -> Self {
        let tasks = std::mem::take(&mut workflow.tasks).into_iter().map(TaskAnswer::from).collect();
        let input = RawJson::some(std::mem::take(&mut workflow.input));
        Self { input, tasks: Some(tasks), ..Self::summary(workflow) }
    }
}

/// A task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaskAnswer {
    /// Its name within the workflow.
    pub id: String,
    /// Where it stands.
    pub state: String,
    /// Its latest job.
    pub job_id: Option<String>,
    /// Leases of its job so far.
    pub attempt: u32,
    /// What it gave.
    pub result: Option<RawJson>,
    /// Why it failed.
    pub error: Option<String>,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Tasks that it waits for.
    pub depends_on: Vec<String>,
    /// The queue of its job.
    pub queue: Option<String>,
    /// Its latest sub-workflow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow_id: Option<String>,
    /// Of a task that is done for each item of a list: how the items stand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<ItemsOfTask>,
}

/// How the items of a task stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ItemsOfTask {
    /// How many there are.
    pub total: u32,
    /// How many have ended well.
    pub done: u32,
    /// How many are under way.
    pub running: u32,
}

impl From<proto::Task> for TaskAnswer {
    fn from(task: proto::Task) -> Self {
        let some = |text: String| Some(text).filter(|text| !text.is_empty());
        Self {
            id: task.id,
            state: task.state,
            job_id: some(task.job_id),
            attempt: task.attempt,
            result: RawJson::some(task.result),
            error: task.error,
            started_at: task.started_at_ms.map(Timestamp),
            finished_at: task.finished_at_ms.map(Timestamp),
            depends_on: task.depends_on,
            queue: some(task.queue),
            workflow_id: some(task.workflow_id),
            items: task.items.map(|items| ItemsOfTask { total: items.total, done: items.done, running: items.running }),
        }
    }
}

/// The query of `GET /api/v1/workflows`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct ListWorkflowsQuery {
    /// With this status only.
    pub status: Option<WorkflowState>,
    /// Of this project only.
    pub project_id: Option<String>,
    /// Made from this template only.
    pub template: Option<String>,
    /// Started at this time or later.
    pub started_after: Option<Timestamp>,
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

impl ListWorkflowsQuery {
    /// The list that is asked for.
    pub fn into_message(self) -> Result<proto::ListWorkflowsRequest, Refusal> {
        let read = ReadQuery { consistency: self.consistency, max_staleness_ms: self.max_staleness_ms };
        Ok(proto::ListWorkflowsRequest {
            status: self.status.map_or(0, |status| proto::WorkflowStatus::from(status.0).into()),
            project_id: self.project_id.unwrap_or_default(),
            template: self.template.unwrap_or_default(),
            started_after_at_ms: self.started_after.map(|time| time.0),
            limit: self.limit,
            cursor: self.cursor.unwrap_or_default(),
            read: read.into_message()?,
        })
    }
}

/// A page of workflows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkflowListAnswer {
    /// The workflows, newest first.
    pub workflows: Vec<WorkflowAnswer>,
    /// Where the next page starts; null: this was the last.
    pub next_cursor: Option<String>,
    /// How old the answer may be.
    pub as_of: Timestamp,
}

impl From<proto::ListWorkflowsResponse> for WorkflowListAnswer {
    fn from(page: proto::ListWorkflowsResponse) -> Self {
        Self {
            workflows: page.workflows.into_iter().map(WorkflowAnswer::summary).collect(),
            next_cursor: Some(page.next_cursor).filter(|cursor| !cursor.is_empty()),
            as_of: Timestamp(page.as_of_ms),
        }
    }
}

/// The data of a workflow's event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkflowEventAnswer {
    /// Its number within the workflow.
    pub id: u32,
    /// Such as `task.succeeded`.
    pub event: String,
    /// When.
    pub at: Timestamp,
    /// The workflow.
    pub workflow_id: String,
    /// The task it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<String>,
    /// The item of the task, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<u32>,
    /// An error, a signal's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl From<proto::WorkflowEvent> for WorkflowEventAnswer {
    fn from(event: proto::WorkflowEvent) -> Self {
        Self {
            id: event.id,
            event: event.event,
            at: Timestamp(event.at_ms),
            workflow_id: event.workflow_id,
            task_id: Some(event.task_id).filter(|id| !id.is_empty()),
            index: event.index,
            detail: event.detail,
        }
    }
}
