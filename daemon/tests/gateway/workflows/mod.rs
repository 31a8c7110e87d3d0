//! Workflows over REST and gRPC. What a write changed is looked at through another node.

mod add;
mod control;
mod follow;
mod grpc;
mod guide;
mod run;
mod start;

use std::time::{Duration, Instant};

use http::StatusCode;
use serde_json::{Value, json};

use crate::harness::{Answer, get, post};

/// Starts a workflow; its id.
pub(crate) async fn start(body: Value) -> String {
    let started = post("/api/v1/workflows", body.to_string()).await;
    assert_eq!(started.status, StatusCode::CREATED, "{}", started.text);
    started.json()["id"].as_str().unwrap().to_owned()
}

pub(crate) async fn read(id: &str) -> Value {
    get(&format!("/api/v1/workflows/{id}")).await.ok()
}

/// `POST …/{id}/{what}`.
pub(crate) async fn ask(id: &str, what: &str, body: &str) -> Answer {
    post(&format!("/api/v1/workflows/{id}/{what}"), body.to_owned()).await
}

/// Waits until the workflow is as it should be.
pub(crate) async fn until(id: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let workflow = read(id).await;
        if holds(&workflow) {
            return workflow;
        }
        assert!(Instant::now() < deadline, "{id} is never {what}: {workflow:#}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) async fn until_status(id: &str, status: &str) -> Value {
    until(id, status, |workflow| workflow["status"] == status).await
}

pub(crate) async fn until_task(id: &str, name: &str, state: &str) -> Value {
    until(id, &format!("{name} {state}"), |workflow| task(workflow, name)["state"] == state).await
}

pub(crate) fn task<'a>(workflow: &'a Value, id: &str) -> &'a Value {
    let tasks = workflow["tasks"].as_array().unwrap();
    tasks.iter().find(|task| task["id"] == id).unwrap_or_else(|| panic!("no task {id} in {workflow:#}"))
}

/// Leases up to so many jobs, and waits for the first.
pub(crate) async fn lease(queue: &str, max: u32, wait_ms: u64) -> Vec<Value> {
    let body = json!({"worker_id": "agent", "max": max, "wait_ms": wait_ms, "lease_ms": 60_000});
    let leased = post(&format!("/api/v1/queues/{queue}/lease"), body.to_string()).await.ok();
    leased["jobs"].as_array().unwrap().clone()
}

/// Leases the one job that there is.
pub(crate) async fn take(queue: &str) -> Value {
    lease(queue, 1, 10_000).await.pop().unwrap_or_else(|| panic!("there is no job in {queue}"))
}

pub(crate) async fn ack(job: &Value, result: Value) {
    let ack = json!({"id": job["id"], "lease_token": job["lease_token"], "result": result});
    let answer = post("/api/v1/jobs/ack", json!({"acks": [ack]}).to_string()).await.ok();
    assert_eq!(answer["results"][0]["ok"], true, "{answer}");
}

/// Gives up a job for good.
pub(crate) async fn kill(job: &Value, error: &str) {
    let nack = json!({"id": job["id"], "lease_token": job["lease_token"], "error": error, "dead": true});
    let answer = post("/api/v1/jobs/nack", json!({"nacks": [nack]}).to_string()).await.ok();
    assert_eq!(answer["results"][0]["ok"], true, "{answer}");
}

/// Does the one job of a queue; its payload.
pub(crate) async fn work(queue: &str, result: Value) -> Value {
    let job = take(queue).await;
    ack(&job, result).await;
    job["payload"].clone()
}

/// Where a refused definition is wrong.
pub(crate) fn wrong_at(refused: &Answer) -> Vec<String> {
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (400, "invalid_argument"), "{}", refused.text);
    let problem = refused.json();
    let errors = problem["errors"].as_array().unwrap_or_else(|| panic!("no errors in {problem}"));
    errors.iter().map(|error| error["path"].as_str().unwrap().to_owned()).collect()
}
