//! `bravo workflow`: start, look at, switch, signal and follow workflows.

use std::io::{Read, Write};

use bravo_client::json::{
    self, ListWorkflowsQuery, RawJson, StartWorkflowBody, TaskAnswer, WorkflowAnswer, WorkflowEventAnswer,
    WorkflowListAnswer, WorkflowState, WorkflowStatusAnswer,
};
use bravo_client::{Client, Error, proto};
use clap::Subcommand;

use crate::exit::Failure;
use crate::global::{Format, Global};
use crate::output::{Table, fields, more, or_dash, show};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start a workflow
    Start(Start),
    /// Show one workflow with its tasks
    Get(Named),
    /// List workflows, newest first
    List(List),
    /// End a workflow now
    Cancel(Named),
    /// Let nothing new begin; what runs goes on
    Pause(Named),
    /// End a pause
    Resume(Named),
    /// Go on with a failed or cancelled workflow from what did not succeed
    Retry(Named),
    /// Tell a workflow something that a task waits for, or will
    Signal {
        /// The workflow
        id: String,
        /// The signal
        name: String,
        /// What to tell; null if absent
        #[arg(value_name = "JSON")]
        payload: Option<String>,
    },
    /// Approve a task, or reject it
    Approve {
        /// The workflow
        id: String,
        /// The task
        task: String,
        /// Say no
        #[arg(long)]
        reject: bool,
    },
    /// Add tasks to a running workflow, under the lease of one of its tasks' jobs
    AddTasks(AddTasks),
    /// Show what happens until the workflow is over; exit code 0 if it succeeded, else 1
    Watch(Named),
}

#[derive(clap::Args)]
struct Named {
    /// The workflow
    id: String,
}

#[derive(clap::Args)]
struct Start {
    /// For people
    #[arg(long)]
    name: String,
    /// The project
    #[arg(long)]
    project: Option<String>,
    /// The template that it is made from
    #[arg(long, group = "what", required_unless_present_any = ["requirements", "tasks"])]
    template: Option<String>,
    /// An object whose type names the template; the whole is the input
    #[arg(long, value_name = "JSON", group = "what")]
    requirements: Option<String>,
    /// A file with a list of tasks, or with a whole body as the REST interface takes it; - is stdin
    #[arg(long, value_name = "FILE", group = "what")]
    tasks: Option<String>,
    /// What expressions see as input
    #[arg(long, value_name = "JSON")]
    input: Option<String>,
}

#[derive(clap::Args)]
struct AddTasks {
    /// The workflow
    id: String,
    /// The lease token of the running task's job
    #[arg(long, value_name = "N")]
    lease_token: u64,
    /// That job; any running task's if absent
    #[arg(long, default_value = "")]
    job: String,
    /// That task; any running one if absent
    #[arg(long, default_value = "")]
    task: String,
    /// A file with a list of tasks; - is stdin
    #[arg(long, value_name = "FILE")]
    tasks: String,
}

#[derive(clap::Args)]
struct List {
    /// With this status only
    #[arg(long, value_parser = status)]
    status: Option<WorkflowState>,
    /// Of this project only
    #[arg(long)]
    project: Option<String>,
    /// Made from this template only
    #[arg(long)]
    template: Option<String>,
    /// At most this many
    #[arg(long)]
    limit: Option<u32>,
    /// From the last page
    #[arg(long)]
    cursor: Option<String>,
}

fn status(text: &str) -> Result<WorkflowState, String> {
    serde_json::from_value(text.into()).map_err(|error| error.to_string())
}

/// JSON that an option carries.
pub(crate) fn raw(option: &str, text: Option<String>) -> Result<Option<RawJson>, Failure> {
    let read = |text: String| serde_json::from_str(&text);
    text.map(read).transpose().map_err(|error| Failure::Usage(format!("{option}: {error}")))
}

pub(crate) async fn run(args: Args, global: &Global) -> Result<(), Failure> {
    let client = global.client()?;
    let answer = match args.command {
        Command::Start(start) => client.start_workflow(start.body()?.into_message()).await?,
        Command::Get(Named { id }) => {
            show(global.output, &WorkflowAnswer::whole(client.workflow(&id).await?), details);
            return Ok(());
        }
        Command::List(list) => {
            let query = ListWorkflowsQuery {
                status: list.status,
                project_id: list.project,
                template: list.template,
                limit: list.limit,
                cursor: list.cursor,
                ..ListWorkflowsQuery::default()
            };
            let page = client.workflows(query.into_message().map_err(Error::Refused)?).await?;
            show(global.output, &WorkflowListAnswer::from(page), listed);
            return Ok(());
        }
        Command::Watch(Named { id }) => return watch(&client, global.output, &id).await,
        Command::Cancel(Named { id }) => client.cancel_workflow(&id).await?,
        Command::Pause(Named { id }) => client.pause_workflow(&id).await?,
        Command::Resume(Named { id }) => client.resume_workflow(&id).await?,
        Command::Retry(Named { id }) => client.retry_workflow(&id).await?,
        Command::Signal { id, name, payload } => {
            let payload = raw("JSON", payload)?.map(|payload| payload.0).unwrap_or_default();
            client.signal_workflow(&id, &name, payload).await?
        }
        Command::AddTasks(add) => client.add_tasks(add.request()?).await?,
        Command::Approve { id, task, reject } => {
            client.signal_workflow(&id, &task, if reject { "false" } else { "true" }).await?
        }
    };
    show(global.output, &WorkflowStatusAnswer::from(answer), |answer| {
        fields(&[("id", answer.id.clone()), ("status", answer.status.0.as_str().into())])
    });
    Ok(())
}

