//! `/api/v1/jobs…`: take in, look at, cancel, put back.

use std::sync::Arc;

use axum::extract::State;
use bravo_api::convert::reads;
use bravo_api::json::{self, EnqueueAnswer, EnqueueBody, JobAnswer, JobListAnswer, JobStateAnswer, WhyAnswer};
use bravo_api::json::{ListJobsQuery, ReadQuery};
use http::StatusCode;

use super::extract::{Asked, Job};
use crate::gateway::app::App;
use crate::gateway::body::Taken;
use crate::gateway::call::{Call, hash};
use crate::gateway::problem::{self, Answered};
use crate::gateway::service;

/// Take in one job or up to 1,000.
#[utoipa::path(
    post,
    path = "/api/v1/jobs",
    tag = "jobs",
    operation_id = "enqueue",
    params(("Idempotency-Key" = Option<String>, Header)),
    request_body = EnqueueBody,
    responses((status = 201, description = "Taken in, durably.", body = EnqueueAnswer)),
)]
pub(super) async fn enqueue(State(app): State<Arc<App>>, call: Call, body: Taken) -> Answered {
    let mut asked = json::parse::<EnqueueBody>(&body.bytes)?;
    if let Some(own) = &call.caller.project {
        asked.fill_project(own.as_str());
    }
    let jobs = asked.into_model()?;
    let digest = || hash(&[&body.bytes]);
    let response = service::enqueue::enqueue(&app, &call, jobs, digest).await?;
    problem::json(StatusCode::CREATED, &EnqueueAnswer::from(response))
}

/// Read a job.
#[utoipa::path(
    get,
    path = "/api/v1/jobs/{id}",
    tag = "jobs",
    operation_id = "getJob",
    params(("id" = String, Path, description = "The job."), ReadQuery),
    responses((status = 200, description = "The job.", body = JobAnswer)),
)]
pub(super) async fn read(State(app): State<Arc<App>>, call: Call, Job(id): Job, query: Asked<ReadQuery>) -> Answered {
    let job = service::jobs::read(&app, &call, id, query.freshness()?).await?;
    problem::ok(&JobAnswer::from(job))
}

/// Say why a job waits.
#[utoipa::path(
    get,
    path = "/api/v1/jobs/{id}/why",
    tag = "jobs",
    operation_id = "why",
    params(("id" = String, Path, description = "The job.")),
    responses((status = 200, description = "Exactly one reason.", body = WhyAnswer)),
)]
pub(super) async fn why(State(app): State<Arc<App>>, call: Call, Job(id): Job) -> Answered {
    problem::ok(&WhyAnswer::from(service::jobs::why(&app, &call, id).await?))
}

/// Cancel a waiting job, ask the worker of a leased one.
#[utoipa::path(
    post,
    path = "/api/v1/jobs/{id}/cancel",
    tag = "jobs",
    operation_id = "cancelJob",
    params(("id" = String, Path, description = "The job."), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, description = "Where it stands.", body = JobStateAnswer)),
)]
pub(super) async fn cancel(State(app): State<Arc<App>>, call: Call, Job(id): Job) -> Answered {
    problem::ok(&JobStateAnswer::from(service::jobs::cancel(&app, &call, id).await?))
}

/// Put a dead or cancelled job back, with as many attempts again.
#[utoipa::path(
    post,
    path = "/api/v1/jobs/{id}/retry",
    tag = "jobs",
    operation_id = "retryJob",
    params(("id" = String, Path, description = "The job."), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, description = "Where it stands.", body = JobStateAnswer)),
)]
pub(super) async fn retry(State(app): State<Arc<App>>, call: Call, Job(id): Job) -> Answered {
    problem::ok(&JobStateAnswer::from(service::jobs::retry(&app, &call, id).await?))
}

/// List jobs, oldest first.
#[utoipa::path(
    get,
    path = "/api/v1/jobs",
    tag = "jobs",
    operation_id = "listJobs",
    params(ListJobsQuery),
    responses((status = 200, description = "A page, without payloads.", body = JobListAnswer)),
)]
pub(super) async fn list(State(app): State<Arc<App>>, call: Call, Asked(query): Asked<ListJobsQuery>) -> Answered {
    let (filter, page) = reads::list_jobs(query.into_message()?)?;
    problem::ok(&JobListAnswer::from(service::list::jobs(&app, &call, filter, &page).await?))
}
