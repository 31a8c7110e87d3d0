//! Cancel, pause, resume, retry, signals, approvals.

use http::{Method, StatusCode};
use serde_json::json;

use super::{ack, ask, kill, lease, read, start, take, task, until_status, until_task, work};
use crate::harness::{call_at, get, nodes, post};

#[tokio::test]
async fn a_cancel_ends_all_and_tells_the_worker() {
    let id = start(json!({"name": "cancel", "tasks": [
        {"id": "held", "queue": "cancel-held"}, {"id": "waits", "queue": "cancel-waits"},
        {"id": "later", "queue": "cancel-later", "depends_on": ["held"]},
    ]}))
    .await;
    let job = take("cancel-held").await;
    assert_eq!(ask(&id, "cancel", "").await.ok(), json!({"id": id, "status": "cancelled"}));
    let extend = json!({"leases": [{"id": job["id"], "lease_token": job["lease_token"]}]});
    let told = post("/api/v1/jobs/extend", extend.to_string()).await.ok();
    assert_eq!(told["results"][0]["cancel_requested"], true, "{told}");
    let cancelled = read(&id).await;
    assert_eq!((&cancelled["status"], &task(&cancelled, "waits")["state"]), (&json!("cancelled"), &json!("cancelled")));
    assert!(lease("cancel-waits", 1, 0).await.is_empty());
    assert_eq!(ask(&id, "cancel", "").await.ok()["status"], "cancelled", "again is no harm");
    for what in ["pause", "resume", "signals/x"] {
        assert_eq!(ask(&id, what, "").await.code(), "conflict", "{what}");
    }
}

#[tokio::test]
async fn while_it_is_paused_nothing_new_begins() {
    let id = start(json!({"name": "pause", "tasks": [
        {"id": "a", "queue": "pause-a"}, {"id": "b", "queue": "pause-b", "depends_on": ["a"]},
    ]}))
    .await;
    assert_eq!(ask(&id, "pause", "").await.ok()["status"], "paused");
    assert_eq!(ask(&id, "pause", "").await.ok()["status"], "paused");
    work("pause-a", json!(1)).await;
    let paused = until_task(&id, "b", "ready").await;
    assert_eq!((&paused["status"], &task(&paused, "a")["state"]), (&json!("paused"), &json!("succeeded")));
    assert!(lease("pause-b", 1, 200).await.is_empty());
    assert_eq!(ask(&id, "resume", "").await.ok()["status"], "running");
    work("pause-b", json!(1)).await;
    until_status(&id, "succeeded").await;
    assert_eq!(ask(&id, "pause", "").await.code(), "conflict");
}

#[tokio::test]
async fn a_retry_goes_on_from_what_failed() {
    let id = start(json!({"name": "retry", "tasks": [
        {"id": "a", "queue": "retry-a"},
        {"id": "b", "queue": "retry-b", "depends_on": ["a"], "max_attempts": 1, "input": "{{ tasks.a.result }}"},
    ]}))
    .await;
    work("retry-a", json!("kept")).await;
    assert_eq!(ask(&id, "retry", "").await.code(), "conflict", "it runs");
    let step = take("retry-b").await;
    kill(&step, "broken").await;
    let failed = until_status(&id, "failed").await;
    assert_eq!(task(&failed, "b")["state"], "failed");
    assert!(task(&failed, "b")["error"].as_str().unwrap().contains("broken"), "{failed:#}");
    let refused = post(&format!("/api/v1/jobs/{}/retry", step["id"].as_str().unwrap()), "").await;
    assert_eq!(refused.code(), "conflict", "its task has ended: the workflow is to be retried");
    assert!(refused.json()["detail"].as_str().unwrap().contains(&id), "{}", refused.text);
    assert_eq!(ask(&id, "retry", "").await.ok()["status"], "running");
    assert_eq!(work("retry-b", json!(2)).await, json!("kept"));
    let done = until_status(&id, "succeeded").await;
    assert_eq!((&task(&done, "a")["result"], &done["error"]), (&json!("kept"), &json!(null)));
    assert!(lease("retry-a", 1, 0).await.is_empty(), "what succeeded is not done again");
}

