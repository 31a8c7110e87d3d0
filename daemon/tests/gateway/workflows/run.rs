//! Tasks that run to their end.

use serde_json::json;

use super::{ack, kill, lease, read, start, take, task, until, until_status, until_task, work};
use crate::harness::{get, put};

#[tokio::test]
async fn two_tasks_run_one_after_the_other_and_hand_on_their_results() {
    let id = start(json!({
        "name": "two", "project_id": "p-two", "input": {"who": "ada", "list": [1, 2]},
        "tasks": [
            {"id": "second", "queue": "two-b", "depends_on": ["first"],
             "input": {"text": "{{ input.who }} has {{ tasks.first.result.n }}", "same": "{{ tasks.first.result }}"}},
            {"id": "first", "queue": "two-a", "priority": 7, "input": {"list": "{{ input.list }}", "plain": 1.5}},
        ],
    }))
    .await;
    let before = read(&id).await;
    assert_eq!(task(&before, "second")["state"], "waiting");
    assert!(task(&before, "second")["job_id"].is_null());
    assert_eq!((&before["status"], &before["phase"]), (&json!("running"), &json!("forward")));
    assert_eq!(before["input"], json!({"who": "ada", "list": [1, 2]}));

    let job = take("two-a").await;
    assert_eq!(job["payload"], json!({"list": [1, 2], "plain": 1.5}));
    assert_eq!((&job["workflow_id"], &job["project_id"]), (&json!(id), &json!("p-two")));
    let held = until_task(&id, "first", "running").await;
    assert_eq!((&task(&held, "first")["job_id"], &task(&held, "first")["attempt"]), (&job["id"], &json!(1)));
    assert_eq!(get(&format!("/api/v1/jobs/{}", job["id"].as_str().unwrap())).await.ok()["workflow_id"], json!(id));
    ack(&job, json!({"n": 2})).await;
    assert_eq!(work("two-b", json!(null)).await, json!({"text": "ada has 2", "same": {"n": 2}}));

    let done = until_status(&id, "succeeded").await;
    let first = task(&done, "first");
    assert_eq!((&first["state"], &first["result"]), (&json!("succeeded"), &json!({"n": 2})));
    assert!(first["started_at"].is_string() && first["finished_at"].is_string() && done["finished_at"].is_string());
    assert_eq!(task(&done, "second")["depends_on"], json!(["first"]));
    let stale = get(&format!("/api/v1/workflows/{id}?consistency=stale")).await.ok();
    assert_eq!(stale["id"], done["id"]);
}

#[tokio::test]
async fn items_of_a_list_run_side_by_side_as_many_as_may() {
    let id = start(json!({
        "name": "each", "input": ["a", "b", "c"],
        "tasks": [
            {"id": "each", "queue": "each", "foreach": "input", "max_parallel": 2,
             "input": {"item": "{{ item }}", "place": "{{ index }}"}},
            {"id": "sum", "queue": "each-sum", "depends_on": ["each"], "input": "{{ tasks.each.result }}"},
        ],
    }))
    .await;
    let mut jobs = lease("each", 10, 10_000).await;
    while jobs.len() < 2 {
        jobs.extend(lease("each", 10, 2_000).await);
    }
    assert_eq!(jobs.len(), 2);
    assert!(lease("each", 10, 0).await.is_empty(), "a third runs");
    let items = task(&read(&id).await, "each")["items"].clone();
    assert_eq!(items, json!({"total": 3, "done": 0, "running": 2}));
    jobs.sort_by_key(|job| job["payload"]["place"].as_u64());
    for job in jobs.iter().rev() {
        ack(job, json!(job["payload"]["item"].as_str().unwrap().to_uppercase())).await;
    }
    assert_eq!(work("each", json!("C")).await, json!({"item": "c", "place": 2}));
    assert_eq!(work("each-sum", json!(3)).await, json!(["A", "B", "C"]));
    until_status(&id, "succeeded").await;
}

#[tokio::test]
async fn a_skipped_task_holds_nobody_up() {
    let id = start(json!({
        "name": "skip", "input": {"deploy": false},
        "tasks": [
            {"id": "deploy", "queue": "skip-deploy", "when": "input.deploy"},
            {"id": "after", "queue": "skip-after", "depends_on": ["deploy"], "input": "{{ tasks.deploy.result }}"},
        ],
    }))
    .await;
    assert_eq!(work("skip-after", json!(1)).await, json!(null));
    let done = until_status(&id, "succeeded").await;
    assert_eq!((&task(&done, "deploy")["state"], &done["tasks_open"]), (&json!("skipped"), &json!(0)));
}

#[tokio::test]
async fn a_part_has_its_own_tasks_and_gives_their_results() {
    let part = json!({"tasks": [{"id": "inner", "queue": "part-inner", "input": "{{ input.n }}"}]});
    put("/api/v1/templates/part", part.to_string()).await.ok();
    let id = start(json!({
        "name": "whole",
        "tasks": [
            {"id": "part", "workflow": {"template": "part", "input": {"n": 4}}},
            {"id": "own", "workflow": {"tasks": [{"id": "rest", "timer_ms": 1}]}},
            {"id": "after", "queue": "part-after", "depends_on": ["part", "own"], "input": "{{ tasks.part.result }}"},
        ],
    }))
    .await;
    let child = task(&read(&id).await, "part")["workflow_id"].as_str().unwrap().to_owned();
    let below = read(&child).await;
    assert_eq!((&below["parent_id"], &below["template"]), (&json!(id), &json!("part")));
    assert_eq!(work("part-inner", json!(16)).await, json!(4));
    assert_eq!(work("part-after", json!(1)).await, json!({"inner": 16}));
    until_status(&id, "succeeded").await;
    assert_eq!(read(&child).await["status"], "succeeded");
}

#[tokio::test]
async fn a_failure_undoes_what_was_done_and_says_so_to_the_last_task() {
    let id = start(json!({
        "name": "undone",
        "tasks": [
            {"id": "book", "queue": "undo-book",
             "compensate": {"queue": "undo-cancel", "input": {"booking": "{{ tasks.book.result.id }}"}}},
            {"id": "pay", "queue": "undo-pay", "depends_on": ["book"], "max_attempts": 1},
        ],
        "on_failure": {"id": "tell", "queue": "undo-tell", "input": {"why": "{{ error.message }}", "task": "{{ error.task }}"}},
    })).await;
    work("undo-book", json!({"id": 42})).await;
    kill(&take("undo-pay").await, "no money").await;
    assert_eq!(work("undo-cancel", json!(null)).await, json!({"booking": 42}));
    let told = work("undo-tell", json!("sent")).await;
    assert_eq!(told["task"], "pay");
    assert!(told["why"].as_str().unwrap().contains("no money"), "{told}");
    let failed = until_status(&id, "failed").await;
    assert_eq!(
        (&task(&failed, "book")["state"], &task(&failed, "pay")["state"]),
        (&json!("compensated"), &json!("failed"))
    );
    assert!(failed["error"].as_str().unwrap().contains("no money"), "{failed:#}");
}

#[tokio::test]
async fn what_takes_too_long_fails() {
    let id = start(json!({"name": "late", "deadline_ms": 150, "tasks": [{"id": "a", "queue": "late-whole"}]})).await;
    let task_id = start(json!({"name": "late", "tasks": [{"id": "a", "queue": "late-task", "timeout_ms": 150}]})).await;
    for id in [id, task_id] {
        let failed = until(&id, "failed", |workflow| workflow["status"] == "failed").await;
        assert!(failed["error"].is_string(), "{failed:#}");
    }
}
