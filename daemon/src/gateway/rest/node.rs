//! `/health`, `/ready`, `/metrics`: what operators and their machines ask one node.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use crate::gateway::app::App;
use crate::gateway::problem::{self, Answered};
use crate::gateway::service::readiness::Readiness;
use crate::gateway::service::{gauges, readiness};

/// A node that is alive.
#[derive(Serialize, ToSchema)]
struct HealthAnswer {
    /// `alive`.
    status: &'static str,
    /// Its number.
    node: u64,
    /// The version of its program.
    version: &'static str,
}

/// Whether the node is alive.
#[utoipa::path(
    get,
    path = "/health",
    tag = "node",
    operation_id = "health",
    responses((status = 200, description = "It is.", body = HealthAnswer)),
)]
pub(super) async fn health(State(app): State<Arc<App>>) -> Answered {
    uncached(problem::ok(&HealthAnswer { status: "alive", node: app.cluster.node, version: env!("CARGO_PKG_VERSION") }))
}

/// Whether the node can serve: it knows a leader for every group and has caught up.
#[utoipa::path(
    get,
    path = "/ready",
    tag = "node",
    operation_id = "ready",
    responses((status = 200, description = "It can.", body = Readiness), (status = 503, description = "It cannot; the groups that keep it from that.", body = Readiness)),
)]
pub(super) async fn ready(State(app): State<Arc<App>>) -> Answered {
    let readiness = readiness::look(&app);
    let status = if readiness.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    uncached(problem::json(status, &readiness))
}

/// Metrics for Prometheus.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "node",
    operation_id = "metrics",
    responses((status = 200, description = "Text format 0.0.4.", body = String, content_type = "text/plain")),
)]
pub(super) async fn metrics(State(app): State<Arc<App>>) -> Response {
    // Anybody may ask, and each time all queues are counted: one after the other.
    let _turn = app.rendering.lock().await;
    gauges::refresh(&app);
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], app.telemetry.render()).into_response()
}

fn uncached(answered: Answered) -> Answered {
    answered.map(|mut response| {
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    })
}