#[tokio::test]
async fn a_signal_is_kept_if_it_comes_before_the_wait() {
    let id = start(json!({"name": "signals", "tasks": [
        {"id": "first", "queue": "signal-first"},
        {"id": "early", "wait_signal": "early", "depends_on": ["first"]},
        {"id": "late", "wait_signal": "late", "depends_on": ["early"]},
    ]}))
    .await;
    assert_eq!(ask(&id, "signals/early", r#"{"n": 1}"#).await.ok()["status"], "running");
    work("signal-first", json!(1)).await;
    until_task(&id, "late", "running").await;
    assert_eq!(ask(&id, "signals/late", "{").await.code(), "invalid_argument");
    let keyed = |body: &'static str| {
        let path = format!("/api/v1/workflows/{id}/signals/late");
        async move { call_at(nodes()[2], Method::POST, &path, &[("idempotency-key", "late-once")], body).await }
    };
    assert_eq!(keyed("[2]").await.status, StatusCode::OK);
    let done = until_status(&id, "succeeded").await;
    assert_eq!((&task(&done, "early")["result"], &task(&done, "late")["result"]), (&json!({"n": 1}), &json!([2])));
    assert_eq!(keyed("[2]").await.status, StatusCode::OK, "the first answer comes again");
    assert_eq!(keyed("[3]").await.code(), "idempotency_key_reuse");
    assert_eq!(ask(&id, "signals/late", "").await.code(), "conflict");
}

#[tokio::test]
async fn an_approval_waits_for_a_yes_and_fails_on_a_no() {
    for (answer, status) in [
        ("", "succeeded"),
        (r#"{"approved": true}"#, "succeeded"),
        ("false", "failed"),
        (r#"{"approved": false, "by": "ada"}"#, "failed"),
    ] {
        let id = start(json!({"name": "approval", "tasks": [{"id": "ok", "approval": true}]})).await;
        assert_eq!(task(&read(&id).await, "ok")["state"], "running");
        ask(&id, "signals/ok", answer).await.ok();
        let over = until_status(&id, status).await;
        let error = if status == "failed" { json!("rejected") } else { json!(null) };
        assert_eq!(task(&over, "ok")["error"], error, "{answer}");
    }
}

#[tokio::test]
async fn a_job_of_a_cancelled_workflow_may_still_be_acknowledged() {
    let id = start(json!({"name": "ack", "tasks": [{"id": "a", "queue": "ack-after-cancel"}]})).await;
    let job = take("ack-after-cancel").await;
    ask(&id, "cancel", "").await.ok();
    ack(&job, json!("done")).await;
    assert_eq!(read(&id).await["status"], "cancelled");
    let job = get(&format!("/api/v1/jobs/{}", job["id"].as_str().unwrap())).await.ok();
    assert_eq!(job["state"], "succeeded");
}

#[tokio::test]
async fn a_job_that_is_cancelled_or_purged_fails_its_task() {
    for what in ["cancel", "purge"] {
        let queue = format!("job-gone-{what}");
        let id = start(json!({"name": what, "tasks": [{"id": "a", "queue": queue}]})).await;
        let job = task(&read(&id).await, "a")["job_id"].as_str().unwrap().to_owned();
        match what {
            "cancel" => post(&format!("/api/v1/jobs/{job}/cancel"), "").await.ok(),
            _ => post(&format!("/api/v1/queues/{queue}/purge"), "").await.ok(),
        };
        let failed = until_status(&id, "failed").await;
        assert!(failed["error"].is_string(), "{failed:#}");
        // The workflow makes a new job when it goes on.
        ask(&id, "retry", "").await.ok();
        work(&queue, json!(what)).await;
        until_status(&id, "succeeded").await;
    }
}

#[tokio::test]
async fn a_step_that_is_dead_stays_so_when_its_queue_is_redriven() {
    let id = start(json!({"name": "redrive", "tasks": [{"id": "a", "queue": "redriven", "max_attempts": 1}]})).await;
    let job = take("redriven").await;
    kill(&job, "dead").await;
    until_status(&id, "failed").await;
    assert_eq!(post("/api/v1/queues/redriven/redrive", "").await.ok()["redriven"], 0);
    let dead = get(&format!("/api/v1/jobs/{}", job["id"].as_str().unwrap())).await.ok();
    assert_eq!((&dead["state"], &read(&id).await["status"]), (&json!("dead"), &json!("failed")));
    ask(&id, "retry", "").await.ok();
    ack(&take("redriven").await, json!(1)).await;
    until_status(&id, "succeeded").await;
}
