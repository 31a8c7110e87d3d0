//! Server-sent events.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{ask, kill, start, take, until_status, work};
use crate::harness::{Answer, call_at, get, nodes};

/// The id, name and data of each event in a stream that has ended.
fn events(answer: &Answer) -> Vec<(u32, String, Value)> {
    assert_eq!(answer.headers["content-type"], "text/event-stream", "{}", answer.text);
    let blocks = answer.text.split("\n\n").filter(|block| block.contains("data:"));
    blocks
        .map(|block| {
            let field = |name: &str| {
                let line = block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
                line.unwrap_or_else(|| panic!("no {name} in {block}")).trim().to_owned()
            };
            (field("id").parse().unwrap(), field("event"), serde_json::from_str(&field("data")).unwrap())
        })
        .collect()
}

async fn after(node: usize, id: &str, last: &str) -> Answer {
    let path = format!("/api/v1/workflows/{id}/events");
    call_at(nodes()[node], Method::GET, &path, &[("last-event-id", last)], "").await
}

#[tokio::test]
async fn events_come_as_they_happen_and_go_on_after_the_last_one_seen() {
    let id = start(json!({"name": "events", "tasks": [
        {"id": "a", "queue": "events-a"},
        {"id": "b", "queue": "events-b", "depends_on": ["a"], "foreach": "[1]"},
    ]}))
    .await;
    let path = format!("/api/v1/workflows/{id}/events");
    // Each node sends what its own replica applies. The third one's places belong to another test.
    let followers: Vec<_> = (0..2)
        .map(|node| {
            let path = path.clone();
            tokio::spawn(async move { call_at(nodes()[node], Method::GET, &path, &[], "").await })
        })
        .collect();
    work("events-a", json!(1)).await;
    ask(&id, "signals/hello", "1").await.ok();
    work("events-b", json!(2)).await;
    until_status(&id, "succeeded").await;
    let mut whole = Vec::new();
    for follower in followers {
        let seen = events(&follower.await.unwrap());
        let names: Vec<&str> = seen.iter().map(|(_, name, _)| name.as_str()).collect();
        assert_eq!(names.first(), Some(&"workflow.started"));
        assert_eq!(names.last(), Some(&"workflow.succeeded"));
        for name in ["task.ready", "task.succeeded", "signal.received"] {
            assert!(names.contains(&name), "{name} is not among {names:?}");
        }
        let numbers: Vec<u32> = seen.iter().map(|(number, ..)| *number).collect();
        assert_eq!(numbers, (1..=numbers.len() as u32).collect::<Vec<_>>());
        for (number, name, data) in &seen {
            assert_eq!((&data["id"], &data["event"], &data["workflow_id"]), (&json!(number), &json!(name), &json!(id)));
            assert!(data["at"].is_string(), "{data}");
        }
        whole = seen;
    }
    let done =
        |task: &str| whole.iter().filter(|(_, name, data)| name == "task.succeeded" && data["task_id"] == task).count();
    assert!(done("a") == 1 && done("b") >= 1, "{whole:?}");

    let rest = events(&after(0, &id, "3").await);
    assert_eq!(rest, whole[3..]);
    let last = whole.len().to_string();
    let nothing = after(1, &id, &last).await;
    assert_eq!((nothing.status, nothing.text.as_str()), (StatusCode::NO_CONTENT, ""));
    assert_eq!(after(0, &id, "x").await.code(), "invalid_argument");
}

#[tokio::test]
async fn a_failure_is_told_with_its_reason() {
    let id = start(json!({"name": "fails", "tasks": [{"id": "a", "queue": "events-fail", "max_attempts": 1}]})).await;
    kill(&take("events-fail").await, "boom").await;
    until_status(&id, "failed").await;
    let seen = events(&get(&format!("/api/v1/workflows/{id}/events")).await);
    let failed = seen.iter().find(|(_, name, _)| name == "task.failed").unwrap();
    assert_eq!(failed.2["task_id"], "a");
    assert!(failed.2["detail"].as_str().unwrap().contains("boom"), "{failed:?}");
    assert_eq!(seen.last().unwrap().1, "workflow.failed");
}
