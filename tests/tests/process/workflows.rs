//! Workflows go on where they were when the nodes that lead them are killed: no task is lost, none is
//! done twice, and the replicas agree.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bravo_tests::process::{Options, Procs, Rest, short_or_long};
use http::Method;
use serde_json::{Value, json};

const WORKFLOWS: usize = 12;
/// One job each of `first` and `last`, three of `each`.
const JOBS_EACH: usize = 5;

fn definition() -> Value {
    json!({
        "name": "kills", "project_id": "p", "input": { "list": [1, 2, 3] },
        "tasks": [
            { "id": "first", "queue": "w", "input": "{{ input.list }}" },
            { "id": "each", "queue": "w", "depends_on": ["first"], "foreach": "tasks.first.result", "input": "{{ item }}" },
            { "id": "pause", "timer_ms": 300, "depends_on": ["each"] },
            { "id": "last", "queue": "w", "depends_on": ["pause"], "input": "{{ tasks.each.result }}" },
        ],
    })
}

/// Asks node after node until one has done it; the key makes that safe.
async fn insist(rest: &Rest, nodes: &[SocketAddr], path: &str, body: &Value, key: &str) -> Value {
    let deadline = Instant::now() + Duration::from_secs(30);
    for node in nodes.iter().cycle() {
        let answer = rest.call(*node, Method::POST, path, Some(body), Some(key), Duration::from_secs(3)).await;
        match answer {
            Ok(answer) if answer.is_ok() => return answer.body,
            answer => assert!(Instant::now() < deadline, "{path} is not done: {answer:?}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Value::Null
}

/// Leases, gives each payload back as the result, and insists on the answer to each ack.
async fn work(rest: Rest, nodes: Vec<SocketAddr>, name: String, stop: Arc<AtomicBool>) -> BTreeMap<String, u32> {
    let mut accepted = BTreeMap::new();
    let lease = json!({ "worker_id": name, "max": 4, "wait_ms": 300, "lease_ms": 4_000 });
    for node in nodes.iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let path = "/api/v1/queues/w/lease";
        let answer = rest.call(*node, Method::POST, path, Some(&lease), None, Duration::from_secs(2)).await;
        let jobs = answer.ok().and_then(|answer| answer.body["jobs"].as_array().cloned()).unwrap_or_default();
        if jobs.is_empty() {
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        for job in jobs {
            let ack = json!({ "id": job["id"], "lease_token": job["lease_token"], "result": job["payload"] });
            let key = format!("ack-{}-{}", job["id"], job["lease_token"]);
            let said = insist(&rest, &nodes, "/api/v1/jobs/ack", &json!({ "acks": [ack] }), &key).await;
            if said["results"][0]["ok"] == json!(true) {
                *accepted.entry(job["id"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
            }
        }
    }
    accepted
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workflows_end_as_they_should_while_the_nodes_that_lead_them_are_killed() {
    let mut procs = Procs::start(Options::default()).await.unwrap();
    let (rest, nodes) = (procs.rest.clone(), procs.addresses());
    let mut ids = Vec::new();
    for n in 0..WORKFLOWS {
        let started = insist(&rest, &nodes, "/api/v1/workflows", &definition(), &format!("start-{n}")).await;
        ids.push(started["id"].as_str().unwrap().to_owned());
    }
    let stop = Arc::new(AtomicBool::new(false));
    let worker = |n: usize| tokio::spawn(work(rest.clone(), nodes.clone(), format!("w{n}"), stop.clone()));
    let workers: Vec<_> = (0..3).map(worker).collect();
    for round in 0..short_or_long(2, 20) {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let leader = procs.leader(round as u64 % 2).await.unwrap();
        procs.nodes[leader].kill().unwrap();
        tokio::time::sleep(Duration::from_millis(700)).await;
        procs.start_all().unwrap();
        procs.ready(Duration::from_secs(30)).await.unwrap();
    }
    let deadline = Instant::now() + Duration::from_secs(60);
    for id in &ids {
        loop {
            let answer = rest.get(nodes[0], &format!("/api/v1/workflows/{id}")).await.unwrap();
            if answer.body["status"] == json!("succeeded") {
                let results: Vec<&Value> =
                    answer.body["tasks"].as_array().unwrap().iter().map(|task| &task["result"]).collect();
                assert_eq!(results, [&json!([1, 2, 3]), &json!([1, 2, 3]), &Value::Null, &json!([1, 2, 3])], "{id}");
                break;
            }
            assert!(Instant::now() < deadline, "{id} does not end: {}\n{}", answer.body, procs.story());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    let mut accepted: BTreeMap<String, u32> = BTreeMap::new();
    for worker in workers {
        for (id, count) in worker.await.unwrap() {
            *accepted.entry(id).or_default() += count;
        }
    }
    assert_eq!(accepted.len(), WORKFLOWS * JOBS_EACH);
    assert!(accepted.values().all(|count| *count == 1), "a job was acknowledged twice: {accepted:?}");
    let jobs = rest.get(nodes[1], "/api/v1/jobs?queue=w&limit=1000&consistency=linearizable").await.unwrap();
    let jobs = jobs.body["jobs"].as_array().cloned().unwrap_or_default();
    assert_eq!(jobs.len(), WORKFLOWS * JOBS_EACH, "a task has more jobs than one, or none");
    assert!(jobs.iter().all(|job| job["state"] == json!("succeeded")), "{jobs:?}");
    let digests = rest.get(nodes[2], "/api/v1/cluster/digest").await.unwrap();
    for partition in digests.body["partitions"].as_array().unwrap() {
        let replicas = partition["replicas"].as_array().unwrap();
        assert_eq!(replicas.len(), 3, "{partition}");
        assert!(replicas.iter().all(|replica| replica["digest"] == replicas[0]["digest"]), "{partition}");
    }
}
