//! `/api/v1/quotas…`: put, look at, delete.

use std::sync::Arc;

use axum::extract::State;
use axum::response::IntoResponse;
use bravo_api::json::{self, QuotaAnswer, QuotaBody, QuotaListAnswer};
use http::StatusCode;

use super::extract::Project;
use crate::gateway::app::App;
use crate::gateway::body::Taken;
use crate::gateway::call::Call;
use crate::gateway::problem::{self, Answered};
use crate::gateway::service::quotas;

/// Bound what a project may have, or change its bounds.
#[utoipa::path(
    put,
    path = "/api/v1/quotas/{project_id}",
    tag = "access",
    operation_id = "putQuota",
    params(("project_id" = String, Path, description = "The project."), ("Idempotency-Key" = Option<String>, Header)),
    request_body = QuotaBody,
    responses((status = 200, description = "The quota, and what is used of it.", body = QuotaAnswer)),
)]
pub(super) async fn put(State(app): State<Arc<App>>, call: Call, Project(project): Project, body: Taken) -> Answered {
    let asked: QuotaBody = json::parse(&body.bytes)?;
    problem::ok(&quotas::put(&app, &call, asked.into_model(project)).await?)
}

/// Read a project's quota, and what is used of it.
#[utoipa::path(
    get,
    path = "/api/v1/quotas/{project_id}",
    tag = "access",
    operation_id = "getQuota",
    params(("project_id" = String, Path, description = "The project.")),
    responses((status = 200, description = "The quota, and what is used of it.", body = QuotaAnswer)),
)]
pub(super) async fn read(State(app): State<Arc<App>>, call: Call, Project(project): Project) -> Answered {
    problem::ok(&quotas::read(&app, &call, &project).await?)
}

/// List the quotas that there are.
#[utoipa::path(
    get,
    path = "/api/v1/quotas",
    tag = "access",
    operation_id = "listQuotas",
    responses((status = 200, description = "All of them, by project.", body = QuotaListAnswer)),
)]
pub(super) async fn list(State(app): State<Arc<App>>, call: Call) -> Answered {
    problem::ok(&quotas::list(&app, &call).await?)
}

/// Delete a project's quota: it may have any number again.
#[utoipa::path(
    delete,
    path = "/api/v1/quotas/{project_id}",
    tag = "access",
    operation_id = "deleteQuota",
    params(("project_id" = String, Path, description = "The project."), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 204, description = "It is gone.")),
)]
pub(super) async fn delete(State(app): State<Arc<App>>, call: Call, Project(project): Project) -> Answered {
    quotas::delete(&app, &call, project).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
