//! REST, as the contract tells it.

use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use serde_json::json;

use crate::harness::{call_at, get, lone_node, nodes, post, put};

#[tokio::test]
async fn a_job_goes_in_out_and_is_acknowledged_once() {
    let body = r#"{"queue":"life","payload":{"a": [1, 2.50]},"metadata":{ "k":"v" }}"#;
    let enqueued = post("/api/v1/jobs", body).await;
    assert_eq!(enqueued.status, StatusCode::CREATED);
    let id = enqueued.json()["jobs"][0]["id"].as_str().unwrap().to_owned();

    let leased = post("/api/v1/queues/life/lease", r#"{"worker_id":"w","max":10,"wait_ms":2000}"#).await;
    assert!(leased.text.contains(r#""payload":{"a": [1, 2.50]}"#), "{}", leased.text);
    assert!(leased.text.contains(r#""metadata":{ "k":"v" }"#), "{}", leased.text);
    let job = &leased.ok()["jobs"][0];
    assert_eq!((job["id"].as_str(), job["attempt"].as_u64()), (Some(id.as_str()), Some(1)));

    let token = job["lease_token"].as_u64().unwrap();
    let ack = json!({"acks": [
        {"id": "nonsense", "lease_token": 1},
        {"id": id, "lease_token": token + 1},
        {"id": id, "lease_token": token, "result": {"done": true}},
        {"id": "j900-1", "lease_token": 1},
    ]});
    let results = post("/api/v1/jobs/ack", ack.to_string()).await.ok()["results"].clone();
    let codes: Vec<_> = results.as_array().unwrap().iter().map(|result| result["code"].as_str()).collect();
    assert_eq!(codes, [Some("not_found"), Some("lease_lost"), None, Some("not_found")]);

    let job = get(&format!("/api/v1/jobs/{id}")).await.ok();
    assert_eq!((job["state"].as_str(), &job["result"]), (Some("succeeded"), &json!({"done": true})));
    assert_eq!(get(&format!("/api/v1/jobs/{id}?consistency=stale")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_key_makes_a_write_once_wherever_its_jobs_go() {
    let keyed = |key: &'static str, body: serde_json::Value, node: usize| async move {
        call_at(nodes()[node], Method::POST, "/api/v1/jobs", &[("idempotency-key", key)], body.to_string()).await
    };
    let plain = json!({"queue": "once", "payload": 1});
    let spread =
        json!({"jobs": (0..20).map(|n| json!({"queue": "once", "order_key": format!("k{n}")})).collect::<Vec<_>>()});
    let narrow = json!({"queue": "once", "order_key": "k7"});
    for (key, body) in [("plain", plain), ("spread", spread), ("narrow", narrow)] {
        let first = keyed(key, body.clone(), 0).await;
        assert_eq!(first.status, StatusCode::CREATED, "{}", first.text);
        assert_eq!(keyed(key, body, 1).await.text, first.text);
        for other in [json!({"queue": "once", "payload": 2}), json!({"queue": "once", "order_key": "other"})] {
            let refused = keyed(key, other, 2).await;
            assert_eq!((refused.status.as_u16(), refused.code().as_str()), (422, "idempotency_key_reuse"), "{key}");
        }
    }
    assert_eq!(get("/api/v1/queues/once").await.ok()["ready"], 22);
}

#[tokio::test]
async fn a_retry_that_is_repeated_gets_its_first_answer_though_what_was_retried_is_gone() {
    put("/api/v1/queues/brief", "{}").await.ok();
    let job = post("/api/v1/jobs", json!({"queue": "brief"}).to_string()).await.ok()["jobs"][0]["id"].take();
    let workflow = json!({"retention_ms": 4_000, "tasks": [{"id": "a", "wait_signal": "never"}]}).to_string();
    let workflow = post("/api/v1/workflows", workflow).await.ok()["id"].take();
    for (what, id) in [("jobs", job), ("workflows", workflow)] {
        let path = format!("/api/v1/{what}/{}", id.as_str().unwrap());
        let retry = async || {
            let key = [("idempotency-key", "again")];
            call_at(nodes()[1], Method::POST, &format!("{path}/retry"), &key, "").await
        };
        post(&format!("{path}/cancel"), "").await.ok();
        let first = retry().await.ok();
        put("/api/v1/queues/brief", json!({"retention_ms": 1}).to_string()).await.ok();
        post(&format!("{path}/cancel"), "").await.ok();
        let until = Instant::now() + Duration::from_secs(20);
        while get(&path).await.status != StatusCode::NOT_FOUND {
            assert!(Instant::now() < until, "{path} is kept");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(retry().await.ok(), first);
        assert_eq!(post(&format!("{path}/retry"), "").await.code(), "not_found", "without a key it is looked for");
    }
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    let cases = [
        ("{", "body"),
        ("[]", "body"),
        (r#"{"queue":"q","prio":1}"#, "prio"),
        (r#"{"queue":"q","priority":10}"#, "priority"),
        (r#"{"jobs":[{"queue":"q"},{"queue":"q","priority":"x"}]}"#, "jobs[1].priority"),
        (r#"{"payload":1}"#, "queue"),
        (r#"{"queue":"no good"}"#, "queue"),
        (r#"{"jobs":[]}"#, "jobs"),
    ];
    for (body, named) in cases {
        let refused = post("/api/v1/jobs", body).await;
        assert_eq!((refused.status.as_u16(), refused.code().as_str()), (400, "invalid_argument"), "{body}");
        assert!(refused.json()["detail"].as_str().unwrap().contains(named), "{body}: {}", refused.text);
    }
    for max in [0, 1001] {
        let refused = post("/api/v1/queues/q/lease", json!({"worker_id": "w", "max": max}).to_string()).await;
        assert_eq!(refused.code(), "invalid_argument");
    }
    assert_eq!(get("/api/v1/jobs?limit=0").await.code(), "invalid_argument");
    assert_eq!(get("/api/v1/jobs?colour=red").await.code(), "invalid_argument");
    assert_eq!(get("/api/v1/jobs?cursor=xyz").await.code(), "invalid_argument");
}

#[tokio::test]
async fn unknown_paths_methods_and_ids_are_problems_too() {
    for path in ["/nope", "/api/v1/jobs/17", "/api/v1/jobs/j1-999999", "/api/v1/jobs/j99-1", "/api/v1/queues/never"] {
        assert_eq!(get(path).await.code(), "not_found", "{path}");
    }
    let refused = call_at(nodes()[0], Method::DELETE, "/api/v1/jobs", &[], "").await;
    assert_eq!(refused.code(), "method_not_allowed");
    let allow = refused.headers["allow"].to_str().unwrap();
    assert!(allow.contains("GET") && allow.contains("POST"), "{allow}");
    let echoed = call_at(nodes()[0], Method::GET, "/nope", &[("x-request-id", "mine-1")], "").await;
    assert_eq!(echoed.headers["x-request-id"], "mine-1");
}

#[tokio::test]
async fn a_lease_waits_for_the_first_job_and_no_longer_than_it_may() {
    let lease = |wait: u64| post("/api/v1/queues/slow/lease", json!({"worker_id": "w", "wait_ms": wait}).to_string());
    let began = Instant::now();
    assert_eq!(lease(200).await.ok()["jobs"], json!([]));
    assert!((Duration::from_millis(200)..Duration::from_millis(1_500)).contains(&began.elapsed()));

    let headers = [("x-timeout-ms", "200")];
    let began = Instant::now();
    let early = call_at(nodes()[0], Method::POST, "/api/v1/queues/slow/lease", &headers, r#"{"wait_ms":20000}"#).await;
    assert_eq!(early.ok()["jobs"], json!([]));
    assert!(began.elapsed() < Duration::from_secs(2));

    let waiting = tokio::spawn(lease(20_000));
    tokio::time::sleep(Duration::from_millis(300)).await;
    let began = Instant::now();
    post("/api/v1/jobs", r#"{"queue":"slow"}"#).await.ok();
    assert_eq!(waiting.await.unwrap().ok()["jobs"].as_array().unwrap().len(), 1);
    assert!(began.elapsed() < Duration::from_secs(2), "the waiting worker was not woken");
}

#[tokio::test]
async fn jobs_of_all_partitions_come_in_one_lease_even_without_a_wait() {
    let jobs: Vec<_> = (0..30).map(|n| json!({"queue": "wide", "order_key": format!("k{n}")})).collect();
    post("/api/v1/jobs", json!({"jobs": jobs}).to_string()).await.ok();
    let leased = post("/api/v1/queues/wide/lease", r#"{"max":20}"#).await.ok();
    assert_eq!(leased["jobs"].as_array().unwrap().len(), 20);
    let leased = post("/api/v1/queues/wide/lease", r#"{"max":20,"wait_ms":5000}"#).await.ok();
    assert_eq!(leased["jobs"].as_array().unwrap().len(), 10);
}

#[tokio::test]
async fn a_queue_is_configured_switched_swept_and_deleted() {
    let config = put("/api/v1/queues/shop", r#"{"max_attempts":1,"lease_ms":60000,"agent_type":"clerk"}"#).await.ok();
    assert_eq!((config["max_attempts"].as_u64(), config["ready"].as_u64()), (Some(1), Some(0)));
    assert_eq!(put("/api/v1/queues/shop", r#"{"colour":1}"#).await.code(), "invalid_argument");
    assert_eq!(put("/api/v1/queues/shop", "").await.ok()["max_attempts"], 5);
    put("/api/v1/queues/shop", r#"{"max_attempts":1}"#).await.ok();

    let id = post("/api/v1/jobs", r#"{"queue":"shop"}"#).await.ok()["jobs"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(post("/api/v1/queues/shop/pause", "").await.ok()["paused"], true);
    assert_eq!(post("/api/v1/queues/shop/lease", r#"{"wait_ms":100}"#).await.ok()["jobs"], json!([]));
    assert_eq!(get(&format!("/api/v1/jobs/{id}/why")).await.ok()["reason"], "paused");
    assert_eq!(post("/api/v1/queues/shop/drain", "").await.ok()["draining"], true);
    assert_eq!(post("/api/v1/jobs", r#"{"queue":"shop"}"#).await.code(), "conflict");
    assert_eq!(
        post("/api/v1/queues/shop/resume", "").await.ok(),
        json!({"name":"shop","paused":false,"draining":false})
    );

    let leased = post("/api/v1/queues/shop/lease", r#"{"wait_ms":2000}"#).await.ok();
    let token = &leased["jobs"][0]["lease_token"];
    let nack = json!({"nacks": [{"id": id, "lease_token": token, "error": "broken"}]});
    assert_eq!(post("/api/v1/jobs/nack", nack.to_string()).await.ok()["results"][0]["ok"], true);
    assert_eq!(get("/api/v1/queues/shop").await.ok()["dead"], 1);
    assert_eq!(call_at(nodes()[0], Method::DELETE, "/api/v1/queues/shop", &[], "").await.code(), "conflict");
    assert_eq!(post("/api/v1/queues/shop/redrive", "").await.ok(), json!({"redriven": 1}));
    assert_eq!(post("/api/v1/queues/shop/purge", "").await.ok(), json!({"purged": 1}));
    assert_eq!(get(&format!("/api/v1/jobs/{id}")).await.code(), "not_found");
    assert_eq!(call_at(nodes()[0], Method::DELETE, "/api/v1/queues/shop", &[], "").await.status.as_u16(), 204);
    assert_eq!(get("/api/v1/queues/shop").await.code(), "not_found");
}

#[tokio::test]
async fn a_full_queue_refuses_and_why_tells_of_missing_workers() {
    put("/api/v1/queues/small", r#"{"max_ready":2}"#).await.ok();
    let id = post("/api/v1/jobs", r#"{"queue":"small"}"#).await.ok()["jobs"][0]["id"].as_str().unwrap().to_owned();
    post("/api/v1/jobs", r#"{"queue":"small"}"#).await.ok();
    let refused = post("/api/v1/jobs", r#"{"queue":"small"}"#).await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (429, "queue_full"));
    assert_eq!(get(&format!("/api/v1/jobs/{id}/why")).await.ok()["reason"], "no_workers");
    let cancelled = post(&format!("/api/v1/jobs/{id}/cancel"), "").await.ok();
    assert_eq!(cancelled, json!({"id": id, "state": "cancelled"}));
    assert_eq!(post(&format!("/api/v1/jobs/{id}/retry"), "").await.ok()["state"], "ready");
}

#[tokio::test]
async fn a_leased_job_is_cancelled_by_its_worker() {
    let id = post("/api/v1/jobs", r#"{"queue":"stop"}"#).await.ok()["jobs"][0]["id"].as_str().unwrap().to_owned();
    let leased = post("/api/v1/queues/stop/lease", r#"{"wait_ms":2000}"#).await.ok();
    let token = &leased["jobs"][0]["lease_token"];
    let extend = json!({"leases": [{"id": id, "lease_token": token, "lease_ms": 5000, "progress": {"at": 1}}]});
    let first = post("/api/v1/jobs/extend", extend.to_string()).await.ok()["results"][0].clone();
    assert_eq!((first["ok"].as_bool(), first["cancel_requested"].as_bool()), (Some(true), Some(false)));
    assert_eq!(post(&format!("/api/v1/jobs/{id}/cancel"), "").await.ok()["state"], "leased");
    let second = post("/api/v1/jobs/extend", extend.to_string()).await.ok()["results"][0].clone();
    assert_eq!(second["cancel_requested"], true);
    assert_eq!(get(&format!("/api/v1/jobs/{id}")).await.ok()["progress"], json!({"at": 1}));
}

#[tokio::test]
async fn a_list_goes_over_all_partitions_page_by_page() {
    let jobs: Vec<_> = (0..25).map(|n| json!({"queue": "pages", "order_key": format!("k{n}")})).collect();
    post("/api/v1/jobs", json!({"jobs": jobs}).to_string()).await.ok();
    let (mut seen, mut cursor) = (std::collections::BTreeSet::new(), String::new());
    for _ in 0..10 {
        let path = format!("/api/v1/jobs?queue=pages&limit=10&consistency=linearizable&cursor={cursor}");
        let page = get(&path).await.ok();
        assert!(page["as_of"].is_string());
        for job in page["jobs"].as_array().unwrap() {
            assert!(seen.insert(job["id"].as_str().unwrap().to_owned()), "twice");
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(seen.len(), 25);
    let queues = get("/api/v1/queues?limit=1000&consistency=linearizable").await.ok();
    let pages = queues["queues"].as_array().unwrap().iter().find(|queue| queue["name"] == "pages").unwrap();
    assert_eq!((pages["ready"].as_u64(), pages["max_attempts"].as_u64()), (Some(25), Some(5)));
}

#[tokio::test]
async fn the_cluster_tells_of_itself() {
    let cluster = get("/api/v1/cluster").await.ok();
    let states: Vec<_> = cluster["nodes"].as_array().unwrap().iter().map(|node| node["state"].as_str()).collect();
    assert_eq!(states, [Some("up"); 3]);
    assert_eq!(cluster["partitions"].as_array().unwrap().len(), 8);
    assert_eq!(cluster["partitions"][0]["members"].as_array().unwrap().len(), 3);

    let digests = get("/api/v1/cluster/digest").await.ok();
    for partition in digests["partitions"].as_array().unwrap() {
        let replicas = partition["replicas"].as_array().unwrap();
        assert_eq!(replicas.len(), 3, "{partition}");
        assert!(replicas.iter().all(|replica| replica["digest"] == replicas[0]["digest"]), "{partition}");
    }
    assert_eq!(post("/api/v1/cluster/transfer", r#"{"partition":99,"to":1}"#).await.code(), "not_found");
    assert_eq!(post("/api/v1/cluster/transfer", r#"{"partition":0,"to":9}"#).await.code(), "not_found");
    let leader = cluster["partitions"][3]["leader"].as_u64().unwrap();
    let moved = post("/api/v1/cluster/transfer", json!({"partition": 3, "to": leader % 3 + 1}).to_string()).await;
    assert_eq!(moved.status, StatusCode::OK, "{}", moved.text);

    post("/api/v1/queues/seen/lease", r#"{"worker_id":"agent-7","max":3}"#).await.ok();
    let workers = get("/api/v1/workers").await.ok();
    let agent = workers["workers"].as_array().unwrap().iter().find(|worker| worker["worker_id"] == "agent-7").unwrap();
    assert_eq!((&agent["queues"], agent["node"].as_u64()), (&json!(["seen"]), Some(2)));
}

#[tokio::test]
async fn operators_are_answered() {
    assert_eq!(get("/health").await.ok()["status"], "alive");
    assert_eq!(get("/ready").await.ok()["status"], "ready");
    post("/api/v1/jobs", r#"{"queue":"measured"}"#).await.ok();
    let mut text = String::new();
    for node in nodes() {
        text += &call_at(*node, Method::GET, "/metrics", &[], "").await.text;
    }
    assert!(text.contains("agent_task_queue_size{"), "{text}");
    assert!(text.contains(r#"endpoint="/api/v1/jobs",status="201""#), "{text}");
    assert!(text.contains("bravo_raft_term{"), "{text}");
    let page = get("/").await;
    assert!(page.text.starts_with("<!doctype html>") && page.headers.contains_key("content-security-policy"));
}

#[tokio::test]
async fn everything_documented_is_there() {
    let page = get("/api/openapi.json").await.ok();
    // A stream without an end has a test of its own.
    let paths = page["paths"].as_object().unwrap().iter().filter(|(path, _)| *path != "/api/v1/events");
    for (path, methods) in paths {
        for method in methods.as_object().unwrap().keys() {
            let id = if path.contains("/workflows/") { "w0-999999" } else { "j0-999999" };
            let path = path.replace("{queue}", "documented").replace("{id}", id).replace("{name}", "documented");
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let answer = call_at(nodes()[0], method.clone(), &path, &[], "").await;
            assert_ne!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
            assert!(!answer.text.contains("there is nothing at"), "{method} {path}");
            // One of them moves a leader, and a node without one is not ready for a moment.
            let failed = answer.status.as_u16() >= 500 && path != "/ready";
            assert!(!failed, "{method} {path}: {}", answer.text);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lone_node_stays_ready_though_nobody_answers_its_heartbeats() {
    let node = lone_node().await;
    // Longer than a leader may go without a majority.
    tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    let ready = call_at(node, Method::GET, "/ready", &[], "").await;
    assert_eq!(ready.status, StatusCode::OK, "{}", ready.text);
}
