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

pub(super) async fn list(State(app): State<Arc<App>>, call: Call, Asked(query): Asked<WebhookQuery>) -> Answered {
    let (mut project_id, read) = query.into_parts()?;
    call.caller.fill(&mut project_id);
    let list = webhooks::list(&app, &call, &project(&project_id)?, read.into()).await?;
    problem::ok(&WebhookListAnswer::from(list))
}

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
