//! What one project may have.

use http::Method;
use serde_json::{Value, json};

use super::{ask, key};
use crate::harness::{Answer, call_at, get, nodes, own_node, post, put};

async fn enqueue(project: &str, jobs: usize, payload: &str) -> Answer {
    let job = json!({"queue": "quotas", "project_id": project, "payload": payload});
    post("/api/v1/jobs", json!({"jobs": vec![job; jobs]}).to_string()).await
}

async fn quota(project: &str, body: Value) -> Answer {
    put(&format!("/api/v1/quotas/{project}"), body.to_string()).await
}

#[tokio::test]
async fn a_project_has_as_many_jobs_as_its_quota_says_and_others_any_number() {
    quota("bounded", json!({"jobs_max": 3})).await.ok();
    assert!(enqueue("bounded", 3, "x").await.status.is_success());
    let mut refused = enqueue("bounded", 1, "x").await;
    for _ in 0..100 {
        // A replica counts a moment later what its leader took in.
        if !refused.status.is_success() {
            break;
        }
        refused = enqueue("bounded", 1, "x").await;
    }
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (429, "rate_limited"));
    assert!(refused.json()["detail"].as_str().unwrap().contains("of at most 3"), "{}", refused.text);
    assert!(enqueue("unbounded", 20, "x").await.status.is_success());
    let workflow = json!({"project_id": "bounded", "tasks": [{"id": "a", "queue": "quotas"}]}).to_string();
    assert_eq!(post("/api/v1/workflows", workflow).await.code(), "rate_limited");

    let listed = get("/api/v1/jobs?project_id=bounded&consistency=linearizable").await.ok();
    for job in listed["jobs"].as_array().unwrap() {
        post(&format!("/api/v1/jobs/{}/cancel", job["id"].as_str().unwrap()), "").await.ok();
    }
    let mut taken = enqueue("bounded", 1, "x").await;
    for _ in 0..100 {
        if taken.status.is_success() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        taken = enqueue("bounded", 1, "x").await;
    }
    assert!(taken.status.is_success(), "what was cancelled makes room: {}", taken.text);
}

#[tokio::test]
async fn a_projects_payload_bytes_and_its_rate_are_bounded() {
    quota("bytes", json!({"bytes_max": 1_000})).await.ok();
    assert_eq!(enqueue("bytes", 2, &"x".repeat(600)).await.code(), "rate_limited");
    assert!(enqueue("bytes", 1, &"x".repeat(600)).await.status.is_success());
    quota("slow", json!({"jobs_per_second": 3})).await.ok();
    let mut refusals = 0;
    for _ in 0..20 {
        let answer = enqueue("slow", 1, "x").await;
        if !answer.status.is_success() {
            assert_eq!(answer.code(), "rate_limited");
            assert!(answer.headers.contains_key("retry-after"));
            refusals += 1;
        }
    }
    assert!(refusals > 0, "a node takes its share of the rate, one a second");
    assert_eq!(quota("slow", json!({"jobs_per_second": 0})).await.code(), "invalid_argument");
}

#[tokio::test]
async fn what_does_not_become_a_job_is_not_charged_to_its_projects_rate() {
    let (node, _) = own_node(|_| {}).await;
    let call = async |method, path: &str, key: Option<&str>, body: Value| {
        let headers: Vec<_> = key.map(|key| ("idempotency-key", key)).into_iter().collect();
        call_at(node, method, path, &headers, body.to_string()).await
    };
    let jobs = async |key: Option<&str>, job: Value, count: usize| {
        call(Method::POST, "/api/v1/jobs", key, json!({"jobs": vec![job; count]})).await
    };
    let held = json!({"queue": "rated", "project_id": "rated", "unique_key": "held"});
    let plain = json!({"queue": "rated", "project_id": "rated"});
    let full = json!({"queue": "rated.full", "project_id": "rated"});
    call(Method::PUT, "/api/v1/queues/rated.full", None, json!({"max_ready": 1})).await.ok();
    jobs(None, held.clone(), 1).await.ok();
    let kept = jobs(Some("home"), plain.clone(), 50).await.ok();
    let spread = jobs(Some("spread"), held.clone(), 50).await.ok();

    // A job takes a second of the rate: whoever pays for fifty is refused for long.
    call(Method::PUT, "/api/v1/quotas/rated", None, json!({"jobs_per_second": 1})).await.ok();
    assert_eq!(jobs(None, held.clone(), 50).await.ok()["jobs"][49]["duplicate"], true);
    assert_eq!(jobs(Some("home"), plain.clone(), 50).await.ok(), kept);
    assert_eq!(jobs(Some("spread"), held.clone(), 50).await.ok(), spread);
    assert_eq!(jobs(Some("home"), plain.clone(), 49).await.code(), "idempotency_key_reuse");
    assert_eq!(jobs(None, full, 50).await.code(), "queue_full");
    jobs(None, plain.clone(), 50).await.ok();
    assert_eq!(jobs(None, plain, 1).await.code(), "rate_limited", "what became jobs is paid for");
}

