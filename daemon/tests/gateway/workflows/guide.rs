//! The workflow that the guide prints, exactly as it is printed.

use serde_json::{Value, json};

use super::{ack, ask, kill, lease, read, take, task, until_status, until_task, work};
use crate::harness::post;

const GUIDE: &str = include_str!("../../../../docs/guide.md");

fn printed() -> &'static str {
    let (_, after) = GUIDE.split_once("```json\n").unwrap();
    after.split_once("```").unwrap().0
}

/// Starts it, and works as far as the review.
async fn to_review() -> String {
    let started = post("/api/v1/workflows", printed()).await.ok();
    let id = started["id"].as_str().unwrap().to_owned();
    let mut lines = lease("stock", 10, 10_000).await;
    while lines.len() < 2 {
        lines.extend(lease("stock", 10, 1_000).await);
    }
    for job in &lines {
        ack(job, json!({"reserved": job["payload"]["sku"]})).await;
    }
    let billed = work("billing", json!({"number": 17})).await;
    let reservations = json!([{"reserved": "tea"}, {"reserved": "cup"}]);
    assert_eq!(billed, json!({"customer": "ada", "reservations": reservations}));
    assert_eq!(work("mail", json!("sent")).await["text"], "Dear ada, please pay invoice 17");
    until_task(&id, "paid", "running").await;
    ask(&id, "signals/paid", r#"{"amount": 12.5}"#).await.ok();
    let waits = until_task(&id, "review", "running").await;
    assert_eq!(task(&waits, "bill")["result"], json!({"invoice": {"number": 17}, "send": "sent"}));
    assert_eq!(
        (&task(&waits, "wrap")["state"], &task(&waits, "settle")["state"]),
        (&json!("skipped"), &json!("succeeded"))
    );
    id
}

#[tokio::test]
async fn the_workflow_of_the_guide_runs_as_it_is_printed_to_either_end() {
    let id = to_review().await;
    ask(&id, "signals/review", "true").await.ok();
    assert_eq!(work("shipping", json!("gone")).await, json!({"to": "ada", "paid": 12.5}));
    let done = until_status(&id, "succeeded").await;
    assert_eq!((&done["name"], &done["project_id"]), (&json!("Order 4711"), &json!("shop")));
    assert!(done["deadline"].is_string());

    let id = to_review().await;
    ask(&id, "signals/review", "").await.ok();
    kill(&take("shipping").await, "the van broke down").await;
    let released = work("stock-release", json!(null)).await;
    assert_eq!(released["reservations"], json!([{"reserved": "tea"}, {"reserved": "cup"}]));
    let apology: Value = work("mail", json!("sent")).await;
    assert_eq!(apology["to"], "ada");
    assert!(apology["why"].as_str().unwrap().contains("the van broke down"), "{apology}");
    until_status(&id, "failed").await;
    assert_eq!(task(&read(&id).await, "reserve")["state"], "compensated");
}
