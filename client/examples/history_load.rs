//! Fills the history with workflows that are over, spread over many projects, and shows after each tenth what the
//! nodes hold in memory and how long lists take.
//!
//! ```console
//! $ cargo run --release -p bravo-client --example history_load -- http://127.0.0.1:7700,http://127.0.0.1:7710 --pids 4711,4712
//! ```

use std::error::Error;
use std::time::{Duration, Instant};

use bravo_api::proto::workflows_client::WorkflowsClient;
use bravo_api::proto::{ListWorkflowsRequest, StartWorkflowRequest, WorkflowStatus};
use clap::Parser;
use tokio::task::JoinSet;
use tonic::transport::Channel;
use tonic::{Code, Status};

/// Workflows that are started at a time.
const AT_ONCE: u64 = 200;
/// A start whose outcome is unknown is repeated so often, a second apart: at worst there is one workflow more.
const TRIES_MAX: u32 = 30;
/// Lists that are asked for after each tenth.
const LISTS: u64 = 200;
const TENTHS: u64 = 10;

#[derive(Parser)]
struct Args {
    /// The nodes, separated by commas
    servers: String,
    /// Workflows in all
    #[arg(long, default_value_t = 1_000_000)]
    workflows: u64,
    /// Projects that they belong to
    #[arg(long, default_value_t = 50_000)]
    projects: u64,
    /// The nodes' processes, whose memory is shown
    #[arg(long, value_delimiter = ',')]
    pids: Vec<u32>,
}

/// Over a moment after it began.
const TASKS: &str = r#"[{"id":"wait","timer_ms":1,"input":{"of":"{{ input.n }}"}}]"#;

async fn start(client: &mut WorkflowsClient<Channel>, n: u64, projects: u64) -> Result<(), String> {
    for tries in 1.. {
        match start_once(client, n, projects).await {
            Err(status) if status.code() == Code::Unavailable && tries < TRIES_MAX => {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            started => return started.map_err(|status| status.to_string()),
        }
    }
    Ok(())
}

async fn start_once(client: &mut WorkflowsClient<Channel>, n: u64, projects: u64) -> Result<(), Status> {
    let request = StartWorkflowRequest {
        name: format!("history {n}"),
        project_id: format!("project-{}", n % projects),
        tasks: TASKS.into(),
        input: format!(r#"{{"n":{n}}}"#).into(),
        ..StartWorkflowRequest::default()
    };
    client.start(request).await.map(drop)
}

/// Milliseconds at the median and the 99th percentile.
async fn lists(
    client: &mut WorkflowsClient<Channel>,
    ask: impl Fn(u64) -> ListWorkflowsRequest,
) -> Result<(f64, f64), Box<dyn Error>> {
    let mut took = Vec::new();
    for n in 0..LISTS {
        let began = Instant::now();
        client.list(ask(n)).await?;
        took.push(began.elapsed().as_secs_f64() * 1e3);
    }
    took.sort_by(f64::total_cmp);
    Ok((took[took.len() / 2], took[took.len() * 99 / 100]))
}

fn resident_mib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) >> 10
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let servers: Vec<String> = args.servers.split(',').map(str::to_owned).collect();
    let mut reader = WorkflowsClient::connect(servers[0].clone()).await?;
    println!("| over | started /s | MiB of each node | newest 100 p50 ms | p99 | of a project p50 ms | p99 |");
    println!("|---:|---:|---|---:|---:|---:|---:|");
    for tenth in 0..TENTHS {
        let (from, to) = (args.workflows * tenth / TENTHS, args.workflows * (tenth + 1) / TENTHS);
        let began = Instant::now();
        let mut starts = JoinSet::new();
        for part in 0..AT_ONCE {
            let (server, projects) = (servers[part as usize % servers.len()].clone(), args.projects);
            starts.spawn(async move {
                let mut client = WorkflowsClient::connect(server).await.map_err(|error| error.to_string())?;
                for n in (from + part..to).step_by(AT_ONCE as usize) {
                    start(&mut client, n, projects).await?;
                }
                Ok::<_, String>(())
            });
        }
        while let Some(started) = starts.join_next().await {
            started??;
        }
        let per_second = (to - from) as f64 / began.elapsed().as_secs_f64();
        // What is over is packed and moved in the background.
        tokio::time::sleep(Duration::from_secs(10)).await;
        let all = || ListWorkflowsRequest { status: WorkflowStatus::Succeeded.into(), ..Default::default() };
        let newest = lists(&mut reader, |_| all()).await?;
        let projects = args.projects.min(to);
        let of_project = |n: u64| {
            let project_id = format!("project-{}", n * 7_919 % projects);
            ListWorkflowsRequest { project_id, ..all() }
        };
        let of_project = lists(&mut reader, of_project).await?;
        let memory: Vec<String> = args.pids.iter().map(|pid| resident_mib(*pid).to_string()).collect();
        println!(
            "| {to} | {per_second:.0} | {} | {:.2} | {:.2} | {:.2} | {:.2} |",
            memory.join(", "),
            newest.0,
            newest.1,
            of_project.0,
            of_project.1
        );
    }
    Ok(())
}
