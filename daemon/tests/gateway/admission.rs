//! Estimates with each answer, and jobs that are refused early.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bravo_api::proto;
use bravo_api::proto::jobs_client::JobsClient;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{Answer, call_at, own_node};

const PATIENCE: Duration = Duration::from_secs(30);

async fn enqueue(node: SocketAddr, job: Value) -> Answer {
    call_at(node, Method::POST, "/api/v1/jobs", &[], job.to_string()).await
}

/// The estimate of a job that was let in.
async fn eta(node: SocketAddr, job: Value) -> Value {
    enqueue(node, job).await.ok()["jobs"][0]["eta_ms"].take()
}

/// A worker with one slot does so many jobs, each in about 20 ms.
async fn work(node: SocketAddr, queue: &str, jobs: usize) {
    for _ in 0..jobs {
        let path = format!("/api/v1/queues/{queue}/lease");
        let body = r#"{"worker_id":"w","max":1,"wait_ms":5000}"#;
        let leased = call_at(node, Method::POST, &path, &[], body).await.ok();
        tokio::time::sleep(Duration::from_millis(20)).await;
        // One may have died of its deadline.
        let Some(job) = leased["jobs"].as_array().unwrap().first() else { break };
        let ack = json!({"acks": [{"id": job["id"], "lease_token": job["lease_token"]}]});
        call_at(node, Method::POST, "/api/v1/jobs/ack", &[], ack.to_string()).await.ok();
    }
}

async fn fill(node: SocketAddr, queue: &str, jobs: usize) {
    let jobs = vec![json!({"queue": queue}); jobs];
    enqueue(node, json!({ "jobs": jobs })).await.ok();
}

async fn metric(node: SocketAddr, name: &str) -> f64 {
    let text = call_at(node, Method::GET, "/metrics", &[], "").await.text;
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0");
    line.trim().parse().unwrap()
}

/// Asks again until the answer is as wanted.
async fn until<F: Future<Output = Answer>>(
    what: &str,
    ask: impl Fn() -> F,
    wanted: impl Fn(&Answer) -> bool,
) -> Answer {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = ask().await;
        if wanted(&answer) {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what}: {} {}", answer.status, answer.text);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn where_no_worker_was_ever_seen_nothing_is_told_and_nobody_is_refused() {
    let (node, _) = own_node(|_| {}).await;
    fill(node, "nobody", 300).await;
    // Several looks later.
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert_eq!(eta(node, json!({"queue": "nobody"})).await, Value::Null);
    let tight = enqueue(node, json!({"queue": "nobody", "ttl_ms": 1})).await;
    assert_eq!(tight.status, StatusCode::CREATED, "{}", tight.text);
}

