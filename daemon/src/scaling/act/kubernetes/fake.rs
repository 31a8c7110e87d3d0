//! An API server for tests, which knows one target and notes what it was asked.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use serde_json::{Value, json};

#[derive(Default)]
struct Table {
    replicas: u64,
    version: u64,
    grace_s: u64,
    asked: Vec<String>,
    refuses: bool,
    change: Option<u64>,
}

/// The server.
pub(super) struct Cluster {
    table: Arc<Mutex<Table>>,
    url: Uri,
}

impl Cluster {
    /// One whose target has so many pods, each with so much time to end.
    pub(super) async fn start(replicas: u64, grace_s: u64) -> Self {
        let table = Arc::new(Mutex::new(Table { replicas, grace_s, version: 1, ..Table::default() }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let router = Router::new().fallback(answer).with_state(table.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { table, url }
    }

    pub(super) fn url(&self) -> Uri {
        self.url.clone()
    }

    pub(super) fn asked(&self) -> Vec<String> {
        self.table.lock().asked.clone()
    }

    pub(super) fn replicas(&self) -> u64 {
        self.table.lock().replicas
    }

    pub(super) fn set_replicas(&self, replicas: u64) {
        self.table.lock().set(replicas);
    }

    pub(super) fn set_grace_s(&self, grace_s: u64) {
        self.table.lock().grace_s = grace_s;
    }

    pub(super) fn refuse(&self, refuses: bool) {
        self.table.lock().refuses = refuses;
    }

    /// Somebody else sets the scale as soon as it was read.
    pub(super) fn change_after_next_read(&self, replicas: u64) {
        self.table.lock().change = Some(replicas);
    }
}

impl Table {
    fn set(&mut self, replicas: u64) {
        (self.replicas, self.version) = (replicas, self.version + 1);
    }

    fn scale(&self) -> Value {
        let metadata = json!({ "name": "coders", "namespace": "agents", "resourceVersion": self.version.to_string() });
        let status = json!({ "replicas": self.replicas });
        let spec = json!({ "replicas": self.replicas });
        json!({ "apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": metadata, "spec": spec, "status": status })
    }
}

async fn answer(
    State(table): State<Arc<Mutex<Table>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut table = table.lock();
    let kind = headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let asked = format!("{method} {} {kind} {}", uri.path(), String::from_utf8_lossy(&body));
    table.asked.push(asked.trim_end().to_owned());
    if table.refuses {
        return no(StatusCode::FORBIDDEN, "Forbidden", "deployments.apps \"coders\" is forbidden");
    }
    if method == Method::PATCH {
        let patch: Value = serde_json::from_slice(&body).unwrap();
        if patch["metadata"]["resourceVersion"].as_str() != Some(table.version.to_string().as_str()) {
            return no(StatusCode::CONFLICT, "Conflict", "the object has been modified");
        }
        table.set(patch["spec"]["replicas"].as_u64().unwrap());
    }
    let seen = if uri.path().ends_with("/scale") {
        table.scale()
    } else {
        let spec = json!({ "terminationGracePeriodSeconds": table.grace_s });
        let metadata = json!({ "name": "coders", "namespace": "agents" });
        json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": { "template": { "spec": spec } } })
    };
    if let Some(replicas) = table.change.take() {
        table.set(replicas);
    }
    axum::Json(seen).into_response()
}

fn no(code: StatusCode, reason: &str, message: &str) -> Response {
    let number = code.as_u16();
    let status = json!({ "apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": reason, "message": message, "code": number });
    (code, axum::Json(status)).into_response()
}
