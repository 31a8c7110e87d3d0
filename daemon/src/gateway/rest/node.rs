//! `/health`, `/ready`, `/metrics`: what operators and their machines ask one node.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use serde_json::json;

use crate::gateway::app::App;
use crate::gateway::problem::{self, Answered};
use crate::gateway::service::{gauges, readiness};

pub(super) async fn health(State(app): State<Arc<App>>) -> Answered {
    uncached(problem::ok(&json!({ "status": "alive", "node": app.cluster.node, "version": env!("CARGO_PKG_VERSION") })))
}

pub(super) async fn ready(State(app): State<Arc<App>>) -> Answered {
    let readiness = readiness::look(&app);
    let status = if readiness.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    uncached(problem::json(status, &readiness))
}

pub(super) async fn metrics(State(app): State<Arc<App>>) -> Response {
    gauges::refresh(&app);
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], app.telemetry.render()).into_response()
}

fn uncached(answered: Answered) -> Answered {
    answered.map(|mut response| {
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    })
}
