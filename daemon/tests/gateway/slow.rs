//! Peers that keep a node waiting, and those that wait for it.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{call_at, get, own_node};

/// Longer than any of the node's patience, which is some hundred milliseconds, and than a busy machine needs.
const SOON: Duration = Duration::from_secs(20);

async fn impatient() -> SocketAddr {
    let limits = |config: &mut bravo_daemon::config::Config| {
        config.limits.read_timeout_ms = 400;
        config.limits.send_timeout_ms = 400;
    };
    own_node(limits).await.0
}

async fn put_large(address: SocketAddr) {
    // Noise, so that it is large on its way too.
    let mut noise = vec![0_u8; 32 << 20];
    let mut state = 88_172_645_463_325_252_u64;
    for byte in &mut noise {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        *byte = state as u8;
    }
    let headers = [("content-type", "application/octet-stream")];
    let put = call_at(address, Method::PUT, "/api/v1/artifacts/p/large", &headers, noise).await;
    assert_eq!(put.status, StatusCode::CREATED, "{}", put.text);
}

#[tokio::test]
async fn who_sends_a_small_artifact_byte_by_byte_does_not_keep_its_place() {
    let address = impatient().await;
    let (mut reader, mut writer) = TcpStream::connect(address).await.unwrap().into_split();
    let head = b"PUT /api/v1/artifacts/p/a HTTP/1.1\r\nhost: x\r\ncontent-length: 60000\r\n\r\n";
    writer.write_all(head).await.unwrap();
    let drips = tokio::spawn(async move {
        while writer.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let mut answer = vec![0; 4_096];
    let count = tokio::time::timeout(SOON, reader.read(&mut answer)).await.expect("it is answered").unwrap();
    let answer = String::from_utf8_lossy(&answer[..count]).into_owned();
    assert!(answer.starts_with("HTTP/1.1 504 ") && answer.contains("limits.read_timeout_ms"), "{answer}");
    drips.abort();
}

async fn is_counted(reason: &str) -> bool {
    get("/metrics").await.text.contains(&format!("bravo_slow_peers_total{{reason=\"{reason}\"}}"))
}

#[tokio::test]
async fn who_stops_in_the_middle_of_a_body_is_told_and_left() {
    let address = impatient().await;
    for path in ["POST /api/v1/jobs", "PUT /api/v1/artifacts/p/a"] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!("{path} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{{\"queue\"");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        tokio::time::timeout(SOON, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        assert!(answer.starts_with("HTTP/1.1 504 ") && answer.contains("limits.read_timeout_ms"), "{answer}");
    }
    assert!(is_counted("read").await);
}

#[tokio::test]
async fn who_does_not_take_an_answer_is_left() {
    let address = impatient().await;
    put_large(address).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /api/v1/artifacts/p/large HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    // Nothing is read. Whoever writes to a connection that the other side has closed is told so.
    let closed = async {
        while stream.write_all(b" ").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, closed).await.expect("the connection is closed");
    assert!(is_counted("send").await);
    let mut taken = Vec::new();
    let ended = tokio::time::timeout(SOON, stream.read_to_end(&mut taken)).await.unwrap();
    assert!(ended.is_err() || taken.len() < 32 << 20, "the answer does not come whole");
}

#[tokio::test]
async fn a_stream_that_gets_no_window_is_left_too() {
    let address = impatient().await;
    put_large(address).await;
    let io = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (mut sender, connection) =
        builder.initial_stream_window_size(1_000).handshake::<_, Full<Bytes>>(io).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::builder().uri(format!("http://{address}/api/v1/artifacts/p/large"));
    let answer = sender.send_request(request.body(Full::default()).unwrap()).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    // The body is held and not read: the window stays shut, and the connection with its pings is fine.
    let _ = tokio::time::timeout(SOON, connection).await.expect("the connection is closed");
    drop(answer);
}

#[tokio::test]
async fn a_stream_in_which_nothing_happens_goes_on() {
    let address = impatient().await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /api/v1/events?queue=quiet HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let lease = tokio::spawn(async move {
        let body = json!({"worker_id": "w", "wait_ms": 10_000}).to_string();
        call_at(address, Method::POST, "/api/v1/queues/waited/lease", &[], body).await
    });
    tokio::time::sleep(Duration::from_millis(1_600)).await;
    for queue in ["quiet", "waited"] {
        call_at(address, Method::POST, "/api/v1/jobs", &[], json!({"queue": queue}).to_string()).await.ok();
    }
    let mut text = String::new();
    let heard = async {
        while !text.contains("job.enqueued") {
            let mut part = [0; 4_096];
            let count = stream.read(&mut part).await.unwrap();
            assert!(count > 0, "the stream was closed: {text}");
            text.push_str(&String::from_utf8_lossy(&part[..count]));
        }
    };
    tokio::time::timeout(SOON, heard).await.unwrap();
    assert_eq!(lease.await.unwrap().ok()["jobs"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_slow_reader_that_goes_on_reading_gets_it_all() {
    let address = impatient().await;
    put_large(address).await;
    let io = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake::<_, _, Full<Bytes>>(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let request = Request::builder().uri(format!("http://{address}/api/v1/artifacts/p/large"));
    let mut body = sender.send_request(request.body(Full::default()).unwrap()).await.unwrap().into_body();
    let mut taken = 0;
    while let Some(frame) = body.frame().await {
        let part = frame.unwrap().into_data().unwrap();
        if taken / (4 << 20) != (taken + part.len()) / (4 << 20) {
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
        taken += part.len();
    }
    assert_eq!(taken, 32 << 20);
}

#[tokio::test]
async fn who_takes_back_one_stream_after_the_other_is_left() {
    let address = impatient().await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let frame = |kind: u8, flags: u8, id: u32, payload: &[u8]| {
        let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(id.to_be_bytes());
        frame.extend(payload);
        frame
    };
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(4, 0, 0, &[]));
    // GET http://x/ in HPACK, whole, and taken back at once.
    let headers = [&[0x82, 0x86, 0x84, 0x41, 1][..], b"x"].concat();
    for id in (1..1_000).step_by(2) {
        bytes.extend(frame(1, 5, id, &headers));
        bytes.extend(frame(3, 0, id, &8_u32.to_be_bytes()));
    }
    let _ = stream.write_all(&bytes).await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(SOON, stream.read_to_end(&mut answer)).await.expect("the connection is closed");
    let calm_down = 11_u32.to_be_bytes();
    assert!(answer.windows(4).any(|bytes| bytes == calm_down), "GOAWAY says why");
    assert_eq!(call_at(address, Method::GET, "/health", &[], "").await.status, StatusCode::OK);
}