#[tokio::test]
async fn an_answer_tells_when_the_job_will_start_and_one_that_would_be_late_is_shed() {
    let (node, _) = own_node(|_| {}).await;
    let key = [("idempotency-key", "first")];
    let tight = json!({"queue": "mail", "ttl_ms": 400}).to_string();
    let first = call_at(node, Method::POST, "/api/v1/jobs", &key, tight.clone()).await.ok();
    let once = json!({"queue": "mail", "ttl_ms": 400, "unique_key": "once", "unique_for_ms": 3_600_000});
    let only = enqueue(node, once.clone()).await.ok()["jobs"][0]["id"].take();
    fill(node, "mail", 40).await;
    work(node, "mail", 42).await;
    let told = until(
        "an estimate",
        || enqueue(node, json!({"queue": "mail", "priority": 9})),
        |answer| answer.ok()["jobs"][0]["eta_ms"].is_object(),
    );
    let soon = told.await.ok()["jobs"][0]["eta_ms"].take();
    assert!(soon["p50"].as_u64() <= soon["p95"].as_u64() && soon["p50"].as_u64() < Some(5_000), "{soon}");

    fill(node, "mail", 1_000).await;
    let late = || enqueue(node, json!({"queue": "mail", "ttl_ms": 400}));
    let shed = until("shed", late, |answer| !answer.status.is_success()).await;
    assert_eq!((shed.status, shed.code().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "shed"));
    let (ms, header) = (shed.json()["retry_after_ms"].as_u64().unwrap(), &shed.headers["retry-after"]);
    assert!(ms >= 250 && header.to_str().unwrap().parse::<u64>().unwrap() >= ms / 1_000, "{}", shed.text);
    assert!(metric(node, r#"bravo_requests_shed_total{reason="admission.deadlines"}"#).await >= 1.0);

    // Whoever has time, or goes first, is let in, and told how long it takes.
    let waits = eta(node, json!({"queue": "mail"})).await;
    assert!(waits["p50"].as_u64() > Some(5_000), "a thousand jobs of 20 ms and more: {waits}");
    let far = enqueue(node, json!({"queue": "mail", "ttl_ms": 3_600_000})).await;
    assert_eq!(far.status, StatusCode::CREATED, "{}", far.text);
    let urgent = enqueue(node, json!({"queue": "mail", "ttl_ms": 60_000, "priority": 9})).await;
    assert_eq!(urgent.status, StatusCode::CREATED, "{}", urgent.text);
    let mut grpc = JobsClient::connect(format!("http://{node}")).await.unwrap();
    let job = proto::NewJob { queue: "mail".into(), ..proto::NewJob::default() };
    let request = proto::EnqueueRequest { jobs: vec![job], ..proto::EnqueueRequest::default() };
    let answer = grpc.enqueue(request).await.unwrap().into_inner();
    assert!(answer.jobs[0].eta.is_some_and(|eta| eta.p50_ms > 5_000 && eta.p50_ms <= eta.p95_ms), "{answer:?}");

    // What was accepted stays, and its repetition gets the first answer though a new job would be shed now.
    let again = call_at(node, Method::POST, "/api/v1/jobs", &key, tight).await.ok();
    assert_eq!(again, first);
    let held = enqueue(node, once.clone()).await.ok();
    assert_eq!((&held["jobs"][0]["id"], &held["jobs"][0]["duplicate"]), (&only, &json!(true)), "its key is held");
    let beside = async |ttl_ms: u64| enqueue(node, json!({"jobs": [once, {"queue": "mail", "ttl_ms": ttl_ms}]})).await;
    let second = beside(400).await;
    assert_eq!(second.code(), "shed", "a new job beside it is judged by itself");
    assert!(second.json()["detail"].as_str().unwrap().starts_with("jobs[1]"), "at its place: {}", second.text);
    let both = beside(3_600_000).await.ok();
    assert_eq!((&both["jobs"][0]["id"], &both["jobs"][1]["duplicate"]), (&only, &json!(false)));
    let ready = call_at(node, Method::GET, "/api/v1/queues/mail", &[], "").await.ok()["ready"].as_u64().unwrap();
    assert!(ready >= 1_003, "{ready}");
}

#[tokio::test]
async fn a_job_that_is_refused_makes_none_of_its_call_come_in() {
    let (node, _) = own_node(|_| {}).await;
    fill(node, "bills", 30).await;
    work(node, "bills", 30).await;
    fill(node, "bills", 500).await;
    let both = || enqueue(node, json!({"jobs": [{"queue": "other"}, {"queue": "bills", "ttl_ms": 200}]}));
    let shed = until("shed", both, |answer| !answer.status.is_success()).await;
    assert_eq!(shed.code(), "shed");
    assert!(shed.json()["detail"].as_str().unwrap().starts_with("jobs[1]"), "{}", shed.text);
    // None if no such call was let in before.
    let list = || async { call_at(node, Method::GET, "/api/v1/queues/other", &[], "").await.json()["ready"].clone() };
    let before = list().await;
    assert_eq!(both().await.code(), "shed");
    assert_eq!(list().await, before);
}

#[tokio::test]
async fn a_node_that_is_over_a_limit_refuses_jobs_and_goes_on_with_what_it_accepted() {
    let (node, _) = own_node(|config| config.admission.memory_bytes_max = 1).await;
    let shed = until("shed", || enqueue(node, json!({"queue": "q"})), |answer| !answer.status.is_success()).await;
    assert_eq!((shed.code().as_str(), shed.json()["retry_after_ms"].as_u64() > Some(0)), ("shed", true));
    assert!(metric(node, r#"bravo_requests_shed_total{reason="admission.memory_bytes_max"}"#).await >= 1.0);
    assert!(metric(node, r#"bravo_admission_shut_ratio{scope="node"}"#).await >= 0.0);

    // The tasks of a workflow are work of something that was accepted.
    let flow = json!({"name": "w", "tasks": [{"id": "a", "queue": "flow"}, {"id": "b", "queue": "flow", "depends_on": ["a"]}]});
    let started = call_at(node, Method::POST, "/api/v1/workflows", &[], flow.to_string()).await;
    assert_eq!(started.status, StatusCode::CREATED, "{}", started.text);
    work(node, "flow", 2).await;
    let path = format!("/api/v1/workflows/{}", started.json()["id"].as_str().unwrap());
    let done = || call_at(node, Method::GET, &path, &[], "");
    until("the workflow's end", done, |answer| answer.ok()["status"] == "succeeded").await;
}
