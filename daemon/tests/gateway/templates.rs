//! Templates over REST, and what gRPC has of its own.

use bravo_api::problem::{errors_of, refusal_of};
use bravo_api::proto::{self, templates_client::TemplatesClient};
use bravo_daemon::shipped;
use bravo_model::Code;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{Answer, call_at, get, nodes, post, put};

fn document(description: &str) -> String {
    json!({"description": description, "tasks": [{"id": "a", "queue": "q"}]}).to_string()
}

fn etag(answer: &Answer) -> String {
    answer.headers["etag"].to_str().unwrap().to_owned()
}

async fn guarded(method: Method, name: &str, header: (&str, &str), body: &str) -> Answer {
    call_at(nodes()[0], method, &format!("/api/v1/templates/{name}"), &[header], body.to_owned()).await
}

fn names(list: &Value) -> Vec<&str> {
    list["templates"].as_array().unwrap().iter().map(|template| template["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn versions_follow_each_other_and_old_ones_stay_as_they_were() {
    let first = put("/api/v1/templates/steps", document("one")).await;
    assert_eq!(
        (first.status, &first.json()["version"], &first.json()["name"]),
        (StatusCode::CREATED, &json!(1), &json!("steps"))
    );
    let same = put("/api/v1/templates/steps", document("one")).await;
    assert_eq!((same.status, etag(&same)), (StatusCode::OK, etag(&first)));
    let second = put("/api/v1/templates/steps", document("two")).await;
    assert_eq!((second.status, &second.json()["version"]), (StatusCode::OK, &json!(2)));
    assert_ne!(etag(&second), etag(&first));

    let newest = get("/api/v1/templates/steps").await;
    assert_eq!((newest.json(), etag(&newest)), (second.json(), etag(&second)));
    assert_eq!(newest.headers["cache-control"], "no-cache");
    let old = get("/api/v1/templates/steps?version=1").await;
    assert_eq!((&old.json()["description"], etag(&old)), (&json!("one"), etag(&first)));
    assert_eq!(old.headers["cache-control"], "max-age=86400, immutable");
    assert_eq!(get("/api/v1/templates/steps?version=3").await.code(), "not_found");
    assert_eq!(get("/api/v1/templates/steps?version=x").await.code(), "invalid_argument");

    // What was read can be sent back.
    let back = put("/api/v1/templates/steps", newest.text.clone()).await;
    assert_eq!((back.status, &back.json()["version"]), (StatusCode::OK, &json!(2)));

    let deleted = call_at(nodes()[1], Method::DELETE, "/api/v1/templates/steps", &[], "").await;
    assert_eq!(deleted.status, StatusCode::NO_CONTENT);
    for path in ["/api/v1/templates/steps", "/api/v1/templates/steps?version=1"] {
        assert_eq!(get(path).await.code(), "not_found");
    }
    assert_eq!(guarded(Method::DELETE, "steps", ("x-nothing", "1"), "").await.code(), "not_found");
    let again = put("/api/v1/templates/steps", document("two")).await;
    assert_eq!((again.status, &again.json()["version"]), (StatusCode::CREATED, &json!(3)));
}

#[tokio::test]
async fn conditions_guard_reads_and_writes() {
    let (known, unknown) = ("if-none-match", "if-match");
    let created = guarded(Method::PUT, "guarded", (known, "*"), &document("one")).await;
    assert_eq!(created.status, StatusCode::CREATED);
    let tag = etag(&created);
    for (header, value) in [(known, "*"), (unknown, "\"1-other\""), (known, &*tag)] {
        let refused = guarded(Method::PUT, "guarded", (header, value), &document("two")).await;
        assert_eq!(
            (refused.status.as_u16(), refused.code().as_str()),
            (412, "precondition_failed"),
            "{header} {value}"
        );
    }
    assert_eq!(guarded(Method::PUT, "guarded", (unknown, "1-a"), &document("two")).await.code(), "invalid_argument");

    let same = guarded(Method::GET, "guarded", (known, &format!("\"x\", W/{tag}")), "").await;
    assert_eq!((same.status, same.text.as_str(), etag(&same)), (StatusCode::NOT_MODIFIED, "", tag.clone()));
    let second = guarded(Method::PUT, "guarded", (unknown, &tag), &document("two")).await;
    assert_eq!((second.status, &second.json()["version"]), (StatusCode::OK, &json!(2)));
    assert_eq!(guarded(Method::GET, "guarded", (known, &tag), "").await.status, StatusCode::OK);
    let old = guarded(Method::GET, "guarded?version=1", (known, &tag), "").await;
    assert_eq!(old.status, StatusCode::NOT_MODIFIED);
    assert_eq!(old.headers["cache-control"], "max-age=86400, immutable");

    assert_eq!(guarded(Method::DELETE, "guarded", (unknown, &tag), "").await.code(), "precondition_failed");
    let gone = guarded(Method::DELETE, "guarded", (unknown, &etag(&second)), "").await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    assert_eq!(guarded(Method::DELETE, "guarded", (unknown, "*"), "").await.code(), "precondition_failed");
    assert_eq!(guarded(Method::PUT, "guarded", (unknown, "*"), &document("three")).await.code(), "precondition_failed");
}

#[tokio::test]
async fn of_many_writers_with_one_tag_one_wins() {
    let tag = etag(&put("/api/v1/templates/race", document("start")).await);
    let writers = (0..8).map(|n| {
        let tag = tag.clone();
        async move {
            let headers = [("if-match", tag.as_str())];
            let body = document(&format!("writer {n}"));
            call_at(nodes()[n % 3], Method::PUT, "/api/v1/templates/race", &headers, body).await.status
        }
    });
    let statuses = futures_util::future::join_all(writers).await;
    assert_eq!(statuses.iter().filter(|status| **status == StatusCode::OK).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| matches!(status.as_u16(), 200 | 412)), "{statuses:?}");
    assert_eq!(get("/api/v1/templates/race").await.json()["version"], 2);
}

#[tokio::test]
async fn an_answer_comes_twice_under_one_key() {
    let keyed = |body: String| async move {
        let headers = [("idempotency-key", "template-once"), ("if-none-match", "*")];
        call_at(nodes()[0], Method::PUT, "/api/v1/templates/keyed", &headers, body).await
    };
    let first = keyed(document("one")).await;
    let second = keyed(document("one")).await;
    assert_eq!((second.status, second.text, first.status), (StatusCode::CREATED, first.text, StatusCode::CREATED));
    assert_eq!(keyed(document("two")).await.code(), "idempotency_key_reuse");
}

#[tokio::test]
async fn all_that_is_wrong_with_a_document_is_named() {
    let bad = json!({
        "colour": 1,
        "parameters": {"properties": {"n": {"type": "numeral"}}},
        "tasks": [{"id": "a", "queue": "q", "depends_on": ["b"]}],
    });
    let refused = put("/api/v1/templates/wrong", bad.to_string()).await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (400, "invalid_argument"));
    let problem = refused.json();
    let mut paths: Vec<&str> =
        problem["errors"].as_array().unwrap().iter().map(|error| error["path"].as_str().unwrap()).collect();
    paths.sort_unstable();
    assert_eq!(paths, ["colour", "parameters.properties.n.type", "tasks[0].depends_on[0]"], "{}", refused.text);
    assert!(problem["detail"].as_str().unwrap().contains("colour"));
    assert_eq!(get("/api/v1/templates/wrong").await.code(), "not_found");
    assert_eq!(put("/api/v1/templates/wrong", "[]").await.code(), "invalid_argument");
    assert_eq!(put("/api/v1/templates/no%20good", document("")).await.code(), "invalid_argument");
    let large = json!({"tasks": [{"id": "a", "queue": "q", "input": "x".repeat(256 << 10)}]});
    assert_eq!(put("/api/v1/templates/wrong", large.to_string()).await.code(), "payload_too_large");

    let message = proto::PutTemplateRequest { name: "wrong".into(), document: bad.to_string().into(), expected: None };
    let mut client = TemplatesClient::connect(format!("http://{}", nodes()[0])).await.unwrap();
    let status = client.put(message).await.unwrap_err();
    assert_eq!(refusal_of(&status).unwrap().code, Code::InvalidArgument);
    assert_eq!(errors_of(&status).len(), 3);
}