#[tokio::test]
async fn a_quota_is_looked_at_listed_and_deleted() {
    quota("seen", json!({"jobs_max": 7, "bytes_max": 9})).await.ok();
    let mut shown = get("/api/v1/quotas/seen").await.ok();
    shown.as_object_mut().unwrap().sort_keys();
    let expected =
        json!({"bytes": 0, "bytes_max": 9, "jobs": 0, "jobs_max": 7, "jobs_per_second": null, "project_id": "seen"});
    assert_eq!(shown, expected);
    let reader = key(Some("seen"), &["read"]).await;
    let listed = ask(&reader, Method::GET, "/api/v1/quotas", "").await.ok();
    assert_eq!(listed["quotas"], json!([expected]), "one's own alone");
    let gone = call_at(nodes()[0], Method::DELETE, "/api/v1/quotas/seen", &[], "").await;
    assert_eq!(gone.status.as_u16(), 204);
    assert_eq!(get("/api/v1/quotas/seen").await.code(), "not_found");
}

#[tokio::test]
async fn a_workflow_counts_with_all_its_tasks_and_its_input_when_it_is_started_grown_and_retried() {
    let tasks = |ids: std::ops::Range<usize>| -> Value {
        ids.map(|number| json!({"id": format!("t{number}"), "queue": "quotas.steps", "max_attempts": 1})).collect()
    };
    let start = |ids, input: &str| {
        let body = json!({"project_id": "flows", "tasks": tasks(ids), "input": {"text": input}}).to_string();
        async move { post("/api/v1/workflows", body).await }
    };
    quota("flows", json!({"jobs_max": 3, "bytes_max": 1_000})).await.ok();
    assert_eq!(start(0..4, "").await.code(), "rate_limited");
    assert_eq!(start(0..1, &"x".repeat(1_000)).await.code(), "rate_limited");
    let each = json!([{"id": "each", "queue": "quotas.steps", "foreach": "input.list"}]);
    let body = json!({"project_id": "flows", "tasks": each, "input": {"list": [1, 2, 3, 4]}}).to_string();
    assert_eq!(post("/api/v1/workflows", body).await.code(), "rate_limited");
    let each = json!([{"id": "sub", "workflow": {"tasks": each}, "input": {"list": [1, 2, 3, 4]}}]);
    let begin = async |tasks: Value| {
        post("/api/v1/workflows", json!({"project_id": "flows", "tasks": tasks}).to_string()).await
    };
    assert_eq!(begin(each).await.code(), "rate_limited", "a list of a sub-workflow");
    let large = json!([{"id": "large", "queue": "quotas.steps", "input": "x".repeat(1_000)}]);
    assert_eq!(begin(large).await.code(), "rate_limited", "a large definition");
    let id = start(0..2, "").await.ok()["id"].as_str().unwrap().to_owned();
    let lease = json!({"worker_id": "w", "max": 1, "wait_ms": 10_000}).to_string();
    let leased = post("/api/v1/queues/quotas.steps/lease", lease).await.ok();
    let job = &leased["jobs"][0];
    let add = |ids| {
        let body = json!({"job_id": job["id"], "lease_token": job["lease_token"], "tasks": tasks(ids)}).to_string();
        let path = format!("/api/v1/workflows/{id}/tasks");
        async move { post(&path, body).await }
    };
    assert_eq!(add(2..6).await.code(), "rate_limited");
    add(2..3).await.ok();
    add(2..3).await.ok();

    post(&format!("/api/v1/workflows/{id}/cancel"), "").await.ok();
    quota("flows", json!({"jobs_max": 2})).await.ok();
    let retried = post(&format!("/api/v1/workflows/{id}/retry"), "").await;
    assert_eq!(retried.code(), "rate_limited", "{}", retried.text);
    quota("flows", json!({"jobs_max": 0})).await.ok();
    assert_eq!(begin(json!([{"id": "t", "timer_ms": 1_000}])).await.code(), "rate_limited", "though it makes no job");
    let alone = enqueue("once", 1, "x").await.ok()["jobs"][0]["id"].as_str().unwrap().to_owned();
    post(&format!("/api/v1/jobs/{alone}/cancel"), "").await.ok();
    let retry = |key: &'static str| {
        let path = format!("/api/v1/jobs/{alone}/retry");
        async move { call_at(nodes()[0], Method::POST, &path, &[("idempotency-key", key)], "").await }
    };
    retry("quotas-first").await.ok();
    quota("once", json!({"jobs_max": 0})).await.ok();
    assert_eq!(retry("quotas-second").await.code(), "rate_limited");
    retry("quotas-first").await.ok();
}
