//! `bravo-agent`: one pool of the agents that build applications, as a program that uses the client library alone.
//!
//! ```text
//!   requirements ──► analysis ──► planning ──► codegen ──► testing ──► deployment ──► bundle
//!                     model        files        source      cargo        HTTP
//!                                                  └── artifacts ──┴─────────┘
//! ```
//!
//! A workflow of one of the templates `crud`, `ecommerce`, `enterprise_api` or `realtime_chat` puts a job into the
//! queue of each pool in turn. Agents come and go: what one held when it died is another's when its lease is over.

mod analysis;
mod catalogue;
mod codegen;
mod deployment;
mod pack;
mod planning;
mod process;
mod render;
mod service;
mod stored;
mod testing;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bravo_client::{Client, Error, Failure, JobContext, Output, Worker};
use clap::{Parser, ValueEnum};
use serde::Deserialize;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use analysis::{Model, Requirements};
use planning::Plan;

/// One pool of the agents that build applications.
#[derive(Parser)]
#[command(name = "bravo-agent", version)]
struct Args {
    /// What this agent does; its queue has the same name
    #[arg(long = "type", value_enum)]
    pool: Pool,
    /// A node's URL; may be repeated, or a comma-separated list
    #[arg(
        long = "server",
        env = "BRAVO_SERVER",
        value_name = "URL",
        value_delimiter = ',',
        default_value = "http://127.0.0.1:7700"
    )]
    servers: Vec<String>,
    /// The API key
    #[arg(long, env = "BRAVO_API_KEY", hide_env_values = true)]
    key: Option<String>,
    /// The CA of https:// servers, as PEM
    #[arg(long, env = "BRAVO_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The client certificate for https:// servers, as PEM
    #[arg(long, env = "BRAVO_CERT", value_name = "FILE", requires = "cert_key")]
    cert: Option<PathBuf>,
    /// The private key of that certificate, as PEM
    #[arg(long, env = "BRAVO_CERT_KEY", value_name = "FILE", requires = "cert")]
    cert_key: Option<PathBuf>,
    /// Jobs at a time
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    concurrency: u16,
    /// Length of the leases: how soon another agent goes on when this one is gone
    #[arg(long, value_name = "MS", default_value_t = 6_000)]
    lease_ms: u64,
    /// How long jobs may go on after a signal
    #[arg(long, env = "BRAVO_GRACE_MS", value_name = "MS", default_value_t = 2_000)]
    grace_ms: u64,
    /// Unique among the agents; made up unless given
    #[arg(long, value_name = "ID")]
    worker_id: Option<String>,
}

/// The pools.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Pool {
    /// Requirements become a model
    Analysis,
    /// A model becomes a plan of files
    Planning,
    /// A plan becomes source
    Codegen,
    /// Source is compiled and tested
    Testing,
    /// A program is started, called, and bundled
    Deployment,
}

#[tokio::main]
async fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env();
    let filter = filter.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bravo-agent: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<(), Error> {
    let client = client(&args)?;
    let queue = args.pool.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
    let mut worker = Worker::builder(&client, [queue])
        .concurrency(args.concurrency.into())
        .lease(Duration::from_millis(args.lease_ms))
        .grace(Duration::from_millis(args.grace_ms));
    if let Some(id) = args.worker_id {
        worker = worker.worker_id(id);
    }
    let invalid = |error: std::io::Error| Error::Invalid(error.to_string());
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt()).map_err(invalid)?, signal(SignalKind::terminate()).map_err(invalid)?);
    let stop = async move {
        tokio::select! {
            _ = interrupt.recv() => (),
            _ = terminate.recv() => (),
        }
    };
    let pool = args.pool;
    worker.run(move |job| work(pool, client.clone(), job), stop).await.map(drop)
}

fn client(args: &Args) -> Result<Client, Error> {
    let mut builder = Client::builder();
    for url in &args.servers {
        builder = builder.server(url);
    }
    if let Some(key) = &args.key {
        builder = builder.api_key(key);
    }
    let read = |path: &PathBuf| {
        let pem = std::fs::read_to_string(path);
        pem.map_err(|error| Error::Invalid(format!("{}: {error}", path.display())))
    };
    if let Some(path) = &args.ca {
        builder = builder.ca_pem(read(path)?);
    }
    if let (Some(cert), Some(key)) = (&args.cert, &args.cert_key) {
        builder = builder.identity_pem(read(cert)?, read(key)?);
    }
    builder.build()
}

/// Does one job. What no other try would mend is dead.
async fn work(pool: Pool, client: Client, job: JobContext) -> Result<Output, Failure> {
    match pool {
        Pool::Analysis => {
            let task: Analysis = payload(&job)?;
            let model = analysis::analyse(&task.requirements, task.kind.as_deref());
            Ok(Output::json(&model.map_err(|why| Failure::new(why).dead())?)?)
        }
        Pool::Planning => {
            let task: Planning = payload(&job)?;
            Ok(Output::json(&planning::plan(task.analysis))?)
        }
        Pool::Codegen => {
            let task: Codegen = payload(&job)?;
            Ok(Output::json(&codegen::write(&client, &job, &task.plan).await?)?)
        }
        Pool::Testing => {
            let task: Testing = payload(&job)?;
            Ok(Output::json(&testing::test(&client, &job, &task.plan, &task.code).await?)?)
        }
        Pool::Deployment => {
            let task: Deployment = payload(&job)?;
            Ok(Output::json(&deployment::deploy(&client, &job, &task).await?)?)
        }
    }
}

/// What analysis is told.
#[derive(Deserialize)]
struct Analysis {
    #[serde(rename = "type", default)]
    kind: Option<String>,
    requirements: Requirements,
}

/// What planning is told.
#[derive(Deserialize)]
struct Planning {
    analysis: Model,
}

/// What code generation is told.
#[derive(Deserialize)]
struct Codegen {
    plan: Plan,
}

/// What testing is told.
#[derive(Deserialize)]
struct Testing {
    plan: Plan,
    code: codegen::Code,
}

/// What deployment is told.
#[derive(Deserialize)]
struct Deployment {
    plan: Plan,
    code: codegen::Code,
    tests: testing::Tests,
}

fn payload<T: serde::de::DeserializeOwned>(job: &JobContext) -> Result<T, Failure> {
    job.json().map_err(|error| Failure::new(format!("the job cannot be read: {error}")).dead())
}

/// Tells how far a job is.
fn progress(job: &JobContext, step: &str, done: u32, of: u32) {
    // It is a courtesy: a job is none the worse without it.
    drop(job.progress(&json!({ "step": step, "done": done, "of": of })));
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_pools_are_the_queues_of_every_template() {
        Args::command().debug_assert();
        for kind in &catalogue::KINDS {
            let template: serde_json::Value = serde_json::from_str(kind.template).unwrap();
            let queues: Vec<&str> =
                template["tasks"].as_array().unwrap().iter().map(|task| task["queue"].as_str().unwrap()).collect();
            let pools: Vec<String> = Pool::value_variants()
                .iter()
                .map(|pool| pool.to_possible_value().unwrap().get_name().to_owned())
                .collect();
            assert_eq!(queues, pools, "{}", kind.name);
            assert_eq!(template["tasks"][0]["input"]["type"], kind.name);
        }
    }
}
