//! `bravo worker`: run a command per job.

mod exec;
mod group;

use std::sync::Arc;
use std::time::Duration;

use bravo_client::Worker;
use tokio::signal::unix::{SignalKind, signal};

use crate::exit::Failure;
use crate::global::Global;

/// Run a command per job.
///
/// The command gets the payload on stdin, and BRAVO_JOB_ID, BRAVO_LEASE_TOKEN, BRAVO_ATTEMPT and
/// BRAVO_QUEUE in its environment. Its stdout is the result (as JSON if it is JSON, else as a JSON
/// string); with another exit code than 0, the end of its stderr is the error. SIGINT and SIGTERM
/// stop the worker when the jobs that it holds are done.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// The queue; may be repeated
    #[arg(long = "queue", value_name = "QUEUE", required = true)]
    pub(crate) queues: Vec<String>,
    /// The command, for sh -c
    #[arg(long, value_name = "CMD")]
    pub(crate) exec: String,
    /// Jobs at a time; MAX_CONCURRENT_TASKS of the environment unless given, or 10
    #[arg(long, value_name = "N")]
    pub(crate) concurrency: Option<usize>,
    /// Length of the leases; the queue's unless given
    #[arg(long, value_name = "MS")]
    pub(crate) lease_ms: Option<u64>,
    /// Unique among the workers; made up unless given
    #[arg(long, value_name = "ID")]
    worker_id: Option<String>,
    /// The type that scaling counts it under; the queue's unless given
    #[arg(long, value_name = "TYPE", alias = "type")]
    agent_type: Option<String>,
    /// What the worker is, for jobs that require it; may be repeated
    #[arg(long = "label", value_name = "LABEL=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// Its weight beside others of its capacity, 1 to 1000
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    weight: Option<u32>,
    /// How long jobs may go on after a signal
    #[arg(long, env = "BRAVO_GRACE_MS", value_name = "MS", default_value_t = 30_000)]
    grace_ms: u64,
    /// How long a command may take to end after SIGTERM, before SIGKILL
    #[arg(long, value_name = "MS", default_value_t = 3_000)]
    kill_after_ms: u64,
}

/// `LABEL=VALUE`.
pub(crate) fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((label, value)) if !label.is_empty() && !value.is_empty() => Ok((label.into(), value.into())),
        _ => Err("a label is written LABEL=VALUE".into()),
    }
}

pub(crate) async fn run(args: Args, global: &Global) -> Result<(), Failure> {
    let client = global.client()?;
    let mut worker = Worker::builder(&client, args.queues.clone()).grace(Duration::from_millis(args.grace_ms));
    if let Some(jobs) = args.concurrency {
        worker = worker.concurrency(jobs);
    }
    for (label, value) in &args.labels {
        worker = worker.label(label, value);
    }
    if let Some(weight) = args.weight {
        worker = worker.weight(weight);
    }
    if let Some(ms) = args.lease_ms {
        worker = worker.lease_ms(ms);
    }
    if let Some(id) = &args.worker_id {
        worker = worker.worker_id(id);
    }
    if let Some(agent_type) = &args.agent_type {
        worker = worker.agent_type(agent_type);
    }
    let command: Arc<str> = args.exec.into();
    let kill_after = Duration::from_millis(args.kill_after_ms);
    let handler = move |job| exec::run(command.clone(), job, kill_after);
    let summary = worker.run(handler, stop_signal()?).await?;
    eprintln!(
        "{} acked, {} nacked, {} lost, {} unconfirmed",
        summary.acked, summary.nacked, summary.lost, summary.unconfirmed
    );
    match summary.unconfirmed {
        0 => Ok(()),
        _ => Err(Failure::Unreachable("no server confirmed the last jobs".into())),
    }
}

fn stop_signal() -> Result<impl Future<Output = ()>, Failure> {
    let listen = |kind| signal(kind).map_err(|error| Failure::Usage(format!("signals: {error}")));
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => (),
            _ = terminate.recv() => (),
        }
    })
}
