//! Artifacts against played nodes: what is sent, what a lost node costs, how refusals come back.

#![allow(clippy::unwrap_used)]

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bravo_client::{Client, Code, Error, Source};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use parking_lot::Mutex;

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// What an artifact's answer tells of itself.
const VERSION: u32 = 7;
const DEADLINE: Duration = Duration::from_secs(5);

/// What a node that is played does wrong.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// Its connection breaks when it has read some of a body.
    Put,
    /// Its connection breaks when it has sent half of an artifact.
    Get,
    /// It refuses with this status and code.
    Refuse(u16, &'static str),
}

struct Seen {
    method: Method,
    uri: String,
    headers: HeaderMap,
    body: Bytes,
}

struct Node {
    url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

fn content() -> Bytes {
    (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<u8>>().into()
}

impl Node {
    async fn start(fault: Fault) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let kept = seen.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let kept = kept.clone();
                tokio::spawn(async move {
                    let broken = Arc::new(tokio::sync::Notify::new());
                    let service = service_fn(|request| answer(request, fault, kept.clone(), broken.clone()));
                    let builder = auto::Builder::new(TokioExecutor::new());
                    let served = builder.serve_connection(TokioIo::new(stream), service);
                    tokio::select! {
                        _ = served => (),
                        () = broken.notified() => (),
                    }
                });
            }
        });
        Self { url, seen }
    }
}

async fn answer(
    mut request: Request<Incoming>,
    fault: Fault,
    seen: Arc<Mutex<Vec<Seen>>>,
    broken: Arc<tokio::sync::Notify>,
) -> Result<Response<Body>, Infallible> {
    let (method, uri, headers) = (request.method().clone(), request.uri().to_string(), request.headers().clone());
    let note =
        |body| seen.lock().push(Seen { method: method.clone(), uri: uri.clone(), headers: headers.clone(), body });
    if fault == Fault::Put && method == Method::PUT {
        drop(request.body_mut().frame().await);
        note(Bytes::new());
        broken.notify_one();
        return std::future::pending().await;
    }
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    note(body.clone());
    let full = |text: String| Full::from(text).map_err(|never| match never {}).boxed_unsync();
    let response = Response::builder().header("x-version", VERSION).header("etag", "\"tag\"");
    if let Fault::Refuse(status, code) = fault {
        let problem = format!(r#"{{"type":"t","title":"t","status":{status},"detail":"no","code":"{code}"}}"#);
        return Ok(Response::builder().status(status).body(full(problem)).unwrap());
    }
    let blake3 = blake3::hash(&body).to_string();
    Ok(match method {
        Method::PUT => {
            let size = body.len();
            let told = format!(
                r#"{{"project_id":"p","path":"a","version":{VERSION},"size":{size},"etag":"\"tag\"","blake3":"{blake3}"}}"#
            );
            response.status(201).body(full(told)).unwrap()
        }
        Method::DELETE => response.status(StatusCode::NO_CONTENT).body(full(String::new())).unwrap(),
        _ if uri.contains("prefix=") => {
            let told = r#"{"artifacts":[],"next_cursor":"more","as_of":"2026-11-25T00:00:00.000Z"}"#;
            response.body(full(told.to_owned())).unwrap()
        }
        _ => {
            let all = content();
            let range = headers.get("range").map(|value| value.to_str().unwrap().to_owned());
            let from: usize = range.as_ref().map_or(0, |range| range[6..range.len() - 1].parse().unwrap());
            let part = all.slice(from..);
            let length = part.len();
            let half = (fault == Fault::Get).then_some(length / 2);
            let frames = stream::iter([Ok(Frame::data(part.slice(..half.unwrap_or(length))))]);
            let body = if half.is_some() {
                let end = stream::once(async move {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    broken.notify_one();
                    std::future::pending().await
                });
                StreamBody::new(frames.chain(end)).boxed_unsync()
            } else {
                StreamBody::new(frames).boxed_unsync()
            };
            let status = if range.is_some() { 206 } else { 200 };
            response
                .status(status)
                .header("content-length", length)
                .header("content-type", "text/x")
                .body(body)
                .unwrap()
        }
    })
}

/// A client that tries the first node first.
fn client(nodes: &[&Node]) -> Client {
    let builder = nodes.iter().fold(Client::builder(), |builder, node| builder.server(&node.url));
    builder.discover(false).api_key("secret").deadline(DEADLINE).build().unwrap()
}

#[tokio::test]
async fn a_put_says_what_and_where() {
    let node = Node::start(Fault::None).await;
    let answer = client(&[&node]).put_artifact("p/q", "a b/c.txt", "some bytes", Some("text/plain")).await.unwrap();
    assert_eq!((answer.version, answer.size, answer.etag.as_str()), (VERSION, 10, "\"tag\""));
    assert_eq!(answer.blake3, blake3::hash(b"some bytes").to_string());
    let seen = node.seen.lock();
    let (one, header) = (&seen[0], |name: &str| seen[0].headers[name].to_str().unwrap().to_owned());
    assert!(one.method == Method::PUT && one.uri.ends_with("/api/v1/artifacts/p%2Fq/a%20b/c.txt"), "{}", one.uri);
    assert_eq!((header("authorization"), header("content-type")), ("Bearer secret".into(), "text/plain".into()));
    assert_eq!((header("content-length"), &one.body[..]), ("10".into(), &b"some bytes"[..]));
}

#[tokio::test]
async fn what_a_lost_node_had_read_is_sent_again_to_another() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    std::fs::write(&path, content()).unwrap();
    for source in [Source::Bytes(content()), Source::File(path)] {
        let (lost, good) = (Node::start(Fault::Put).await, Node::start(Fault::None).await);
        let client = client(&[&lost, &good]);
        // Whichever is tried first: until the lost one was, it is asked again.
        while lost.seen.lock().is_empty() {
            client.put_artifact("p", "a", source.clone(), None).await.unwrap();
            if lost.seen.lock().is_empty() {
                good.seen.lock().clear();
            }
            assert!(good.seen.lock().iter().all(|one| one.body == content()));
            // Another client has no favourite.
            let other = self::client(&[&lost, &good]);
            other.put_artifact("p", "a", source.clone(), None).await.unwrap();
        }
        assert!(good.seen.lock().iter().all(|one| one.body == content()));
        assert!(!good.seen.lock().is_empty());
    }
}

