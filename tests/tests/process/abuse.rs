//! T19: what hostile or broken clients send.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bravo_tests::process::{Options, Procs, Rest, short_or_long};
use bytes::Bytes;
use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

const HEADER_TIMEOUT: Duration = Duration::from_secs(2);

/// Asks for `/health` all the time, each time on a connection of its own.
struct Pulse {
    stop: Arc<AtomicBool>,
    beats: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Pulse {
    fn start(node: SocketAddr) -> Self {
        let (stop, beats) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stopped, beaten) = (stop.clone(), beats.clone());
        let task = tokio::spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                let patience = Duration::from_secs(3);
                let answer = Rest::default().call(node, Method::GET, "/health", None, None, patience).await;
                let answer = answer.expect("/health while under abuse");
                assert!(answer.is_ok(), "/health while under abuse: {answer:?}");
                beaten.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        Self { stop, beats, task }
    }

    async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("/health answers throughout");
        assert!(self.beats.load(Ordering::Relaxed) > 10, "inconclusive: /health was hardly asked");
    }
}

async fn post(procs: &Procs, body: String) -> (u16, String) {
    let node = procs.nodes[0].public;
    let answer = procs.rest.send(node, Method::POST, "/api/v1/jobs", Bytes::from(body), None, Duration::from_secs(20));
    let answer = answer.await.expect("an answer");
    (answer.status, answer.code().to_owned())
}

fn job(payload: &str) -> String {
    format!(r#"{{"queue":"abuse","payload":{payload}}}"#)
}

async fn large_and_odd_bodies(procs: &Procs) {
    let text = |mib: usize| format!("\"{}\"", "x".repeat(mib << 20));
    assert_eq!(post(procs, job(&text(10))).await, (413, "payload_too_large".into()), "a payload of 10 MiB");
    assert_eq!(post(procs, job(&text(40))).await, (413, "payload_too_large".into()), "a body of 40 MiB");
    let nearly = format!("\"{}\"", "x".repeat((1 << 20) - 100));
    let batch = format!(r#"{{"jobs":[{}]}}"#, vec![job(&nearly); 9].join(","));
    assert_eq!(post(procs, batch).await, (413, "payload_too_large".into()), "a batch of 9 MiB");
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let (status, code) = post(procs, job(&deep)).await;
    assert!(
        status == 201 || (status == 400 && code == "invalid_argument"),
        "JSON that is 100,000 deep: {status} {code}"
    );
    let keys: Vec<String> = (0..100_000).map(|key| format!("\"{key}\":1")).collect();
    let (status, code) = post(procs, job(&format!("{{{}}}", keys.join(",")))).await;
    assert!(status == 201 || status == 413 || status == 400, "a payload with 100,000 keys: {status} {code}");
    let (status, code) = post(procs, format!(r#"{{"queue":"abuse",{}}}"#, keys.join(","))).await;
    assert_eq!((status, code.as_str()), (400, "invalid_argument"), "100,000 unknown fields");
    let (status, _) = post(procs, format!(r#"{{"jobs":[{}]}}"#, vec![job("1"); 1_001].join(","))).await;
    assert!((400..500).contains(&status), "a batch of 1,001 jobs: {status}");
}

/// Connections that send a header byte now and then are closed.
async fn slow_loris(node: SocketAddr, count: usize) {
    let mut slow = Vec::new();
    for _ in 0..count {
        let mut stream = TcpStream::connect(node).await.expect("a connection");
        stream.write_all(b"POST /api/v1/jobs HTTP/1.1\r\nHost: x\r\nX-Slow: ").await.expect("a first piece");
        slow.push(stream);
    }
    let end = tokio::time::Instant::now() + HEADER_TIMEOUT + Duration::from_secs(3);
    while tokio::time::Instant::now() < end {
        for stream in &mut slow {
            let _ = stream.write_all(b"a").await;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let mut open = 0;
    for stream in &mut slow {
        let mut answer = Vec::new();
        let read = tokio::time::timeout(Duration::from_millis(200), stream.read_to_end(&mut answer)).await;
        open += usize::from(read.is_err());
    }
    assert_eq!(open, 0, "connections that dribble their headers stay open");
}

/// Connections that do nothing, held while jobs are taken in.
async fn idle_connections(procs: &Procs, count: usize) {
    let mut idle = Vec::new();
    for _ in 0..count {
        idle.push(TcpStream::connect(procs.nodes[0].public).await.expect("a connection"));
    }
    assert_eq!(post(procs, job("1")).await.0, 201, "an enqueue beside {count} idle connections");
}

/// Connections that are reset in the middle of a request.
async fn resets(node: SocketAddr, count: usize) {
    let body = job("1");
    let request = format!(
        "POST /api/v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    for number in 0..count {
        let mut stream = TcpStream::connect(node).await.expect("a connection");
        stream.set_zero_linger().expect("linger");
        let sent = request.len() * (number % 5) / 4;
        let _ = stream.write_all(&request.as_bytes()[..sent]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_clients_are_refused_and_cost_nothing_that_stays() {
    let limits = format!("[limits]\nheader_read_timeout_ms = {}\n", HEADER_TIMEOUT.as_millis());
    let mut procs = Procs::start(Options { config: limits, ..Options::default() }).await.unwrap();
    let node = procs.nodes[0].public;
    // Once before measuring: buffers and arenas that are kept for the next time.
    large_and_odd_bodies(&procs).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (memory, descriptors) = (procs.nodes[0].resident_bytes().unwrap(), procs.nodes[0].descriptors().unwrap());
    let pulse = Pulse::start(node);
    for _ in 0..short_or_long(2, 20) {
        large_and_odd_bodies(&procs).await;
        slow_loris(node, 300).await;
        idle_connections(&procs, 1_500).await;
        resets(node, 2_000).await;
    }
    pulse.stop().await;
    tokio::time::sleep(HEADER_TIMEOUT + Duration::from_secs(2)).await;
    let grown = procs.nodes[0].resident_bytes().unwrap().saturating_sub(memory) >> 20;
    let more = procs.nodes[0].descriptors().unwrap().saturating_sub(descriptors);
    eprintln!("grown by {grown} MiB from {} MiB, {more} more descriptors", memory >> 20);
    assert!(grown < 96, "memory grew by {grown} MiB");
    assert!(more < 50, "{more} descriptors more than before");
    procs.ready(Duration::from_secs(10)).await.unwrap();
}
