//! `/api/v1/webhooks…`: put, look at, delete.

use std::sync::Arc;

use axum::extract::State;
use axum::response::IntoResponse;
use bravo_api::convert::webhooks::place;
use bravo_api::convert::workflows::project;
use bravo_api::json::{self, WebhookAnswer, WebhookBody, WebhookListAnswer, WebhookQuery};
use http::StatusCode;

use super::extract::{Asked, Webhook};
use crate::gateway::app::App;
use crate::gateway::body::Taken;
use crate::gateway::call::{Call, hash};
use crate::gateway::problem::{self, Answered};
use crate::gateway::service::webhooks;

/// Make a webhook, or replace it; answered when every partition knows of it.
#[utoipa::path(
    put,
    path = "/api/v1/webhooks/{name}",
    tag = "webhooks",
    operation_id = "putWebhook",
    params(("name" = String, Path, description = "The webhook's name in its project."), ("Idempotency-Key" = Option<String>, Header), WebhookQuery),
    request_body = WebhookBody,
    responses((status = 200, description = "It was there; as it is now.", body = WebhookAnswer), (status = 201, description = "It is new; with its secret.", body = WebhookAnswer)),
)]
pub(super) async fn put(
    State(app): State<Arc<App>>,
    call: Call,
    Webhook(name): Webhook,
    Asked(query): Asked<WebhookQuery>,
    body: Taken,
) -> Answered {
    let digest = hash(&[&body.bytes]);
    let mut request = json::parse::<WebhookBody>(&body.bytes)?.into_message(name.into(), query.project_id)?;
    call.caller.fill(&mut request.project_id);
    let put = webhooks::put(&app, &call, request, digest).await?;
    let status = if put.created { StatusCode::CREATED } else { StatusCode::OK };
    problem::json(status, &WebhookAnswer::from(put.webhook.unwrap_or_default()))
}

/// Read a webhook.
#[utoipa::path(
    get,
    path = "/api/v1/webhooks/{name}",
    tag = "webhooks",
    operation_id = "getWebhook",
    params(("name" = String, Path, description = "The webhook's name in its project."), WebhookQuery),
    responses((status = 200, description = "The webhook, without its secret.", body = WebhookAnswer)),
)]
pub(super) async fn read(
    State(app): State<Arc<App>>,
    call: Call,
    Webhook(name): Webhook,
    Asked(query): Asked<WebhookQuery>,
) -> Answered {
    let (mut project_id, read) = query.into_parts()?;
    call.caller.fill(&mut project_id);
    let (project, name) = place(&project_id, name.as_str())?;
    problem::ok(&WebhookAnswer::from(webhooks::read(&app, &call, &project, &name, read.into()).await?))
}

/// List a project's webhooks by name.
#[utoipa::path(
    get,
    path = "/api/v1/webhooks",
    tag = "webhooks",
    operation_id = "listWebhooks",
    params(WebhookQuery),
    responses((status = 200, description = "All of them, without secrets.", body = WebhookListAnswer)),
)]
pub(super) async fn list(State(app): State<Arc<App>>, call: Call, Asked(query): Asked<WebhookQuery>) -> Answered {
    let (mut project_id, read) = query.into_parts()?;
    call.caller.fill(&mut project_id);
    let list = webhooks::list(&app, &call, &project(&project_id)?, read.into()).await?;
    problem::ok(&WebhookListAnswer::from(list))
}

/// Delete a webhook; deliveries that wait are dropped.
#[utoipa::path(
    delete,
    path = "/api/v1/webhooks/{name}",
    tag = "webhooks",
    operation_id = "deleteWebhook",
    params(("name" = String, Path, description = "The webhook's name in its project."), ("Idempotency-Key" = Option<String>, Header), WebhookQuery),
    responses((status = 204, description = "It is gone.")),
)]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    call: Call,
    Webhook(name): Webhook,
    Asked(query): Asked<WebhookQuery>,
) -> Answered {
    let (mut project_id, _) = query.into_parts()?;
    call.caller.fill(&mut project_id);
    let (project, name) = place(&project_id, name.as_str())?;
    webhooks::delete(&app, &call, &project, &name).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
