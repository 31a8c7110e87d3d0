//! `/api/v1/schedules…`: put, look at, pause, delete.

use std::sync::Arc;

use axum::extract::State;
use axum::response::IntoResponse;
use bravo_api::json::{self, ReadQuery, ScheduleAnswer, ScheduleBody, ScheduleListAnswer};
use http::StatusCode;

use super::extract::{Asked, Schedule};
use crate::gateway::app::App;
use crate::gateway::body::Taken;
use crate::gateway::call::Call;
use crate::gateway::problem::{self, Answered};
use crate::gateway::service::schedules;

/// Make a schedule, or replace it; it goes on from the next tick after now.
#[utoipa::path(
    put,
    path = "/api/v1/schedules/{name}",
    tag = "schedules",
    operation_id = "putSchedule",
    params(("name" = String, Path, description = "The schedule; a slash in its name is written %2F."), ("Idempotency-Key" = Option<String>, Header)),
    request_body = ScheduleBody,
    responses((status = 200, description = "It was there; as it is now.", body = ScheduleAnswer), (status = 201, description = "It is new.", body = ScheduleAnswer)),
)]
pub(super) async fn put(State(app): State<Arc<App>>, call: Call, Schedule(name): Schedule, body: Taken) -> Answered {
    let request = json::parse::<ScheduleBody>(&body.bytes)?.into_message(name.into())?;
    let put = schedules::put(&app, &call, request).await?;
    let status = if put.created { StatusCode::CREATED } else { StatusCode::OK };
    problem::json(status, &ScheduleAnswer::from(put.schedule.unwrap_or_default()))
}

/// Read a schedule.
#[utoipa::path(
    get,
    path = "/api/v1/schedules/{name}",
    tag = "schedules",
    operation_id = "getSchedule",
    params(("name" = String, Path, description = "The schedule; a slash in its name is written %2F."), ReadQuery),
    responses((status = 200, description = "The schedule.", body = ScheduleAnswer)),
)]
pub(super) async fn read(
    State(app): State<Arc<App>>,
    call: Call,
    Schedule(name): Schedule,
    query: Asked<ReadQuery>,
) -> Answered {
    problem::ok(&ScheduleAnswer::from(schedules::read(&app, &call, &name, query.freshness()?).await?))
}

/// List schedules by name.
#[utoipa::path(
    get,
    path = "/api/v1/schedules",
    tag = "schedules",
    operation_id = "listSchedules",
    params(ReadQuery),
    responses((status = 200, description = "All of them.", body = ScheduleListAnswer)),
)]
pub(super) async fn list(State(app): State<Arc<App>>, call: Call, query: Asked<ReadQuery>) -> Answered {
    problem::ok(&ScheduleListAnswer::from(schedules::list(&app, &call, query.freshness()?).await?))
}

/// Let ticks start nothing until a resume.
#[utoipa::path(
    post,
    path = "/api/v1/schedules/{name}/pause",
    tag = "schedules",
    operation_id = "pauseSchedule",
    params(("name" = String, Path, description = "The schedule; a slash in its name is written %2F."), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, description = "As it is now.", body = ScheduleAnswer)),
)]
pub(super) async fn pause(State(app): State<Arc<App>>, call: Call, Schedule(name): Schedule) -> Answered {
    problem::ok(&ScheduleAnswer::from(schedules::pause(&app, &call, &name, true).await?))
}

/// End a pause.
#[utoipa::path(
    post,
    path = "/api/v1/schedules/{name}/resume",
    tag = "schedules",
    operation_id = "resumeSchedule",
    params(("name" = String, Path, description = "The schedule; a slash in its name is written %2F."), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, description = "As it is now.", body = ScheduleAnswer)),
)]
pub(super) async fn resume(State(app): State<Arc<App>>, call: Call, Schedule(name): Schedule) -> Answered {
    problem::ok(&ScheduleAnswer::from(schedules::pause(&app, &call, &name, false).await?))
}

/// Delete a schedule; what it started goes on.
#[utoipa::path(
    delete,
    path = "/api/v1/schedules/{name}",
    tag = "schedules",
    operation_id = "deleteSchedule",
    params(("name" = String, Path, description = "The schedule; a slash in its name is written %2F."), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 204, description = "It is gone.")),
)]
pub(super) async fn delete(State(app): State<Arc<App>>, call: Call, Schedule(name): Schedule) -> Answered {
    schedules::delete(&app, &call, &name).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
