//! What may be started, and what comes back.

use std::time::{Duration, Instant};

use bravo_daemon::shipped;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{ask, read, start, task, until_status, work, wrong_at};
use crate::harness::{Answer, call_at, get, nodes, own_node, post, put};

async fn keyed(node: usize, key: &str, body: &Value) -> Answer {
    let headers = [("idempotency-key", key)];
    call_at(nodes()[node], Method::POST, "/api/v1/workflows", &headers, body.to_string()).await
}

#[tokio::test]
async fn requirements_start_the_workflow_of_the_template_that_their_type_names() {
    let (_, crud) = shipped::TEMPLATES.iter().find(|(name, _)| *name == "crud").unwrap();
    put("/api/v1/templates/crud", *crud).await.ok();
    let body = json!({
        "name": "Generate a shop", "project_id": "p-mission",
        "requirements": {"type": "crud", "features": ["auth", "api", "database"]},
    });
    let started = post("/api/v1/workflows", body.to_string()).await;
    assert_eq!(started.status, StatusCode::CREATED, "{}", started.text);
    let id = started.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(started.headers["location"], format!("/api/v1/workflows/{id}"));
    assert_eq!(started.json(), json!({"id": id, "status": "running"}));

    let features = json!(["auth", "api", "database"]);
    let analysis = work("analysis", json!({"entities": 3})).await;
    assert_eq!(analysis["requirements"]["features"], features);
    let planning = work("planning", json!(["a", "b"])).await;
    assert_eq!(planning["analysis"], json!({"entities": 3}));
    let codegen = work("codegen", json!("code")).await;
    assert_eq!((&codegen["language"], &codegen["plan"]), (&json!("rust"), &json!(["a", "b"])));
    assert_eq!(work("testing", json!({"passed": true})).await["features"], features);
    assert_eq!(work("deployment", json!({"url": "x"})).await["tests"], json!({"passed": true}));
    let done = until_status(&id, "succeeded").await;
    assert_eq!((&done["template"], &done["name"]), (&json!("crud"), &json!("Generate a shop")));
    assert_eq!((&done["tasks_open"], &done["tasks_total"]), (&json!(0), &json!(5)));
    assert_eq!(task(&done, "deployment")["result"], json!({"url": "x"}));

    let mut metrics = String::new();
    for node in nodes() {
        metrics += &call_at(*node, Method::GET, "/metrics", &[], "").await.text;
    }
    for line in [
        r#"workflow_execution_duration_seconds_count{template="crud",status="succeeded"}"#,
        r#"template_generation_attempts_total{template_type="crud",language="rust",framework="std"}"#,
        r#"template_generation_successes_total{template_type="crud",language="rust",framework="std"}"#,
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
}

#[tokio::test]
async fn an_input_that_the_template_refuses_is_named_with_its_place() {
    let template = json!({
        "parameters": {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}},
        "tasks": [{"id": "a", "queue": "refuses-input", "input": "{{ input }}"}],
    });
    put("/api/v1/templates/strict", template.to_string()).await.ok();
    let with = |field: &str, value: Value| json!({"name": "x", "template": "strict", field: value}).to_string();
    assert_eq!(wrong_at(&post("/api/v1/workflows", with("input", json!({"n": "x"}))).await), ["input.n"]);
    let requirements = json!({"name": "x", "requirements": {"type": "strict", "n": 1.5}});
    assert_eq!(wrong_at(&post("/api/v1/workflows", requirements.to_string()).await), ["requirements.n"]);
    let none = json!({"name": "x", "requirements": {"n": 1}});
    assert_eq!(wrong_at(&post("/api/v1/workflows", none.to_string()).await), ["requirements.type"]);
    for (body, place) in [
        (json!({"template": "nowhere"}), "template"),
        (json!({"template": "strict", "template_version": 9, "input": {"n": 1}}), "template"),
        (json!({"requirements": {"type": "nowhere"}}), "requirements.type"),
    ] {
        assert_eq!(wrong_at(&post("/api/v1/workflows", body.to_string()).await), [place], "{body}");
    }
    let id = start(json!({"name": "x", "template": "strict", "input": {"n": 7}})).await;
    assert_eq!(read(&id).await["template_version"], 1);
    assert_eq!(work("refuses-input", json!(1)).await, json!({"n": 7}));
}

