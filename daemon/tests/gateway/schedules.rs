//! Schedules over REST and gRPC.

use std::time::{Duration, Instant};

use bravo_api::problem::refusal_of;
use bravo_api::proto::{self, schedules_client::SchedulesClient};
use bravo_model::Code;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{Answer, call_at, get, nodes, post, put};
use crate::workflows::{ack, lease, take};

async fn schedule(name: &str, body: Value) -> Answer {
    put(&format!("/api/v1/schedules/{name}"), body.to_string()).await
}

async fn delete(name: &str) -> Answer {
    call_at(nodes()[1], Method::DELETE, &format!("/api/v1/schedules/{name}"), &[], "").await
}

/// Waits until the schedule is as it should be.
async fn until(name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let schedule = get(&format!("/api/v1/schedules/{name}")).await.ok();
        if holds(&schedule) {
            return schedule;
        }
        assert!(Instant::now() < deadline, "{name} never {what}: {schedule:#}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_schedule_is_made_shown_replaced_and_deleted() {
    let body = json!({"cron": "30 9 * * 1", "timezone": "Europe/Berlin", "catch_up_ms": 1000,
                      "job": {"queue": "sched-crud", "project_id": "p-s", "payload": {"a": 1}}});
    let made = schedule("nightly", body.clone()).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let shown = get("/api/v1/schedules/nightly").await.ok();
    assert_eq!(shown, made.json());
    assert_eq!(
        (&shown["name"], &shown["cron"], &shown["timezone"]),
        (&json!("nightly"), &body["cron"], &body["timezone"])
    );
    assert_eq!(
        (&shown["overlap"], &shown["catch_up_ms"], &shown["paused"]),
        (&json!("skip"), &json!(1000), &json!(false))
    );
    assert_eq!(shown["job"], body["job"]);
    let next = shown["next_runs"].as_array().unwrap();
    assert_eq!((next.len(), &shown["next_run_at"]), (5, &next[0]));
    // Half past nine in Berlin, summer and winter.
    for at in next {
        let at = at.as_str().unwrap();
        assert!(at.contains("T08:30:00") || at.contains("T07:30:00"), "{at}");
    }

    let other = json!({"cron": "0 0 1 1 *", "overlap": "allow", "workflow": {"name": "w", "tasks": [{"id": "a", "queue": "q"}]}});
    let replaced = schedule("nightly", other.clone()).await;
    assert_eq!(replaced.status, StatusCode::OK, "{}", replaced.text);
    let shown = get("/api/v1/schedules/nightly").await.ok();
    assert_eq!(
        (&shown["workflow"], &shown["timezone"], &shown["overlap"]),
        (&other["workflow"], &json!("UTC"), &json!("allow"))
    );
    assert!(shown["job"].is_null());

    assert_eq!(delete("nightly").await.status, StatusCode::NO_CONTENT);
    assert_eq!(get("/api/v1/schedules/nightly").await.code(), "not_found");
    assert_eq!(delete("nightly").await.code(), "not_found");
    for what in ["pause", "resume"] {
        assert_eq!(post(&format!("/api/v1/schedules/nightly/{what}"), "").await.code(), "not_found");
    }
}

#[tokio::test]
async fn what_cannot_be_scheduled_is_refused_by_the_fields_name() {
    let job = json!({"queue": "q"});
    let cases = [
        (json!({"cron": "61 * * * *", "job": job}), "cron"),
        (json!({"cron": "* * * * * * *", "job": job}), "cron"),
        (json!({"cron": "0 0 30 2 *", "job": job}), "cron"),
        (json!({"job": job}), "cron"),
        (json!({"cron": "* * * * *", "timezone": "Mars/Base", "job": job}), "timezone"),
        (json!({"cron": "* * * * *", "overlap": "sometimes", "job": job}), "overlap"),
        (json!({"cron": "* * * * *", "catch_up_ms": 90_000_000, "job": job}), "catch_up_ms"),
        (json!({"cron": "* * * * *", "catch_up_ms": "x", "job": job}), "catch_up_ms"),
        (json!({"cron": "* * * * *", "colour": 1, "job": job}), "colour"),
        (json!({"cron": "* * * * *"}), "job"),
        (json!({"cron": "* * * * *", "job": job, "workflow": {}}), "job"),
        (json!({"cron": "* * * * *", "job": {"queue": "a b"}}), "job.queue"),
        (json!({"cron": "* * * * *", "job": {"queue": "q", "run_at": "2030-01-01T00:00:00Z"}}), "job.run_at"),
        (json!({"cron": "* * * * *", "job": {"queue": "q", "unique_key": "u"}}), "job.unique_key"),
        (json!({"cron": "* * * * *", "workflow": {"tasks": [{"id": "a"}]}}), "workflow.tasks[0]"),
        (json!({"cron": "* * * * *", "workflow": {"template": "nowhere"}}), "workflow.template"),
        (json!({"cron": "* * * * *", "workflow": {"tasks": [], "task": []}}), "workflow.task"),
        (json!({"cron": "* * * * *", "workflow": {"name": "says nothing"}}), "workflow: exactly one of"),
    ];
    for (body, field) in cases {
        let refused = schedule("refused", body.clone()).await;
        assert_eq!(
            (refused.status.as_u16(), refused.code().as_str()),
            (400, "invalid_argument"),
            "{body}: {}",
            refused.text
        );
        assert!(refused.json()["detail"].as_str().unwrap().contains(field), "{body}: {}", refused.text);
    }
    assert_eq!(get("/api/v1/schedules/refused").await.code(), "not_found");
    assert_eq!(schedule("no%20good", json!({"cron": "* * * * *", "job": job})).await.code(), "invalid_argument");
}

#[tokio::test]
async fn each_second_a_job_and_a_workflow_are_started_until_a_pause() {
    let job =
        json!({"cron": "* * * * * *", "overlap": "allow", "job": {"queue": "tick-job", "payload": {"tick": true}}});
    let workflow = json!({"cron": "* * * * * *", "workflow":
        {"name": "tick", "project_id": "p-tick", "input": {"n": 1}, "tasks": [{"id": "a", "queue": "tick-task", "input": "{{ input.n }}"}]}});
    schedule("tick-job", job).await.ok();
    schedule("tick-workflow", workflow).await.ok();
    let first = take("tick-job").await;
    assert_eq!(first["payload"], json!({"tick": true}));
    ack(&first, json!(1)).await;
    take("tick-job").await;

    let task = take("tick-task").await;
    assert_eq!(task["payload"], 1);
    // The run is not over, so the ticks behind it start nothing.
    let skipping = until("tick-workflow", "skips", |schedule| schedule["skipped"].as_u64() > Some(0)).await;
    assert_eq!((&skipping["runs"], &skipping["last_run_id"]), (&json!(1), &task["workflow_id"]));
    assert!(skipping["last_run_at"].is_string());
    ack(&task, json!(1)).await;
    until("tick-workflow", "goes on", |schedule| schedule["runs"].as_u64() > Some(1)).await;

    for name in ["tick-job", "tick-workflow"] {
        let paused = post(&format!("/api/v1/schedules/{name}/pause"), "").await.ok();
        assert_eq!((&paused["paused"], &paused["next_runs"]), (&json!(true), &json!([])));
    }
    let paused = get("/api/v1/schedules/tick-job").await.ok();
    while !lease("tick-job", 100, 0).await.is_empty() {}
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    assert!(lease("tick-job", 100, 0).await.is_empty());
    assert_eq!(get("/api/v1/schedules/tick-job").await.ok()["runs"], paused["runs"]);
    let resumed = post("/api/v1/schedules/tick-job/resume", "").await.ok();
    assert_eq!((&resumed["paused"], resumed["next_runs"].as_array().unwrap().len()), (&json!(false), 5));
    take("tick-job").await;
    assert_eq!(delete("tick-job").await.status, StatusCode::NO_CONTENT);
    delete("tick-workflow").await;
    let runs = get("/api/v1/workflows?project_id=p-tick&consistency=linearizable").await.ok();
    assert!(runs["workflows"].as_array().unwrap().len() >= 2, "{runs}");
}

#[tokio::test]
async fn a_list_has_all_by_name() {
    for name in ["list-c", "list-a", "list-b"] {
        schedule(name, json!({"cron": "0 0 1 1 *", "job": {"queue": "q"}})).await.ok();
    }
    let list = get("/api/v1/schedules?consistency=linearizable").await.ok();
    assert!(list["as_of"].is_string() && list["next_cursor"].is_null());
    let names = list["schedules"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap());
    let names: Vec<&str> = names.filter(|name| name.starts_with("list-")).collect();
    assert_eq!(names, ["list-a", "list-b", "list-c"]);
    assert_eq!(get("/api/v1/schedules?colour=red").await.code(), "invalid_argument");
}

#[tokio::test]
async fn schedules_are_there_over_grpc() {
    let mut client = SchedulesClient::connect(format!("http://{}", nodes()[0])).await.unwrap();
    let job = proto::NewJob { queue: "sched-grpc".into(), ..proto::NewJob::default() };
    let request = proto::PutScheduleRequest {
        name: "grpc".into(),
        cron: "0 12 * * *".into(),
        timezone: "Asia/Tokyo".into(),
        overlap: "queue".into(),
        target: Some(proto::put_schedule_request::Target::Job(job)),
        ..proto::PutScheduleRequest::default()
    };
    let put = client.put(request.clone()).await.unwrap().into_inner();
    let schedule = put.schedule.unwrap();
    assert!(put.created);
    assert_eq!(
        (schedule.starts.as_str(), schedule.queue.as_str(), schedule.next_at_ms.len()),
        ("job", "sched-grpc", 5)
    );
    assert!(!client.put(request.clone()).await.unwrap().into_inner().created);
    let name = || proto::ScheduleRequest { name: "grpc".into() };
    assert!(client.pause(name()).await.unwrap().into_inner().paused);
    assert!(!client.resume(name()).await.unwrap().into_inner().paused);
    let bad = proto::PutScheduleRequest { cron: "x".into(), ..request };
    let refusal = refusal_of(&client.put(bad).await.unwrap_err()).unwrap();
    assert_eq!(refusal.code, Code::InvalidArgument);
    assert!(refusal.detail.starts_with("cron: "), "{}", refusal.detail);
    client.delete(name()).await.unwrap();
    let get = proto::GetScheduleRequest { name: "grpc".into(), read: None };
    assert_eq!(client.get(get).await.unwrap_err().code(), tonic::Code::NotFound);
}

#[tokio::test]
async fn what_a_schedule_starts_is_shown_however_it_was_put() {
    let mut client = SchedulesClient::connect(format!("http://{}", nodes()[1])).await.unwrap();
    let job = proto::NewJob { queue: "sched-source".into(), ..Default::default() };
    let request = |source: &'static str| proto::PutScheduleRequest {
        name: "source".into(),
        cron: "0 0 1 1 *".into(),
        source: source.into(),
        target: Some(proto::put_schedule_request::Target::Job(job.clone())),
        ..Default::default()
    };
    client.put(request(r#"{"queue": "sched-source"}"#)).await.unwrap();
    assert_eq!(get("/api/v1/schedules/source").await.ok()["job"], json!({"queue": "sched-source"}));
    let refused = refusal_of(&client.put(request(r#"{"queue": "#)).await.unwrap_err()).unwrap();
    assert!(refused.code == Code::InvalidArgument && refused.detail.starts_with("source: "), "{refused:?}");
    client.put(request("")).await.unwrap();
    assert!(get("/api/v1/schedules/source").await.ok()["job"].is_null());
}
