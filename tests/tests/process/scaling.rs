//! Pools of real agents that follow their recommendations: grown before the work comes, because it is known or because it
//! came so before, and drained when it is done. What is remembered is replayed by the command line.

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

/// How often work came that was remembered, for how long, and how much of it in a tick of a second.
const PERIOD: usize = 120;
const BURST: usize = 10;
const EACH_TICK: u32 = 4;
/// When it comes next.
const AHEAD: Duration = Duration::from_secs(20);

/// Arrivals of five hours and a half, in which nothing comes but a burst every two minutes; they end so long before the
/// next one.
fn bursts() -> Vec<u32> {
    let last = PERIOD * 165 - AHEAD.as_secs() as usize;
    (0..last).map(|tick| if tick % PERIOD < BURST { EACH_TICK } else { 0 }).collect()
}

/// Runs the command line against a node.
async fn bravo(procs: &Procs, arguments: &[&str]) -> std::process::Output {
    let mut command = tokio::process::Command::new(beside("bravo").unwrap());
    command.args(["--server", &format!("http://{}", procs.nodes[2].public)]).args(arguments);
    tokio::time::timeout(Duration::from_secs(60), command.kill_on_drop(true).output()).await.expect("in time").unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_grows_before_work_that_came_so_before_and_is_drained_after_it() {
    let queue = format!("rhythm-{}", std::process::id());
    let options = Options { config: config(&queue), ..Options::default() };
    let procs = Procs::start(options).await.unwrap();
    let path = format!("/api/v1/scaling/{queue}");
    let body = json!({ "min": 1, "max": 9, "mode": "act", "objective": { "start_delay_p95_ms": 5_000 } });
    let put = procs.rest.call(procs.nodes[0].public, Method::PUT, &path, Some(&body), None, PATIENCE).await.unwrap();
    assert!(put.is_ok(), "{:?}", put.body);
    within(Duration::from_secs(30), "the smallest pool is there", || async { workers(&procs).await.len() == 1 }).await;

    let file = tempfile::NamedTempFile::new().unwrap();
    let past = json!({
        "agent_type": "of another cluster", "tick_ms": 1_000, "older": [], "arrivals": bursts(),
        "service_ms": 2_000, "boot_ms": 15_000, "at": "2026-01-01T00:00:00Z",
    });
    std::fs::write(file.path(), past.to_string()).unwrap();
    let imported = bravo(&procs, &["scaling", "history", "import", &queue, file.path().to_str().unwrap()]).await;
    assert!(imported.status.success(), "{imported:?}");
    let due = Instant::now() + AHEAD;
    within(AHEAD, "the pool has grown before anything came", || async {
        let scaling = get(&procs, &path).await;
        let (there, why) = (workers(&procs).await.len(), scaling["why"].as_str().unwrap_or_default().to_owned());
        eprintln!("{:?} before: {there} of {} agents: {why}", due - Instant::now(), scaling["recommended"]);
        assert!(!why.contains("are known to become ready"), "nothing is delayed: {why}");
        there >= GROWN
    })
    .await;
    let list = format!("/api/v1/jobs?queue={queue}&limit=200&consistency=linearizable");
    assert_eq!(get(&procs, &list).await["jobs"], json!([]), "no job was ever there");

    tokio::time::sleep(due.saturating_duration_since(Instant::now())).await;
    let jobs = BURST * EACH_TICK as usize;
    for _ in 0..BURST {
        enqueue(&procs, &queue, EACH_TICK as usize, 0).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let done = format!("{list}&state=succeeded");
    within(Duration::from_secs(60), "all jobs are done", || async {
        get(&procs, &done).await["jobs"].as_array().is_some_and(|done| done.len() == jobs)
    })
    .await;
    within(Duration::from_secs(60), "the pool is small again", || async { processes(&queue) <= FEW }).await;
    let ended = get(&procs, &done).await;
    let again: Vec<_> = ended["jobs"].as_array().unwrap().iter().filter(|job| job["attempt"] != 1).collect();
    assert!(again.is_empty(), "ended under way: {again:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_cluster_remembers_is_replayed_by_the_command_line() {
    let procs = Procs::start(Options::default()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    // A day of minutes from elsewhere, in which five jobs come and every half hour thirty.
    let line = |minute: u32| format!("{},{},20\n", minute * 60, if minute % 30 < 3 { 30 } else { 5 });
    let csv = "timestamp_s,arrivals,service_mean_s\n".to_owned() + &(0..1440).map(line).collect::<String>();
    std::fs::write(at("trace.csv"), csv).unwrap();
    let imported =
        bravo(&procs, &["scaling", "history", "import", "moved", &at("trace.csv"), "--boot-ms", "30000"]).await;
    assert!(imported.status.success(), "{imported:?}");
    let none = bravo(&procs, &["scaling", "backtest", "--from-history", "nobody"]).await;
    assert_eq!(none.status.code(), Some(1), "{none:?}");

    let put = bravo(&procs, &["scaling", "put", "moved", "--min", "3", "--max", "12"]).await;
    assert!(put.status.success(), "{put:?}");
    let arguments = ["scaling", "backtest", "--from-history", "moved", "--svg", &at("moved.svg"), "--output", "json"];
    let replayed = bravo(&procs, &arguments).await;
    assert!(replayed.status.success(), "{replayed:?}");
    let report: Value = serde_json::from_slice(&replayed.stdout).unwrap();
    let jobs = report["ours"]["jobs"].as_u64().unwrap();
    let half = 24 * (3 * 30 + 27 * 5);
    assert!(jobs.abs_diff(half) <= half / 50, "the second half of the day, as it was: {jobs} of {half}");
    for rule in ["ours", "reactive", "clairvoyant"] {
        assert_eq!(report[rule]["jobs"].as_u64(), Some(jobs), "{rule}");
        assert!(report[rule]["agent_seconds"].as_f64() >= Some(3.0 * 43_200.0), "{rule}: at least the policy's min");
    }
    let picture = std::fs::read_to_string(at("moved.svg")).unwrap();
    assert!(picture.starts_with("<svg ") && picture.contains("moved"), "{}", picture.len());

    let exported = bravo(&procs, &["scaling", "history", "export", "moved"]).await;
    let past: Value = serde_json::from_slice(&exported.stdout).unwrap();
    let ticks = past["arrivals"].as_array().map(Vec::len);
    assert!(ticks >= Some(5760) && ticks < Some(5800), "{ticks:?}");
    assert_eq!(
        (&past["tick_ms"], &past["service_ms"], &past["boot_ms"]),
        (&15_000.into(), &20_000.into(), &30_000.into())
    );
}
