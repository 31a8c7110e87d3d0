//! `GET /api/v1/events`: what happens to jobs, from any node, and again from where one was.

use std::net::SocketAddr;
use std::time::Duration;

use bravo_api::proto::watch_response::Event as Told;
use bravo_api::proto::{self, events_client::EventsClient};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

use crate::harness::{call_at, nodes, post};

/// A stream that stays open.
struct Stream {
    body: Incoming,
    text: String,
}

#[derive(Debug)]
struct Event {
    id: String,
    name: String,
    data: Value,
}

impl Stream {
    async fn open(node: SocketAddr, query: &str, last: Option<&str>) -> Self {
        let mut request = Request::builder().uri(format!("http://{node}/api/v1/events?{query}"));
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let client = Client::builder(TokioExecutor::new()).build_http();
        let response = client.request(request.body(Full::new(Bytes::new())).unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        Self { body: response.into_body(), text: String::new() }
    }

    async fn next(&mut self) -> Event {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
                let event = field("event").map(|name| Event {
                    id: field("id").unwrap_or_default().to_owned(),
                    name: name.to_owned(),
                    data: serde_json::from_str(field("data").unwrap()).unwrap(),
                });
                self.text = rest.to_owned();
                match event {
                    Some(event) => return event,
                    None => continue,
                }
            }
            let frame = tokio::time::timeout(Duration::from_secs(10), self.body.frame()).await.expect("an event comes");
            let bytes = frame.expect("the stream goes on").unwrap().into_data().unwrap_or_default();
            self.text.push_str(std::str::from_utf8(&bytes).unwrap());
        }
    }

    async fn names(&mut self, count: usize) -> Vec<String> {
        let mut names = Vec::new();
        for _ in 0..count {
            names.push(self.next().await.name);
        }
        names
    }
}

#[tokio::test]
async fn who_watches_a_queue_sees_its_jobs_and_goes_on_at_another_node() {
    let mut here = Stream::open(nodes()[0], "queue=watched", None).await;
    let mut there = Stream::open(nodes()[1], "queue=watched&project_id=watched", None).await;
    let job = json!({"queue": "watched", "project_id": "watched", "payload": 1}).to_string();
    let id = post("/api/v1/jobs", job.clone()).await.ok()["jobs"][0]["id"].clone();
    post("/api/v1/jobs", json!({"queue": "unwatched", "payload": 1}).to_string()).await.ok();
    let first = here.next().await;
    assert_eq!(
        (first.name.as_str(), &first.data["job_id"], &first.data["queue"]),
        ("job.enqueued", &id, &json!("watched"))
    );
    let lease = json!({"worker_id": "w", "wait_ms": 5_000}).to_string();
    let leased = post("/api/v1/queues/watched/lease", lease).await.ok()["jobs"][0].clone();
    let ack = json!({"acks": [{"id": id, "lease_token": leased["lease_token"], "result": 2}]}).to_string();
    post("/api/v1/jobs/ack", ack).await.ok();
    assert_eq!(here.names(2).await, ["job.leased", "job.succeeded"]);
    assert_eq!(there.names(3).await, ["job.enqueued", "job.leased", "job.succeeded"]);
    let mut back = Stream::open(nodes()[1], "queue=watched", Some(&first.id)).await;
    // The other node may have begun to note events a moment later, and says so.
    let mut names = back.names(2).await;
    if names[0] == "missed" {
        names = vec![names[1].clone(), back.next().await.name];
    }
    assert_eq!(names, ["job.leased", "job.succeeded"]);
    let refused = call_at(nodes()[0], Method::GET, "/api/v1/events", &[("last-event-id", "7")], "").await;
    assert_eq!(refused.code(), "invalid_argument");
    assert_eq!(call_at(nodes()[0], Method::GET, "/api/v1/events?colour=1", &[], "").await.code(), "invalid_argument");
}

/// The next event over gRPC, those that say that some were missed left out, and the cursor behind it.
async fn next(stream: &mut tonic::Streaming<proto::WatchResponse>) -> (proto::JobEvent, String) {
    loop {
        let message = tokio::time::timeout(Duration::from_secs(10), stream.message()).await.expect("an event comes");
        let message = message.unwrap().expect("the stream goes on");
        match message.event {
            Some(Told::Job(event)) => return (event, message.cursor),
            Some(Told::Missed(_)) => assert!(message.cursor.is_empty()),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn the_same_is_told_over_grpc_and_goes_on_behind_a_cursor_at_another_node() {
    let open = async |node: usize, cursor: &str| {
        let mut client = EventsClient::connect(format!("http://{}", nodes()[node])).await.unwrap();
        let (queue, project_id, cursor) = ("watched-grpc".into(), "watched-grpc".into(), cursor.into());
        client.watch(proto::WatchRequest { queue, project_id, cursor }).await.map(tonic::Response::into_inner)
    };
    let (mut here, mut there) = (open(0, "").await.unwrap(), open(1, "").await.unwrap());
    let mut ids = Vec::new();
    for n in 0..3 {
        let job = json!({"queue": "watched-grpc", "project_id": "watched-grpc", "payload": n}).to_string();
        ids.push(post("/api/v1/jobs", job).await.ok()["jobs"][0]["id"].as_str().unwrap().to_owned());
    }
    let (first, cursor) = next(&mut here).await;
    assert_eq!((first.event.as_str(), &first.job_id, first.attempt), ("job.enqueued", &ids[0], 0));
    assert_eq!(first.state, i32::from(proto::JobState::Ready));
    for id in &ids {
        assert_eq!(&next(&mut there).await.0.job_id, id);
    }
    let mut back = open(1, &cursor).await.unwrap();
    for id in &ids[1..] {
        assert_eq!(&next(&mut back).await.0.job_id, id, "what was seen does not come again");
    }
    // A stream over REST goes on where one over gRPC was.
    let mut rest = Stream::open(nodes()[1], "queue=watched-grpc", Some(&cursor)).await;
    let mut event = rest.next().await;
    if event.name == "missed" {
        event = rest.next().await;
    }
    assert_eq!(event.data["job_id"], json!(ids[1]));
    let refused = open(0, "nonsense").await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
}
