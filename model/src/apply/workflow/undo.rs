//! Undo: when a workflow has failed, tasks that succeeded are compensated, the last one first (the
//! saga pattern), and then `on_failure` runs. What fails here is noted and does not stop the rest.

use bytes::Bytes;

use super::Ending;
use crate::apply::nack::cut;
use crate::limits;
use crate::row;
use crate::state::State;
use crate::table::{self, tag};
use crate::workflow::expression::{self, References, Scope};
use crate::workflow::{Action, EventKind, NewTask, Phase, Status, Task, TaskRef, TaskState, Workflow};

impl State<'_> {
    /// Gives a task that can be undone its place in the order.
    pub(super) fn note_undoable(&mut self, at: TaskRef) {
        if self.spec(at).is_none_or(|spec| spec.compensate.is_none()) {
            return;
        }
        let Some(mut workflow) = self.workflow(at.workflow) else { return };
        workflow.undo_seq = workflow.undo_seq.saturating_add(1);
        self.put_workflow(&workflow);
        self.put(undo_key(at.workflow, workflow.undo_seq), &at.task);
        let mut task = self.task(at);
        task.undo = Some(workflow.undo_seq);
        self.put_task(at, &task);
    }

    /// Undoes the task that succeeded last, or runs `on_failure`, or ends the workflow.
    pub(super) fn undo_next(&mut self, mut workflow: Workflow) {
        let seq = workflow.seq;
        let on_failure = workflow.on_failure;
        if workflow.phase != Phase::Compensating {
            workflow.phase = Phase::Compensating;
            self.put_workflow(&workflow);
            if row::front(self.rows(), &table::by_seq(tag::UNDO, seq)).is_some() {
                self.event(seq, EventKind::WorkflowCompensating, None, None);
            }
        }
        while let Some((key, place)) = row::front(self.rows(), &table::by_seq(tag::UNDO, seq)) {
            let at = TaskRef { item: TaskRef::UNDO, ..TaskRef::whole(seq, row::decode(&place).unwrap_or_default()) };
            match self.launch_undo(at) {
                Ok(()) => return,
                Err(error) => {
                    self.txn.delete(&key);
                    self.event(seq, EventKind::TaskFailed, Some(at), Some(error));
                }
            }
        }
        if on_failure && self.launch_on_failure(seq).is_ok() {
            return;
        }
        if let Some(workflow) = self.workflow(seq).filter(|workflow| !workflow.status.is_final()) {
            self.close_workflow(workflow, Status::Failed);
        }
    }

    fn launch_undo(&mut self, at: TaskRef) -> Result<(), String> {
        let spec = self.spec(at).ok_or("the task is not there")?;
        let compensate = spec.compensate.clone().ok_or("the task cannot be undone")?;
        let input = self.build_after_failure(at, &spec, &compensate.input)?;
        let job = self.launch_job(at, &spec, &compensate.queue, None, limits::PRIORITY_DEFAULT, input)?;
        self.put_task(at, &Task { state: TaskState::Running, job: Some(job), ..Task::default() });
        self.set_running(at, true);
        Ok(())
    }

    fn launch_on_failure(&mut self, seq: u64) -> Result<(), String> {
        let at = TaskRef::whole(seq, TaskRef::ON_FAILURE);
        let mut workflow = self.workflow(seq).ok_or("the workflow is not there")?;
        let spec = self.spec(at).ok_or("it is not there")?;
        let Action::Job { queue, max_attempts, priority } = &spec.action else { return Err("it is no job".into()) };
        workflow.phase = Phase::OnFailure;
        self.put_workflow(&workflow);
        let launched = self.build_after_failure(at, &spec, &spec.input).and_then(|input| {
            let wanted = match &spec.when {
                Some(when) => {
                    let references = expression::references(when)?;
                    expression::holds(when, &self.failure_scope(at, &spec, &references))?
                }
                None => true,
            };
            if wanted { Ok(input) } else { Err("its condition does not hold".into()) }
        });
        let launched = launched.and_then(|input| self.launch_job(at, &spec, queue, *max_attempts, *priority, input));
        match launched {
            Ok(job) => {
                self.put_task(at, &Task { state: TaskState::Running, job: Some(job), ..Task::default() });
                self.set_running(at, true);
                self.event(at.workflow, EventKind::TaskReady, Some(at), None);
                Ok(())
            }
            Err(error) => {
                self.event(at.workflow, EventKind::TaskFailed, Some(at), Some(error.clone()));
                Err(error)
            }
        }
    }

    fn build_after_failure(&self, at: TaskRef, spec: &NewTask, input: &Bytes) -> Result<Bytes, String> {
        let references = expression::references_of_json(input)?;
        expression::build(input, &self.failure_scope(at, spec, &references))
    }

    /// As any task's, with `error`: `{"task","message"}` of what failed first.
    fn failure_scope(&self, at: TaskRef, spec: &NewTask, references: &References) -> Scope {
        let mut scope = self.scope(at, spec, references);
        let workflow = self.workflow(at.workflow);
        let failed = workflow.as_ref().and_then(|workflow| workflow.failed_task);
        let task = failed.and_then(|task| self.spec(TaskRef::whole(at.workflow, task))).map(|spec| spec.id.to_string());
        let message = workflow.and_then(|workflow| workflow.error);
        let error = serde_json::json!({ "task": task, "message": message });
        scope.set("error", error.to_string().as_bytes());
        scope
    }

    /// What undoes a task, or what runs after all of it, has ended.
    pub(super) fn end_of_cleanup(&mut self, at: TaskRef, ending: &Ending) {
        let mut task = self.task(at);
        if task.state != TaskState::Running {
            return;
        }
        let error = match ending {
            Ending::Failed(error) => Some(cut(error.clone())),
            Ending::Cancelled => Some("cancelled".to_owned()),
            _ => None,
        };
        task.state = if error.is_none() { TaskState::Succeeded } else { TaskState::Failed };
        task.error = error.clone();
        task.finished_at = Some(self.now());
        self.put_task(at, &task);
        if let Ending::Passed(Some(result)) = ending
            && at.task == TaskRef::ON_FAILURE
        {
            self.put_text(table::of_task(tag::OUTPUT, at), result);
        }
        self.set_running(at, false);
        let over = self.workflow(at.workflow).is_none_or(|workflow| workflow.status.is_final());
        if at.item == TaskRef::UNDO {
            // Cancelled with the workflow: the task stands, and is undone if a retry fails in its turn.
            if !over || error.is_none() {
                self.undone(at, error);
            }
        } else {
            let kind = if error.is_none() { EventKind::TaskSucceeded } else { EventKind::TaskFailed };
            self.event(at.workflow, kind, Some(at), error);
        }
        let Some(workflow) = self.workflow(at.workflow) else { return };
        match workflow.phase {
            _ if workflow.status.is_final() => {}
            Phase::Compensating => self.undo_next(workflow),
            Phase::OnFailure => self.close_workflow(workflow, Status::Failed),
            Phase::Forward | Phase::Ending => {}
        }
    }

    fn undone(&mut self, at: TaskRef, error: Option<String>) {
        let mut whole = self.task(at.task());
        if let Some(place) = whole.undo.take() {
            self.txn.delete(&undo_key(at.workflow, place));
        }
        let kind = match &error {
            None => {
                whole.state = TaskState::Compensated;
                EventKind::TaskCompensated
            }
            Some(error) => {
                whole.error = Some(format!("it could not be undone: {error}"));
                EventKind::TaskFailed
            }
        };
        self.put_task(at.task(), &whole);
        self.event(at.workflow, kind, Some(at.task()), error);
    }
}

/// UNDO: the last one first.
fn undo_key(workflow: u64, place: u32) -> crate::Key {
    table::of_workflow(tag::UNDO, workflow, &[u32::MAX - place])
}