#[tokio::test]
async fn a_read_goes_on_where_it_broke_off() {
    loop {
        let (lost, good) = (Node::start(Fault::Get).await, Node::start(Fault::None).await);
        let artifact = client(&[&lost, &good]).artifact("p", "a", None).await.unwrap();
        assert_eq!((artifact.version(), artifact.etag(), artifact.content_type()), (VERSION, "\"tag\"", "text/x"));
        assert_eq!(artifact.size(), content().len() as u64);
        assert_eq!(artifact.bytes(10 << 20).await.unwrap(), content());
        if lost.seen.lock().is_empty() {
            continue;
        }
        let seen = good.seen.lock();
        assert!(seen[0].uri.ends_with("a?version=7"), "another version may be the newest by now: {}", seen[0].uri);
        assert_eq!(seen[0].headers["range"], format!("bytes={}-", content().len() / 2));
        break;
    }
}

#[tokio::test]
async fn more_than_is_taken_is_not_read() {
    let node = Node::start(Fault::None).await;
    let artifact = client(&[&node]).artifact("p", "a", Some(VERSION)).await.unwrap();
    assert!(matches!(artifact.bytes(10).await, Err(Error::Invalid(_))));
    let mut file = Vec::new();
    client(&[&node]).artifact("p", "a", None).await.unwrap().write_to(&mut file).await.unwrap();
    assert_eq!(file, content());
}

#[tokio::test]
async fn pages_and_deletes() {
    let node = Node::start(Fault::None).await;
    let client = client(&[&node]);
    let page = client.artifacts("p", "a&b", Some(2), Some("c d")).await.unwrap();
    assert_eq!(page.next_cursor.as_deref(), Some("more"));
    client.delete_artifact("p", "a").await.unwrap();
    let seen = node.seen.lock();
    assert!(seen[0].uri.ends_with("/artifacts/p?prefix=a%26b&limit=2&cursor=c%20d"), "{}", seen[0].uri);
    assert_eq!(seen[1].method, Method::DELETE);
}

#[tokio::test]
async fn a_refusal_comes_back_as_it_is_and_what_waiting_mends_is_tried_again() {
    let node = Node::start(Fault::Refuse(404, "not_found")).await;
    let error = client(&[&node]).artifact("p", "a", None).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::NotFound));
    assert_eq!(node.seen.lock().len(), 1);
    let node = Node::start(Fault::Refuse(503, "shed")).await;
    let begun = std::time::Instant::now();
    let error = client(&[&node]).put_artifact("p", "a", "x", None).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::Shed));
    assert!(begun.elapsed() < DEADLINE + Duration::from_secs(1), "{:?}", begun.elapsed());
    assert!(node.seen.lock().len() > 2);
    let node = Node::start(Fault::Refuse(400, "of_another_age")).await;
    assert!(matches!(client(&[&node]).delete_artifact("p", "a").await, Err(Error::Invalid(_))));
}

#[tokio::test]
async fn the_command_line_puts_standard_input_and_gets_into_a_file() {
    let node = Node::start(Fault::None).await;
    let dir = tempfile::tempdir().unwrap();
    let (input, out) = (dir.path().join("in"), dir.path().join("out"));
    std::fs::write(&input, content()).unwrap();
    let bravo = |arguments: &[&str]| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_bravo"));
        command.args(["--server", &node.url, "--key", "secret", "artifact"]).args(arguments);
        command
    };
    let mut put = bravo(&["put", "p", "a b/c", "-", "--content-type", "text/x"]);
    let put = put.stdin(std::fs::File::open(&input).unwrap()).output().await.unwrap();
    assert!(put.status.success(), "{put:?}");
    let get = bravo(&["get", "p", "a b/c", "--version", "7", "-o", out.to_str().unwrap()]).output().await.unwrap();
    assert!(get.status.success(), "{get:?}");
    assert_eq!(std::fs::read(&out).unwrap(), content());
    let seen = node.seen.lock();
    let put = seen.iter().find(|seen| seen.method == Method::PUT).unwrap();
    assert_eq!((&put.body, put.headers["content-type"].to_str().unwrap()), (&content(), "text/x"));
    assert!(put.uri.ends_with("/api/v1/artifacts/p/a%20b/c"), "{}", put.uri);
    assert_eq!(put.headers["authorization"], "Bearer secret");
}
