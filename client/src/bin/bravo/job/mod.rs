//! `bravo job`: enqueue and look at jobs.

mod enqueue;
mod lines;

use bravo_client::json::{JobAnswer, JobListAnswer, JobStateAnswer, ListJobsQuery, RawJson, WhyAnswer};
use clap::Subcommand;

use crate::exit::Failure;
use crate::global::Global;
use crate::output::{Table, fields, more, or_dash, show};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Enqueue one job, or one per line of stdin
    Enqueue(Box<enqueue::Args>),
    /// Show one job
    Get {
        /// Its id
        id: String,
    },
    /// List jobs
    List {
        /// Of this queue only
        #[arg(long)]
        queue: Option<String>,
        /// In this state only
        #[arg(long)]
        state: Option<String>,
        /// Of this project only
        #[arg(long)]
        project: Option<String>,
        /// At most this many
        #[arg(long)]
        limit: Option<u32>,
        /// From the last page
        #[arg(long)]
        cursor: Option<String>,
    },
    /// Cancel a job
    Cancel {
        /// Its id
        id: String,
    },
    /// Put a dead or cancelled job back
    Retry {
        /// Its id
        id: String,
    },
    /// Say why a job waits
    Why {
        /// Its id
        id: String,
    },
}

pub(crate) async fn run(args: Args, global: &Global) -> Result<(), Failure> {
    let client = global.client()?;
    match args.command {
        Command::Enqueue(args) => enqueue::run(*args, &client, global).await?,
        Command::Get { id } => show(global.output, &JobAnswer::from(client.job(&id).await?), details),
        Command::List { queue, state, project, limit, cursor } => {
            let state = state.map(|name| serde_json::from_value(name.into())).transpose();
            let state = state.map_err(|error| Failure::Usage(format!("--state: {error}")))?;
            let query = ListJobsQuery { queue, state, project_id: project, limit, cursor, ..Default::default() };
            let list = query.into_message().map_err(|refusal| Failure::Usage(refusal.to_string()))?;
            show(global.output, &JobListAnswer::from(client.jobs(list).await?), rows);
        }
        Command::Cancel { id } => show(global.output, &client.cancel_job(&id).await?.into(), state),
        Command::Retry { id } => show(global.output, &client.retry_job(&id).await?.into(), state),
        Command::Why { id } => show(global.output, &WhyAnswer::from(client.why(&id).await?), |why| {
            let until = why.until.map_or_else(String::new, |until| format!(" (until {until})"));
            format!("{}: {}{until}\n", why.reason, why.detail)
        }),
    }
    Ok(())
}

fn state(answer: &JobStateAnswer) -> String {
    format!("{} {}\n", answer.id, answer.state.0.as_str())
}

fn rows(page: &JobListAnswer) -> String {
    let mut table = Table::new(&["id", "queue", "state", "attempt", "priority", "enqueued at", "worker", "error"]);
    for job in &page.jobs {
        table.row([
            job.id.clone(),
            job.queue.clone(),
            job.state.0.as_str().into(),
            format!("{}/{}", job.attempt, job.max_attempts),
            job.priority.to_string(),
            job.enqueued_at.to_string(),
            or_dash(job.worker_id.as_ref()),
            or_dash(job.error.as_ref().map(|error| error.lines().next().unwrap_or_default().to_owned())),
        ]);
    }
    let next = more(page.next_cursor.as_ref());
    table.render() + &next
}

fn details(job: &JobAnswer) -> String {
    let text = |json: Option<&RawJson>, base64: Option<&String>| match (json, base64) {
        (Some(json), _) => String::from_utf8_lossy(&json.0).into_owned(),
        (None, Some(base64)) => format!("base64 {base64}"),
        (None, None) => "-".into(),
    };
    fields(&[
        ("id", job.id.clone()),
        ("queue", job.queue.clone()),
        ("project", job.project_id.clone()),
        ("state", job.state.0.as_str().into()),
        ("attempt", format!("{} of {}", job.attempt, job.max_attempts)),
        ("priority", job.priority.to_string()),
        ("enqueued at", job.enqueued_at.to_string()),
        ("run at", job.run_at.to_string()),
        ("started at", or_dash(job.started_at)),
        ("finished at", or_dash(job.finished_at)),
        ("deadline", or_dash(job.deadline)),
        ("worker", or_dash(job.worker_id.as_ref())),
        ("workflow", or_dash(job.workflow_id.as_ref())),
        ("progress", text(job.progress.as_ref(), None)),
        ("error", or_dash(job.error.as_ref())),
        ("result", text(job.result.as_ref(), job.result_base64.as_ref())),
        ("metadata", text(Some(&job.metadata), None)),
        ("payload", text(job.payload.as_ref(), job.payload_base64.as_ref())),
    ])
}
