//! Begin: a task that waits for nothing becomes a job, a sub-workflow, a wait, or a list of items.

use bytes::Bytes;

use super::{Ending, Step};
use crate::command::{NewJob, When};
use crate::id::Name;
use crate::job::Payload;
use crate::limits;
use crate::state::State;
use crate::table::{self, tag};
use crate::workflow::TemplateRef;
use crate::workflow::expression::{self, References, Scope};
use crate::workflow::{Action, EventKind, Items, NewTask, NewWorkflow, Phase, Plan, Status, Task, TaskRef, TaskState};

impl State<'_> {
    pub(super) fn begin(&mut self, at: TaskRef) {
        let Some(workflow) = self.workflow(at.workflow) else { return };
        let mut task = self.task(at);
        let may_begin = matches!(task.state, TaskState::Waiting | TaskState::Ready) && task.missing == 0;
        if !self.is_forward(at.workflow) || !may_begin {
            return;
        }
        if workflow.status == Status::Paused {
            task.state = TaskState::Ready;
            self.put_task(at, &task);
            return self.mark(table::of_task(tag::HELD, at));
        }
        let Some(spec) = self.spec(at) else { return };
        let ending = match self.try_begin(at, &spec, task) {
            Ok(true) => return,
            Ok(false) => Ending::Skipped,
            Err(detail) => Ending::Failed(detail),
        };
        self.steps.push_back(Step::Ended(at, ending));
    }

    /// False: its condition does not hold.
    fn try_begin(&mut self, at: TaskRef, spec: &NewTask, task: Task) -> Result<bool, String> {
        let mut references = References::default();
        let bare = [&spec.when, &spec.foreach];
        for text in bare.into_iter().flatten() {
            references.merge(expression::references(text)?);
        }
        references.merge(expression::references_of_json(&spec.input)?);
        let mut scope = self.scope(at, spec, &references);
        if at.item == 0 {
            if let Some(when) = &spec.when
                && !expression::holds(when, &scope)?
            {
                return Ok(false);
            }
            if let Some(foreach) = &spec.foreach {
                self.begin_items(at, task, foreach, &scope)?;
                return Ok(true);
            }
        } else {
            let item = self.txn.get(&table::of_task(tag::ITEM, at));
            scope.set("item", &item.unwrap_or_default());
            scope.set_number("index", u64::from(at.item - 1));
        }
        let input = expression::build(&spec.input, &scope)?;
        self.launch(at, spec, task, input)?;
        Ok(true)
    }

    /// What the task's expressions can see of what they look at.
    pub(super) fn scope(&self, at: TaskRef, spec: &NewTask, references: &References) -> Scope {
        let mut scope = Scope::default();
        if references.variables.contains("input") {
            scope.set("input", &self.txn.get(&table::by_seq(tag::INPUT, at.workflow)).unwrap_or_default());
        }
        if references.any_task() {
            let mut ids = references.tasks.clone();
            if references.all_tasks {
                ids.extend(spec.depends_on.iter().map(|id| id.as_str().to_owned()));
            }
            let result = |id: &String| {
                let place = self.task_named(at.workflow, id)?;
                self.txn.get(&table::of_task(tag::OUTPUT, TaskRef::whole(at.workflow, place)))
            };
            scope.set_results(ids.iter().map(|id| (id.as_str(), result(id))));
        }
        scope
    }

    /// The first time: makes the items. Again after a retry: goes on with those that are held.
    fn begin_items(&mut self, at: TaskRef, mut task: Task, foreach: &str, scope: &Scope) -> Result<(), String> {
        if task.items.is_none() {
            let items = expression::items(foreach, scope)?;
            let total = items.len() as u32;
            let Some(mut workflow) = self.workflow(at.workflow) else { return Ok(()) };
            workflow.parts = workflow.parts.saturating_add(total);
            if workflow.parts > limits::WORKFLOW_PARTS_MAX {
                return Err(format!("a workflow has at most {} tasks and items", limits::WORKFLOW_PARTS_MAX));
            }
            self.put_workflow(&workflow);
            for (n, item) in (1..).zip(&items) {
                let item_at = TaskRef { item: n, ..at };
                self.put_text(table::of_task(tag::ITEM, item_at), item);
                self.mark(table::of_task(tag::HELD, item_at));
            }
            task.items = Some(Items { total, ..Items::default() });
        }
        let items = task.items.unwrap_or_default();
        task.state = TaskState::Running;
        task.started_at = task.started_at.or(Some(self.now()));
        self.time_limit(at, &mut task);
        self.put_task(at, &task);
        self.event(at.workflow, EventKind::TaskReady, Some(at), None);
        if items.done >= items.total {
            self.steps.push_back(Step::Ended(at, Ending::Passed(None)));
        } else {
            self.fill(at);
        }
        Ok(())
    }

    /// Begins as many held items as may run.
    pub(super) fn fill(&mut self, at: TaskRef) {
        let mut task = self.task(at);
        let (Some(mut items), Some(spec)) = (task.items, self.spec(at)) else { return };
        let paused = self.workflow(at.workflow).is_none_or(|workflow| workflow.status != Status::Running);
        if paused || task.state != TaskState::Running || !self.is_forward(at.workflow) {
            return;
        }
        let max = spec.max_parallel.unwrap_or(limits::FOREACH_PARALLEL_DEFAULT);
        let free = max.saturating_sub(items.running) as usize;
        if free == 0 {
            return;
        }
        for key in self.keys_under(&table::of_workflow(tag::HELD, at.workflow, &[at.task]), free) {
            self.txn.delete(&key);
            if let Some(item) = table::task_of(&key)
                && item.item > 0
            {
                items.running = items.running.saturating_add(1);
                self.steps.push_back(Step::Begin(item));
            }
        }
        task.items = Some(items);
        self.put_task(at, &task);
    }

    /// Arms the task's timeout.
    fn time_limit(&mut self, at: TaskRef, task: &mut Task) {
        let Some(spec) = self.spec(at) else { return };
        let ms = match spec.action {
            Action::Timer(ms) if spec.foreach.is_none() || at.item > 0 => Some(ms),
            _ if at.item == 0 => spec.timeout_ms,
            _ => None,
        };
        if let Some(ms) = ms {
            let due = self.now().saturating_add(ms);
            task.due = Some(due);
            self.mark(table::due_task(due, at));
        }
    }

    fn launch(&mut self, at: TaskRef, spec: &NewTask, mut task: Task, input: Bytes) -> Result<(), String> {
        match &spec.action {
            Action::Job { queue, max_attempts, priority } => {
                task.job = Some(self.launch_job(at, spec, queue, *max_attempts, *priority, input)?);
            }
            Action::Workflow { template, plan, deadline_ms } => {
                task.child = Some(self.launch_child(at, &task, template, plan, *deadline_ms, input)?);
            }
            Action::Timer(_) => {}
            Action::Signal(name) => self.await_signal(at, name),
            Action::Approval => self.await_signal(at, spec.id.as_str()),
        }
        task.state = TaskState::Running;
        task.error = None;
        task.finished_at = None;
        task.started_at = if task.job.is_some() { None } else { Some(self.now()) };
        self.time_limit(at, &mut task);
        self.put_task(at, &task);
        self.set_running(at, true);
        self.event(at.workflow, EventKind::TaskReady, Some(at), None);
        Ok(())
    }

    /// Puts a task's job into its queue. Limits of the queue do not stop it, since there is nobody to tell.
    pub(super) fn launch_job(
        &mut self,
        at: TaskRef,
        spec: &NewTask,
        queue: &Name,
        max_attempts: Option<u32>,
        priority: u8,
        input: Bytes,
    ) -> Result<u64, String> {
        if self.known(queue).is_none() && self.meta.queues >= limits::QUEUES_MAX {
            return Err(format!("there are {} queues, and no more may be made", limits::QUEUES_MAX));
        }
        let Some(workflow) = self.workflow(at.workflow) else { return Err("there is no such workflow".into()) };
        let id = self.workflow_id(at.workflow).to_string();
        let job = NewJob {
            priority,
            max_attempts,
            metadata: metadata(at, spec),
            workflow: Name::parse("workflow", &id).ok(),
            ..NewJob::new(queue.clone(), workflow.project, Payload { json: true, bytes: input })
        };
        let seq = self.take_in(job).seq;
        self.put(table::by_seq(tag::TASK_OF_JOB, seq), &at);
        Ok(seq)
    }

    /// Starts the sub-workflow, or goes on with the one that failed before.
    fn launch_child(
        &mut self,
        at: TaskRef,
        task: &Task,
        template: &Option<TemplateRef>,
        plan: &Plan,
        deadline_ms: Option<u64>,
        input: Bytes,
    ) -> Result<u64, String> {
        if let Some(child) = task.child
            && self.go_on(child)
        {
            return Ok(child);
        }
        let Some(above) = self.workflow(at.workflow) else { return Err("there is no such workflow".into()) };
        let new = NewWorkflow {
            name: above.name,
            project: above.project,
            template: template.clone(),
            input,
            deadline: deadline_ms.map(When::In),
            retention_ms: above.retention_ms,
            plan: plan.clone(),
        };
        self.open_workflow(new, Some(at)).map_err(|refusal| refusal.detail)
    }

    /// Whether a workflow does its tasks (and not what follows a failure).
    pub(super) fn phase(&self, seq: u64) -> Option<Phase> {
        self.workflow(seq).filter(|workflow| !workflow.status.is_final()).map(|workflow| workflow.phase)
    }
}

/// What a worker is told of its task beside the input.
fn metadata(at: TaskRef, spec: &NewTask) -> Bytes {
    let item = match at.item {
        0 => String::new(),
        TaskRef::UNDO => r#","compensates":true"#.to_owned(),
        item => format!(r#","index":{}"#, item - 1),
    };
    Bytes::from(format!(r#"{{"task_id":"{}"{item}}}"#, spec.id))
}
