//! Pools of real agents that follow their recommendations: grown before the work comes, drained when it is done.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bravo_tests::process::{Options, Procs, beside};
use http::Method;
use serde_json::{Value, json};

/// When the jobs become ready that everybody knows of.
const DELAY: Duration = Duration::from_secs(50);
/// Agents where nothing is to be done, at most, and before the jobs come, at least.
const FEW: usize = 3;
const GROWN: usize = 6;
const JOBS: usize = 60;
const QUIET: Duration = Duration::from_secs(15);
const PATIENCE: Duration = Duration::from_secs(5);

/// Each node may run a share of the pool.
fn config(queue: &str) -> String {
    let bravo = beside("bravo").unwrap();
    let words = [bravo.to_str().unwrap(), "worker", "--queue", queue, "--concurrency", "1", "--exec", "sleep 2"];
    let pool = format!("{{ agent_type = \"{queue}\", actuator = \"process\", command = {words:?} }}");
    format!("[scaling]\ntick_ms = 1_000\npools = [{pool}]\n")
}

async fn get(procs: &Procs, path: &str) -> Value {
    procs.rest.get(procs.nodes[0].public, path).await.map(|answer| answer.body).unwrap_or_default()
}

async fn workers(procs: &Procs) -> BTreeSet<String> {
    let answer = get(procs, "/api/v1/workers").await;
    let workers = answer["workers"].as_array().cloned().unwrap_or_default();
    workers.iter().filter_map(|worker| worker["worker_id"].as_str().map(str::to_owned)).collect()
}

/// Processes of this pool, wherever they come from.
fn processes(queue: &str) -> usize {
    let named = |entry: std::fs::DirEntry| {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        words.contains(&b"worker".as_slice()) && words.contains(&queue.as_bytes())
    };
    std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| named(entry).then_some(())).count()
}

async fn within<F: Future<Output = bool>>(patience: Duration, what: &str, mut holds: impl FnMut() -> F) {
    let deadline = Instant::now() + patience;
    while !holds().await {
        assert!(Instant::now() < deadline, "not within {patience:?}: {what}");
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_grows_before_the_jobs_come_and_is_drained_when_they_are_done() {
    let queue = format!("builds-{}", std::process::id());
    let options = Options { config: config(&queue), ..Options::default() };
    let mut procs = Procs::start(options).await.unwrap();
    let node = procs.nodes[1].public;
    let body = json!({ "min": 1, "max": 9, "mode": "act", "objective": { "start_delay_p95_ms": 30_000 } });
    let path = format!("/api/v1/scaling/{queue}");
    let put = procs.rest.call(node, Method::PUT, &path, Some(&body), None, PATIENCE).await.unwrap();
    assert!(put.is_ok(), "{:?}", put.body);
    within(Duration::from_secs(30), "the smallest pool is there", || async { !workers(&procs).await.is_empty() }).await;
    // A quiet while, after which a forecast rests on something and sees no reason for many.
    tokio::time::sleep(QUIET).await;
    let is_few = |count: u64| count <= FEW as u64;
    within(Duration::from_secs(30), "there are few", || async {
        let quiet = get(&procs, &path).await;
        eprintln!("quiet: {} of {}: {}", workers(&procs).await.len(), quiet["recommended"], quiet["why"]);
        quiet["recommended"].as_u64().is_some_and(is_few) && workers(&procs).await.len() <= FEW
    })
    .await;
    move_meta(&procs).await;
    let there = get(&procs, &path).await;
    within(Duration::from_secs(15), "the new leader has looked", || async {
        let scaling = get(&procs, &path).await;
        let why = scaling["why"].as_str().unwrap_or_default();
        assert!(!why.contains("too little"), "the new leader goes on with what the old one learned: {why}");
        scaling["at"].as_str() > there["at"].as_str() && !why.contains("nobody has looked")
    })
    .await;
    enqueue(&procs, &queue, JOBS, DELAY.as_millis() as u64).await;
    let due = Instant::now() + DELAY;
    within(DELAY - Duration::from_secs(2), "the pool has grown", || async {
        let scaling = get(&procs, &path).await;
        let there = workers(&procs).await.len();
        eprintln!(
            "{:?} before: {there} of {} agents: {}",
            due - Instant::now(),
            scaling["recommended"],
            scaling["why"]
        );
        there >= GROWN
    })
    .await;
    let list = format!("/api/v1/jobs?queue={queue}&state=succeeded&limit=200&consistency=linearizable");
    within(DELAY + Duration::from_secs(120), "all jobs are done", || async {
        get(&procs, &list).await["jobs"].as_array().is_some_and(|jobs| jobs.len() == JOBS)
    })
    .await;
    within(Duration::from_secs(180), "the pool is small again", || async { processes(&queue) <= FEW }).await;
    let jobs = get(&procs, &list).await;
    let again: Vec<_> = jobs["jobs"].as_array().unwrap().iter().filter(|job| job["attempt"] != 1).collect();
    assert!(again.is_empty(), "ended under way: {again:?}");
    for node in &procs.nodes {
        node.terminate().unwrap();
    }
    for node in &mut procs.nodes {
        assert!(node.ended(Duration::from_secs(40)).await.unwrap().is_some_and(|status| status.success()));
    }
    assert_eq!(processes(&queue), 0, "whoever stops takes its agents along");
}

/// Has another node lead meta.
async fn move_meta(procs: &Procs) {
    let leader = || async { get(procs, "/api/v1/cluster").await["meta"]["leader"].as_u64() };
    let before = leader().await.unwrap();
    let body = json!({ "partition": "meta", "to": before % 3 + 1 });
    let path = "/api/v1/cluster/transfer";
    let moved = procs.rest.call(procs.nodes[0].public, Method::POST, path, Some(&body), None, PATIENCE).await.unwrap();
    assert!(moved.is_ok(), "{:?}", moved.body);
    within(Duration::from_secs(10), "another node leads", || async { leader().await.is_some_and(|now| now != before) })
        .await;
}

async fn enqueue(procs: &Procs, queue: &str, jobs: usize, delay_ms: u64) {
    let job = json!({ "queue": queue, "payload": {}, "delay_ms": delay_ms });
    let body = json!({ "jobs": vec![job; jobs] });
    let node = procs.nodes[2].public;
    let answer = procs.rest.call(node, Method::POST, "/api/v1/jobs", Some(&body), None, PATIENCE).await.unwrap();
    assert!(answer.is_ok(), "{:?}", answer.body);
}
