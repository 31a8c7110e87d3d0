//! Add: a running task adds tasks to its own workflow, under its fencing token.

use std::collections::BTreeMap;

use super::control::is_already;
use crate::apply::{Answer, invalid};
use crate::code::{Code, Refusal};
use crate::command::AddTasks;
use crate::job::{Job, JobState};
use crate::limits;
use crate::reply::Reply;
use crate::state::State;
use crate::table::{self, tag};
use crate::workflow::{EventKind, NewTask, Phase, TaskRef};

impl State<'_> {
    pub(in crate::apply) fn add_tasks(&mut self, add: AddTasks) -> Answer {
        let mut workflow = self.workflow_asked(add.seq)?;
        if workflow.status.is_final() || workflow.phase != Phase::Forward {
            return Err(is_already(&workflow));
        }
        if !self.holds_a_task(&add) {
            return Err(Refusal::new(Code::LeaseLost, "no running task of the workflow is held under this lease"));
        }
        let new: Vec<&NewTask> = self.not_there(&add)?;
        let count = new.len() as u32;
        if workflow.tasks.saturating_add(count) as usize > limits::WORKFLOW_TASKS_MAX
            || workflow.parts.saturating_add(count) > limits::WORKFLOW_PARTS_MAX
        {
            return invalid(format!("tasks: at most {} a workflow", limits::WORKFLOW_TASKS_MAX));
        }
        let first = workflow.tasks;
        let places: BTreeMap<&str, u32> = (first..).zip(&new).map(|(place, task)| (task.id.as_str(), place)).collect();
        let on = new.iter().flat_map(|task| &task.depends_on);
        let known = |id: &str| places.get(id).copied().or_else(|| self.task_named(add.seq, id));
        if let Some(on) = on.into_iter().find(|id| known(id.as_str()).is_none()) {
            return invalid(format!("depends_on: there is no task {on}"));
        }
        // Resolved before anything is written: the rows of the new ones change what is known.
        let all: BTreeMap<String, u32> = new
            .iter()
            .flat_map(|task| &task.depends_on)
            .filter_map(|id| Some((id.as_str().to_owned(), known(id.as_str())?)))
            .collect();
        workflow.tasks = workflow.tasks.saturating_add(count);
        workflow.parts = workflow.parts.saturating_add(count);
        workflow.open = workflow.open.saturating_add(count);
        workflow.undoable |= new.iter().any(|task| task.compensate.is_some());
        self.put_workflow(&workflow);
        for (place, task) in (first..).zip(&new) {
            self.put_new_task(TaskRef::whole(add.seq, place), task, &|id| all.get(id).copied());
        }
        if count > 0 {
            self.event(add.seq, EventKind::TasksAdded, None, Some(count.to_string()));
        }
        Ok(Reply::Workflow { seq: add.seq, status: workflow.status })
    }

    /// Tasks that the workflow does not have yet. One that is there exactly so was added by a call before
    /// this one, or by an earlier attempt of the job.
    fn not_there<'a>(&self, add: &'a AddTasks) -> Result<Vec<&'a NewTask>, Refusal> {
        let mut new: Vec<&NewTask> = Vec::new();
        for task in &add.tasks {
            let there = self.task_named(add.seq, task.id.as_str());
            let there = there.and_then(|place| self.spec(TaskRef::whole(add.seq, place)));
            match there {
                None if new.iter().any(|other| other.id == task.id) => {
                    return invalid(format!("tasks: {} is there twice", task.id));
                }
                None => new.push(task),
                Some(there) if there == *task => {}
                Some(_) => {
                    let detail = format!("the workflow has another task {}", task.id);
                    return Err(Refusal::new(Code::Conflict, detail));
                }
            }
        }
        Ok(new)
    }

    /// Whether a task of the workflow is held under the lease: the one that is named, or any.
    fn holds_a_task(&self, add: &AddTasks) -> bool {
        let now = self.now();
        let held = |job: &Job| {
            job.state == JobState::Leased
                && job.lease_token == add.token
                && job.lease_expires_at.is_some_and(|end| end > now)
        };
        let of_task = |at: TaskRef| self.task(at).job.filter(|seq| add.job.is_none_or(|asked| asked == *seq));
        let held_at = |at: TaskRef| of_task(at).and_then(|seq| self.job(seq)).is_some_and(|job| held(&job));
        let prefix = match &add.task {
            Some(id) => match self.task_named(add.seq, id.as_str()) {
                Some(place) => table::of_workflow(tag::RUNNING, add.seq, &[place]),
                None => return false,
            },
            None => table::by_seq(tag::RUNNING, add.seq),
        };
        self.keys_under(&prefix, usize::MAX).iter().filter_map(table::task_of).any(held_at)
    }
}
