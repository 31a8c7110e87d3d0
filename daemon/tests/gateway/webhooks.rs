//! Webhooks: what a receiver gets, and who is not sent to.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bravo_api::proto::{self, webhooks_client::WebhooksClient};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use parking_lot::Mutex;
use ring::hmac;
use serde_json::{Value, json};

use crate::harness::{Answer, call_at, get, nodes, post, put, strict_node};

/// A status, and what `Retry-After` says with it.
type Scripted = (u16, Option<&'static str>);

/// A receiver that a test plays.
#[derive(Clone)]
struct Receiver {
    url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    /// What the next requests are answered; then 204.
    answers: Arc<Mutex<VecDeque<Scripted>>>,
    /// How long an answer takes.
    pause: Duration,
}

/// A request that came.
#[derive(Clone)]
struct Seen {
    at: Instant,
    headers: HeaderMap,
    body: Bytes,
}

impl Receiver {
    async fn start(answers: &[Scripted], pause: Duration) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let answers = Arc::new(Mutex::new(answers.iter().copied().collect()));
        let receiver = Self { url, seen: Arc::default(), answers, pause };
        let routes = Router::new().fallback(receive).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        receiver
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().clone()
    }

    /// Waits until so many requests came.
    async fn until(&self, count: usize) -> Vec<Seen> {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.seen().len() < count {
            assert!(Instant::now() < deadline, "{} of {count} came", self.seen().len());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.seen()
    }
}

async fn receive(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> Response {
    receiver.seen.lock().push(Seen { at: Instant::now(), headers, body });
    tokio::time::sleep(receiver.pause).await;
    let (status, retry_after) = receiver.answers.lock().pop_front().unwrap_or((204, None));
    let mut response = StatusCode::from_u16(status).unwrap().into_response();
    if let Some(seconds) = retry_after {
        response.headers_mut().insert("retry-after", seconds.parse().unwrap());
    }
    response
}

impl Seen {
    fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    /// Checks the signature as a receiver would, and gives what was told.
    fn verified(&self, secret: &str) -> Value {
        let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        let (id, timestamp) = (self.header("webhook-id"), self.header("webhook-timestamp"));
        let text = [id.as_bytes(), b".", timestamp.as_bytes(), b".", &self.body].concat();
        let signature = self.header("webhook-signature").strip_prefix("v1,").unwrap();
        hmac::verify(&key, &text, &STANDARD.decode(signature).unwrap()).expect("the signature is right");
        let sent: u64 = timestamp.parse().unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        assert!(now.abs_diff(sent) < 60, "sent at {sent}, it is {now}");
        serde_json::from_slice(&self.body).unwrap()
    }
}

async fn hook(name: &str, project: &str, body: Value) -> Answer {
    put(&format!("/api/v1/webhooks/{name}?project_id={project}"), body.to_string()).await
}

async fn enqueue(project: &str, queue: &str, count: usize) -> Vec<String> {
    let jobs = vec![json!({"queue": queue, "project_id": project, "payload": {}}); count];
    let answer = post("/api/v1/jobs", json!({"jobs": jobs}).to_string()).await.ok();
    answer["jobs"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_receiver_that_refuses_first_gets_the_same_event_again() {
    let receiver = Receiver::start(&[(500, None), (503, Some("1"))], Duration::ZERO).await;
    let made = hook("h", "wh-retry", json!({"url": receiver.url, "events": ["job.succeeded", "job.dead"]})).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let secret = made.json()["secret"].as_str().unwrap().to_owned();
    let id = enqueue("wh-retry", "wh-retry", 1).await.remove(0);
    let leased =
        post("/api/v1/queues/wh-retry/lease", json!({"worker_id": "w", "wait_ms": 5000}).to_string()).await.ok();
    let token = &leased["jobs"][0]["lease_token"];
    let nack = json!({"nacks": [{"id": id, "lease_token": token, "error": "broken", "dead": true}]});
    post("/api/v1/jobs/nack", nack.to_string()).await.ok();

    let seen = receiver.until(3).await;
    let told: Vec<Value> = seen.iter().map(|one| one.verified(&secret)).collect();
    assert_eq!(told[0]["type"], "job.dead");
    assert!(told[0]["timestamp"].as_str().unwrap().ends_with('Z'));
    let data = &told[0]["data"];
    assert_eq!((&data["job_id"], &data["state"], &data["error"]), (&json!(id), &json!("dead"), &json!("broken")));
    assert_eq!((&data["event"], &data["project_id"]), (&json!("job.dead"), &json!("wh-retry")));
    assert_eq!(seen[0].header("webhook-id"), seen[1].header("webhook-id"));
    assert_eq!(seen[1].header("webhook-id"), seen[2].header("webhook-id"));
    assert_eq!((&seen[0].body, &seen[1].body), (&seen[1].body, &seen[2].body));
    let gaps = [seen[1].at - seen[0].at, seen[2].at - seen[1].at];
    assert!((Duration::from_millis(4_950)..Duration::from_secs(9)).contains(&gaps[0]), "the first pause: {gaps:?}");
    assert!((Duration::from_millis(950)..Duration::from_secs(4)).contains(&gaps[1]), "Retry-After: {gaps:?}");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(receiver.seen().len(), 3, "what was taken is not sent again");
    let metrics = call_metrics().await;
    for outcome in ["delivered", "throttled", "failed"] {
        assert!(metrics.contains(&format!("bravo_webhook_deliveries_total{{outcome=\"{outcome}\"}}")), "{outcome}");
    }
}

async fn call_metrics() -> String {
    let mut text = String::new();
    for node in nodes() {
        text += &call_at(*node, Method::GET, "/metrics", &[], "").await.text;
    }
    text
}

#[tokio::test]
async fn every_event_that_was_acknowledged_after_the_put_is_told() {
    let receiver = Receiver::start(&[], Duration::ZERO).await;
    hook("all", "wh-all", json!({"url": receiver.url, "events": ["job.enqueued"]})).await.ok();
    // At whatever node and in whatever partition: the put was answered when all knew.
    let mut ids = Vec::new();
    for _ in 0..20 {
        ids.extend(enqueue("wh-all", "wh-all", 3).await);
    }
    let seen = receiver.until(ids.len()).await;
    let body = |one: &Seen| serde_json::from_slice::<Value>(&one.body).unwrap();
    let mut told: Vec<String> =
        seen.iter().map(|one| body(one)["data"]["job_id"].as_str().unwrap().to_owned()).collect();
    told.sort();
    ids.sort();
    assert_eq!(told, ids);
}

#[tokio::test]
async fn a_workflows_end_is_told_and_a_filter_by_queue_leaves_it_out() {
    let receiver = Receiver::start(&[], Duration::ZERO).await;
    let of_queue = Receiver::start(&[], Duration::ZERO).await;
    hook("w", "wh-wf", json!({"url": receiver.url, "events": ["workflow.*"]})).await.ok();
    hook("q", "wh-wf", json!({"url": of_queue.url, "events": ["*"], "queue": "wh-other"})).await.ok();
    let body = json!({"name": "n", "project_id": "wh-wf", "tasks": [{"id": "t", "timer_ms": 1}]});
    let id = post("/api/v1/workflows", body.to_string()).await.ok()["id"].clone();
    let seen = receiver.until(2).await;
    let mut told: Vec<Value> = seen.iter().map(|one| serde_json::from_slice(&one.body).unwrap()).collect();
    told.sort_by_key(|one| one["data"]["id"].as_u64());
    assert_eq!((&told[0]["type"], &told[1]["type"]), (&json!("workflow.started"), &json!("workflow.succeeded")));
    assert_eq!(told[1]["data"]["workflow_id"], id);
    assert!(of_queue.seen().is_empty());
}

#[tokio::test]
async fn a_receiver_that_is_gone_is_sent_nothing_more() {
    let receiver = Receiver::start(&[(410, None)], Duration::ZERO).await;
    hook("g", "wh-gone", json!({"url": receiver.url, "events": ["job.enqueued"]})).await.ok();
    enqueue("wh-gone", "wh-gone", 1).await;
    receiver.until(1).await;
    let deadline = Instant::now() + Duration::from_secs(10);
    while get("/api/v1/webhooks/g?project_id=wh-gone").await.ok()["disabled"] != true {
        assert!(Instant::now() < deadline, "it is not disabled");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // An event of the time before is dropped too, whoever makes it now.
    enqueue("wh-gone", "wh-gone", 5).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(receiver.seen().len(), 1);
    let again = hook("g", "wh-gone", json!({"url": receiver.url, "events": ["job.enqueued"]})).await;
    assert_eq!((again.status, again.json()["disabled"].clone()), (StatusCode::OK, json!(false)));
    enqueue("wh-gone", "wh-gone", 1).await;
    receiver.until(2).await;
}

#[tokio::test]
async fn a_slow_receiver_does_not_hold_up_the_others() {
    let slow = Receiver::start(&[], Duration::from_secs(30)).await;
    let quick = Receiver::start(&[], Duration::ZERO).await;
    hook("slow", "wh-slow", json!({"url": slow.url, "events": ["job.enqueued"]})).await.ok();
    enqueue("wh-slow", "wh-slow", 900).await;
    slow.until(4).await;
    hook("quick", "wh-quick", json!({"url": quick.url, "events": ["job.enqueued"]})).await.ok();
    let begun = Instant::now();
    enqueue("wh-quick", "wh-quick", 40).await;
    quick.until(40).await;
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    let partitions = 8;
    assert!(slow.seen().len() <= 4 * partitions, "{} at a time", slow.seen().len());
    let deleted = call_at(nodes()[0], Method::DELETE, "/api/v1/webhooks/slow?project_id=wh-slow", &[], "").await;
    assert_eq!(deleted.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_secret_is_shown_when_the_webhook_is_made_and_never_again() {
    let body = json!({"url": "https://example.org/h?a=b", "events": ["job.*"], "queue": "q"});
    let made = hook("crud", "wh-crud", body.clone()).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let made = made.json();
    let secret = made["secret"].as_str().unwrap();
    assert!(secret.starts_with("whsec_") && STANDARD.decode(&secret[6..]).unwrap().len() == 32);
    let again = hook("crud", "wh-crud", body).await;
    assert_eq!((again.status, &again.json()["secret"]), (StatusCode::OK, &Value::Null));
    let shown = get("/api/v1/webhooks/crud?project_id=wh-crud").await.ok();
    assert_eq!((&shown["url"], &shown["events"], &shown["queue"]), (&made["url"], &made["events"], &json!("q")));
    assert!(shown["version"].as_u64() > made["version"].as_u64() && shown["created_at"] == made["created_at"]);
    let list = get("/api/v1/webhooks?project_id=wh-crud&consistency=linearizable").await;
    assert!(list.ok()["webhooks"].as_array().unwrap().len() == 1 && list.json()["as_of"].is_string());
    assert!(!list.text.contains("secret") && !shown.to_string().contains("secret"));
    assert_eq!(get("/api/v1/webhooks/crud").await.code(), "not_found", "it is another project's");

    // Under one key the first answer comes again, with the secret that counts.
    let path = "/api/v1/webhooks/keyed?project_id=wh-crud";
    let text = json!({"url": "https://example.org/", "events": ["*"]}).to_string();
    let keyed = [("idempotency-key", "wh-1")];
    let first = call_at(nodes()[0], Method::PUT, path, &keyed, text.clone()).await;
    let second = call_at(nodes()[1], Method::PUT, path, &keyed, text).await;
    assert_eq!((second.status, &second.json()["secret"]), (StatusCode::CREATED, &first.json()["secret"]));

    let own = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let mut client = WebhooksClient::connect(format!("http://{}", nodes()[1])).await.unwrap();
    let request = proto::PutWebhookRequest {
        project_id: "wh-crud".into(),
        name: "grpc".into(),
        url: "https://example.org/".into(),
        events: vec!["workflow.failed".into()],
        secret: own.into(),
        ..Default::default()
    };
    let put = client.put(request).await.unwrap().into_inner();
    assert!(put.created && put.webhook.unwrap().secret == own);
    let list = proto::ListWebhooksRequest { project_id: "wh-crud".into(), read: Some(proto::Read::default()) };
    let list = client.list(list).await.unwrap().into_inner().webhooks;
    let names: Vec<&str> = list.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["crud", "grpc", "keyed"]);
    assert!(list.iter().all(|one| one.secret.is_empty()));
    let delete = proto::DeleteWebhookRequest { project_id: "wh-crud".into(), name: "grpc".into() };
    client.delete(delete.clone()).await.unwrap();
    assert_eq!(client.delete(delete).await.unwrap_err().code(), tonic::Code::NotFound);
}

#[tokio::test]
async fn what_is_wrong_with_a_webhook_is_refused_by_the_fields_name() {
    let good = "https://example.org/";
    let cases = [
        (json!({"events": ["*"]}), "url"),
        (json!({"url": "ftp://example.org/", "events": ["*"]}), "url"),
        (json!({"url": "https://u:p@example.org/", "events": ["*"]}), "url"),
        (json!({"url": format!("https://example.org/{}", "x".repeat(2_048)), "events": ["*"]}), "url"),
        (json!({"url": good}), "events"),
        (json!({"url": good, "events": ["job.died"]}), "events[0]"),
        (json!({"url": good, "events": vec!["*"; 33]}), "events"),
        (json!({"url": good, "events": ["*"], "queue": "a b"}), "queue"),
        (json!({"url": good, "events": ["*"], "secret": "whsec_c2hvcnQ="}), "secret"),
        (json!({"url": good, "events": ["*"], "secret": "mine"}), "secret"),
        (json!({"url": good, "events": ["*"], "project_id": "other"}), "project_id"),
        (json!({"url": good, "events": ["*"], "colour": 1}), "colour"),
    ];
    for (body, field) in cases {
        let refused = hook("bad", "wh-bad", body.clone()).await;
        assert_eq!(refused.code(), "invalid_argument", "{body}");
        assert!(refused.json()["detail"].as_str().unwrap().contains(field), "{body}: {}", refused.text);
        assert!(!refused.text.contains("c2hvcnQ"), "a secret is not repeated");
    }
    assert_eq!(get("/api/v1/webhooks/bad?project_id=wh-bad").await.code(), "not_found");
    for n in 0..20 {
        hook(&format!("n{n}"), "wh-many", json!({"url": good, "events": ["tasks.added"]})).await.ok();
    }
    let refused = hook("n20", "wh-many", json!({"url": good, "events": ["tasks.added"]})).await;
    assert_eq!(refused.code(), "rate_limited");
}

#[tokio::test]
async fn the_queue_of_deliveries_is_nobody_elses() {
    let job = json!({"queue": "bravo.webhooks", "payload": {}}).to_string();
    assert_eq!(post("/api/v1/jobs", job).await.code(), "invalid_argument");
    let lease = json!({"worker_id": "w"}).to_string();
    assert_eq!(post("/api/v1/queues/bravo.webhooks/lease", lease).await.code(), "invalid_argument");
    assert_eq!(put("/api/v1/queues/bravo.webhooks", "{}").await.code(), "invalid_argument");
    let workflow = json!({"name": "n", "tasks": [{"id": "t", "queue": "bravo.webhooks"}]}).to_string();
    assert_eq!(post("/api/v1/workflows", workflow).await.code(), "invalid_argument");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn private_addresses_are_refused_unless_they_are_allowed() {
    let node = strict_node().await;
    let receiver = Receiver::start(&[], Duration::ZERO).await;
    let address: SocketAddr = receiver.url["http://".len()..].trim_end_matches("/hook").parse().unwrap();
    let put = |name: &'static str, url: String| async move {
        let body = json!({"url": url, "events": ["job.enqueued"]}).to_string();
        call_at(node, Method::PUT, &format!("/api/v1/webhooks/{name}"), &[], body).await
    };
    assert_eq!(put("by-number", receiver.url.clone()).await.code(), "invalid_argument");
    // What a name leads to is only known when something is sent.
    assert_eq!(put("by-name", format!("http://localhost:{}/", address.port())).await.status, StatusCode::CREATED);
    let job = json!({"queue": "q", "payload": {}}).to_string();
    call_at(node, Method::POST, "/api/v1/jobs", &[], job).await.ok();
    let deadline = Instant::now() + Duration::from_secs(15);
    let delivery = loop {
        let list = call_at(node, Method::GET, "/api/v1/jobs?queue=bravo.webhooks", &[], "").await.ok();
        let job = list["jobs"][0].clone();
        if job["error"].is_string() {
            break job;
        }
        assert!(Instant::now() < deadline, "{list}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(delivery["error"].as_str().unwrap().contains("private address"), "{delivery}");
    assert_eq!(delivery["state"], "scheduled", "it is tried again: names change");
    assert!(receiver.seen().is_empty());
}
