//! What commands do to workflows: a list of steps that each command leaves empty.
//!
//! ```text
//!   start ─┐                                  ┌─► skipped, or failed at once ─┐
//!   ended ─┼─► Step::Begin ──► `begin` ───────┼─► a job, a timer, a wait …    │
//!   tick  ─┘        ▲                         └─► items of a foreach          │
//!                   │                                                         │
//!                   └──────────── `end` ◄── Step::Ended ◄─── job final, ◄─────┘
//!                                   │                        time, signal
//!                                   └─► workflow over: tell the parent
//! ```

mod add;
mod begin;
mod control;
mod end;
mod pack;
mod retry;
mod rows;
mod signal;
mod start;
#[cfg(test)]
mod tests;
mod undo;

use bytes::Bytes;

pub(crate) use rows::{PARTS, list_keys};

use crate::Time;
use crate::job::{Job, JobState};
use crate::limits;
use crate::reply::Reply;
use crate::state::State;
use crate::table::{self, tag};
use crate::workflow::{Action, Phase, Status, TaskRef, TaskState};

/// Something that follows from what the present command did.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// The task waits for nothing any more.
    Begin(TaskRef),
    /// The task has ended.
    Ended(TaskRef, Ending),
}

/// How a task ended.
#[derive(Clone, Debug)]
pub(crate) enum Ending {
    /// Well, with this result.
    Passed(Option<Bytes>),
    /// Its condition did not hold.
    Skipped,
    /// Badly.
    Failed(String),
    /// It was not wanted any more.
    Cancelled,
}

impl State<'_> {
    /// Does all that follows from the command. What begins beyond a bound is left to the next tick.
    pub(super) fn settle(&mut self, reply: Reply) -> Reply {
        let mut starts = 0;
        while let Some(step) = self.steps.pop_front() {
            match step {
                Step::Begin(at) if starts >= limits::STARTS_MAX => self.mark(table::due_task(self.now(), at)),
                Step::Begin(at) => {
                    starts += 1;
                    self.begin(at);
                }
                Step::Ended(at, ending) => self.end(at, ending),
            }
        }
        self.pack_ended();
        match reply {
            Reply::Workflow { seq, status } => {
                let status = self.workflow(seq).map_or(status, |workflow| workflow.status);
                Reply::Workflow { seq, status }
            }
            reply => reply,
        }
    }

    /// A job with a workflow is final, or gone: its task has ended.
    pub(crate) fn job_of_task_ended(&mut self, job: &Job) {
        let key = table::by_seq(tag::TASK_OF_JOB, job.seq);
        let Some(at) = self.read::<TaskRef>(&key) else { return };
        self.txn.delete(&key);
        self.unpack(at.workflow);
        if self.task(at).job != Some(job.seq) {
            // The task was tried again while the worker had not let go of this one.
            return;
        }
        let ending = match job.state {
            JobState::Succeeded => Ending::Passed(self.result_of(job.seq)),
            JobState::Dead => Ending::Failed(job.error.clone().unwrap_or_else(|| "no attempt is left".into())),
            _ => match self.workflow(at.workflow) {
                Some(workflow) if !workflow.status.is_final() && workflow.phase != Phase::Ending => {
                    let what = if job.state == JobState::Cancelled { "cancelled" } else { "purged" };
                    Ending::Failed(format!("its job was {what}"))
                }
                _ => Ending::Cancelled,
            },
        };
        self.note_job(at, job);
        self.steps.push_back(Step::Ended(at, ending));
    }

    /// A job's result as JSON text; what is not JSON is text as a JSON string, or null.
    fn result_of(&self, job: u64) -> Option<Bytes> {
        let result: crate::Payload = self.read(&table::by_seq(tag::RESULT, job))?;
        if result.json {
            return Some(result.bytes);
        }
        let text = std::str::from_utf8(&result.bytes).ok()?;
        serde_json::to_vec(text).ok().map(Bytes::from)
    }

    /// The workflow's deadline has passed, or it has been kept long enough; none: the row is to be deleted.
    pub(super) fn workflow_due(&mut self, seq: u64, at: Time) -> Option<()> {
        let workflow = self.workflow(seq)?;
        if workflow.keep_until == Some(at) {
            return self.remove_workflow(&workflow);
        }
        if workflow.deadline == Some(at) && !workflow.status.is_final() {
            self.fail_workflow(workflow, None, "deadline_exceeded".into());
        }
        None
    }

    /// A task's timer fired, it has taken too long, or it is to begin.
    pub(super) fn task_due(&mut self, at: TaskRef, time: Time) {
        let task = self.task(at);
        match task.state {
            TaskState::Running if task.due == Some(time) => self.task_timed(at),
            TaskState::Waiting | TaskState::Ready if task.missing == 0 => self.steps.push_back(Step::Begin(at)),
            _ => {}
        }
    }

    fn task_timed(&mut self, at: TaskRef) {
        let Some(spec) = self.spec(at) else { return };
        let items = self.task(at).items.is_some();
        if matches!(spec.action, Action::Timer(_)) && !items {
            self.steps.push_back(Step::Ended(at, Ending::Passed(None)));
            return;
        }
        // First, so that what stopping it sets off finds the task ended.
        self.end(at, Ending::Failed("timeout".into()));
        if items {
            self.stop_items(at);
        } else {
            let job = self.task(at).job.and_then(|seq| self.job(seq));
            if let Some(job) = job.filter(|job| job.state == JobState::Leased) {
                self.lease_timed_out(&job);
            }
            self.stop(at);
        }
    }

    fn is_forward(&self, seq: u64) -> bool {
        self.workflow(seq).is_some_and(|workflow| {
            workflow.phase == Phase::Forward && matches!(workflow.status, Status::Running | Status::Paused)
        })
    }
}
