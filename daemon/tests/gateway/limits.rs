//! Bounds: refused with a problem that says which, never a hang.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{call_at, get, nodes, post};

#[tokio::test]
async fn what_is_too_large_is_refused() {
    let payload = json!({"queue": "large", "payload": "x".repeat((1 << 20) + 1)}).to_string();
    let refused = post("/api/v1/jobs", payload).await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (413, "payload_too_large"));
    let refused = post("/api/v1/jobs", vec![b' '; 6 << 20]).await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (413, "payload_too_large"));
    let long = "x".repeat(40_000);
    let refused = call_at(nodes()[0], Method::GET, "/api/v1/jobs", &[("x-long", &long)], "").await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (431, "headers_too_large"));
}

#[tokio::test]
async fn deep_and_broken_json_is_refused() {
    let deep = format!(r#"{{"queue":"q","payload":{}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(post("/api/v1/jobs", deep).await.code(), "invalid_argument");
    assert_eq!(post("/api/v1/jobs", &b"{\"queue\":\"\xff\xfe\"}"[..]).await.code(), "invalid_argument");
    let keys: Vec<String> = (0..100_000).map(|n| format!("\"k{n}\":{n}")).collect();
    let many = format!(r#"{{"queue":"keys","payload":{{{}}}}}"#, keys.join(","));
    assert_eq!(post("/api/v1/jobs", many).await.code(), "payload_too_large");
}

#[tokio::test]
async fn only_json_as_it_is_is_taken() {
    for headers in [("content-type", "text/plain"), ("content-encoding", "deflate")] {
        let refused = call_at(nodes()[0], Method::POST, "/api/v1/jobs", &[headers], r#"{"queue":"q"}"#).await;
        assert_eq!((refused.status.as_u16(), refused.code().as_str()), (415, "unsupported_media_type"));
    }
}

#[tokio::test]
async fn wrong_keys_are_refused_even_where_none_is_required() {
    for header in [("authorization", "Bearer wrong"), ("x-api-key", "wrong")] {
        let refused = call_at(nodes()[0], Method::GET, "/api/v1/queues", &[header], "").await;
        assert_eq!((refused.status.as_u16(), refused.code().as_str()), (401, "unauthenticated"));
        assert!(refused.headers.contains_key("www-authenticate"));
        assert_eq!(call_at(nodes()[0], Method::GET, "/health", &[header], "").await.status, StatusCode::OK);
    }
    let refused = call_at(nodes()[0], Method::GET, "/api/v1/queues", &[("x-timeout-ms", "soon")], "").await;
    assert_eq!(refused.code(), "invalid_argument");
}

#[tokio::test]
async fn who_says_nothing_or_too_little_is_cut_off() {
    for said in [&b""[..], b"PRI * HT", b"GET /health HTTP/1.1\r\nhost"] {
        let mut stream = TcpStream::connect(nodes()[0]).await.unwrap();
        stream.write_all(said).await.unwrap();
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "still open after {said:?}");
    }
    assert_eq!(get("/health").await.status, StatusCode::OK);
}

#[tokio::test]
async fn lease_calls_beyond_those_that_may_wait_are_shed() {
    let lease = |wait_ms: u64| {
        let body = json!({"worker_id": "crowd", "wait_ms": wait_ms}).to_string();
        call_at(nodes()[2], Method::POST, "/api/v1/queues/crowded/lease", &[], body)
    };
    let mut waiting = tokio::task::JoinSet::new();
    // One of them may find its place taken for a moment by the calls below.
    let patient = || async move {
        loop {
            let answer = lease(20_000).await;
            if answer.status != StatusCode::SERVICE_UNAVAILABLE {
                return answer;
            }
        }
    };
    for _ in 0..16 {
        waiting.spawn(patient());
    }
    let mut shed = lease(10).await;
    while shed.status == StatusCode::OK {
        shed = lease(10).await;
    }
    assert_eq!((shed.status.as_u16(), shed.code().as_str()), (503, "shed"));
    assert!(shed.json()["retry_after_ms"].is_u64(), "{}", shed.text);
    assert_eq!(lease(0).await.ok()["jobs"], json!([]), "a call that does not wait takes no place");

    // Those that wait are served, and then there is room again.
    post("/api/v1/jobs", json!({"jobs": vec![json!({"queue": "crowded"}); 16]}).to_string()).await.ok();
    while let Some(answer) = waiting.join_next().await {
        assert_eq!(answer.unwrap().ok()["jobs"].as_array().unwrap().len(), 1);
    }
    assert_eq!(lease(10).await.ok()["jobs"], json!([]));
}

#[tokio::test]
async fn a_worker_that_leaves_while_it_waits_gets_nothing() {
    let mut stream = TcpStream::connect(nodes()[0]).await.unwrap();
    let body = r#"{"worker_id":"gone","wait_ms":30000}"#;
    let head = format!(
        "POST /api/v1/queues/abandoned/lease HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    drop(stream);
    tokio::time::sleep(Duration::from_millis(200)).await;
    post("/api/v1/jobs", r#"{"queue":"abandoned"}"#).await.ok();
    let leased = post("/api/v1/queues/abandoned/lease", r#"{"worker_id":"here","wait_ms":3000}"#).await.ok();
    assert_eq!(leased["jobs"].as_array().unwrap().len(), 1, "{leased}");
}
