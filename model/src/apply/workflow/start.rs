//! Start: a workflow's rows are made, and what waits for nothing begins.

use std::collections::BTreeMap;

use super::Step;
use super::rows::list_keys;
use crate::apply::{Answer, invalid};
use crate::code::{Code, Refusal};
use crate::command::When;
use crate::limits;
use crate::reply::Reply;
use crate::state::State;
use crate::table::{self, tag};
use crate::workflow::{EventKind, NewTask, NewWorkflow, Phase, Status, Task, TaskRef, Workflow};

impl State<'_> {
    pub(in crate::apply) fn start_workflow(&mut self, new: NewWorkflow) -> Answer {
        if new.name.len() > limits::TITLE_BYTES_MAX {
            return invalid(format!("name: at most {} bytes", limits::TITLE_BYTES_MAX));
        }
        if new.input.len() > limits::PAYLOAD_BYTES_MAX {
            let detail =
                format!("input: at most {} bytes, this one has {}", limits::PAYLOAD_BYTES_MAX, new.input.len());
            return Err(Refusal::new(Code::PayloadTooLarge, detail));
        }
        let seq = self.open_workflow(new, None)?;
        Ok(Reply::Workflow { seq, status: Status::Running })
    }

    /// Makes a workflow, its own or a part of another one.
    pub(in crate::apply) fn open_workflow(
        &mut self,
        new: NewWorkflow,
        parent: Option<TaskRef>,
    ) -> Result<u64, Refusal> {
        let places = places(&new.plan.tasks)?;
        let now = self.now();
        let seq = self.read::<u64>(&table::key(tag::LAST_WORKFLOW, &[])).unwrap_or(0).saturating_add(1);
        let depth = match parent.and_then(|at| self.workflow(at.workflow)) {
            Some(above) => above.depth.saturating_add(1),
            None => 0,
        };
        if depth > limits::WORKFLOW_DEPTH_MAX {
            return Err(Refusal::new(Code::InvalidArgument, "workflows lie too deep in each other"));
        }
        self.put(table::key(tag::LAST_WORKFLOW, &[]), &seq);
        let deadline = new.deadline.map(|when| match when {
            When::At(time) => time,
            When::In(ms) => now.saturating_add(ms),
        });
        let tasks = new.plan.tasks.len() as u32;
        let workflow = Workflow {
            seq,
            name: new.name,
            project: new.project,
            template: new.template,
            status: Status::Running,
            phase: Phase::Forward,
            error: None,
            failed_task: None,
            started_at: now,
            finished_at: None,
            deadline,
            deadline_ms: deadline.map(|deadline| deadline.saturating_sub(now)),
            parent,
            depth,
            tasks,
            parts: tasks,
            open: tasks,
            running: 0,
            on_failure: new.plan.on_failure.is_some(),
            undoable: new.plan.tasks.iter().any(|task| task.compensate.is_some()),
            undo_seq: 0,
            events: 0,
            signals: 0,
            retention_ms: new.retention_ms,
            keep_until: None,
        };
        self.put_workflow(&workflow);
        if parent.is_none() {
            list_keys(&workflow, workflow.status).into_iter().for_each(|key| self.mark(key));
        }
        if let Some(deadline) = deadline {
            self.mark(table::due_workflow(deadline, seq));
        }
        self.put_text(table::by_seq(tag::INPUT, seq), &new.input);
        for (place, task) in new.plan.tasks.iter().enumerate() {
            self.put_new_task(TaskRef::whole(seq, place as u32), task, &|id| places.get(id).copied());
        }
        if let Some(task) = &new.plan.on_failure {
            self.put(table::of_workflow(tag::SPEC, seq, &[TaskRef::ON_FAILURE]), task);
        }
        self.event(seq, EventKind::WorkflowStarted, None, None);
        Ok(seq)
    }

    /// Writes a task's rows; it begins if it waits for nothing.
    pub(super) fn put_new_task(&mut self, at: TaskRef, new: &NewTask, place_of: &dyn Fn(&str) -> Option<u32>) {
        let mut missing = 0;
        for on in new.depends_on.iter().filter_map(|id| place_of(id.as_str())) {
            if !self.task(TaskRef::whole(at.workflow, on)).state.is_passed() {
                missing += 1;
            }
            let mut edge = table::of_workflow(tag::EDGE, at.workflow, &[on]).as_slice().to_vec();
            edge.extend_from_slice(&at.task.to_be_bytes());
            self.mark(crate::Key::new(&edge));
        }
        self.put(table::of_workflow(tag::SPEC, at.workflow, &[at.task]), new);
        self.put(table::named(tag::TASK_BY_ID, at.workflow, new.id.as_str()), &at.task);
        self.put_task(at, &Task { missing, ..Task::default() });
        if missing == 0 {
            self.steps.push_back(Step::Begin(at));
        }
    }
}

/// Where each task stands; refuses what the checks of a definition refuse, for callers that left them out.
fn places(tasks: &[NewTask]) -> Result<BTreeMap<String, u32>, Refusal> {
    if tasks.is_empty() || tasks.len() > limits::WORKFLOW_TASKS_MAX {
        return invalid(format!("tasks: 1 to {}", limits::WORKFLOW_TASKS_MAX));
    }
    let mut places = BTreeMap::new();
    for (place, task) in tasks.iter().enumerate() {
        if places.insert(task.id.as_str().to_owned(), place as u32).is_some() {
            return invalid(format!("tasks: {} is there twice", task.id));
        }
    }
    match tasks.iter().flat_map(|task| &task.depends_on).find(|on| !places.contains_key(on.as_str())) {
        Some(on) => invalid(format!("depends_on: there is no task {on}")),
        None => Ok(places),
    }
}
