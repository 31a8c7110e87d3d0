//! `/api/v1/keys`: make, list, revoke.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::IntoResponse;
use bravo_api::json::{self, KeyBody, ListKeysQuery};
use http::header::CACHE_CONTROL;
use http::{HeaderValue, StatusCode};

use super::extract::Asked;
use crate::gateway::app::App;
use crate::gateway::body::Taken;
use crate::gateway::call::{Call, hash};
use crate::gateway::problem::{self, Answered};
use crate::gateway::service::keys;

pub(super) async fn make(State(app): State<Arc<App>>, call: Call, body: Taken) -> Answered {
    let asked: KeyBody = json::parse(&body.bytes)?;
    let made = keys::make(&app, &call, asked, hash(&[&body.bytes])).await?;
    let mut response = problem::json(StatusCode::CREATED, &made)?;
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

pub(super) async fn list(State(app): State<Arc<App>>, call: Call, Asked(query): Asked<ListKeysQuery>) -> Answered {
    problem::ok(&keys::list(&app, &call, query).await?)
}

pub(super) async fn revoke(State(app): State<Arc<App>>, call: Call, Path(id): Path<String>) -> Answered {
    keys::revoke(&app, &call, &id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
