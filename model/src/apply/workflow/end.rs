//! End: a task's result is kept, and those that waited for it begin; or the workflow fails.

use bytes::Bytes;

use super::{Ending, Step};
use crate::apply::nack::cut;
use crate::job::JobState;
use crate::limits;
use crate::reply::Effect;
use crate::state::State;
use crate::table::{self, tag};
use crate::workflow::{EventKind, Phase, Status, Task, TaskRef, TaskState, Workflow};

impl State<'_> {
    pub(super) fn end(&mut self, at: TaskRef, ending: Ending) {
        if self.workflow(at.workflow).is_none() {
            return;
        }
        if at.item == TaskRef::UNDO || at.task == TaskRef::ON_FAILURE {
            return self.end_of_cleanup(at, &ending);
        }
        let mut task = self.task(at);
        if !matches!(task.state, TaskState::Waiting | TaskState::Ready | TaskState::Running) {
            return;
        }
        let ending = match (ending, task.items) {
            (Ending::Passed(None), Some(items)) => self.gather(at, items.total),
            (Ending::Failed(error), _) => Ending::Failed(cut(error)),
            (ending, _) => ending,
        };
        self.let_go(at, &mut task);
        let (state, kind, detail) = match &ending {
            Ending::Passed(_) => (TaskState::Succeeded, EventKind::TaskSucceeded, None),
            Ending::Skipped => (TaskState::Skipped, EventKind::TaskSkipped, None),
            Ending::Failed(error) => (TaskState::Failed, EventKind::TaskFailed, Some(error.clone())),
            Ending::Cancelled => (TaskState::Cancelled, EventKind::TaskCancelled, None),
        };
        task.state = state;
        task.error = detail.clone();
        task.finished_at = Some(self.now());
        self.put_task(at, &task);
        if let Ending::Passed(Some(result)) = &ending {
            self.put_text(table::of_task(tag::OUTPUT, at), result);
        }
        self.event(at.workflow, kind, Some(at), detail);
        if at.item > 0 {
            self.item_ended(at, &ending);
        } else {
            self.whole_ended(at, &ending);
        }
        self.move_on(at.workflow);
    }

    /// It is under way no more, and nothing will call it.
    fn let_go(&mut self, at: TaskRef, task: &mut Task) {
        self.set_running(at, false);
        if let Some(due) = task.due.take() {
            self.txn.delete(&table::due_task(due, at));
        }
        self.await_no_signal(at);
    }

    fn whole_ended(&mut self, at: TaskRef, ending: &Ending) {
        let Some(mut workflow) = self.workflow(at.workflow) else { return };
        match ending {
            Ending::Passed(_) | Ending::Skipped => {
                workflow.open = workflow.open.saturating_sub(1);
                self.put_workflow(&workflow);
                if matches!(ending, Ending::Passed(_)) && workflow.undoable {
                    self.note_undoable(at);
                }
                self.release_dependents(at);
            }
            Ending::Failed(error) => self.fail_workflow(workflow, Some(at.task), error.clone()),
            Ending::Cancelled => {}
        }
    }

    fn release_dependents(&mut self, at: TaskRef) {
        for edge in self.keys_under(&table::of_workflow(tag::EDGE, at.workflow, &[at.task]), usize::MAX) {
            let dependent = TaskRef::whole(at.workflow, table::last_u32(&edge));
            let mut task = self.task(dependent);
            task.missing = task.missing.saturating_sub(1);
            self.put_task(dependent, &task);
            if task.missing == 0 {
                self.steps.push_back(Step::Begin(dependent));
            }
        }
    }

    fn item_ended(&mut self, at: TaskRef, ending: &Ending) {
        let whole = at.task();
        let mut task = self.task(whole);
        let Some(mut items) = task.items else { return };
        items.running = items.running.saturating_sub(1);
        if matches!(ending, Ending::Passed(_)) {
            items.done = items.done.saturating_add(1);
        }
        task.items = Some(items);
        self.put_task(whole, &task);
        if task.state != TaskState::Running {
            return;
        }
        match ending {
            Ending::Failed(error) => {
                let error = format!("item {}: {error}", at.item - 1);
                self.end(whole, Ending::Failed(error));
                self.stop_items(whole);
            }
            _ if items.done >= items.total => self.steps.push_back(Step::Ended(whole, Ending::Passed(None))),
            _ => self.fill(whole),
        }
    }

    /// The results of all items as one list; they go, it stays.
    fn gather(&mut self, at: TaskRef, total: u32) -> Ending {
        let mut list = vec![b'['];
        for item in 1..=total {
            let key = table::of_task(tag::OUTPUT, TaskRef { item, ..at });
            if item > 1 {
                list.push(b',');
            }
            match self.txn.get(&key) {
                Some(result) => list.extend_from_slice(&result),
                None => list.extend_from_slice(b"null"),
            }
            self.txn.delete(&key);
            if list.len() > limits::RESULT_LIST_BYTES_MAX {
                return Ending::Failed(format!("its results have more than {} bytes", limits::RESULT_LIST_BYTES_MAX));
            }
        }
        list.push(b']');
        Ending::Passed(Some(Bytes::from(list)))
    }

    /// A task failed, or it is too late: nothing new begins, what runs is stopped, what was done is undone.
    pub(super) fn fail_workflow(&mut self, mut workflow: Workflow, task: Option<u32>, error: String) {
        if workflow.status.is_final() || workflow.phase != Phase::Forward {
            return;
        }
        let seq = workflow.seq;
        workflow.error = Some(error);
        workflow.failed_task = task;
        let cleanup = workflow.undoable || workflow.on_failure;
        if cleanup {
            workflow.phase = Phase::Ending;
            self.set_status(&mut workflow, Status::Running);
            self.put_workflow(&workflow);
        } else {
            self.close_workflow(workflow, Status::Failed);
        }
        self.stop_all(seq);
        self.move_on(seq);
    }

    /// Whether all is done, or all that ran when it failed has ended.
    pub(super) fn move_on(&mut self, seq: u64) {
        let Some(workflow) = self.workflow(seq) else { return };
        if workflow.status.is_final() {
            return;
        }
        match workflow.phase {
            Phase::Forward if workflow.open == 0 => self.close_workflow(workflow, Status::Succeeded),
            Phase::Ending if workflow.running == 0 && self.steps.iter().all(|step| !ends(step, seq)) => {
                self.undo_next(workflow);
            }
            _ => {}
        }
    }

    /// The workflow is over.
    pub(super) fn close_workflow(&mut self, mut workflow: Workflow, status: Status) {
        let now = self.now();
        if let Some(deadline) = workflow.deadline {
            self.txn.delete(&table::due_workflow(deadline, workflow.seq));
        }
        let keep_until = now.saturating_add(limits::WORKFLOW_KEPT_MS);
        self.set_status(&mut workflow, status);
        workflow.finished_at = Some(now);
        workflow.keep_until = Some(keep_until);
        self.mark(table::due_workflow(keep_until, workflow.seq));
        self.put_workflow(&workflow);
        self.over.push(workflow.seq);
        self.delete_all(&table::by_seq(tag::HELD, workflow.seq));
        let kind = match status {
            Status::Succeeded => EventKind::WorkflowSucceeded,
            Status::Cancelled => EventKind::WorkflowCancelled,
            _ => EventKind::WorkflowFailed,
        };
        self.event(workflow.seq, kind, None, workflow.error.clone());
        match workflow.parent {
            Some(parent) => {
                let ending = match status {
                    Status::Succeeded => self.results(&workflow),
                    Status::Failed => Ending::Failed(workflow.error.unwrap_or_else(|| "its workflow failed".into())),
                    _ if self.phase(parent.workflow) == Some(Phase::Forward) => {
                        Ending::Failed("its workflow was cancelled".into())
                    }
                    _ => Ending::Cancelled,
                };
                self.steps.push_back(Step::Ended(parent, ending));
            }
            None => self.noted.push(Effect::WorkflowEnded {
                status,
                took_ms: now.saturating_sub(workflow.started_at),
                template: workflow.template,
            }),
        }
    }

    /// All results of a workflow's tasks by their ids: what it gives to the one above.
    fn results(&self, workflow: &Workflow) -> Ending {
        let mut text = vec![b'{'];
        for task in 0..workflow.tasks {
            let at = TaskRef::whole(workflow.seq, task);
            let (Some(spec), Some(result)) = (self.spec(at), self.txn.get(&table::of_task(tag::OUTPUT, at))) else {
                continue;
            };
            let comma = if text.len() > 1 { "," } else { "" };
            text.extend_from_slice(format!("{comma}\"{}\":", spec.id).as_bytes());
            text.extend_from_slice(&result);
            if text.len() > limits::RESULT_LIST_BYTES_MAX {
                return Ending::Failed(format!("its results have more than {} bytes", limits::RESULT_LIST_BYTES_MAX));
            }
        }
        text.push(b'}');
        Ending::Passed(Some(Bytes::from(text)))
    }

    /// Stops all that is under way. A worker is asked, as by any cancel; the rest ends at once.
    pub(super) fn stop_all(&mut self, seq: u64) {
        for key in self.keys_under(&table::by_seq(tag::RUNNING, seq), usize::MAX) {
            if let Some(at) = table::task_of(&key) {
                self.stop(at);
            }
        }
    }

    /// Stops the items of one task.
    pub(super) fn stop_items(&mut self, at: TaskRef) {
        for key in self.keys_under(&table::of_workflow(tag::RUNNING, at.workflow, &[at.task]), usize::MAX) {
            if let Some(item) = table::task_of(&key) {
                self.stop(item);
            }
        }
    }

    pub(super) fn stop(&mut self, at: TaskRef) {
        let task = self.task(at);
        if let Some(job) = task.job.and_then(|seq| self.job(seq)) {
            match job.state {
                JobState::Leased => self.ask_to_stop(&job),
                state if !state.is_final() => self.finish(&job, job.clone(), JobState::Cancelled),
                _ => {}
            }
        } else if let Some(child) = task.child {
            self.stop_workflow(child);
        } else {
            self.steps.push_back(Step::Ended(at, Ending::Cancelled));
        }
    }
}

fn ends(step: &Step, seq: u64) -> bool {
    matches!(step, Step::Ended(at, _) if at.workflow == seq)
}