#[tokio::test]
async fn what_is_over_is_kept_as_long_as_it_or_its_template_says() {
    let tasks = json!([{"id": "a", "timer_ms": 1}]);
    put("/api/v1/templates/brief", json!({"retention_ms": 1, "tasks": tasks}).to_string()).await.ok();
    let brief = start(json!({"template": "brief"})).await;
    let own = start(json!({"tasks": tasks, "retention_ms": 1})).await;
    let longer = start(json!({"template": "brief", "retention_ms": 600_000})).await;
    let usual = start(json!({"tasks": tasks})).await;
    for id in [&longer, &usual] {
        until_status(id, "succeeded").await;
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    for id in [&brief, &own] {
        while get(&format!("/api/v1/workflows/{id}")).await.status != StatusCode::NOT_FOUND {
            assert!(Instant::now() < deadline, "{id} is still kept");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    for id in [&longer, &usual] {
        assert_eq!(read(id).await["status"], "succeeded");
    }
    let never = json!({"tasks": tasks, "retention_ms": 0}).to_string();
    assert_eq!(wrong_at(&post("/api/v1/workflows", never).await), ["retention_ms"]);
}

#[tokio::test]
async fn a_definition_that_cannot_be_is_refused_with_all_that_is_wrong() {
    let cases = [
        (
            json!([{"id": "a", "queue": "q", "depends_on": ["b"]}, {"id": "b", "queue": "q", "depends_on": ["a"]}]),
            vec!["tasks[0].depends_on"],
        ),
        (json!([{"id": "a", "queue": "q", "depends_on": ["z"]}]), vec!["tasks[0].depends_on[0]"]),
        (json!([{"id": "a", "queue": "q", "input": {"x": ["{{ 1 + }}"]}}]), vec!["tasks[0].input.x[0]"]),
        (json!([{"id": "a", "queue": "q", "when": "nothing.known"}]), vec!["tasks[0].when"]),
        (
            json!([{"id": "a", "queue": "q"}, {"id": "b", "queue": "q", "input": "{{ tasks.a.result }}"}]),
            vec!["tasks[1].input"],
        ),
        (json!([{"id": "a", "queue": "q", "timer_ms": 5}, {"id": "b"}]), vec!["tasks[0]", "tasks[1]"]),
        (json!([{"id": "a", "queue": "q", "colour": 1}]), vec!["tasks[0].colour"]),
        (json!([{"id": "a", "workflow": {"template": "nowhere"}}]), vec!["tasks[0].workflow.template"]),
        (
            json!([{"id": "a", "workflow": {"tasks": [{"id": "x", "queue": "q", "when": "1 +"}]}}]),
            vec!["tasks[0].workflow.tasks[0].when"],
        ),
        (json!([{"id": "a", "queue": "q"}, {"id": "a", "queue": "q"}]), vec!["tasks[1].id"]),
        (json!([]), vec!["tasks"]),
        (json!({}), vec!["tasks"]),
    ];
    for (tasks, places) in cases {
        let refused = post("/api/v1/workflows", json!({"name": "bad", "tasks": tasks}).to_string()).await;
        assert_eq!(wrong_at(&refused), places, "{tasks}: {}", refused.text);
    }
    for body in [
        json!({"name": "neither"}),
        json!({"name": "both", "template": "t", "tasks": [{"id": "a", "queue": "q"}]}),
        json!({"name": "unknown", "task": []}),
        json!({"name": "bad project", "project_id": "a b", "tasks": [{"id": "a", "queue": "q"}]}),
    ] {
        let refused = post("/api/v1/workflows", body.to_string()).await;
        assert_eq!((refused.status.as_u16(), refused.code().as_str()), (400, "invalid_argument"), "{body}");
    }
}

#[tokio::test]
async fn where_queues_must_exist_unknown_ones_are_named_with_their_places() {
    let (address, _) = own_node(|config| config.queues.must_exist = true).await;
    let ask = async |method: Method, path: &str, body: Value| {
        call_at(address, method, &format!("/api/v1/{path}"), &[], body.to_string()).await
    };
    ask(Method::PUT, "queues/known", json!({})).await.ok();
    let part = json!({"tasks": [{"id": "x", "queue": "known"}, {"id": "y", "queue": "inner"}]});
    let tasks = json!([
        {"id": "a", "queue": "known", "compensate": {"queue": "undo"}},
        {"id": "b", "queue": "typo", "depends_on": ["a"]},
        {"id": "c", "workflow": part},
    ]);
    let body = json!({"tasks": tasks, "on_failure": {"id": "f", "queue": "last"}});
    let places =
        ["tasks[0].compensate.queue", "tasks[1].queue", "tasks[2].workflow.tasks[1].queue", "on_failure.queue"];
    assert_eq!(wrong_at(&ask(Method::POST, "workflows", body).await), places);
    let refused = ask(Method::POST, "jobs", json!({"jobs": [{"queue": "known"}, {"queue": "typo"}]})).await;
    assert!(refused.code() == "invalid_argument" && refused.text.contains("jobs[1].queue"), "{}", refused.text);
    let schedule = json!({"cron": "0 3 * * *", "job": {"queue": "typo"}});
    assert_eq!(ask(Method::PUT, "schedules/s", schedule).await.code(), "invalid_argument");
    ask(Method::POST, "jobs", json!({"queue": "known"})).await.ok();
    ask(Method::POST, "workflows", json!({"tasks": [{"id": "a", "queue": "known"}]})).await.ok();
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    for id in ["w0-999999", "w900-1", "nonsense", "j0-1"] {
        let path = format!("/api/v1/workflows/{id}");
        for path in [path.clone(), format!("{path}?consistency=stale"), format!("{path}/events")] {
            assert_eq!(get(&path).await.code(), "not_found", "{path}");
        }
        let tasks = json!({"lease_token": 1, "tasks": [{"id": "a", "queue": "q"}]}).to_string();
        for (what, body) in [
            ("cancel", ""),
            ("pause", ""),
            ("resume", ""),
            ("retry", ""),
            ("signals/s", "1"),
            ("tasks", tasks.as_str()),
        ] {
            assert_eq!(ask(id, what, body).await.code(), "not_found", "{id} {what}");
        }
    }
}

#[tokio::test]
async fn a_key_starts_one_workflow() {
    let body = json!({"name": "once", "project_id": "p-once", "tasks": [{"id": "a", "queue": "once-task"}]});
    let first = keyed(0, "workflow-once", &body).await;
    assert_eq!(first.status, StatusCode::CREATED, "{}", first.text);
    for node in [1, 2] {
        let again = keyed(node, "workflow-once", &body).await;
        assert_eq!((again.status, &again.text), (StatusCode::CREATED, &first.text));
        assert_eq!(again.headers["location"], first.headers["location"]);
    }
    let other = json!({"name": "twice", "project_id": "p-once", "tasks": [{"id": "a", "queue": "once-task"}]});
    let refused = keyed(1, "workflow-once", &other).await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (422, "idempotency_key_reuse"));
    let list = get("/api/v1/workflows?project_id=p-once&consistency=linearizable").await.ok();
    assert_eq!(list["workflows"].as_array().unwrap().len(), 1, "{list}");
}

#[tokio::test]
async fn a_key_gives_the_first_answer_though_the_template_has_gone_since() {
    put("/api/v1/templates/goes", json!({"tasks": [{"id": "a", "queue": "goes"}]}).to_string()).await.ok();
    let body = json!({"name": "goes", "template": "goes"});
    let first = keyed(0, "goes-once", &body).await;
    assert_eq!(first.status, StatusCode::CREATED, "{}", first.text);
    call_at(nodes()[1], Method::DELETE, "/api/v1/templates/goes", &[], "").await;
    let again = keyed(1, "goes-once", &body).await;
    assert_eq!((again.status, &again.text), (StatusCode::CREATED, &first.text));
    let other = json!({"name": "other", "template": "goes"});
    assert_eq!(keyed(2, "goes-once", &other).await.code(), "idempotency_key_reuse");
    assert_eq!(wrong_at(&keyed(2, "goes-never", &other).await), ["template"]);
}

#[tokio::test]
async fn lists_are_filtered_and_the_newest_comes_first() {
    let template = json!({"tasks": [{"id": "a", "queue": "listed"}]});
    put("/api/v1/templates/listed", template.to_string()).await.ok();
    let mut ids = Vec::new();
    for n in 0..7 {
        let body = match n {
            0 => json!({"name": "0", "project_id": "p-list", "template": "listed"}),
            n => json!({"name": n.to_string(), "project_id": "p-list", "tasks": [{"id": "a", "queue": "listed"}]}),
        };
        ids.insert(0, start(body).await);
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    ask(&ids[1], "cancel", "").await.ok();
    let list = |query: String| async move {
        let page = get(&format!("/api/v1/workflows?project_id=p-list&consistency=linearizable&{query}")).await.ok();
        assert!(page["as_of"].is_string());
        let ids = page["workflows"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned());
        (ids.collect::<Vec<_>>(), page["next_cursor"].as_str().map(str::to_owned))
    };
    assert_eq!(list(String::new()).await, (ids.clone(), None));
    assert_eq!(list("status=cancelled".into()).await.0, ids[1..2]);
    assert_eq!(list("status=running".into()).await.0.len(), 6);
    assert_eq!(list("template=listed".into()).await.0, ids[6..]);
    let third = read(&ids[2]).await["started_at"].as_str().unwrap().to_owned();
    assert_eq!(list(format!("started_after={third}")).await.0, ids[..3]);

    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let (page, next) = list(format!("limit=3&cursor={cursor}")).await;
        assert!(page.len() <= 3);
        seen.extend(page);
        match next {
            Some(next) => cursor = next,
            None => break,
        }
    }
    assert_eq!(seen, ids);
    for bad in ["status=done", "limit=0", "limit=1001", "cursor=%25", "started_after=noon", "colour=red"] {
        assert_eq!(get(&format!("/api/v1/workflows?{bad}")).await.code(), "invalid_argument", "{bad}");
    }
}
