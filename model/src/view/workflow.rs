//! Reads of workflows: one with its tasks, its history, and lists by what is asked most.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::job::JobState;
use crate::limits;
use crate::row;
use crate::table::{self, tag};
use crate::txn::{Key, Read};
use crate::workflow::packed::Opened;
use crate::workflow::{Action, Event, NewTask, Phase, Status, Task, TaskRef, TaskState, Workflow};
use crate::{Name, Time};

/// A task as callers see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskView {
    /// Its place, from 0.
    pub place: u32,
    /// What was asked for.
    pub spec: NewTask,
    /// What is kept of it, with the state that callers see.
    pub task: Task,
    /// Its result, as JSON text.
    pub result: Option<Bytes>,
}

/// The rows to read a workflow's parts from: those of one that is over may be packed.
pub fn opened<R: Read + ?Sized>(rows: &R, seq: u64) -> impl Read {
    Opened::new(rows, seq)
}

/// A workflow's record. What follows here reads its parts, and wants rows that are [`opened`].
pub fn workflow(rows: &impl Read, seq: u64) -> Option<Workflow> {
    row::read(rows, &table::by_seq(tag::WORKFLOW, seq))
}

/// What a workflow was started with, as JSON text.
pub fn workflow_input(rows: &impl Read, seq: u64) -> Option<Bytes> {
    rows.get(&table::by_seq(tag::INPUT, seq))
}

/// The name of a task.
pub fn task_id(rows: &impl Read, seq: u64, place: u32) -> Option<Name> {
    row::read::<NewTask>(rows, &table::of_workflow(tag::SPEC, seq, &[place])).map(|spec| spec.id)
}

/// The tasks of a workflow from a place on, in the order of their places; its `on_failure` last, once it has begun.
pub fn tasks(rows: &impl Read, workflow: &Workflow, from: u32, limit: usize) -> Vec<TaskView> {
    let mut tasks: Vec<TaskView> =
        (from..workflow.tasks).take(limit).filter_map(|place| task(rows, workflow, place)).collect();
    if workflow.on_failure && tasks.len() < limit {
        let begun = task(rows, workflow, TaskRef::ON_FAILURE).filter(|view| view.task.job.is_some());
        tasks.extend(begun);
    }
    tasks
}

fn task(rows: &impl Read, workflow: &Workflow, place: u32) -> Option<TaskView> {
    let at = TaskRef::whole(workflow.seq, place);
    let spec: NewTask = row::read(rows, &table::of_workflow(tag::SPEC, at.workflow, &[at.task]))?;
    let mut task: Task = row::read(rows, &table::of_task(tag::TASK, at)).unwrap_or_default();
    let result = rows.get(&table::of_task(tag::OUTPUT, at));
    let leased = show_job(rows, &mut task);
    task.state = shown(workflow, &spec, &task, leased);
    Some(TaskView { place, spec, task, result })
}

/// While a job lives, it knows best how far it is. Answers whether a worker holds it.
fn show_job(rows: &impl Read, task: &mut Task) -> bool {
    let Some(job) = task.job.and_then(|seq| row::job(rows, seq)).filter(|job| !job.state.is_final()) else {
        return false;
    };
    if task.state == TaskState::Running {
        task.attempt = job.attempt;
        task.started_at = job.started_at;
        task.error = job.error;
    }
    job.state == JobState::Leased
}

/// The state that callers see: a job that no worker has is ready, and what a workflow that is over
/// left behind is cancelled.
fn shown(workflow: &Workflow, spec: &NewTask, task: &Task, leased: bool) -> TaskState {
    let over = workflow.status.is_final() || workflow.phase != Phase::Forward;
    let on_failure = workflow.phase == Phase::OnFailure && matches!(spec.action, Action::Job { .. });
    match task.state {
        TaskState::Running if leased => TaskState::Running,
        TaskState::Running if on_failure && !workflow.status.is_final() => TaskState::Ready,
        TaskState::Waiting | TaskState::Ready | TaskState::Running if over => TaskState::Cancelled,
        TaskState::Running if task.job.is_some() => TaskState::Ready,
        state => state,
    }
}

/// Events of a workflow after a number, in order; each with its number.
pub fn events(rows: &impl Read, seq: u64, after: u32, limit: usize) -> Vec<(u32, Event)> {
    let from = table::of_workflow(tag::EVENT, seq, &[after.saturating_add(1)]);
    let mut events = Vec::new();
    row::walk(rows, &from, &table::by_seq(tag::EVENT, seq), &mut |key, value| {
        events.extend(row::decode(value).map(|event| (table::last_u32(key), event)));
        events.len() < limit
    });
    events
}

/// Which workflows a list shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowFilter {
    /// With this status only.
    pub status: Option<Status>,
    /// Of this project only.
    pub project: Option<Name>,
    /// Made from this template only.
    pub template: Option<Name>,
    /// Started at this time or later.
    pub started_after: Option<Time>,
}

/// Workflows that match, newest first, with a number below `before`; parts of others are left out.
/// A page may be short, even empty, and have a next one: it stops after [`limits::LIST_SCAN_MAX`] rows.
pub fn workflows(
    rows: &impl Read,
    filter: &WorkflowFilter,
    before: Option<u64>,
    limit: usize,
) -> (Vec<Workflow>, Option<u64>) {
    let limit = limit.clamp(1, limits::LIST_PAGE_MAX);
    let statuses: Vec<Status> = Status::ALL.into_iter().filter(|s| filter.status.is_none_or(|one| one == *s)).collect();
    let key = |status: Status, seq: u64| match (&filter.project, &filter.template) {
        (Some(project), _) => table::by_owner(tag::BY_PROJECT, project.as_str(), status, seq),
        (None, Some(template)) => table::by_owner(tag::BY_TEMPLATE, template.as_str(), status, seq),
        (None, None) => table::by_status(status, seq),
    };
    let mut found = Vec::new();
    let (mut below, mut looked_at) = (before.unwrap_or(u64::MAX), 0);
    while looked_at < limits::LIST_SCAN_MAX {
        let wanted = (limit - found.len()).saturating_add(1);
        let mut seqs: Vec<u64> = Vec::new();
        for status in &statuses {
            newest(rows, &|seq| key(*status, seq), below, wanted, &mut seqs);
        }
        seqs.sort_unstable_by(|a, b| b.cmp(a));
        seqs.truncate(wanted);
        let Some(last) = seqs.last().copied() else { return (found, None) };
        for seq in seqs {
            looked_at += 1;
            let Some(workflow) = workflow(rows, seq) else { continue };
            if filter.started_after.is_some_and(|after| workflow.started_at < after) {
                // Numbers are given in the order of starting: all further ones are older.
                return (found, None);
            }
            if found.len() == limit {
                let next = found.last().map(|workflow: &Workflow| workflow.seq);
                return (found, next);
            }
            let template = workflow.template.as_ref().map(|template| &template.name);
            if filter.template.is_none() || filter.template.as_ref() == template {
                found.push(workflow);
            }
        }
        below = last;
    }
    (found, Some(below))
}

/// Numbers below one, the highest first, of a table whose keys end in the complement of the number.
fn newest(rows: &impl Read, key: &dyn Fn(u64) -> Key, below: u64, wanted: usize, seqs: &mut Vec<u64>) {
    let before = seqs.len();
    // Complements grow as numbers fall; the first key is the one of the highest number below.
    let (from, to) = (key(below.saturating_sub(1)), table::after(&key(0)));
    if below == 0 {
        return;
    }
    rows.scan(&from, &to, &mut |key, _| {
        seqs.push(!table::last_u64(key));
        seqs.len() - before < wanted
    });
}
