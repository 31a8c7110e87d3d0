//! `/api/v1/keys`: make, list, revoke.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::IntoResponse;
use bravo_api::json::{self, KeyBody, KeyListAnswer, ListKeysQuery, MadeKeyAnswer};
use http::header::CACHE_CONTROL;
use http::{HeaderValue, StatusCode};

use super::extract::Asked;
use crate::gateway::app::App;
use crate::gateway::body::Taken;
use crate::gateway::call::{Call, hash};
use crate::gateway::problem::{self, Answered};
use crate::gateway::service::keys;

/// Make a key; its secret is told this once.
#[utoipa::path(
    post,
    path = "/api/v1/keys",
    tag = "access",
    operation_id = "makeKey",
    params(("Idempotency-Key" = Option<String>, Header)),
    request_body = KeyBody,
    responses((status = 201, description = "The key.", body = MadeKeyAnswer)),
)]
pub(super) async fn make(State(app): State<Arc<App>>, call: Call, body: Taken) -> Answered {
    let asked: KeyBody = json::parse(&body.bytes)?;
    let made = keys::make(&app, &call, asked, hash(&[&body.bytes])).await?;
    let mut response = problem::json(StatusCode::CREATED, &made)?;
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// List keys without their secrets; a caller that is bound to a project sees that project's.
#[utoipa::path(
    get,
    path = "/api/v1/keys",
    tag = "access",
    operation_id = "listKeys",
    params(ListKeysQuery),
    responses((status = 200, description = "A page, the oldest key first.", body = KeyListAnswer)),
)]
pub(super) async fn list(State(app): State<Arc<App>>, call: Call, Asked(query): Asked<ListKeysQuery>) -> Answered {
    problem::ok(&keys::list(&app, &call, query).await?)
}

/// Revoke a key: from the answer on, no node that can be reached takes it.
#[utoipa::path(
    delete,
    path = "/api/v1/keys/{id}",
    tag = "access",
    operation_id = "revokeKey",
    params(("id" = String, Path, description = "The key's id."), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 204, description = "It is gone.")),
)]
pub(super) async fn revoke(State(app): State<Arc<App>>, call: Call, Path(id): Path<String>) -> Answered {
    keys::revoke(&app, &call, &id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
