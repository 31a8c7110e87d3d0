//! Cancel, pause and resume.

use super::{Ending, Step};
use crate::apply::Answer;
use crate::code::{Code, Refusal};
use crate::reply::Reply;
use crate::state::State;
use crate::table::{self, tag};
use crate::workflow::{EventKind, Phase, Status, TaskState, Workflow};

impl State<'_> {
    /// Ends a workflow now. Workers that hold its jobs are asked to stop; what they say later changes
    /// only what the tasks show.
    pub(in crate::apply) fn cancel_workflow(&mut self, seq: u64) -> Answer {
        let workflow = self.workflow_asked(seq)?;
        match workflow.status {
            Status::Cancelled => {}
            Status::Succeeded | Status::Failed => return Err(is_already(&workflow)),
            _ => self.stop_workflow(seq),
        }
        Ok(Reply::Workflow { seq, status: Status::Cancelled })
    }

    pub(super) fn stop_workflow(&mut self, seq: u64) {
        if let Some(workflow) = self.workflow(seq)
            && !workflow.status.is_final()
        {
            self.close_workflow(workflow, Status::Cancelled);
            self.stop_all(seq);
        }
    }

    /// Pause: what runs goes on, nothing new begins; sub-workflows likewise.
    pub(in crate::apply) fn pause_workflow(&mut self, seq: u64, paused: bool) -> Answer {
        let workflow = self.workflow_asked(seq)?;
        if workflow.status.is_final() || workflow.phase != Phase::Forward {
            return Err(is_already(&workflow));
        }
        self.switch_workflow(workflow, paused);
        Ok(Reply::Workflow { seq, status: if paused { Status::Paused } else { Status::Running } })
    }

    fn switch_workflow(&mut self, mut workflow: Workflow, paused: bool) {
        let seq = workflow.seq;
        let status = if paused { Status::Paused } else { Status::Running };
        if workflow.status.is_final() || workflow.phase != Phase::Forward || workflow.status == status {
            return;
        }
        self.set_status(&mut workflow, status);
        self.put_workflow(&workflow);
        let kind = if paused { EventKind::WorkflowPaused } else { EventKind::WorkflowResumed };
        self.event(seq, kind, None, None);
        for key in self.keys_under(&table::by_seq(tag::RUNNING, seq), usize::MAX) {
            let child = table::task_of(&key).and_then(|at| self.task(at).child);
            if let Some(child) = child.and_then(|child| self.workflow(child)) {
                self.switch_workflow(child, paused);
            }
        }
        if !paused {
            self.release_held(seq);
        }
    }

    /// Begins what was held while the workflow was paused.
    fn release_held(&mut self, seq: u64) {
        let mut last = None;
        for key in self.keys_under(&table::by_seq(tag::HELD, seq), usize::MAX) {
            let Some(at) = table::task_of(&key) else { continue };
            if at.item == 0 {
                self.txn.delete(&key);
                self.steps.push_back(Step::Begin(at));
            } else if last.replace(at.task) != Some(at.task) {
                // An item that was about to begin when the pause came counted as running, and is held now.
                self.recount_items(at.task());
                self.fill(at.task());
            }
        }
    }

    /// Counts a task's items that are under way anew: all that are neither done nor held, so that those which
    /// the next tick begins are among them.
    fn recount_items(&mut self, at: crate::workflow::TaskRef) {
        let mut task = self.task(at);
        if let Some(items) = &mut task.items {
            let held = self.keys_under(&table::of_workflow(tag::HELD, at.workflow, &[at.task]), usize::MAX);
            let held = held.iter().filter(|key| table::last_u32(key) != 0).count() as u32;
            items.running = items.total.saturating_sub(items.done).saturating_sub(held);
            self.put_task(at, &task);
        }
    }

    pub(super) fn workflow_asked(&self, seq: u64) -> Result<Workflow, Refusal> {
        let workflow = self.workflow(seq).filter(|workflow| self.may_touch(&workflow.project));
        workflow.ok_or_else(|| Refusal::new(Code::NotFound, "there is no such workflow"))
    }

    /// Ends a wait of a task whose state says that it still waits.
    pub(super) fn end_wait(&mut self, at: crate::workflow::TaskRef, ending: Ending) {
        if self.task(at).state == TaskState::Running {
            self.steps.push_back(Step::Ended(at, ending));
        }
    }
}

pub(super) fn is_already(workflow: &Workflow) -> Refusal {
    let what = match workflow.phase {
        Phase::Forward => workflow.status.as_str(),
        _ if workflow.status.is_final() => workflow.status.as_str(),
        _ => "failing",
    };
    Refusal::new(Code::Conflict, format!("the workflow is {what} already"))
}
