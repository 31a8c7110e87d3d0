//! The workflows as the cluster tells of them, and the tree that is shown of that.

use bravo_client::Client;
use bravo_client::proto::{self, JobState, WorkflowStatus};
use serde_json::Value;

/// The tasks of every template, in order.
pub(super) const TASKS: [&str; 5] = ["analysis", "planning", "codegen", "testing", "deployment"];

/// An application under way.
#[derive(Clone, Debug)]
pub(super) struct App {
    /// What it is called.
    pub(super) name: String,
    /// Its type.
    pub(super) kind: String,
    /// Its workflow.
    pub(super) workflow: String,
    /// As the cluster told last.
    pub(super) seen: Seen,
}

/// How a workflow stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Seen {
    pub(super) done: bool,
    /// From the start to the end.
    took_ms: u64,
    /// A letter for each task.
    marks: [char; 5],
    /// The task that is worked on.
    pub(super) running: Option<Running>,
    /// Why it failed, if it did.
    pub(super) failed: Option<String>,
}

/// A task that an agent works on.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Running {
    task: String,
    pub(super) job: String,
    attempt: u32,
    pub(super) worker: String,
    /// What the agent says of it.
    pub(super) step: String,
    progress: String,
}

impl App {
    /// Asks how it stands. An error of the cluster leaves what was known.
    pub(super) async fn look(&mut self, client: &Client) {
        if self.seen.done {
            return;
        }
        let Ok(workflow) = client.workflow(&self.workflow).await else { return };
        let mut seen = Seen::of(&workflow);
        if let Some(running) = &seen.running {
            match client.job(&running.job).await {
                Ok(job) => seen.tell(&job),
                Err(_) => return,
            }
        }
        self.seen = seen;
    }

    /// From the start of the workflow to its end, by the cluster's clock.
    pub(super) fn seconds(&self) -> f64 {
        self.seen.took_ms as f64 / 1e3
    }

    /// One line of the tree.
    pub(super) fn line(&self) -> String {
        let marks: String = self.seen.marks.iter().map(|mark| format!("{mark} ")).collect();
        let told = match (&self.seen.running, &self.seen.failed) {
            (_, Some(_)) => "failed".to_owned(),
            (Some(running), None) => {
                let again = if running.attempt > 1 { format!(", try {}", running.attempt) } else { String::new() };
                format!("{} {}{again}", running.task, running.progress)
            }
            (None, None) => if self.seen.done { "done" } else { "waits" }.to_owned(),
        };
        format!("  {:<14.14} {:<15.15} {marks}  {told:.30}", self.name, self.kind)
    }
}

impl Seen {
    fn of(workflow: &proto::Workflow) -> Self {
        let task = |name: &str| workflow.tasks.iter().find(|task| task.id == name);
        let marks = TASKS.map(|name| task(name).map_or('?', mark));
        let begun = |task: &&proto::Task| ["ready", "running"].contains(&&*task.state) && !task.job_id.is_empty();
        let running = TASKS.iter().filter_map(|name| task(name)).find(begun).map(|task| Running {
            task: task.id.clone(),
            job: task.job_id.clone(),
            attempt: task.attempt,
            worker: String::new(),
            step: String::new(),
            progress: String::new(),
        });
        let status = workflow.status();
        let took_ms = workflow.finished_at_ms.unwrap_or(workflow.started_at_ms).saturating_sub(workflow.started_at_ms);
        let broken = matches!(status, WorkflowStatus::Failed | WorkflowStatus::Cancelled);
        let failed = broken.then(|| {
            let task = workflow.tasks.iter().find(|task| task.state == "failed");
            let error = task.and_then(|task| task.error.clone()).or_else(|| workflow.error.clone());
            format!("{}: {}", task.map_or("", |task| &*task.id), error.unwrap_or_default())
        });
        Self { done: broken || status == WorkflowStatus::Succeeded, took_ms, marks, running, failed }
    }

    /// What the job of the task that was begun adds: nothing is worked on that nobody has leased.
    fn tell(&mut self, job: &proto::Job) {
        let leased = job.state() == JobState::Leased;
        self.running = self.running.take().filter(|_| leased);
        if let Some(running) = &mut self.running {
            running.tell(job);
            let place = TASKS.iter().position(|name| *name == running.task);
            place.into_iter().for_each(|place| self.marks[place] = '▶');
        }
    }

    /// Whether another state of a task is to be told; how far a task is does not count.
    pub(super) fn differs(&self, other: &Self) -> bool {
        (self.marks, self.done) != (other.marks, other.done)
    }
}

impl Running {
    fn tell(&mut self, job: &proto::Job) {
        self.worker = job.worker_id.clone().unwrap_or_default();
        self.attempt = job.attempt;
        let told: Value = serde_json::from_slice(&job.progress).unwrap_or_default();
        if let Some(step) = told["step"].as_str() {
            self.step = step.to_owned();
            self.progress = format!("{step} {}/{}", told["done"], told["of"]);
        }
    }
}

fn mark(task: &proto::Task) -> char {
    match &*task.state {
        "succeeded" => '✓',
        "running" => '▶',
        "failed" | "cancelled" => '✗',
        "ready" => '•',
        _ => '·',
    }
}

/// The tree, with a head over its columns.
pub(super) fn tree(apps: &[App]) -> Vec<String> {
    let done = apps.iter().filter(|app| app.seen.done).count();
    let head = format!("  {:<30} A P C T D   {done} of {} done", "application", apps.len());
    std::iter::once(head).chain(apps.iter().map(App::line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workflow(states: [&str; 5], status: WorkflowStatus) -> proto::Workflow {
        let task = |(name, state): (&str, &str)| proto::Task {
            id: name.into(),
            state: state.into(),
            job_id: "j1".into(),
            error: (state == "failed").then(|| "boom".into()),
            ..Default::default()
        };
        let tasks = TASKS.into_iter().zip(states).map(task).collect();
        proto::Workflow { tasks, status: status.into(), ..Default::default() }
    }

    #[test]
    fn a_line_tells_states_and_progress() {
        let states = ["succeeded", "succeeded", "succeeded", "ready", "waiting"];
        let mut seen = Seen::of(&workflow(states, WorkflowStatus::Running));
        let mut job = proto::Job {
            state: JobState::Leased.into(),
            attempt: 2,
            progress: br#"{"step":"compiling","done":1,"of":4}"#.to_vec().into(),
            worker_id: Some("t".into()),
            ..Default::default()
        };
        let waiting = seen.clone();
        seen.tell(&job);
        let mut app = App { name: "Tea shop".into(), kind: "ecommerce".into(), workflow: "w".into(), seen };
        assert_eq!(app.line(), "  Tea shop       ecommerce       ✓ ✓ ✓ ▶ ·   testing compiling 1/4, try 2");
        assert!(app.line().chars().count() < 80);
        assert!(waiting.differs(&app.seen));
        job.state = JobState::Ready.into();
        app.seen = waiting;
        app.seen.tell(&job);
        assert!(app.seen.running.is_none() && app.line().ends_with("✓ ✓ ✓ • ·   waits"));

        app.seen = Seen::of(&workflow(["succeeded", "failed", "waiting", "waiting", "waiting"], WorkflowStatus::Failed));
        assert_eq!((app.seen.done, app.seen.failed.as_deref()), (true, Some("planning: boom")));
        assert!(tree(&[app])[0].ends_with("1 of 1 done"));
    }
}
