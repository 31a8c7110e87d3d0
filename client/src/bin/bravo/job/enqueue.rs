//! `bravo job enqueue`.

use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use bravo_client::json::EnqueueAnswer;
use bravo_client::{Client, NewJob, Timestamp, proto};
use serde_json::value::RawValue;

use super::lines;
use crate::exit::Failure;
use crate::global::Global;
use crate::output::{Table, show};

#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// The queue
    #[arg(long)]
    pub(super) queue: String,
    /// The payload, as JSON; null unless given
    #[arg(long, value_name = "JSON", group = "source")]
    payload: Option<String>,
    /// The payload is this file: as JSON if it is JSON, else as bytes; - is stdin
    #[arg(long, value_name = "FILE", group = "source")]
    file: Option<PathBuf>,
    /// One job per line of stdin, with the line as a JSON string; says count and rate on stderr
    #[arg(long, group = "source")]
    lines: bool,
    /// With --lines: each line is JSON itself
    #[arg(long, requires = "lines")]
    pub(super) json_lines: bool,
    /// The project
    #[arg(long)]
    project: Option<String>,
    /// 0 to 9
    #[arg(long, value_parser = clap::value_parser!(u8).range(0..=9))]
    priority: Option<u8>,
    /// Not delivered before this time (RFC 3339)
    #[arg(long, value_name = "TIME", conflicts_with = "delay_ms")]
    run_at: Option<Timestamp>,
    /// Not delivered before this much later
    #[arg(long, value_name = "MS")]
    delay_ms: Option<u64>,
    /// Dead if it waits at this time (RFC 3339)
    #[arg(long, value_name = "TIME", conflicts_with = "ttl_ms")]
    deadline: Option<Timestamp>,
    /// Dead if it waits this much later
    #[arg(long, value_name = "MS")]
    ttl_ms: Option<u64>,
    /// Attempts before it is dead
    #[arg(long, value_name = "N")]
    max_attempts: Option<u32>,
    /// At most one job of this key is in the queue
    #[arg(long, value_name = "KEY", conflicts_with = "lines")]
    unique_key: Option<String>,
    /// How long the unique key holds; until the job is final unless given
    #[arg(long, value_name = "MS", requires = "unique_key")]
    unique_for_ms: Option<u64>,
    /// Jobs of one order key run one after the other
    #[arg(long, value_name = "KEY")]
    order_key: Option<String>,
    /// At most so many jobs of one concurrency key run at once as the queue allows
    #[arg(long, value_name = "KEY")]
    concurrency_key: Option<String>,
    /// Shares the queue fairly between keys
    #[arg(long, value_name = "KEY")]
    fairness_key: Option<String>,
    /// A label that a worker must have to get the job; may be repeated
    #[arg(long = "require", value_name = "LABEL=VALUE", value_parser = crate::worker::label)]
    requirements: Vec<(String, String)>,
    /// Jobs of one key go to the worker that has the key's state, if it takes them soon
    #[arg(long, value_name = "KEY")]
    sticky_key: Option<String>,
    /// A JSON object that goes with the job
    #[arg(long, value_name = "JSON")]
    metadata: Option<String>,
    /// Repeating the command under one key returns the first answer
    #[arg(long, value_name = "KEY", conflicts_with = "lines")]
    idempotency_key: Option<String>,
}

impl Args {
    /// The job without its payload.
    pub(super) fn job(&self) -> Result<NewJob, Failure> {
        let mut job = NewJob::new(&self.queue);
        let text = |value: &Option<String>| value.clone();
        if let Some(project) = text(&self.project) {
            job = job.project(project);
        }
        if let Some(priority) = self.priority {
            job = job.priority(priority);
        }
        if let Some(time) = self.run_at {
            job = job.run_at(time);
        }
        if let Some(ms) = self.delay_ms {
            job = job.delay(Duration::from_millis(ms));
        }
        if let Some(time) = self.deadline {
            job = job.deadline(time);
        }
        if let Some(ms) = self.ttl_ms {
            job = job.ttl(Duration::from_millis(ms));
        }
        if let Some(attempts) = self.max_attempts {
            job = job.max_attempts(attempts);
        }
        if let Some(key) = text(&self.unique_key) {
            job = job.unique_key(key);
        }
        if let Some(ms) = self.unique_for_ms {
            job = job.unique_for(Duration::from_millis(ms));
        }
        if let Some(key) = text(&self.order_key) {
            job = job.order_key(key);
        }
        if let Some(key) = text(&self.concurrency_key) {
            job = job.concurrency_key(key);
        }
        if let Some(key) = text(&self.fairness_key) {
            job = job.fairness_key(key);
        }
        for (label, value) in &self.requirements {
            job = job.requirement(label, value);
        }
        if let Some(key) = text(&self.sticky_key) {
            job = job.sticky_key(key);
        }
        if let Some(metadata) = text(&self.metadata) {
            if !is_json(metadata.as_bytes()) {
                return Err(Failure::Usage("--metadata: not JSON".into()));
            }
            job = job.metadata_text(metadata);
        }
        Ok(job)
    }

    fn with_payload(&self, job: NewJob) -> Result<NewJob, Failure> {
        if let Some(text) = &self.payload {
            return match is_json(text.as_bytes()) {
                true => Ok(job.json_text(text.clone())),
                false => Err(Failure::Usage("--payload: not JSON (a text needs its quotes)".into())),
            };
        }
        let Some(path) = &self.file else { return Ok(job) };
        let mut content = Vec::new();
        let read = match path.as_os_str() == "-" {
            true => std::io::stdin().read_to_end(&mut content).map(drop),
            false => std::fs::read(path).map(|read| content = read),
        };
        read.map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))?;
        Ok(if is_json(&content) { job.json_text(content) } else { job.bytes(content) })
    }
}

pub(super) fn is_json(text: &[u8]) -> bool {
    serde_json::from_slice::<&RawValue>(text).is_ok()
}

pub(crate) async fn run(args: Args, client: &Client, global: &Global) -> Result<(), Failure> {
    if args.lines {
        return lines::run(&args, client).await;
    }
    let job = args.with_payload(args.job()?)?;
    let jobs = client.enqueue(vec![job], args.idempotency_key.clone()).await?;
    let jobs = jobs.into_iter().map(|job| proto::EnqueuedJob {
        id: job.id.into(),
        state: job.state.into(),
        duplicate: job.duplicate,
        eta: job.eta,
    });
    let answer = EnqueueAnswer::from(proto::EnqueueResponse { jobs: jobs.collect() });
    show(global.output, &answer, |answer| {
        let mut table = Table::new(&["id", "state", "duplicate", "starts in ms (p50 to p95)"]);
        for job in &answer.jobs {
            let eta = job.eta_ms.map_or_else(String::new, |eta| format!("{} to {}", eta.p50, eta.p95));
            table.row([job.id.clone(), job.state.0.as_str().into(), job.duplicate.to_string(), eta]);
        }
        table.render()
    });
    Ok(())
}
