//! What belongs to another project answers exactly like what is not there.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{ask, key};
use crate::harness::{Answer, call_at, nodes, post, put};

/// The answer without what names the object, or when.
fn alike(answer: &Answer, object: &str) -> (StatusCode, String) {
    let mut text = answer.text.replace(object, "OBJECT");
    if let Ok(Value::Object(mut members)) = serde_json::from_str::<Value>(&answer.text) {
        members.remove("as_of");
        text = Value::Object(members).to_string().replace(object, "OBJECT");
    }
    (answer.status, text)
}

#[tokio::test]
async fn an_object_of_another_project_answers_exactly_like_an_absent_one() {
    let admin = key(Some("own"), &["admin"]).await;
    let job = json!({"queue": "foreign", "project_id": "foreign", "payload": 1}).to_string();
    let job = post("/api/v1/jobs", job).await.ok()["jobs"][0]["id"].as_str().unwrap().to_owned();
    let workflow = json!({"name": "w", "project_id": "foreign", "tasks": [{"id": "a", "queue": "foreign"}]});
    let workflow = post("/api/v1/workflows", workflow.to_string()).await.ok()["id"].as_str().unwrap().to_owned();
    let job_absent = format!("{}-999999999", job.split('-').next().unwrap());
    let workflow_absent = format!("{}-999999999", workflow.split('-').next().unwrap());
    let schedule = json!({"cron": "0 0 1 1 *", "job": {"queue": "foreign", "project_id": "foreign"}});
    put("/api/v1/schedules/foreign-one", schedule.to_string()).await.ok();
    let webhook = json!({"project_id": "foreign", "url": "http://127.0.0.1:9/", "events": ["job.dead"]});
    put("/api/v1/webhooks/foreign-one?project_id=foreign", webhook.to_string()).await.ok();
    put("/api/v1/artifacts/foreign/one.txt", "text").await.ok();
    put("/api/v1/lifecycle/foreign", json!({"rules": [{"prefix": "", "expire_after_ms": 86_400_000}]}).to_string())
        .await;
    let foreign_key = key(Some("foreign"), &["read"]).await;
    let foreign_key = foreign_key.split('_').nth(1).unwrap().to_owned();
    let hook = |name: &str, project: &str| format!("/api/v1/webhooks/{name}?project_id={project}");
    let of_job = |id: &str, rest: &str| format!("/api/v1/jobs/{id}{rest}");
    let of_workflow = |id: &str, rest: &str| format!("/api/v1/workflows/{id}{rest}");
    let at = |path: &str, name: &str| format!("/api/v1/{path}/{name}");
    let tasks = json!({"lease_token": 1, "tasks": [{"id": "b", "queue": "foreign"}]}).to_string();

    let mut pairs = Vec::new();
    for (method, rest) in
        [(Method::GET, ""), (Method::GET, "/why"), (Method::POST, "/cancel"), (Method::POST, "/retry")]
    {
        pairs.push((method, of_job(&job, rest), of_job(&job_absent, rest), job.clone(), job_absent.clone(), "".into()));
    }
    for (method, rest, body) in [
        (Method::GET, "", String::new()),
        (Method::GET, "/events", String::new()),
        (Method::POST, "/cancel", String::new()),
        (Method::POST, "/pause", String::new()),
        (Method::POST, "/resume", String::new()),
        (Method::POST, "/retry", String::new()),
        (Method::POST, "/signals/go", "1".into()),
        (Method::POST, "/tasks", tasks),
    ] {
        let (there, absent) = (of_workflow(&workflow, rest), of_workflow(&workflow_absent, rest));
        pairs.push((method, there, absent, workflow.clone(), workflow_absent.clone(), body));
    }
    let named = |method: &Method, path: &str, rest: &str| {
        let (there, absent) = ("foreign-one".to_owned(), "absent-one".to_owned());
        let (at_there, at_absent) = (format!("{}{rest}", at(path, &there)), format!("{}{rest}", at(path, &absent)));
        (method.clone(), at_there, at_absent, there, absent, String::new())
    };
    pairs.push(named(&Method::GET, "schedules", ""));
    pairs.push(named(&Method::POST, "schedules", "/pause"));
    pairs.push(named(&Method::POST, "schedules", "/resume"));
    pairs.push(named(&Method::DELETE, "schedules", ""));
    for method in [Method::GET, Method::DELETE] {
        let (there, absent) = (hook("foreign-one", "foreign"), hook("foreign-two", "foreign"));
        pairs.push((method, there, absent, "foreign-one".into(), "foreign-two".into(), String::new()));
    }
    for method in [Method::GET, Method::HEAD, Method::DELETE] {
        let (there, absent) = (at("artifacts/foreign", "one.txt"), at("artifacts/foreign", "two.txt"));
        pairs.push((method, there, absent, "one.txt".into(), "two.txt".into(), String::new()));
    }
    for method in [Method::GET, Method::DELETE] {
        let (there, absent) = (at("lifecycle", "foreign"), at("lifecycle", "absent"));
        pairs.push((method, there, absent, "foreign".into(), "absent".into(), String::new()));
    }
    for list in ["jobs?project_id=", "workflows?project_id=", "webhooks?project_id=", "artifacts/", "keys?project_id="]
    {
        let (there, absent) = (format!("/api/v1/{list}foreign"), format!("/api/v1/{list}absent"));
        pairs.push((Method::GET, there, absent, "foreign".into(), "absent".into(), String::new()));
    }
    pairs.push((
        Method::DELETE,
        at("keys", &foreign_key),
        at("keys", "0123456789ab"),
        foreign_key,
        "0123456789ab".into(),
        String::new(),
    ));
    for (method, there, absent, object, other, body) in pairs {
        let what = format!("{method} {there}");
        let of_foreign = ask(&admin, method.clone(), &there, body.clone()).await;
        let of_absent = ask(&admin, method, &absent, body).await;
        assert_eq!(alike(&of_foreign, &object), alike(&of_absent, &other), "{what}");
    }

    // All of it is still there for those who may see it.
    for path in
        [of_job(&job, ""), of_workflow(&workflow, ""), at("schedules", "foreign-one"), hook("foreign-one", "foreign")]
    {
        call_at(nodes()[0], Method::GET, &path, &[], "").await.ok();
    }
    let state = call_at(nodes()[0], Method::GET, &of_workflow(&workflow, ""), &[], "").await.ok();
    assert_eq!(state["status"], "running");
    let there = call_at(nodes()[0], Method::GET, "/api/v1/artifacts/foreign/one.txt", &[], "").await;
    assert_eq!(there.text, "text");
}

