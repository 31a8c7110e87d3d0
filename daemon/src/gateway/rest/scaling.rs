//! `/api/v1/scaling…`: policies, and how pools stand.

use std::sync::Arc;

use axum::extract::State;
use axum::response::IntoResponse;
use bravo_api::json::{self, ScalingAnswer, ScalingBody, ScalingHistoryAnswer, ScalingHistoryBody, ScalingListAnswer};
use http::StatusCode;

use super::extract::AgentType;
use crate::gateway::app::App;
use crate::gateway::body::Taken;
use crate::gateway::call::Call;
use crate::gateway::problem::{self, Answered};
use crate::gateway::service::scaling;

/// List pools by agent type, under `scaling`: those with a policy, those whose queues are used, and `bravod`, the nodes
/// themselves.
#[utoipa::path(
    get,
    path = "/api/v1/scaling",
    tag = "scaling",
    operation_id = "listScaling",
    responses((status = 200, description = "All of them.", body = ScalingListAnswer)),
)]
pub(super) async fn list(State(app): State<Arc<App>>, call: Call) -> Answered {
    problem::ok(&ScalingListAnswer::from(scaling::list(&app, &call).await?))
}

/// Read how a pool stands: how many agents there should be, and why.
#[utoipa::path(
    get,
    path = "/api/v1/scaling/{agent_type}",
    tag = "scaling",
    operation_id = "getScaling",
    params(("agent_type" = String, Path, description = "The type of agents; a slash in it is written %2F.")),
    responses((status = 200, description = "The pool.", body = ScalingAnswer)),
)]
pub(super) async fn read(State(app): State<Arc<App>>, call: Call, AgentType(name): AgentType) -> Answered {
    problem::ok(&ScalingAnswer::from(scaling::read(&app, &call, &name).await?))
}

/// Make a policy, or replace it; absent keys take the defaults.
#[utoipa::path(
    put,
    path = "/api/v1/scaling/{agent_type}",
    tag = "scaling",
    operation_id = "putScaling",
    params(("agent_type" = String, Path, description = "The type of agents; a slash in it is written %2F."), ("Idempotency-Key" = Option<String>, Header)),
    request_body = ScalingBody,
    responses((status = 200, description = "How the pool stands under it.", body = ScalingAnswer)),
)]
pub(super) async fn put(State(app): State<Arc<App>>, call: Call, AgentType(name): AgentType, body: Taken) -> Answered {
    let request = json::parse::<ScalingBody>(&body.bytes)?.into_message(name.into());
    problem::ok(&ScalingAnswer::from(scaling::put(&app, &call, request).await?))
}

/// Delete a policy: the defaults count from then on, which act on nothing.
#[utoipa::path(
    delete,
    path = "/api/v1/scaling/{agent_type}",
    tag = "scaling",
    operation_id = "deleteScaling",
    params(("agent_type" = String, Path, description = "The type of agents; a slash in it is written %2F."), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 204, description = "It is gone.")),
)]
pub(super) async fn delete(State(app): State<Arc<App>>, call: Call, AgentType(name): AgentType) -> Answered {
    scaling::delete(&app, &call, &name).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Read the arrivals that are remembered of a type of agents: what its forecasts rest on.
#[utoipa::path(
    get,
    path = "/api/v1/scaling/{agent_type}/history",
    tag = "scaling",
    operation_id = "getScalingHistory",
    params(("agent_type" = String, Path, description = "The type of agents; a slash in it is written %2F.")),
    responses((status = 200, description = "What is remembered.", body = ScalingHistoryAnswer)),
)]
pub(super) async fn history(State(app): State<Arc<App>>, call: Call, AgentType(name): AgentType) -> Answered {
    problem::ok(&ScalingHistoryAnswer::from(scaling::history(&app, &call, &name).await?))
}

/// Replace what is remembered by the arrivals of another cluster or queue. They end now, and forecasts rest on them from
/// the next look at the load on.
#[utoipa::path(
    put,
    path = "/api/v1/scaling/{agent_type}/history",
    tag = "scaling",
    operation_id = "putScalingHistory",
    params(("agent_type" = String, Path, description = "The type of agents; a slash in it is written %2F.")),
    request_body = ScalingHistoryBody,
    responses((status = 204, description = "It is taken.")),
)]
pub(super) async fn put_history(
    State(app): State<Arc<App>>,
    call: Call,
    AgentType(name): AgentType,
    body: Taken,
) -> Answered {
    let request = json::parse::<ScalingHistoryBody>(&body.bytes)?.into_message(name.into());
    scaling::put_history(&app, &call, request).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
