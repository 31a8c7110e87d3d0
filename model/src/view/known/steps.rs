//! Steps of workflows that are about to begin: all that they wait for is done, or under way and expected to end.

use std::collections::{BTreeMap, BTreeSet};

use super::{Known, Slots, queues_of};
use crate::Time;
use crate::id::Name;
use crate::job::{Job, JobState};
use crate::row::{self, Flow};
use crate::table::{self, tag};
use crate::txn::Read;
use crate::workflow::{Action, NewTask, Phase, Status, Task, TaskRef, TaskState, Workflow};

/// Looks at `looks` tasks that are under way, and at as many that wait for them, of all workflows together.
pub(super) fn steps(rows: &impl Read, known: &mut Known, slots: &Slots, looks: usize) {
    let mut under_way: Vec<TaskRef> = Vec::new();
    let prefix = table::key(tag::RUNNING, &[]);
    if looks > 0 {
        row::walk(rows, &prefix, &prefix, &mut |key, _| {
            under_way.extend(table::task_of(key));
            under_way.len() < looks
        });
    }
    let (mut means, mut left) = (Means::default(), looks);
    let mut seen = BTreeSet::new();
    for tasks in under_way.chunk_by(|a, b| a.workflow == b.workflow) {
        let Some(workflow) = tasks.first().and_then(|task| workflow(rows, task.workflow)) else { continue };
        let ends: Vec<End> = tasks.iter().map(|at| end(rows, slots, *at, &mut means)).collect();
        let root = root(rows, &workflow);
        seen.extend(ends.iter().filter_map(|end| Some((end.queue.clone()?, root))));
        if workflow.status == Status::Running && workflow.phase == Phase::Forward {
            released(rows, known, slots, &ends, &mut left);
        }
    }
    for (queue, _) in seen {
        let count = known.workflows.entry(queue).or_default();
        *count = count.saturating_add(1);
    }
}

/// A task, or an item of one, that is under way.
struct End {
    of: TaskRef,
    /// Where its job is.
    queue: Option<Name>,
    /// When it is expected to end; none where nobody can say.
    at: Option<Time>,
}

/// The mean service of each queue, by its number, as it was met here.
type Means = BTreeMap<u32, Option<u64>>;

fn end(rows: &impl Read, slots: &Slots, of: TaskRef, means: &mut Means) -> End {
    let task: Task = row::read(rows, &table::of_task(tag::TASK, of)).unwrap_or_default();
    let undoes = of.item == TaskRef::UNDO || of.task == TaskRef::ON_FAILURE;
    let Some(job) = task.job.and_then(|seq| row::job(rows, seq)).filter(|job| !job.state.is_final()) else {
        let is_timer = !undoes && task.child.is_none() && task.due.is_some() && is_timer(rows, of);
        return End { of, queue: None, at: task.due.filter(|_| is_timer) };
    };
    let mean = means.entry(job.keeping.queue_number).or_insert_with_key(|number| {
        let flow: Flow = row::read(rows, &table::by_queue(tag::FLOW, *number))?;
        flow.service_ms.checked_div(flow.served)
    });
    let at = mean.filter(|_| !undoes).and_then(|mean| end_of_job(&job, mean, slots.now));
    End { of, queue: Some(job.queue), at }
}

/// When a job that is worked on should end. One that should have ended is given as long again as it is late: what takes
/// long takes longer still.
fn end_of_job(job: &Job, mean_ms: u64, now: Time) -> Option<Time> {
    let started_at = job.started_at.filter(|_| job.state == JobState::Leased)?;
    let at = started_at.saturating_add(mean_ms);
    Some(if at < now { now.saturating_add(now - at) } else { at })
}

fn is_timer(rows: &impl Read, of: TaskRef) -> bool {
    spec(rows, of).is_some_and(|spec| matches!(spec.action, Action::Timer(_)))
}

fn spec(rows: &impl Read, of: TaskRef) -> Option<NewTask> {
    row::read(rows, &table::of_workflow(tag::SPEC, of.workflow, &[of.task]))
}

fn workflow(rows: &impl Read, seq: u64) -> Option<Workflow> {
    row::read(rows, &table::by_seq(tag::WORKFLOW, seq))
}

/// The workflow of which it is a part of a part.
fn root(rows: &impl Read, of: &Workflow) -> u64 {
    let (mut seq, mut parent) = (of.seq, of.parent);
    for _ in 0..of.depth {
        let Some(above) = parent.and_then(|task| workflow(rows, task.workflow)) else { break };
        (seq, parent) = (above.seq, above.parent);
    }
    seq
}

/// What begins when tasks of one workflow end: those that wait for nothing else, and further items of a list. `left`
/// tasks may still be looked at.
fn released(rows: &impl Read, known: &mut Known, slots: &Slots, ends: &[End], left: &mut usize) {
    let mut dependents: BTreeMap<u32, (u32, Time)> = BTreeMap::new();
    for of_task in ends.chunk_by(|a, b| a.of.task == b.of.task) {
        let Some(at) = end_of_task(rows, known, slots, of_task) else { continue };
        let Some(of) = of_task.first().map(|end| end.of).filter(|_| *left > 0) else { continue };
        let prefix = table::of_workflow(tag::EDGE, of.workflow, &[of.task]);
        row::walk(rows, &prefix, &prefix, &mut |key, _| {
            let (ending, last) = dependents.entry(table::last_u32(key)).or_default();
            (*ending, *last) = (*ending + 1, at.max(*last));
            *left -= 1;
            *left > 0
        });
    }
    let Some(workflow) = ends.first().map(|end| end.of.workflow) else { return };
    for (place, (ending, at)) in dependents {
        let of = TaskRef::whole(workflow, place);
        let task: Task = row::read(rows, &table::of_task(tag::TASK, of)).unwrap_or_default();
        if task.state != TaskState::Waiting || task.missing != ending || slots.of(at).is_none() {
            continue;
        }
        // Whether a condition holds is known when it is asked.
        let Some(spec) = spec(rows, of).filter(|spec| spec.when.is_none()) else { continue };
        let mut queues = Vec::new();
        queues_of(&spec.action, &mut queues);
        queues.into_iter().for_each(|queue| known.add(slots, at, queue));
    }
}

/// When a task is expected to end, of which this is under way. With each item that ends, one that waits begins.
fn end_of_task(rows: &impl Read, known: &mut Known, slots: &Slots, ends: &[End]) -> Option<Time> {
    let of = ends.first()?.of;
    if of.item == 0 {
        return ends.first()?.at;
    }
    let whole: Task = row::read(rows, &table::of_task(tag::TASK, of.task()))?;
    let items = whole.items?;
    let held = items.total.saturating_sub(items.done).saturating_sub(items.running);
    if held == 0 {
        let all: Option<Vec<Time>> = ends.iter().map(|end| end.at).collect();
        return all.filter(|all| all.len() == items.running as usize)?.into_iter().max();
    }
    let mut next: Vec<(Time, &Name)> = ends.iter().filter_map(|end| Some((end.at?, end.queue.as_ref()?))).collect();
    next.sort();
    next.into_iter().take(held as usize).for_each(|(at, queue)| known.add(slots, at, queue.clone()));
    None
}
