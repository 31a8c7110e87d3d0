//! Nodes die between an event and its delivery to a webhook.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bravo_tests::process::{Options, Procs};
use http::Method;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A lease of a delivery, and some.
const LATE_MAX: Duration = Duration::from_secs(50);

/// Takes what is sent, or holds it without an answer.
#[derive(Clone, Default)]
struct Receiver {
    holds: Arc<AtomicBool>,
    /// How often each job was told of, and answered for.
    told: Arc<Mutex<BTreeMap<String, usize>>>,
    held: Arc<Mutex<Vec<TcpStream>>>,
}

impl Receiver {
    async fn start(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let this = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let this = this.clone();
                tokio::spawn(async move { this.serve(stream).await });
            }
        });
        address
    }

    async fn serve(&self, mut stream: TcpStream) -> Option<()> {
        let (mut bytes, mut part) = (Vec::new(), [0; 4096]);
        let body = loop {
            let read = stream.read(&mut part).await.ok().filter(|read| *read > 0)?;
            bytes.extend_from_slice(&part[..read]);
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
            if body.len() >= length.parse::<usize>().ok()? {
                break serde_json::from_str::<Value>(body).ok()?;
            }
        };
        if self.holds.load(Ordering::Acquire) {
            self.held.lock().push(stream);
            return None;
        }
        let id = body["data"]["job_id"].as_str()?.to_owned();
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.ok()?;
        *self.told.lock().entry(id).or_default() += 1;
        Some(())
    }

    async fn until_all(&self, ids: &[String], story: impl Fn() -> String) {
        let deadline = Instant::now() + LATE_MAX;
        loop {
            let missing = {
                let told = self.told.lock();
                ids.iter().filter(|id| !told.contains_key(*id)).count()
            };
            if missing == 0 {
                return;
            }
            assert!(Instant::now() < deadline, "{missing} of {} events were never told\n{}", ids.len(), story());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

async fn ask(procs: &Procs, node: usize, method: Method, path: &str, body: Option<&Value>) -> Value {
    let public = procs.nodes[node].public;
    let answer = procs.rest.call(public, method, path, body, None, Duration::from_secs(10)).await.unwrap();
    assert!(answer.is_ok(), "{path}: {answer:?}");
    answer.body
}

async fn enqueue(procs: &Procs, node: usize, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for _ in 0..count {
        // One by one, so that they lie in both partitions.
        let job = json!({"queue": "q", "project_id": "p", "payload": {}});
        let answer = ask(procs, node, Method::POST, "/api/v1/jobs", Some(&job)).await;
        ids.push(answer["jobs"][0]["id"].as_str().unwrap().to_owned());
    }
    ids
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_to_be_told_when_nodes_died_is_told() {
    let config = "[webhooks]\nallow_private = true\n".to_owned();
    let mut procs = Procs::start(Options { config, ..Options::default() }).await.unwrap();
    let receiver = Receiver::default();
    let url = format!("http://{}/", receiver.start().await);
    let hook = json!({"url": url, "events": ["job.enqueued"]});
    ask(&procs, 0, Method::PUT, "/api/v1/webhooks/h?project_id=p", Some(&hook)).await;

    // A node has deliveries under way when it dies.
    receiver.holds.store(true, Ordering::Release);
    let mut ids = enqueue(&procs, 0, 4).await;
    let deadline = Instant::now() + Duration::from_secs(10);
    while receiver.held.lock().len() < ids.len() {
        assert!(Instant::now() < deadline, "the deliveries do not begin");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let leased = "/api/v1/jobs?queue=bravo.webhooks&state=leased&consistency=linearizable";
    let list = ask(&procs, 0, Method::GET, leased, None).await;
    let holder = list["jobs"][0]["worker_id"].as_str().unwrap().strip_prefix("bravod-").unwrap();
    let holder = holder.parse::<usize>().unwrap() - 1;
    procs.nodes[holder].kill().unwrap();
    receiver.held.lock().clear();
    receiver.holds.store(false, Ordering::Release);
    receiver.until_all(&ids, || procs.story()).await;
    procs.nodes[holder].start().unwrap();
    procs.ready(Duration::from_secs(30)).await.unwrap();

    // All nodes die at once, with events that were acknowledged a moment ago.
    receiver.holds.store(true, Ordering::Release);
    ids.extend(enqueue(&procs, 1, 20).await);
    procs.kill_all().unwrap();
    receiver.held.lock().clear();
    receiver.holds.store(false, Ordering::Release);
    procs.start_all().unwrap();
    procs.ready(Duration::from_secs(30)).await.unwrap();
    receiver.until_all(&ids, || procs.story()).await;
    let told = receiver.told.lock();
    assert_eq!(told.len(), ids.len(), "only of jobs that are there: {told:?}");
}