#[tokio::test]
async fn nothing_is_made_in_another_project_and_ones_own_need_not_be_named() {
    let admin = key(Some("mine"), &["admin"]).await;
    let job = |project: Value| json!({"queue": "mine", "project_id": project, "payload": 1}).to_string();
    let task = json!([{"id": "a", "queue": "mine"}]);
    let refused = [
        (Method::POST, "/api/v1/jobs", job("theirs".into())),
        (
            Method::POST,
            "/api/v1/jobs",
            json!({"jobs": [{"queue": "q"}, {"queue": "q", "project_id": "theirs"}]}).to_string(),
        ),
        (Method::POST, "/api/v1/workflows", json!({"project_id": "theirs", "tasks": task}).to_string()),
        (Method::PUT, "/api/v1/artifacts/theirs/a", "x".into()),
        (Method::PUT, "/api/v1/lifecycle/theirs", json!({"rules": []}).to_string()),
        (
            Method::PUT,
            "/api/v1/schedules/s9",
            json!({"cron": "0 0 1 1 *", "job": {"queue": "q", "project_id": "theirs"}}).to_string(),
        ),
        (
            Method::PUT,
            "/api/v1/webhooks/w",
            json!({"project_id": "theirs", "url": "http://127.0.0.1:9/", "events": ["*"]}).to_string(),
        ),
        (Method::POST, "/api/v1/keys", json!({"name": "k", "project_id": "theirs", "roles": ["read"]}).to_string()),
    ];
    for (method, path, body) in refused {
        let answer = ask(&admin, method, path, body).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (403, "permission_denied"), "{path}");
    }
    let made = ask(&admin, Method::POST, "/api/v1/jobs", job(Value::Null)).await.ok();
    let id = made["jobs"][0]["id"].as_str().unwrap();
    let read = ask(&admin, Method::GET, &format!("/api/v1/jobs/{id}"), "").await.ok();
    assert_eq!(read["project_id"], "mine");
    let started = ask(&admin, Method::POST, "/api/v1/workflows", json!({"tasks": task}).to_string()).await.ok();
    let id = started["id"].as_str().unwrap();
    assert_eq!(ask(&admin, Method::GET, &format!("/api/v1/workflows/{id}"), "").await.ok()["project_id"], "mine");
    let made =
        ask(&admin, Method::POST, "/api/v1/keys", json!({"name": "k", "roles": ["read"]}).to_string()).await.ok();
    assert_eq!(made["project_id"], "mine", "a bound administrator makes bound keys");
    let listed = ask(&admin, Method::GET, "/api/v1/jobs?limit=1000", "").await.ok();
    assert!(listed["jobs"].as_array().unwrap().iter().all(|job| job["project_id"] == "mine"));
}

