//! Who gets which job: labels, sticky keys, breakers, fairness between projects.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};

use crate::harness::{call_at, get, nodes, own_node, post};

async fn enqueue(address: SocketAddr, job: Value) -> Vec<String> {
    let answer = call_at(address, Method::POST, "/api/v1/jobs", &[], job.to_string()).await.ok();
    answer["jobs"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap().to_owned()).collect()
}

async fn lease(address: SocketAddr, queue: &str, body: Value) -> Vec<Value> {
    let path = format!("/api/v1/queues/{queue}/lease");
    let answer = call_at(address, Method::POST, &path, &[], body.to_string()).await.ok();
    answer["jobs"].as_array().unwrap().clone()
}

async fn end(address: SocketAddr, verb: &str, job: &Value) {
    let mut item = json!({"id": job["id"], "lease_token": job["lease_token"]});
    if verb == "nack" {
        item["retry_in_ms"] = json!(0);
    }
    let body = json!({ format!("{verb}s"): [item] });
    let done = call_at(address, Method::POST, &format!("/api/v1/jobs/{verb}"), &[], body.to_string()).await.ok();
    assert_eq!(done["results"][0]["ok"], true, "{done}");
}

async fn why(address: SocketAddr, id: &str) -> Value {
    call_at(address, Method::GET, &format!("/api/v1/jobs/{id}/why"), &[], "").await.ok()
}

async fn worker(address: SocketAddr, id: &str) -> Value {
    let workers = call_at(address, Method::GET, "/api/v1/workers", &[], "").await.ok();
    workers["workers"].as_array().unwrap().iter().find(|worker| worker["worker_id"] == id).unwrap().clone()
}

/// Asks until it is as it is to be.
async fn until<T: PartialEq + std::fmt::Debug>(wanted: T, mut ask: impl AsyncFnMut() -> T) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let is = ask().await;
        if is == wanted {
            return;
        }
        assert!(Instant::now() < deadline, "{is:?} is not {wanted:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_job_goes_to_a_worker_that_has_what_it_requires() {
    let [first, second, third] = nodes()[..] else { panic!() };
    let gpu = json!({"queue": "labelled", "requirements": {"gpu": "yes"}});
    let id = enqueue(first, gpu).await.remove(0);
    assert_eq!(lease(second, "labelled", json!({"worker_id": "plain"})).await, [] as [Value; 0]);
    assert_eq!(why(third, &id).await["reason"], "no_matching_worker");
    let plain = enqueue(first, json!({"queue": "labelled"})).await.remove(0);
    let given = lease(second, "labelled", json!({"worker_id": "plain", "max": 10, "wait_ms": 5_000})).await;
    assert_eq!((given.len(), given[0]["id"].as_str()), (1, Some(plain.as_str())), "it waits behind nobody");
    let asks = json!({"worker_id": "able", "labels": {"gpu": "yes", "zone": "a"}, "capacity": 7, "weight": 3,
        "agent_type": "trainer", "wait_ms": 5_000});
    let given = lease(third, "labelled", asks).await;
    assert_eq!(given[0]["id"], id.as_str());
    let able = worker(first, "able").await;
    assert_eq!(able["labels"], json!({"gpu": "yes", "zone": "a"}));
    assert_eq!((&able["capacity"], &able["weight"], &able["agent_type"]), (&json!(7), &json!(3), &json!("trainer")));
    assert_eq!((&able["in_flight"], &able["breaker"]), (&json!(1), &json!("closed")));
    end(first, "ack", &given[0]).await;
    until(json!(0), async || worker(second, "able").await["in_flight"].clone()).await;
    let job = get(&format!("/api/v1/jobs/{id}")).await.ok();
    assert_eq!(job["requirements"], json!({"gpu": "yes"}));
}

