//! `/api/v1/lifecycle/{project_id}`: put, look at, delete.

use std::sync::Arc;

use axum::extract::State;
use axum::response::IntoResponse;
use bravo_api::json::{self, LifecycleAnswer, LifecycleBody, ReadQuery};
use http::StatusCode;

use super::extract::{Asked, Project};
use crate::gateway::app::App;
use crate::gateway::body::Taken;
use crate::gateway::call::Call;
use crate::gateway::problem::{self, Answered};
use crate::gateway::service::lifecycle;

/// Say what becomes of a project's artifacts as they grow old. Replaces all of its rules.
#[utoipa::path(
    put,
    path = "/api/v1/lifecycle/{project_id}",
    tag = "artifacts",
    operation_id = "putLifecycle",
    params(("project_id" = String, Path, description = "The project."), ("Idempotency-Key" = Option<String>, Header)),
    request_body = LifecycleBody,
    responses((status = 200, description = "The rules as they are now.", body = LifecycleAnswer)),
)]
pub(super) async fn put(State(app): State<Arc<App>>, call: Call, Project(project): Project, body: Taken) -> Answered {
    let rules = json::parse::<LifecycleBody>(&body.bytes)?.into_rules()?;
    problem::ok(&LifecycleAnswer::from(lifecycle::put(&app, &call, project, rules).await?))
}

/// What becomes of a project's artifacts as they grow old.
#[utoipa::path(
    get,
    path = "/api/v1/lifecycle/{project_id}",
    tag = "artifacts",
    operation_id = "getLifecycle",
    params(("project_id" = String, Path, description = "The project."), ReadQuery),
    responses((status = 200, description = "The rules.", body = LifecycleAnswer)),
)]
pub(super) async fn read(
    State(app): State<Arc<App>>,
    call: Call,
    Project(project): Project,
    query: Asked<ReadQuery>,
) -> Answered {
    problem::ok(&LifecycleAnswer::from(lifecycle::read(&app, &call, &project, query.freshness()?).await?))
}

/// Delete the rules; what was moved stays where it is.
#[utoipa::path(
    delete,
    path = "/api/v1/lifecycle/{project_id}",
    tag = "artifacts",
    operation_id = "deleteLifecycle",
    params(("project_id" = String, Path, description = "The project."), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 204, description = "They are gone.")),
)]
pub(super) async fn delete(State(app): State<Arc<App>>, call: Call, Project(project): Project) -> Answered {
    lifecycle::delete(&app, &call, project).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
