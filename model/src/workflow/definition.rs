//! What is asked for when a workflow is started: tasks, and what each waits for and does.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::command::When;
use crate::id::Name;

/// A workflow as it is asked for. Templates are resolved before it gets here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewWorkflow {
    /// For people.
    pub name: String,
    /// The project it belongs to.
    pub project: Name,
    /// The template that it was made from.
    pub template: Option<TemplateRef>,
    /// JSON text; expressions see it as `input`.
    pub input: Bytes,
    /// When it is too late for the whole.
    pub deadline: Option<When>,
    /// How long it is kept once it is over, in milliseconds.
    pub retention_ms: u64,
    /// What is to be done.
    pub plan: Plan,
}

/// Which version of which template a workflow was made from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TemplateRef {
    /// Its name.
    pub name: Name,
    /// Its version.
    pub version: u32,
    /// What it makes, for the metric: language and framework.
    pub labels: Option<(String, String)>,
}

/// Tasks that make a whole: of a workflow, or of a step that is one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// In any order.
    pub tasks: Vec<NewTask>,
    /// Runs when the workflow has failed and was compensated.
    pub on_failure: Option<Box<NewTask>>,
}

/// One task as it is asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewTask {
    /// Its name within the workflow.
    pub id: Name,
    /// Tasks that must have ended well, or been skipped, before it begins.
    pub depends_on: Vec<Name>,
    /// What it does.
    pub action: Action,
    /// JSON text whose strings may hold expressions; null if none was given.
    pub input: Bytes,
    /// An expression; the task is skipped if it is false.
    pub when: Option<String>,
    /// An expression that gives a list; the task is done once for each item.
    pub foreach: Option<String>,
    /// Items at once; [`crate::limits::FOREACH_PARALLEL_DEFAULT`] if absent.
    pub max_parallel: Option<u32>,
    /// How long it may take from when it could begin, attempts included.
    pub timeout_ms: Option<u64>,
    /// What undoes it, if the workflow fails later.
    pub compensate: Option<Compensate>,
}

/// What a task does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Action {
    /// A job for the workers of a queue.
    Job {
        /// The queue (agent type).
        queue: Name,
        /// Overrides the queue's.
        max_attempts: Option<u32>,
        /// 0 to 9.
        priority: u8,
    },
    /// A workflow of its own. The task's input is its input, and its tasks' results by id are the task's result.
    Workflow {
        /// The template it was resolved from.
        template: Option<TemplateRef>,
        /// What is to be done.
        plan: Plan,
        /// How long it may take.
        deadline_ms: Option<u64>,
    },
    /// Waits for a signal, whose payload is the task's result.
    Signal(String),
    /// Waits so many milliseconds.
    Timer(u64),
    /// Waits for the signal of the task's own name. `false`, or an object whose `approved` is false, rejects.
    Approval,
}

/// A job that undoes a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Compensate {
    /// The queue (agent type).
    pub queue: Name,
    /// As [`NewTask::input`].
    pub input: Bytes,
}
