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

pub(super) async fn put(State(app): State<Arc<App>>, call: Call, Schedule(name): Schedule, body: Taken) -> Answered {
    let request = json::parse::<ScheduleBody>(&body.bytes)?.into_message(name.into())?;
    let put = schedules::put(&app, &call, request).await?;
    let status = if put.created { StatusCode::CREATED } else { StatusCode::OK };
    problem::json(status, &ScheduleAnswer::from(put.schedule.unwrap_or_default()))
}

pub(super) async fn read(
    State(app): State<Arc<App>>,
    call: Call,
    Schedule(name): Schedule,
    query: Asked<ReadQuery>,
) -> Answered {
    problem::ok(&ScheduleAnswer::from(schedules::read(&app, &call, &name, query.freshness()?).await?))
}

pub(super) async fn list(State(app): State<Arc<App>>, call: Call, query: Asked<ReadQuery>) -> Answered {
    problem::ok(&ScheduleListAnswer::from(schedules::list(&app, &call, query.freshness()?).await?))
}

pub(super) async fn pause(State(app): State<Arc<App>>, call: Call, Schedule(name): Schedule) -> Answered {
    problem::ok(&ScheduleAnswer::from(schedules::pause(&app, &call, &name, true).await?))
}

pub(super) async fn resume(State(app): State<Arc<App>>, call: Call, Schedule(name): Schedule) -> Answered {
    problem::ok(&ScheduleAnswer::from(schedules::pause(&app, &call, &name, false).await?))
}

pub(super) async fn delete(State(app): State<Arc<App>>, call: Call, Schedule(name): Schedule) -> Answered {
    schedules::delete(&app, &call, &name).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
