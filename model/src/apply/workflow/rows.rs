//! Reading and writing the rows of workflows.

use bytes::Bytes;

use crate::apply::nack::cut;
use crate::happened::Happened;
use crate::job::Job;
use crate::limits;
use crate::row;
use crate::state::State;
use crate::table::{self, tag};
use crate::txn::{Key, Value};
use crate::workflow::{Event, EventKind, NewTask, Status, Task, TaskRef, Workflow, WorkflowId};

impl State<'_> {
    pub(in crate::apply) fn workflow(&self, seq: u64) -> Option<Workflow> {
        self.read(&table::by_seq(tag::WORKFLOW, seq))
    }

    pub(super) fn put_workflow(&mut self, workflow: &Workflow) {
        self.put(table::by_seq(tag::WORKFLOW, workflow.seq), workflow);
    }

    pub(super) fn workflow_id(&self, seq: u64) -> WorkflowId {
        WorkflowId { partition: self.partition, seq }
    }

    pub(super) fn spec(&self, at: TaskRef) -> Option<NewTask> {
        self.read(&table::of_workflow(tag::SPEC, at.workflow, &[at.task]))
    }

    /// A task's record; an item that has not begun has none.
    pub(super) fn task(&self, at: TaskRef) -> Task {
        self.read(&table::of_task(tag::TASK, at)).unwrap_or_default()
    }

    pub(super) fn put_task(&mut self, at: TaskRef, task: &Task) {
        self.put(table::of_task(tag::TASK, at), task);
    }

    pub(super) fn task_named(&self, workflow: u64, id: &str) -> Option<u32> {
        self.read(&table::named(tag::TASK_BY_ID, workflow, id))
    }

    /// Stores text as it is, shared, not encoded.
    pub(super) fn put_text(&mut self, key: Key, text: &Bytes) {
        self.txn.put(key, Value::clone(text));
    }

    /// The rows under a prefix: a task's items, those that depend on it.
    pub(super) fn keys_under(&self, prefix: &Key, max: usize) -> Vec<Key> {
        let mut keys = Vec::new();
        row::walk(self.rows(), prefix, prefix, &mut |key, _| {
            keys.push(*key);
            keys.len() < max
        });
        keys
    }

    /// Notes that a task or item is under way, or is not any more; answers the workflow as it is then.
    pub(super) fn set_running(&mut self, at: TaskRef, running: bool) {
        let key = table::of_task(tag::RUNNING, at);
        if self.txn.contains(&key) == running {
            return;
        }
        if running {
            self.mark(key);
        } else {
            self.txn.delete(&key);
        }
        if let Some(mut workflow) = self.workflow(at.workflow) {
            let count = workflow.running;
            workflow.running = if running { count.saturating_add(1) } else { count.saturating_sub(1) };
            if workflow.running == 0 && workflow.status.is_final() {
                self.over.push(workflow.seq);
            }
            self.put_workflow(&workflow);
        }
    }

    /// Keeps of a job what its task shows when the job is gone.
    pub(super) fn note_job(&mut self, at: TaskRef, job: &Job) {
        if at.item == TaskRef::UNDO {
            return;
        }
        let mut task = self.task(at);
        task.attempt = job.attempt;
        task.started_at = job.started_at.or(task.started_at);
        self.put_task(at, &task);
    }

    /// Writes down what happened. The last events of a workflow are always written; of the others so
    /// many that a bound is kept.
    pub(super) fn event(&mut self, seq: u64, kind: EventKind, task: Option<TaskRef>, detail: Option<String>) {
        let Some(mut workflow) = self.workflow(seq) else { return };
        let last =
            matches!(kind, EventKind::WorkflowSucceeded | EventKind::WorkflowFailed | EventKind::WorkflowCancelled);
        if workflow.events >= limits::WORKFLOW_EVENTS_MAX && !last {
            return self.fail_workflow(workflow, None, format!("more than {} events", limits::WORKFLOW_EVENTS_MAX));
        }
        workflow.events = workflow.events.saturating_add(1);
        let event = Event { at: self.now(), kind, task: task.map(|at| (at.task, at.item)), detail: detail.map(cut) };
        self.put(table::of_workflow(tag::EVENT, seq, &[workflow.events]), &event);
        if self.is_followed() {
            let task = task.and_then(|at| self.spec(at)).map(|spec| spec.id);
            let (number, project) = (workflow.events, workflow.project.clone());
            self.note(Happened::Workflow { seq, number, project, event, task });
        }
        self.put_workflow(&workflow);
    }

    /// Moves a workflow between the lists by status. Parts of others are in no list.
    pub(super) fn set_status(&mut self, workflow: &mut Workflow, status: Status) {
        let old = workflow.status;
        workflow.status = status;
        if workflow.parent.is_none() && old != status {
            for key in list_keys(workflow, old) {
                self.txn.delete(&key);
            }
            for key in list_keys(workflow, status) {
                self.mark(key);
            }
        }
    }

    /// Removes a workflow with all its rows, a bounded number at a time; none when it is done.
    pub(super) fn remove_workflow(&mut self, workflow: &Workflow) -> Option<()> {
        self.txn.delete(&table::by_seq(tag::PACKED, workflow.seq));
        let mut left = limits::SWEEP_MAX as usize;
        for tag in PARTS {
            let keys = self.keys_under(&table::by_seq(tag, workflow.seq), left);
            keys.iter().for_each(|key| self.txn.delete(key));
            left -= keys.len();
            if left == 0 {
                return Some(());
            }
        }
        for key in list_keys(workflow, workflow.status) {
            self.txn.delete(&key);
        }
        self.txn.delete(&table::by_seq(tag::WORKFLOW, workflow.seq));
        None
    }
}

/// Tables of a workflow's parts: their keys begin with its number.
pub(crate) const PARTS: [u8; 13] = [
    tag::INPUT,
    tag::SPEC,
    tag::TASK,
    tag::TASK_BY_ID,
    tag::EDGE,
    tag::ITEM,
    tag::OUTPUT,
    tag::SIGNAL,
    tag::WAITS,
    tag::EVENT,
    tag::HELD,
    tag::RUNNING,
    tag::UNDO,
];

/// The rows by which lists find a workflow.
pub(crate) fn list_keys(workflow: &Workflow, status: Status) -> Vec<Key> {
    let mut keys = vec![
        table::by_status(status, workflow.seq),
        table::by_owner(tag::BY_PROJECT, workflow.project.as_str(), status, workflow.seq),
    ];
    if let Some(template) = &workflow.template {
        keys.push(table::by_owner(tag::BY_TEMPLATE, template.name.as_str(), status, workflow.seq));
    }
    keys
}