#[tokio::test]
async fn a_waiting_worker_is_woken_by_what_it_may_have_and_not_by_the_rest() {
    let [first, second, _] = nodes()[..] else { panic!() };
    let asks = json!({"worker_id": "w", "labels": {"disk": "fast"}, "wait_ms": 10_000});
    let waiting = tokio::spawn(async move { lease(second, "woken", asks).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    enqueue(first, json!({"jobs": vec![json!({"queue": "woken", "requirements": {"disk": "slow"}}); 20]})).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!waiting.is_finished());
    let id = enqueue(first, json!({"queue": "woken", "requirements": {"disk": "fast"}})).await.remove(0);
    assert_eq!(waiting.await.unwrap()[0]["id"], id.as_str());
}

#[tokio::test]
async fn jobs_of_a_sticky_key_go_to_one_worker_and_to_another_when_it_does_not_come() {
    let [first, second, third] = nodes()[..] else { panic!() };
    for (node, id) in [(first, "s-1"), (second, "s-2"), (third, "s-3")] {
        lease(node, "sticky", json!({"worker_id": id})).await;
    }
    // Until each node knows of all three.
    tokio::time::sleep(Duration::from_millis(1_600)).await;
    let mut by_key: BTreeMap<String, String> = BTreeMap::new();
    for round in 0..3 {
        let jobs: Vec<Value> =
            (0..12).map(|n| json!({"queue": "sticky", "sticky_key": format!("k-{n}"), "payload": n})).collect();
        enqueue(first, json!({"jobs": jobs})).await;
        let mut given = 0;
        for (node, id) in [(second, "s-2"), (third, "s-3"), (first, "s-1")] {
            for job in lease(node, "sticky", json!({"worker_id": id, "max": 50})).await {
                let before = by_key.insert(job["payload"].to_string(), id.to_owned());
                assert!(before.is_none_or(|before| before == id), "round {round}: key {} moved", job["payload"]);
                end(node, "ack", &job).await;
                given += 1;
            }
        }
        assert_eq!(given, 12, "each has its worker");
    }
    let owner = by_key["3"].clone();
    let other = ["s-1", "s-2", "s-3"].into_iter().find(|id| *id != owner).unwrap();
    let id = enqueue(first, json!({"queue": "sticky", "sticky_key": "k-3"})).await.remove(0);
    assert!(lease(second, "sticky", json!({"worker_id": other})).await.is_empty());
    let began = Instant::now();
    let given = lease(second, "sticky", json!({"worker_id": other, "wait_ms": 10_000})).await;
    assert_eq!(given[0]["id"], id.as_str());
    assert!(began.elapsed() < Duration::from_secs(9), "it is kept for its worker for a second only");
}

#[tokio::test]
async fn the_breaker_of_a_type_opens_is_seen_and_closes_again() {
    let (node, _) = own_node(|config| {
        config.balancing.breaker_open_ms = 4_000;
        config.balancing.aside_failures = 0;
    })
    .await;
    let ids = enqueue(node, json!({"jobs": vec![json!({"queue": "broken", "max_attempts": 99}); 6]})).await;
    for round in 0..5 {
        let given = lease(node, "broken", json!({"worker_id": format!("w-{}", round % 2), "wait_ms": 5_000})).await;
        end(node, "nack", &given[0]).await;
    }
    let breaker = async || {
        let queue = call_at(node, Method::GET, "/api/v1/queues/broken", &[], "").await.ok();
        queue["breaker"].as_str().unwrap().to_owned()
    };
    until("open".to_owned(), breaker).await;
    assert!(lease(node, "broken", json!({"worker_id": "w-0", "wait_ms": 100})).await.is_empty());
    assert!(lease(node, "broken", json!({"worker_id": "w-0"})).await.is_empty());
    let reason = why(node, &ids[5]).await;
    assert_eq!(reason["reason"], "breaker_open");
    assert!(reason["until"].is_string(), "{reason}");
    // A waiting worker is let through as soon as it is half-open, for a few jobs.
    let probe = lease(node, "broken", json!({"worker_id": "w-0", "max": 6, "wait_ms": 10_000})).await;
    assert!((1..=3).contains(&probe.len()), "{}", probe.len());
    assert_eq!(breaker().await, "half_open");
    end(node, "ack", &probe[0]).await;
    until("closed".to_owned(), breaker).await;
    until(6 - probe.len(), async || lease(node, "broken", json!({"worker_id": "w-0", "max": 6})).await.len()).await;
    let metrics = call_at(node, Method::GET, "/metrics", &[], "").await.text;
    assert!(metrics.contains(r#"bravo_breaker_changes_total{of="agent_type",state="half_open"}"#), "{metrics}");
}

#[tokio::test]
async fn a_worker_that_fails_is_set_aside_while_others_work_and_never_alone() {
    let [first, second, _] = nodes()[..] else { panic!() };
    let jobs = json!({"jobs": vec![json!({"queue": "aside", "max_attempts": 99}); 4]});
    enqueue(first, jobs).await;
    for _ in 0..6 {
        let given = lease(first, "aside", json!({"worker_id": "bad", "wait_ms": 5_000})).await;
        end(first, "nack", &given[0]).await;
    }
    // It fails as ever, and is the only one: it gets work.
    until(true, async || worker(first, "bad").await["set_aside_until"].is_string()).await;
    let given = lease(first, "aside", json!({"worker_id": "bad", "wait_ms": 5_000})).await;
    end(first, "nack", &given[0]).await;
    // Another one comes, to another node.
    let good = lease(second, "aside", json!({"worker_id": "good", "wait_ms": 5_000})).await;
    end(second, "ack", &good[0]).await;
    until(0, async || {
        let given = lease(first, "aside", json!({"worker_id": "bad"})).await;
        for job in &given {
            end(first, "nack", job).await;
        }
        given.len()
    })
    .await;
    assert_eq!(worker(second, "bad").await["breaker"], "open");
    assert_eq!(lease(second, "aside", json!({"worker_id": "good", "max": 9})).await.len(), 3);
}

#[tokio::test]
async fn a_project_that_offers_a_hundred_times_the_others_gets_its_share_and_no_more() {
    let [first, second, _] = nodes()[..] else { panic!() };
    let projects: Vec<String> = (0..8).map(|n| format!("tenant-{n}")).collect();
    // In one partition, whose order is exact: what is in several is shared out in each.
    let queue = json!({"max_ready": 1_000_000}).to_string();
    call_at(first, Method::PUT, "/api/v1/queues/shared", &[], queue).await.ok();
    for (n, project) in projects.iter().enumerate() {
        for _ in 0..if n == 0 { 4 } else { 1 } {
            let jobs = if n == 0 { 1_000 } else { 40 };
            let job = json!({"queue": "shared", "project_id": project});
            enqueue(first, json!({"jobs": vec![job; jobs]})).await;
        }
    }
    let mut served: BTreeMap<String, f64> = BTreeMap::new();
    for _ in 0..24 {
        for job in lease(second, "shared", json!({"worker_id": "w", "max": 10, "wait_ms": 5_000})).await {
            *served.entry(job["project_id"].as_str().unwrap().to_owned()).or_default() += 1.0;
            end(second, "ack", &job).await;
        }
    }
    let shares: Vec<f64> = projects.iter().map(|project| served.get(project).copied().unwrap_or(0.0)).collect();
    let sum: f64 = shares.iter().sum();
    let index = sum * sum / (shares.len() as f64 * shares.iter().map(|share| share * share).sum::<f64>());
    println!("Jain's index {index:.4} of {shares:?}");
    assert!(index >= 0.95, "{index} of {shares:?}");
}

#[tokio::test]
async fn what_is_no_label_is_refused_by_its_field() {
    let many: BTreeMap<String, String> = (0..40).map(|n| (n.to_string(), "x".to_owned())).collect();
    for (body, field) in [
        (json!({"queue": "q", "requirements": many}), "requirements"),
        (json!({"queue": "q", "requirements": {"": "x"}}), "requirements"),
        (json!({"queue": "q", "sticky_key": ""}), "sticky_key"),
    ] {
        let refused = post("/api/v1/jobs", body.to_string()).await;
        assert_eq!(refused.code(), "invalid_argument");
        assert!(refused.json()["detail"].as_str().unwrap().starts_with(field), "{}", refused.text);
    }
    for (body, field) in
        [(json!({"labels": many}), "labels"), (json!({"weight": 0}), "weight"), (json!({"capacity": 0}), "capacity")]
    {
        let refused = post("/api/v1/queues/q/lease", body.to_string()).await;
        assert_eq!(refused.code(), "invalid_argument");
        assert!(refused.json()["detail"].as_str().unwrap().starts_with(field), "{}", refused.text);
    }
}
