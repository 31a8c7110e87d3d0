//! One project that floods a queue, and the others in it.

use std::collections::BTreeMap;
use std::time::Duration;

use bravo_tests::process::{Options, Procs};
use http::Method;
use serde_json::{Value, json};

const PROJECTS: usize = 8;
const PATIENCE: Duration = Duration::from_secs(10);

async fn post(procs: &Procs, node: usize, path: &str, body: Value) -> Value {
    let node = procs.nodes[node].public;
    let answer = procs.rest.call(node, Method::POST, path, Some(&body), None, PATIENCE).await.unwrap();
    assert!(answer.is_ok(), "{path}: {answer:?}");
    answer.body
}

/// Works off jobs one by one, as long as there are any to give, up to a number; how many of each project it had.
async fn work(procs: &Procs, worker: usize, jobs: usize) -> BTreeMap<String, u32> {
    let mut had = BTreeMap::new();
    for _ in 0..jobs {
        let ask = json!({"worker_id": format!("w{worker}"), "max": 1, "wait_ms": 5_000});
        let given = post(procs, worker % 3, "/api/v1/queues/shared/lease", ask).await;
        let job = &given["jobs"][0];
        *had.entry(job["project_id"].as_str().unwrap().to_owned()).or_default() += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
        let ack = json!({"id": job["id"], "lease_token": job["lease_token"]});
        post(procs, worker % 3, "/api/v1/jobs/ack", json!({"acks": [ack]})).await;
    }
    had
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_project_that_floods_a_queue_has_its_share_of_the_workers_and_no_more() {
    let mut procs = Procs::start(Options::default()).await.unwrap();
    procs.ready(Duration::from_secs(20)).await.unwrap();
    // A hundred times what each of the others offers, and first.
    for project in 0..PROJECTS {
        for batch in 0..if project == 0 { 10 } else { 1 } {
            let job = json!({"queue": "shared", "project_id": format!("tenant-{project}")});
            let jobs = if project == 0 { 800 } else { 80 };
            post(&procs, batch % 3, "/api/v1/jobs", json!({"jobs": vec![job; jobs]})).await;
        }
    }
    let workers = (0..8).map(|worker| work(&procs, worker, 40));
    let mut served = [0.0; PROJECTS];
    for (project, jobs) in futures_util::future::join_all(workers).await.into_iter().flatten() {
        let project: usize = project.strip_prefix("tenant-").unwrap().parse().unwrap();
        served[project] += f64::from(jobs);
    }
    let sum: f64 = served.iter().sum();
    let jain = sum * sum / (PROJECTS as f64 * served.iter().map(|jobs| jobs * jobs).sum::<f64>());
    println!("Jain's index {jain:.3} of {served:?}");
    assert!(jain >= 0.95, "Jain's index {jain:.3} of {served:?}");
}