#[tokio::test]
async fn a_template_that_no_workflow_can_be_made_of_is_refused_when_it_is_put() {
    for (tasks, place) in [
        (
            json!([{"id": "a", "queue": "q", "depends_on": ["b"]}, {"id": "b", "queue": "q", "depends_on": ["a"]}]),
            "tasks[0].depends_on",
        ),
        (json!([{"id": "a"}]), "tasks[0]"),
        (json!([{"id": "a", "queue": "q", "input": {"x": "{{ input. }}"}}]), "tasks[0].input.x"),
        (json!([{"id": "a", "workflow": {"template": "a b"}}]), "tasks[0].workflow.template"),
    ] {
        let refused = put("/api/v1/templates/impossible", json!({"tasks": tasks}).to_string()).await;
        assert_eq!((refused.status.as_u16(), refused.code().as_str()), (400, "invalid_argument"), "{tasks}");
        let errors = &refused.json()["errors"];
        assert_eq!((errors.as_array().unwrap().len(), &errors[0]["path"]), (1, &json!(place)), "{tasks}: {errors}");
    }
    let part = json!({"tasks": [{"id": "a", "workflow": {"template": "not-there-yet"}}]});
    put("/api/v1/templates/early", part.to_string()).await.ok();
    let start = || post("/api/v1/workflows", json!({"name": "early", "template": "early"}).to_string());
    assert_eq!(start().await.json()["errors"][0]["path"], "tasks[0].workflow.template");
    put("/api/v1/templates/not-there-yet", document("part")).await.ok();
    start().await.ok();
}