#[tokio::test]
async fn one_idempotency_key_of_two_projects_stands_for_two_calls() {
    let (one, other) = (key(Some("idem-a"), &["enqueue"]).await, key(Some("idem-b"), &["enqueue"]).await);
    let mut ids = Vec::new();
    for key in [&one, &other, &one] {
        let body = json!({"queue": "idem", "payload": 1}).to_string();
        let answer = super::ask_with(key, Method::POST, "/api/v1/jobs", &[("idempotency-key", "same")], body).await;
        ids.push(answer.ok()["jobs"][0]["id"].as_str().unwrap().to_owned());
    }
    assert_ne!(ids[0], ids[1]);
    assert_eq!(ids[0], ids[2]);
}

#[tokio::test]
async fn a_worker_of_one_project_gets_the_jobs_of_that_project_alone() {
    let worker = key(Some("bound"), &["work"]).await;
    let jobs = ["other", "bound", "other", "bound"].map(|project| json!({"queue": "shared", "project_id": project}));
    post("/api/v1/jobs", json!({"jobs": jobs}).to_string()).await.ok();
    let mut got = Vec::new();
    for _ in 0..3 {
        let lease = json!({"worker_id": "bound-1", "max": 10, "wait_ms": 1_000}).to_string();
        let leased = ask(&worker, Method::POST, "/api/v1/queues/shared/lease", lease).await.ok();
        got.extend(leased["jobs"].as_array().unwrap().iter().map(|job| job["project_id"].clone()));
    }
    assert_eq!(got, ["bound", "bound"]);
    let lease = json!({"worker_id": "any-1", "max": 10, "wait_ms": 1_000}).to_string();
    let leased = post("/api/v1/queues/shared/lease", lease).await.ok();
    assert_eq!(leased["jobs"].as_array().unwrap().len(), 2, "the others' jobs are still there");
}

#[tokio::test]
async fn a_lease_of_another_project_is_not_ended() {
    let worker = key(Some("own"), &["work"]).await;
    let job = json!({"queue": "fenced", "project_id": "foreign", "payload": 1}).to_string();
    post("/api/v1/jobs", job).await.ok();
    let lease = json!({"worker_id": "w", "max": 1, "wait_ms": 5_000}).to_string();
    let leased = post("/api/v1/queues/fenced/lease", lease).await.ok()["jobs"][0].clone();
    let item = json!({"id": leased["id"], "lease_token": leased["lease_token"]});
    for (path, field) in [("ack", "acks"), ("nack", "nacks"), ("extend", "leases")] {
        let body = json!({field: [item]}).to_string();
        let answer = ask(&worker, Method::POST, &format!("/api/v1/jobs/{path}"), body).await.ok();
        assert_eq!(answer["results"][0]["code"], "not_found", "{path}");
    }
    let acked = post("/api/v1/jobs/ack", json!({"acks": [item]}).to_string()).await.ok();
    assert_eq!(acked["results"][0]["ok"], true);
}
