//! Tasks that a running task adds to its own workflow.

use serde_json::{Value, json};

use super::{ack, ask, start, take, task, until_status, work, wrong_at};

#[tokio::test]
async fn a_task_adds_tasks_under_its_lease_and_nobody_else_does() {
    let id = start(json!({"name": "grow", "input": {"n": 5}, "tasks": [
        {"id": "plan", "queue": "grow-plan"},
        {"id": "end", "queue": "grow-end", "depends_on": ["plan"]},
    ]}))
    .await;
    let job = take("grow-plan").await;
    let token = job["lease_token"].as_u64().unwrap();
    let more = json!([
        {"id": "x", "queue": "grow-x", "input": "{{ input.n }}"},
        {"id": "y", "queue": "grow-y", "depends_on": ["x", "plan"],
         "input": ["{{ tasks.x.result }}", "{{ tasks.plan.result }}"]},
    ]);
    let add = |token: u64, extra: Value, tasks: Value| {
        let mut body = json!({"lease_token": token, "tasks": tasks});
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let id = id.clone();
        async move { ask(&id, "tasks", &body.to_string()).await }
    };
    for (token, extra) in
        [(token + 1, json!({})), (token, json!({"task_id": "end"})), (token, json!({"task_id": "nobody"}))]
    {
        let refused = add(token, extra.clone(), more.clone()).await;
        assert_eq!((refused.status.as_u16(), refused.code().as_str()), (409, "lease_lost"), "{extra}");
    }
    assert_eq!(add(token, json!({"job_id": "j0-x"}), more.clone()).await.code(), "invalid_argument");
    let unknown = json!([{"id": "z", "queue": "q", "depends_on": ["nobody"]}, {"id": "z2"}]);
    let refused = add(token, json!({}), unknown).await;
    assert_eq!(wrong_at(&refused), ["tasks[1]", "tasks[0].depends_on[0]"], "{}", refused.text);

    let named = json!({"task_id": "plan", "job_id": job["id"]});
    assert_eq!(add(token, named, more.clone()).await.ok(), json!({"id": id, "status": "running"}));
    assert_eq!(add(token, json!({}), more.clone()).await.ok()["status"], "running", "again changes nothing");
    let other = json!([{"id": "x", "queue": "another"}]);
    assert_eq!(add(token, json!({}), other).await.code(), "conflict");

    assert_eq!(work("grow-x", json!("X")).await, json!(5));
    ack(&job, json!("P")).await;
    assert_eq!(work("grow-y", json!(1)).await, json!(["X", "P"]));
    work("grow-end", json!(1)).await;
    let done = until_status(&id, "succeeded").await;
    assert_eq!((&done["tasks_total"], &task(&done, "x")["result"]), (&json!(4), &json!("X")));
    assert_eq!(add(token, json!({}), more).await.code(), "conflict", "it is over");
}
