//! Retry: a failed or cancelled workflow goes on from what did not succeed.

use super::Step;
use super::control::is_already;
use crate::apply::Answer;
use crate::code::{Code, Refusal};
use crate::reply::Reply;
use crate::state::State;
use crate::table::{self, tag};
use crate::workflow::{EventKind, Items, Phase, Status, Task, TaskRef, TaskState, Workflow};

impl State<'_> {
    pub(in crate::apply) fn retry_workflow(&mut self, seq: u64) -> Answer {
        let workflow = self.workflow_asked(seq)?;
        if !matches!(workflow.status, Status::Failed | Status::Cancelled) {
            return Err(is_already(&workflow));
        }
        if let Some(parent) = workflow.parent {
            let id = self.workflow_id(parent.workflow);
            return Err(Refusal::new(Code::Conflict, format!("it is a part of workflow {id}: retry that one")));
        }
        self.unpack_tree(seq);
        if self.still_runs(&workflow) {
            let detail = "workers still hold jobs of it and were asked to stop";
            return Err(Refusal::retry_after(Code::Conflict, detail, 1_000));
        }
        self.go_on(seq);
        Ok(Reply::Workflow { seq, status: Status::Running })
    }

    fn still_runs(&self, workflow: &Workflow) -> bool {
        let child_runs = |task| {
            let child = self.task(TaskRef::whole(workflow.seq, task)).child.and_then(|child| self.workflow(child));
            child.is_some_and(|child| self.still_runs(&child))
        };
        workflow.running > 0 || (0..workflow.tasks).any(child_runs)
    }

    /// Puts back what did not succeed, and begins it; false if the workflow cannot go on.
    pub(super) fn go_on(&mut self, seq: u64) -> bool {
        let Some(mut workflow) = self.workflow(seq) else { return false };
        if !matches!(workflow.status, Status::Failed | Status::Cancelled) {
            return false;
        }
        let now = self.now();
        if let Some(kept) = workflow.keep_until.take() {
            self.txn.delete(&table::due_workflow(kept, seq));
        }
        self.set_status(&mut workflow, Status::Running);
        workflow.phase = Phase::Forward;
        (workflow.error, workflow.failed_task, workflow.finished_at) = (None, None, None);
        workflow.deadline = workflow.deadline_ms.map(|ms| now.saturating_add(ms));
        if let Some(deadline) = workflow.deadline {
            self.mark(table::due_workflow(deadline, seq));
        }
        let mut tasks: Vec<Task> = (0..workflow.tasks).map(|task| self.task(TaskRef::whole(seq, task))).collect();
        for (place, task) in (0..).zip(&mut tasks) {
            if !task.state.is_passed() {
                self.put_back_task(TaskRef::whole(seq, place), task);
            }
        }
        workflow.open = tasks.iter().filter(|task| !task.state.is_passed()).count() as u32;
        self.put_workflow(&workflow);
        self.event(seq, EventKind::WorkflowRetried, None, None);
        for (place, task) in (0..).zip(&tasks).filter(|(_, task)| !task.state.is_passed()) {
            let at = TaskRef::whole(seq, place);
            let on = self.spec(at).map(|spec| spec.depends_on).unwrap_or_default();
            let places = on.iter().filter_map(|id| self.task_named(seq, id.as_str()));
            let waits = |on: &u32| tasks.get(*on as usize).is_some_and(|task| !task.state.is_passed());
            let missing = places.filter(waits).count() as u32;
            self.put_task(at, &Task { missing, ..task.clone() });
            if missing == 0 {
                self.steps.push_back(Step::Begin(at));
            }
        }
        // What ran when it was cancelled may all have ended well since.
        self.move_on(seq);
        true
    }

    /// A task as before it began; of its items those that succeeded stay done, unless they were undone.
    fn put_back_task(&mut self, at: TaskRef, task: &mut Task) {
        let undone = task.state == TaskState::Compensated;
        self.txn.delete(&table::of_task(tag::OUTPUT, at));
        let items = task.items.filter(|_| !undone).map(|items| {
            let mut done = 0;
            for item in 1..=items.total {
                let at = TaskRef { item, ..at };
                if self.task(at).state.is_passed() {
                    done += 1;
                } else {
                    self.txn.delete(&table::of_task(tag::TASK, at));
                    self.mark(table::of_task(tag::HELD, at));
                }
            }
            Items { done, running: 0, ..items }
        });
        if undone && task.items.is_some() {
            for tag in [tag::ITEM, tag::OUTPUT, tag::HELD] {
                self.delete_all(&table::of_workflow(tag, at.workflow, &[at.task]));
            }
            let keys = self.keys_under(&table::of_workflow(tag::TASK, at.workflow, &[at.task]), usize::MAX);
            let items = keys.iter().filter(|key| table::last_u32(key) != 0);
            items.for_each(|key| self.txn.delete(key));
        }
        let child = task.child.filter(|_| !undone);
        *task = Task { items, child, ..Task::default() };
    }
}
