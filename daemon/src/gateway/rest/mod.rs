//! REST: routes, and what the handlers share. Handlers translate; what a call does is in `service`.

mod artifacts;
mod audit;
mod cluster;
mod coding;
mod conditions;
mod events;
mod extract;
mod jobs;
mod keys;
mod leases;
mod lifecycle;
mod node;
pub(crate) mod openapi;
pub(super) mod pack;
mod pages;
mod queues;
mod quotas;
mod scaling;
mod schedules;
mod templates;
mod webhooks;
mod workflows;

use std::sync::Arc;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use bravo_model::{Code, Refusal};
use http::{Method, Uri};

use super::app::App;
use super::auth::{access, noted};
use super::call::Call;
use super::front::Endpoint;
use super::problem::Refused;
use extract::no_front;

/// All routes.
pub(crate) fn router(app: Arc<App>) -> Router {
    let timed = Router::new()
        .route("/api/v1/jobs", post(jobs::enqueue).get(jobs::list))
        .route("/api/v1/jobs/ack", post(leases::ack))
        .route("/api/v1/jobs/nack", post(leases::nack))
        .route("/api/v1/jobs/extend", post(leases::extend))
        .route("/api/v1/jobs/{id}", get(jobs::read))
        .route("/api/v1/jobs/{id}/why", get(jobs::why))
        .route("/api/v1/jobs/{id}/cancel", post(jobs::cancel))
        .route("/api/v1/jobs/{id}/retry", post(jobs::retry))
        .route("/api/v1/queues", get(queues::list))
        .route("/api/v1/queues/{queue}", get(queues::read).put(queues::put).delete(queues::delete))
        .route("/api/v1/queues/{queue}/pause", post(queues::pause))
        .route("/api/v1/queues/{queue}/resume", post(queues::resume))
        .route("/api/v1/queues/{queue}/drain", post(queues::drain))
        .route("/api/v1/queues/{queue}/purge", post(queues::purge))
        .route("/api/v1/queues/{queue}/redrive", post(queues::redrive))
        .route("/api/v1/templates", get(templates::list))
        .route("/api/v1/templates/{name}", get(templates::read).put(templates::put).delete(templates::delete))
        .route("/api/v1/templates/{name}/preview", post(templates::preview))
        .route("/api/v1/events", get(events::follow))
        .route("/api/v1/schedules", get(schedules::list))
        .route("/api/v1/schedules/{name}", get(schedules::read).put(schedules::put).delete(schedules::delete))
        .route("/api/v1/schedules/{name}/pause", post(schedules::pause))
        .route("/api/v1/schedules/{name}/resume", post(schedules::resume))
        .route("/api/v1/webhooks", get(webhooks::list))
        .route("/api/v1/webhooks/{name}", get(webhooks::read).put(webhooks::put).delete(webhooks::delete))
        .route("/api/v1/workflows", post(workflows::start).get(workflows::list))
        .route("/api/v1/workflows/{id}", get(workflows::read))
        .route("/api/v1/workflows/{id}/cancel", post(workflows::cancel))
        .route("/api/v1/workflows/{id}/pause", post(workflows::pause))
        .route("/api/v1/workflows/{id}/resume", post(workflows::resume))
        .route("/api/v1/workflows/{id}/retry", post(workflows::retry))
        .route("/api/v1/workflows/{id}/signals/{name}", post(workflows::signal))
        .route("/api/v1/workflows/{id}/tasks", post(workflows::add_tasks))
        .route("/api/v1/workflows/{id}/events", get(workflows::events))
        .route("/api/v1/artifacts/{project_id}", get(artifacts::list))
        .route("/api/v1/lifecycle/{project_id}", get(lifecycle::read).put(lifecycle::put).delete(lifecycle::delete))
        .route("/api/v1/workers", get(cluster::workers))
        .route("/api/v1/cluster", get(cluster::overview))
        .route("/api/v1/cluster/digest", get(cluster::digests))
        .route("/api/v1/cluster/members", post(cluster::add_member))
        .route("/api/v1/cluster/members/{id}", delete(cluster::remove_member))
        .route("/api/v1/cluster/transfer", post(cluster::transfer))
        .route("/api/v1/scaling", get(scaling::list))
        .route("/api/v1/scaling/{agent_type}/history", get(scaling::history).put(scaling::put_history))
        .route("/api/v1/scaling/{agent_type}", get(scaling::read).put(scaling::put).delete(scaling::delete))
        .route("/api/v1/keys", get(keys::list).post(keys::make))
        .route("/api/v1/keys/{id}", delete(keys::revoke))
        .route("/api/v1/quotas", get(quotas::list))
        .route("/api/v1/quotas/{project_id}", get(quotas::read).put(quotas::put).delete(quotas::delete))
        .route("/api/v1/audit", get(audit::list))
        .route("/api/openapi.json", get(pages::openapi))
        .route("/", get(pages::dashboard))
        .route("/dashboard.js", get(pages::script))
        .route("/dashboard.css", get(pages::style))
        .route("/health", get(node::health))
        .route("/ready", get(node::ready))
        .route("/metrics", get(node::metrics))
        .route_layer(from_fn(within_deadline));
    Router::new()
        .route("/api/v1/queues/{queue}/lease", post(leases::lease))
        .route(
            "/api/v1/artifacts/{project_id}/{*path}",
            get(artifacts::read).put(artifacts::put).delete(artifacts::delete),
        )
        .merge(timed)
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn_with_state(app.clone(), guard))
        .with_state(app)
}

async fn not_found(uri: Uri) -> Refused {
    Refused::from(Refusal::new(Code::NotFound, format!("there is nothing at {}", uri.path())))
}

async fn method_not_allowed(method: Method, uri: Uri) -> Refused {
    Refused::from(Refusal::new(Code::MethodNotAllowed, format!("{} cannot be asked with {method}", uri.path())))
}

/// Lets through whom the call is allowed, and tells the front which route answered.
async fn guard(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let Some(path) = request.extensions().get::<MatchedPath>().cloned() else { return next.run(request).await };
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let call = request.extensions().get::<Call>().cloned();
    let mut response = match (access::rest(&method, path.as_str()), call) {
        (None, _) => method_not_allowed(method, uri).await.into_response(),
        (Some(_), None) => no_front().into_response(),
        (Some(access), Some(call)) => {
            let allowed = access.check(&call.caller);
            let refused = |refusal| Refused::from(refusal).into_response();
            let work = async move {
                match allowed {
                    Ok(()) => next.run(request).await,
                    Err(refusal) => refused(refusal),
                }
            };
            noted(&app, access, &call, uri.path(), work, refused).await
        }
    };
    response.extensions_mut().insert(Endpoint(path));
    response
}

/// Ends a call when its caller stops waiting. Lease calls see to that themselves, and those that carry an
/// artifact, which may take long.
async fn within_deadline(request: Request, next: Next) -> Response {
    let Some(deadline) = request.extensions().get::<Call>().map(|call| call.deadline) else {
        return next.run(request).await;
    };
    match tokio::time::timeout_at(deadline.into(), next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let detail = "the time that the call may take is over; the outcome is unknown: repeat with the same key";
            Refused::from(Refusal::retry_after(Code::DeadlineExceeded, detail, 100)).into_response()
        }
    }
}
