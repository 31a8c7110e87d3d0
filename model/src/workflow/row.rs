//! The rows of a workflow: what is remembered of the whole, of each task, and of what happened.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::definition::TemplateRef;
use crate::Time;
use crate::code::{Code, Refusal};
use crate::id::Name;

/// A workflow's id: the partition that holds it and its sequence number there, written
/// `w<partition>-<sequence>`. Opaque to users.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WorkflowId {
    /// Job partition, from 0.
    pub partition: u16,
    /// Sequence within the partition, from 1, in the order of starting.
    pub seq: u64,
}

impl fmt::Display for WorkflowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "w{}-{}", self.partition, self.seq)
    }
}

impl FromStr for WorkflowId {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let parse = || {
            let (partition, seq) = text.strip_prefix('w')?.split_once('-')?;
            let id = Self { partition: partition.parse().ok()?, seq: seq.parse().ok()? };
            (id.to_string() == text).then_some(id)
        };
        parse()
            .ok_or_else(|| Refusal::new(Code::NotFound, format!("no workflow has the id {:?}", crate::id::clip(text))))
    }
}

/// Where a workflow stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Status {
    /// Not begun.
    Pending = 0,
    /// Under way, or undoing what was done.
    #[default]
    Running = 1,
    /// What runs goes on, nothing new begins.
    Paused = 2,
    /// Every task succeeded or was skipped.
    Succeeded = 3,
    /// A task failed, or the deadline passed.
    Failed = 4,
    /// Cancelled by a caller.
    Cancelled = 5,
}

impl Status {
    /// Every status, in the order of its number.
    pub const ALL: [Self; 6] =
        [Self::Pending, Self::Running, Self::Paused, Self::Succeeded, Self::Failed, Self::Cancelled];

    /// The status's name in the public contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// The status with this name, if there is one.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }

    /// Whether nothing happens to it any more unless a caller asks for it.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

/// What a workflow that is not over is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Its tasks.
    #[default]
    Forward,
    /// It failed; what still runs must end first.
    Ending,
    /// It undoes tasks, the last one first.
    Compensating,
    /// It runs `on_failure`.
    OnFailure,
}

/// A workflow's record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Workflow {
    /// Sequence within the partition.
    pub seq: u64,
    /// For people.
    pub name: String,
    /// The project it belongs to.
    pub project: Name,
    /// The template it was made from.
    pub template: Option<TemplateRef>,
    /// Where it stands.
    pub status: Status,
    /// What it is doing.
    pub phase: Phase,
    /// Why it failed.
    pub error: Option<String>,
    /// The task that failed first.
    pub failed_task: Option<u32>,
    /// When it was started.
    pub started_at: Time,
    /// When it became final.
    pub finished_at: Option<Time>,
    /// When it is too late.
    pub deadline: Option<Time>,
    /// How long it may take: a retry is given as long again.
    pub deadline_ms: Option<u64>,
    /// The task of which it is the sub-workflow.
    pub parent: Option<TaskRef>,
    /// Sub-workflows above it.
    pub depth: u8,
    /// Tasks it has, added ones included.
    pub tasks: u32,
    /// Tasks, and items of tasks, that there are.
    pub parts: u32,
    /// Tasks that have neither succeeded nor been skipped.
    pub open: u32,
    /// Tasks and items that are under way.
    pub running: u32,
    /// Whether it has an `on_failure`.
    pub on_failure: bool,
    /// Whether any of its tasks can be undone.
    pub undoable: bool,
    /// The last place given in the order of undoable tasks.
    pub undo_seq: u32,
    /// Events that were written.
    pub events: u32,
    /// Signals that were kept.
    pub signals: u32,
    /// When it is removed.
    pub keep_until: Option<Time>,
}

/// One task of one workflow; or one item of it, counted from 1; or what undoes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskRef {
    /// The workflow.
    pub workflow: u64,
    /// The task's place in the workflow, from 0; [`TaskRef::ON_FAILURE`] for the one that runs after a failure.
    pub task: u32,
    /// 0 for the task itself, an item's place from 1, or [`TaskRef::UNDO`].
    pub item: u32,
}

impl TaskRef {
    /// The place of `on_failure`.
    pub const ON_FAILURE: u32 = u32::MAX;
    /// The item that stands for the job that undoes the task.
    pub const UNDO: u32 = u32::MAX;