impl Start {
    fn body(self) -> Result<StartWorkflowBody, Failure> {
        let mut body = match &self.tasks {
            None => StartWorkflowBody::default(),
            Some(path) => {
                let usage = |detail: String| Failure::Usage(format!("--tasks: {path}: {detail}"));
                let text = contents(path).map_err(|error| usage(error.to_string()))?;
                if text.trim_start().starts_with('[') {
                    StartWorkflowBody { tasks: raw("--tasks", Some(text))?, ..StartWorkflowBody::default() }
                } else {
                    json::parse(text.as_bytes()).map_err(|refusal| usage(refusal.detail))?
                }
            }
        };
        body.name = Some(self.name);
        body.project_id = self.project.or(body.project_id);
        body.template = self.template.or(body.template);
        body.requirements = raw("--requirements", self.requirements)?.or(body.requirements);
        body.input = raw("--input", self.input)?.or(body.input);
        Ok(body)
    }
}

impl AddTasks {
    fn request(self) -> Result<proto::AddTasksRequest, Failure> {
        let text = contents(&self.tasks).map_err(|error| Failure::Usage(format!("--tasks: {}: {error}", self.tasks)))?;
        let tasks = raw("--tasks", Some(text))?.map(|tasks| tasks.0).unwrap_or_default();
        let Self { id, lease_token, job, task, .. } = self;
        Ok(proto::AddTasksRequest { id, lease_token, job_id: job, task_id: task, tasks })
    }
}

pub(crate) fn contents(path: &str) -> std::io::Result<String> {
    if path != "-" {
        return std::fs::read_to_string(path);
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    Ok(text)
}

/// Goes on with another node where one leaves, from the last event that was seen.
async fn watch(client: &Client, format: Format, id: &str) -> Result<(), Failure> {
    let mut after = 0;
    loop {
        let mut events = client.workflow_events(id, after).await?;
        while let Ok(Some(event)) = events.message().await {
            after = event.id;
            tell(format, event);
        }
        let workflow = WorkflowAnswer::summary(client.workflow(id).await?);
        match workflow.status.0.as_str() {
            "succeeded" => return Ok(()),
            status @ ("failed" | "cancelled") => {
                let why = workflow.error.map_or_else(String::new, |error| format!(": {error}"));
                return Err(Failure::No(format!("workflow {id} {status}{why}")));
            }
            _ => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
        }
    }
}

fn tell(format: Format, event: proto::WorkflowEvent) {
    show(format, &WorkflowEventAnswer::from(event), |event| {
        let task = event.task_id.clone().map(|task| match event.index {
            Some(index) => format!("{task}[{index}]"),
            None => task,
        });
        let parts = [Some(event.at.to_string()), Some(event.event.clone()), task, event.detail.clone()];
        parts.into_iter().flatten().collect::<Vec<_>>().join("  ") + "\n"
    });
    drop(std::io::stdout().flush());
}

fn listed(page: &WorkflowListAnswer) -> String {
    let mut table = Table::new(&["id", "status", "project", "template", "open", "tasks", "started at", "name"]);
    for one in &page.workflows {
        table.row([
            one.id.clone(),
            one.status.0.as_str().into(),
            one.project_id.clone(),
            or_dash(one.template.as_ref()),
            one.tasks_open.to_string(),
            one.tasks_total.to_string(),
            one.started_at.to_string(),
            one.name.clone(),
        ]);
    }
    let next = more(page.next_cursor.as_ref());
    table.render() + &next
}

fn details(workflow: &WorkflowAnswer) -> String {
    let head = fields(&[
        ("id", workflow.id.clone()),
        ("name", workflow.name.clone()),
        ("project", workflow.project_id.clone()),
        ("status", workflow.status.0.as_str().into()),
        ("template", or_dash(workflow.template.as_ref())),
        ("error", or_dash(workflow.error.as_ref())),
        ("started at", workflow.started_at.to_string()),
        ("finished at", or_dash(workflow.finished_at)),
        ("deadline", or_dash(workflow.deadline)),
    ]);
    let mut table = Table::new(&["task", "state", "attempt", "job", "finished at", "error"]);
    for task in workflow.tasks.iter().flatten() {
        table.row(row(task));
    }
    head + "\n" + &table.render()
}

fn row(task: &TaskAnswer) -> [String; 6] {
    [
        task.id.clone(),
        task.state.clone(),
        task.attempt.to_string(),
        or_dash(task.job_id.as_ref().or(task.workflow_id.as_ref())),
        or_dash(task.finished_at),
        or_dash(task.error.as_ref()),
    ]
}