#[tokio::test]
async fn a_search_finds_what_every_node_was_told() {
    for (name, description) in [
        ("find/zither", "A stringed instrument"),
        ("find.lute", "Like a zither, but plucked; the lute is old"),
        ("find-drum", "Percussion"),
    ] {
        put(&format!("/api/v1/templates/{}", name.replace('/', "%2F")), document(description)).await.ok();
        for node in nodes() {
            let path = format!("/api/v1/templates?q={name}&limit=1000");
            let found = call_at(*node, Method::GET, &path, &[], "").await;
            assert!(names(&found.ok()).contains(&name), "{} does not know {name}", found.text);
        }
    }
    let found = get("/api/v1/templates?q=zither").await.ok();
    assert_eq!(names(&found), ["find/zither", "find.lute"], "the name goes first");
    let first = &found["templates"][0];
    assert_eq!((&first["version"], &first["description"]), (&json!(1), &json!("A stringed instrument")));
    assert!(first["updated_at"].is_string() && found["as_of"].is_string() && found["next_cursor"].is_null());
    assert_eq!(first["etag"], etag(&get("/api/v1/templates/find%2Fzither").await));
    assert_eq!(names(&get("/api/v1/templates?q=PERCUSS").await.ok()), ["find-drum"]);
    assert_eq!(names(&get("/api/v1/templates?q=nothinglikeit").await.ok()), [""; 0]);

    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = get(&format!("/api/v1/templates?q=find&limit=2&cursor={cursor}")).await.ok();
        seen.extend(names(&page).into_iter().map(str::to_owned));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(seen.len(), 3, "{seen:?}");
    for bad in ["limit=0", "cursor=%25", "colour=red"] {
        assert_eq!(get(&format!("/api/v1/templates?{bad}")).await.code(), "invalid_argument", "{bad}");
    }
    assert_eq!(get(&format!("/api/v1/templates?q={}", "x".repeat(257))).await.code(), "invalid_argument");

    call_at(nodes()[0], Method::DELETE, "/api/v1/templates/find-drum", &[], "").await;
    for node in nodes() {
        let found = call_at(*node, Method::GET, "/api/v1/templates?q=percussion", &[], "").await.ok();
        assert_eq!(names(&found), [""; 0]);
    }
}

#[tokio::test]
async fn a_preview_fills_in_and_says_what_is_wrong() {
    let template = json!({
        "parameters": {"type": "object", "required": ["n"], "properties": {
            "n": {"type": "integer"}, "m": {"default": [1, 2]}}},
        "tasks": [{"id": "a", "queue": "q", "input": "{{ input }}"}],
    });
    put("/api/v1/templates/trial", template.to_string()).await.ok();
    let preview = post("/api/v1/templates/trial/preview", r#"{"input":{"n":3}}"#).await.ok();
    assert_eq!((&preview["name"], &preview["version"]), (&json!("trial"), &json!(1)));
    assert_eq!((&preview["input"], &preview["errors"]), (&json!({"n": 3, "m": [1, 2]}), &json!([])));
    assert_eq!(preview["tasks"], json!([{"id": "a", "queue": "q", "input": {"n": 3, "m": [1, 2]}}]));
    let wrong = post("/api/v1/templates/trial/preview", r#"{"input":{"n":"x"}}"#).await.ok();
    assert_eq!(wrong["errors"][0]["path"], "input.n");
    let missing = post("/api/v1/templates/trial/preview", "").await.ok();
    assert_eq!(missing["errors"].as_array().unwrap().len(), 1);
    assert_eq!(post("/api/v1/templates/trial/preview", r#"{"inputs":1}"#).await.code(), "invalid_argument");
    assert_eq!(post("/api/v1/templates/trial/preview?version=2", "").await.code(), "not_found");
}

#[tokio::test]
async fn the_shipped_templates_take_the_requirements_of_an_application() {
    for (name, text) in shipped::TEMPLATES {
        put(&format!("/api/v1/templates/{name}"), *text).await.ok();
        let input = json!({"input": {"type": name, "features": ["auth", "api", "database"]}});
        let preview = post(&format!("/api/v1/templates/{name}/preview"), input.to_string()).await.ok();
        assert_eq!(preview["errors"], json!([]), "{name}");
        assert_eq!((&preview["input"]["type"], &preview["input"]["language"]), (&json!(name), &json!("rust")));
        assert_eq!(preview["tasks"].as_array().unwrap().len(), 5);
    }
    assert_eq!(names(&get("/api/v1/templates?q=realtime").await.ok())[0], "realtime_chat");
}
