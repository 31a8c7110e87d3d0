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

pub(super) async fn put(State(app): State<Arc<App>>, call: Call, Project(project): Project, body: Taken) -> Answered {
    let rules = json::parse::<LifecycleBody>(&body.bytes)?.into_rules()?;
    problem::ok(&LifecycleAnswer::from(lifecycle::put(&app, &call, project, rules).await?))
}

pub(super) async fn read(
    State(app): State<Arc<App>>,
    call: Call,
    Project(project): Project,
    query: Asked<ReadQuery>,
) -> Answered {
    problem::ok(&LifecycleAnswer::from(lifecycle::read(&app, &call, &project, query.freshness()?).await?))
}

pub(super) async fn delete(State(app): State<Arc<App>>, call: Call, Project(project): Project) -> Answered {
    lifecycle::delete(&app, &call, project).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
