//! Reads that may be stale, and who answers them.

use std::time::{Duration, Instant};

use http::{Method, StatusCode};

use crate::harness::{call_at, get, nodes, post};

/// Reads of a kind that were answered so, over all nodes (which share their metrics in this process).
async fn served(kind: &str, by: &str) -> u64 {
    let text = get("/metrics").await.text;
    let start = format!("bravo_reads_total{{kind=\"{kind}\",served_by=\"{by}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&start)).map_or(0, |count| count.parse().unwrap())
}

async fn read(node: usize, path: &str) {
    let answer = call_at(nodes()[node], Method::GET, path, &[], "").await;
    assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text);
    assert!(answer.json()["as_of"].is_string(), "{}", answer.text);
}

#[tokio::test]
async fn lists_are_answered_by_replicas_and_leaders_as_configured() {
    for (kind, path, percent) in [
        ("template_search", "/api/v1/templates?q=x", 80.0),
        ("analytics", "/api/v1/jobs?queue=nothing", 100.0),
        ("workflow_status", "/api/v1/workflows?project_id=nothing", 60.0),
        ("agent_metrics", "/api/v1/queues", 90.0),
    ] {
        let before = (served(kind, "replica").await, served(kind, "leader").await);
        for n in 0..150 {
            read(n % 3, path).await;
        }
        let replicas = (served(kind, "replica").await - before.0) as f64;
        let leaders = (served(kind, "leader").await - before.1) as f64;
        let share = 100.0 * replicas / (replicas + leaders);
        // Other tests read too, which changes no share; a replica that is behind for a moment lets the leader
        // answer, which does a little.
        assert!(replicas + leaders >= 150.0, "{kind}: {replicas} and {leaders}");
        assert!((percent - 12.0..percent + 2.0).contains(&share), "{kind}: {share:.1} % by replicas");
    }
}

#[tokio::test]
async fn the_leader_answers_where_no_replica_is_fresh_enough() {
    let before = served("analytics", "leader").await;
    for n in 0..10 {
        // What a leader committed is told to the others a few milliseconds later at best.
        read(n % 3, "/api/v1/jobs?queue=nothing&max_staleness_ms=1").await;
    }
    let after = served("analytics", "leader").await;
    assert!(after - before >= 80, "eight partitions each time: {before} and {after}");
}

#[tokio::test]
async fn a_stale_read_is_as_old_as_it_says_at_most() {
    let id = post("/api/v1/jobs", r#"{"queue": "stale-reads", "payload": 1}"#).await.ok()["jobs"][0]["id"].clone();
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let begun = bravo_api::Timestamp::now();
        let list = get("/api/v1/jobs?queue=stale-reads").await.ok();
        let as_of: bravo_api::Timestamp = serde_json::from_value(list["as_of"].clone()).unwrap();
        // The bound of staleness, and what clocks of the state may differ by on a busy machine.
        assert!(as_of.0 + 1_000 + 1_500 > begun.0, "{as_of:?} at {begun:?}");
        if list["jobs"][0]["id"] == id {
            break;
        }
        assert!(Instant::now() < deadline, "it never shows");
    }
}
