//! Starts many workflows at once and does their tasks with agents that do no work: what the daemons
//! themselves can do.
//!
//! ```console
//! $ cargo run --release -p bravo-client --example workflow_load -- http://127.0.0.1:7700,http://127.0.0.1:7710 1000
//! ```

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bravo_api::proto::workflows_client::WorkflowsClient;
use bravo_api::proto::{ListWorkflowsRequest, Read, StartWorkflowRequest, WorkflowStatus};
use bravo_client::{Client, Output, Worker};
use tokio::task::JoinSet;

const TASKS: u64 = 5;
const AGENTS: usize = 500;

/// A chain, each task given the result of the one before.
fn tasks(queue: &str) -> String {
    let task = |n: u64| match n {
        0 => format!(r#"{{"id":"t0","queue":"{queue}","input":"{{{{ input }}}}"}}"#),
        n => format!(
            r#"{{"id":"t{n}","queue":"{queue}","depends_on":["t{before}"],"input":"{{{{ tasks.t{before}.result }}}}"}}"#,
            before = n - 1
        ),
    };
    format!("[{}]", (0..TASKS).map(task).collect::<Vec<_>>().join(","))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let servers = args.next().unwrap_or_else(|| "http://127.0.0.1:7700".into());
    let count: u64 = args.next().map_or(Ok(1_000), |text| text.parse())?;
    let servers: Vec<String> = servers.split(',').map(str::to_owned).collect();
    let project = format!("load-{}", std::process::id());
    let queue = format!("load-{}", std::process::id());

    let began = Instant::now();
    let mut starts = JoinSet::new();
    for part in 0..50u64 {
        let (server, queue, project) = (servers[part as usize % servers.len()].clone(), queue.clone(), project.clone());
        starts.spawn(async move {
            let mut client = WorkflowsClient::connect(server).await.map_err(|error| error.to_string())?;
            for n in (part..count).step_by(50) {
                let request = StartWorkflowRequest {
                    name: format!("load {n}"),
                    project_id: project.clone(),
                    tasks: tasks(&queue).into(),
                    input: format!(r#"{{"n":{n}}}"#).into(),
                    ..StartWorkflowRequest::default()
                };
                client.start(request).await.map_err(|status| status.to_string())?;
            }
            Ok::<_, String>(())
        });
    }
    while let Some(started) = starts.join_next().await {
        started??;
    }
    let took = began.elapsed();
    println!("{count} workflows of {TASKS} tasks started in {took:.2?}: {:.0}/s", count as f64 / took.as_secs_f64());

    let done = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    let mut agents = JoinSet::new();
    for server in &servers {
        let client = Client::builder().server(server.clone()).discover(false).build()?;
        let (done, all) = (done.clone(), count * TASKS);
        let worker = Worker::builder(&client, [queue.clone()]).concurrency(AGENTS / servers.len()).prefetch(64);
        let counted = done.clone();
        agents.spawn(worker.run(
            move |job| {
                counted.fetch_add(1, Ordering::Relaxed);
                let result = job.payload().to_vec();
                async move { Ok(Output::json_text(result)) }
            },
            async move {
                while done.load(Ordering::Relaxed) < all {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            },
        ));
    }
    let mut acked = 0;
    while let Some(agent) = agents.join_next().await {
        acked += agent??.acked;
    }
    let took = began.elapsed();
    println!("{acked} tasks done in {took:.2?}: {:.0}/s", acked as f64 / took.as_secs_f64());

    let mut client = WorkflowsClient::connect(servers[0].clone()).await?;
    let mut succeeded = 0;
    let mut cursor = String::new();
    loop {
        let request = ListWorkflowsRequest {
            status: WorkflowStatus::Succeeded.into(),
            project_id: project.clone(),
            limit: Some(1_000),
            cursor,
            read: Some(Read { stale: false, max_staleness_ms: None }),
            ..ListWorkflowsRequest::default()
        };
        let page = client.list(request).await?.into_inner();
        succeeded += page.workflows.len() as u64;
        cursor = page.next_cursor;
        if cursor.is_empty() {
            break;
        }
    }
    println!("{succeeded} of {count} workflows succeeded");
    if succeeded == count { Ok(()) } else { Err("some did not".into()) }
}
