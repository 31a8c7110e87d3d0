//! Invariants of workflows and the rows that follow from them.

use std::collections::{BTreeMap, BTreeSet};

use super::{Census, differences};
use crate::apply::workflow::list_keys;
use crate::job::JobState;
use crate::row;
use crate::table::{self, due, tag};
use crate::txn::Key;
use crate::workflow::packed;
use crate::workflow::{NewTask, Phase, Task, TaskRef, TaskState, Workflow};

fn workflows(census: &Census) -> BTreeMap<u64, Workflow> {
    let decoded = |(key, value)| row::decode::<Workflow>(&value).map(|workflow| (table::last_u64(&key), workflow));
    census.table(tag::WORKFLOW).into_iter().filter_map(decoded).collect()
}

fn tasks(census: &Census) -> BTreeMap<TaskRef, Task> {
    let decoded = |(key, value): (Key, _)| Some((table::task_of(&key)?, row::decode::<Task>(&value)?));
    census.table(tag::TASK).into_iter().filter_map(decoded).collect()
}

/// A workflow counts its tasks rightly: how many are open, and how many are under way.
pub(super) fn workflow_counts(census: &Census) -> Vec<String> {
    let tasks = tasks(census);
    let mut running: BTreeMap<u64, u32> = BTreeMap::new();
    for at in census.keys(tag::RUNNING).iter().filter_map(table::task_of) {
        *running.entry(at.workflow).or_default() += 1;
    }
    let mut wrong = Vec::new();
    for (seq, workflow) in workflows(census) {
        let whole = TaskRef::whole(seq, 0)..TaskRef::whole(seq, workflow.tasks);
        let open = tasks.range(whole).filter(|(at, task)| at.item == 0 && !task.state.is_passed()).count();
        let found = running.remove(&seq).unwrap_or_default();
        let undone = matches!(workflow.phase, Phase::Compensating | Phase::OnFailure) || workflow.status.is_final();
        if (open != workflow.open as usize && !undone) || found != workflow.running {
            wrong.push(format!(
                "workflow {seq}: {} open and {} running are counted, {open} and {found} are there",
                workflow.open, workflow.running
            ));
        }
        let expected =
            if workflow.status.is_final() { workflow.finished_at.is_some() } else { workflow.keep_until.is_none() };
        if !expected || (!workflow.status.is_final() && workflow.open == 0 && workflow.phase == Phase::Forward) {
            wrong.push(format!("workflow {seq} is {:?} with {} open tasks", workflow.status, workflow.open));
        }
    }
    wrong.extend(running.keys().map(|seq| format!("tasks of workflow {seq}, which is not there, are running")));
    wrong
}

/// Lists hold each workflow that is no other's part once under its status.
pub(super) fn workflow_lists_follow(census: &Census) -> Vec<String> {
    let expected: BTreeSet<Key> = workflows(census)
        .values()
        .filter(|workflow| workflow.parent.is_none())
        .flat_map(|workflow| list_keys(workflow, workflow.status))
        .collect();
    let found =
        [tag::BY_STATUS, tag::BY_PROJECT, tag::BY_TEMPLATE].into_iter().flat_map(|tag| census.keys(tag)).collect();
    differences("workflow lists", &expected, &found)
}

/// While a workflow goes forward, a task waits for exactly those before it that have not ended, and one
/// that waits for nothing has begun.
pub(super) fn tasks_wait_for_what_is_open(census: &Census) -> Vec<String> {
    let (workflows, tasks) = (workflows(census), tasks(census));
    let mut missing: BTreeMap<TaskRef, u32> = BTreeMap::new();
    for edge in census.keys(tag::EDGE) {
        let Some(on) = table::task_of(&edge) else { continue };
        let dependent = TaskRef::whole(on.workflow, table::last_u32(&edge));
        if tasks.get(&TaskRef::whole(on.workflow, on.task)).is_some_and(|task| !task.state.is_passed()) {
            *missing.entry(dependent).or_default() += 1;
        }
    }
    let forward = |at: &TaskRef| {
        let workflow = workflows.get(&at.workflow);
        workflow.is_some_and(|workflow| workflow.phase == Phase::Forward && !workflow.status.is_final())
    };
    let due: BTreeSet<TaskRef> = due_tasks(census).into_iter().map(|(_, at)| at).collect();
    let mut wrong = Vec::new();
    for (at, task) in tasks.iter().filter(|(at, _)| at.item == 0 && forward(at)) {
        let expected = missing.get(at).copied().unwrap_or_default();
        if task.missing != expected && task.state == TaskState::Waiting {
            wrong.push(format!("task {at:?} waits for {} and should for {expected}", task.missing));
        }
        if task.state == TaskState::Waiting && expected == 0 && !due.contains(at) {
            wrong.push(format!("task {at:?} waits for nothing and has not begun"));
        }
    }
    wrong
}

