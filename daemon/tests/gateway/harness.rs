//! One cluster for all tests, in a runtime of its own, and a small HTTP client.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use bravo_daemon::config::Config;
use bravo_daemon::dev;
use bravo_daemon::gateway::Gateway;
use bravo_daemon::node::Node;
use bravo_daemon::telemetry::Telemetry;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

/// Where the nodes serve.
pub(crate) fn nodes() -> &'static [SocketAddr] {
    static NODES: OnceLock<Vec<SocketAddr>> = OnceLock::new();
    NODES.get_or_init(|| {
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async {
                sender.send(start().await).unwrap();
                std::future::pending::<()>().await;
            });
        });
        receiver.recv().unwrap()
    })
}

/// A node that is a cluster of its own.
pub(crate) async fn lone_node() -> SocketAddr {
    nodes();
    let dir = tempfile::tempdir().unwrap().keep();
    let config = dev::configs(&dir, 1, base_port() + 30).unwrap().remove(0);
    serve(&config, TELEMETRY.get().unwrap().clone()).await
}

/// A node that is a cluster of its own, and is set up in a way of its own; and where its data are.
pub(crate) async fn own_node(set: impl FnOnce(&mut Config)) -> (SocketAddr, PathBuf) {
    let (address, data_dir) = unready_node(set).await;
    let deadline = Instant::now() + Duration::from_secs(30);
    while call_at(address, Method::GET, "/ready", &[], "").await.status != StatusCode::OK {
        assert!(Instant::now() < deadline, "the node is not ready");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    (address, data_dir)
}

/// The same, started and not yet asked whether it is ready.
pub(crate) async fn unready_node(set: impl FnOnce(&mut Config)) -> (SocketAddr, PathBuf) {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    nodes();
    let dir = tempfile::tempdir().unwrap().keep();
    let port = 29_100 + (std::process::id() % 25) as u16 * 120 + NEXT.fetch_add(1, Ordering::Relaxed) * 4;
    let mut config = dev::configs(&dir, 1, port).unwrap().remove(0);
    set(&mut config);
    (serve(&config, TELEMETRY.get().unwrap().clone()).await, config.node.data_dir)
}

/// A node that is a cluster of its own and delivers to no private address.
pub(crate) async fn strict_node() -> SocketAddr {
    nodes();
    let dir = tempfile::tempdir().unwrap().keep();
    let mut config = dev::configs(&dir, 1, base_port() + 35).unwrap().remove(0);
    config.webhooks.allow_private = false;
    serve(&config, TELEMETRY.get().unwrap().clone()).await
}

/// Ports of this test process begin here; each node takes ten.
fn base_port() -> u16 {
    21_000 + (std::process::id() % 200) as u16 * 40
}

static TELEMETRY: OnceLock<Telemetry> = OnceLock::new();
static DATA_DIRS: OnceLock<Vec<PathBuf>> = OnceLock::new();

/// Where the nodes keep their data.
pub(crate) fn data_dirs() -> &'static [PathBuf] {
    nodes();
    DATA_DIRS.get().unwrap()
}

async fn start() -> Vec<SocketAddr> {
    let dir = tempfile::tempdir().unwrap().keep();
    let mut configs = dev::configs(&dir, 3, base_port()).unwrap();
    DATA_DIRS.set(configs.iter().map(|config| config.node.data_dir.clone()).collect()).unwrap();
    let telemetry = TELEMETRY.get_or_init(|| Telemetry::init(&configs[0]).unwrap()).clone();
    let mut addresses = Vec::new();
    // Lease calls that wait at this node are those of one test.
    configs[2].limits.waiting_leases_max = 16;
    for config in &mut configs {
        config.storage.log_segment_bytes = 16 << 20;
        config.limits.request_body_bytes_max = 2 << 20;
        config.limits.header_read_timeout_ms = 500;
        config.limits.connect_timeout_ms = 500;
        config.artifacts.move_interval_ms = 200;
        config.artifacts.scrub_interval_ms = 500;
        config.artifacts.scrub_pause_ms = 10;
        addresses.push(serve(config, telemetry.clone()).await);
    }
    let deadline = Instant::now() + Duration::from_secs(30);
    for address in &addresses {
        while call_at(*address, Method::GET, "/ready", &[], "").await.status != StatusCode::OK {
            assert!(Instant::now() < deadline, "the cluster is not ready");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    addresses
}

async fn serve(config: &Config, telemetry: Telemetry) -> SocketAddr {
    let node = Node::start(config).await.unwrap();
    let gateway = Gateway::bind(node.cluster.clone(), config, telemetry).await.unwrap();
    let address = gateway.address().unwrap();
    tokio::spawn(async move {
        gateway.run(std::future::pending()).await.unwrap();
        drop(node);
    });
    address
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {} {}", self.status, self.text))
    }

    /// The code of a problem, which is checked to be one.
    pub(crate) fn code(&self) -> String {
        let problem = self.json();
        assert_eq!(self.headers["content-type"], "application/problem+json", "{}", self.text);
        assert_eq!(problem["status"], self.status.as_u16());
        assert!(self.headers.contains_key("x-request-id"));
        if problem["retry_after_ms"].is_u64() {
            assert!(self.headers.contains_key("retry-after"));
        }
        problem["code"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    pub(crate) fn ok(&self) -> Value {
        assert!(self.status.is_success(), "{} {}", self.status, self.text);
        self.json()
    }
}

pub(crate) async fn call_at(
    address: SocketAddr,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Answer {
    let (status, headers, bytes) = bytes_at(address, method, path, headers, body).await;
    Answer { status, headers, text: String::from_utf8(bytes.into()).unwrap() }
}

/// The same where the answer need not be text.
pub(crate) async fn bytes_at(
    address: SocketAddr,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> (StatusCode, HeaderMap, Bytes) {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let mut request = Request::builder().method(method).uri(format!("http://{address}{path}"));
    if !headers.iter().any(|(name, _)| *name == "content-type") {
        request = request.header("content-type", "application/json");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = client.request(request.body(Full::new(body.into())).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    (parts.status, parts.headers, body.collect().await.unwrap().to_bytes())
}

pub(crate) async fn get(path: &str) -> Answer {
    call_at(nodes()[0], Method::GET, path, &[], "").await
}

pub(crate) async fn post(path: &str, body: impl Into<Bytes>) -> Answer {
    call_at(nodes()[1], Method::POST, path, &[], body).await
}

pub(crate) async fn put(path: &str, body: impl Into<Bytes>) -> Answer {
    call_at(nodes()[2], Method::PUT, path, &[], body).await
}