    /// The task itself.
    pub const fn whole(workflow: u64, task: u32) -> Self {
        Self { workflow, task, item: 0 }
    }

    /// The task that an item belongs to.
    pub const fn task(self) -> Self {
        Self { item: 0, ..self }
    }
}

/// Where a task stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u8)]
pub enum TaskState {
    /// For other tasks.
    #[default]
    Waiting = 0,
    /// It could begin: the workflow is paused, or as many items run as may.
    Ready = 1,
    /// Under way: its job is in the queue or with a worker, its sub-workflow runs, or it waits for time or a signal.
    Running = 2,
    /// Ended well.
    Succeeded = 3,
    /// Ended badly.
    Failed = 4,
    /// Its `when` was false.
    Skipped = 5,
    /// The workflow ended before it did.
    Cancelled = 6,
    /// It was undone.
    Compensated = 7,
}

impl TaskState {
    /// The state's name in the public contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Cancelled => "cancelled",
            Self::Compensated => "compensated",
        }
    }

    /// Whether those that depend on the task may begin.
    pub const fn is_passed(self) -> bool {
        matches!(self, Self::Succeeded | Self::Skipped)
    }
}

/// A task's record, or an item's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Where it stands.
    pub state: TaskState,
    /// Tasks it still waits for.
    pub missing: u32,
    /// Its latest job.
    pub job: Option<u64>,
    /// Its latest sub-workflow.
    pub child: Option<u64>,
    /// Attempts that its job had; noted when the job ends.
    pub attempt: u32,
    /// Why it failed.
    pub error: Option<String>,
    /// When it began; of a job: when a worker first took it.
    pub started_at: Option<Time>,
    /// When it ended.
    pub finished_at: Option<Time>,
    /// When its timer fires, or it has taken too long.
    pub due: Option<Time>,
    /// Of a task with `foreach`: how its items stand.
    pub items: Option<Items>,
    /// Its place among those that can be undone.
    pub undo: Option<u32>,
}

/// How the items of a task stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Items {
    /// How many there are.
    pub total: u32,
    /// How many have ended well.
    pub done: u32,
    /// How many are under way.
    pub running: u32,
}

/// Something that happened to a workflow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub at: Time,
    /// What.
    pub kind: EventKind,
    /// To which task, and which item of it.
    pub task: Option<(u32, u32)>,
    /// An error, a signal's name, a job's id.
    pub detail: Option<String>,
}

/// What happened to a workflow or task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum EventKind {
    WorkflowStarted,
    WorkflowPaused,
    WorkflowResumed,
    WorkflowRetried,
    WorkflowCompensating,
    WorkflowSucceeded,
    WorkflowFailed,
    WorkflowCancelled,
    TaskReady,
    TaskSucceeded,
    TaskFailed,
    TaskSkipped,
    TaskCancelled,
    TaskCompensated,
    TasksAdded,
    SignalReceived,
}

impl EventKind {
    /// Every kind.
    pub const ALL: [Self; 16] = [
        Self::WorkflowStarted,
        Self::WorkflowPaused,
        Self::WorkflowResumed,
        Self::WorkflowRetried,
        Self::WorkflowCompensating,
        Self::WorkflowSucceeded,
        Self::WorkflowFailed,
        Self::WorkflowCancelled,
        Self::TaskReady,
        Self::TaskSucceeded,
        Self::TaskFailed,
        Self::TaskSkipped,
        Self::TaskCancelled,
        Self::TaskCompensated,
        Self::TasksAdded,
        Self::SignalReceived,
    ];

    /// The event's name in the public contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WorkflowStarted => "workflow.started",
            Self::WorkflowPaused => "workflow.paused",
            Self::WorkflowResumed => "workflow.resumed",
            Self::WorkflowRetried => "workflow.retried",
            Self::WorkflowCompensating => "workflow.compensating",
            Self::WorkflowSucceeded => "workflow.succeeded",
            Self::WorkflowFailed => "workflow.failed",
            Self::WorkflowCancelled => "workflow.cancelled",
            Self::TaskReady => "task.ready",
            Self::TaskSucceeded => "task.succeeded",
            Self::TaskFailed => "task.failed",
            Self::TaskSkipped => "task.skipped",
            Self::TaskCancelled => "task.cancelled",
            Self::TaskCompensated => "task.compensated",
            Self::TasksAdded => "tasks.added",
            Self::SignalReceived => "signal.received",
        }
    }
}