/// A task's job knows its task, the other way round, and only while the job lives.
pub(super) fn jobs_of_tasks_point_back(census: &Census) -> Vec<String> {
    let (workflows, tasks) = (workflows(census), tasks(census));
    let specs: BTreeMap<Key, NewTask> = census
        .table(tag::SPEC)
        .into_iter()
        .filter_map(|(key, value)| Some((key, row::decode::<NewTask>(&value)?)))
        .collect();
    let mut wrong = Vec::new();
    let mut of_job: BTreeMap<u64, TaskRef> = BTreeMap::new();
    for (key, value) in census.table(tag::TASK_OF_JOB) {
        let seq = table::last_u64(&key);
        of_job.extend(row::decode::<TaskRef>(&value).map(|at| (seq, at)));
        if census.jobs.get(&seq).is_none_or(|job| job.state.is_final()) {
            wrong.push(format!("job {seq} has a task and does not live"));
        }
    }
    let running = census.keys(tag::RUNNING);
    for at in running.iter().filter_map(table::task_of) {
        let Some(task) = tasks.get(&at) else {
            wrong.push(format!("{at:?} runs and is not there"));
            continue;
        };
        if task.state != TaskState::Running {
            wrong.push(format!("{at:?} runs and is {:?}", task.state));
        }
        if let Some(job) = task.job
            && task.child.is_none()
            && of_job.get(&job) != Some(&at)
        {
            wrong.push(format!("{at:?} runs as job {job}, which does not know"));
        }
        if let Some(child) = task.child.filter(|_| task.job.is_none())
            && workflows.get(&child).is_some_and(|child| child.parent != Some(at))
        {
            wrong.push(format!("{at:?} runs as workflow {child}, which does not know"));
        }
    }
    let whole_runs = |(at, task): (&TaskRef, &Task)| {
        let leaf = task.items.is_none();
        let key = table::of_task(tag::RUNNING, *at);
        (leaf && task.state == TaskState::Running && !running.contains(&key))
            .then(|| format!("{at:?} is running and not noted"))
    };
    wrong.extend(tasks.iter().filter_map(whole_runs));
    wrong.extend(specs.is_empty().then(|| tasks.keys().next().map(|at| format!("{at:?} has no spec"))).flatten());
    wrong
}

/// A task that time will end has its row.
pub(super) fn task_times_have_due(census: &Census) -> Vec<String> {
    let due: BTreeSet<(u64, TaskRef)> = due_tasks(census).into_iter().collect();
    let missing = |(at, task): (&TaskRef, &Task)| {
        let time = task.due?;
        (!due.contains(&(time, *at))).then(|| format!("{at:?} is due at {time} and nothing says so"))
    };
    tasks(census).iter().filter_map(missing).collect()
}

fn due_tasks(census: &Census) -> Vec<(u64, TaskRef)> {
    let row = |key: &Key| {
        let (time, kind, what) = table::split_due(key)?;
        (kind == due::TASK).then(|| table::due_task_of(what)).flatten().map(|at| (time, at))
    };
    census.keys(tag::DUE).iter().filter_map(row).collect()
}

/// Nothing is left of a workflow that was removed, and what lives has its job.
pub(super) fn no_orphans_of_workflows(census: &Census) -> Vec<String> {
    let workflows = workflows(census);
    let mut wrong = Vec::new();
    for tag in crate::apply::workflow::PARTS {
        let owner =
            |key: &Key| key.as_slice().get(1..9).and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes);
        let orphans = census.keys(tag).iter().filter_map(owner).filter(|seq| !workflows.contains_key(seq)).count();
        if orphans > 0 {
            wrong.push(format!("table {tag:x}: {orphans} rows of workflows that are not there"));
        }
    }
    let dead = |job: &&crate::Job| job.workflow.is_some() && job.state == JobState::Blocked;
    wrong.extend(census.jobs.values().filter(dead).map(|job| format!("job {} of a workflow is blocked", job.seq)));
    wrong
}

/// What is packed is over, nothing of it runs, and something was packed.
pub(super) fn packed_are_over(census: &Census) -> Vec<String> {
    let workflows = workflows(census);
    let wrong = |(key, value): (Key, crate::Value)| {
        let seq = table::last_u64(&key);
        let over = workflows.get(&seq).is_some_and(|one| one.status.is_final() && one.running == 0);
        let empty = packed::unpack(seq, &value).unwrap_or_default().is_empty();
        (!over || empty).then(|| format!("workflow {seq} is packed and not over, or empty ({empty})"))
    };
    census.table(tag::PACKED).into_iter().filter_map(wrong).collect()
}
