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

pub(super) async fn read(State(app): State<Arc<App>>, call: Call, Job(id): Job, query: Asked<ReadQuery>) -> Answered {
    let job = service::jobs::read(&app, &call, id, query.freshness()?).await?;
    problem::ok(&JobAnswer::from(job))
}

pub(super) async fn why(State(app): State<Arc<App>>, call: Call, Job(id): Job) -> Answered {
    problem::ok(&WhyAnswer::from(service::jobs::why(&app, &call, id).await?))
}

pub(super) async fn cancel(State(app): State<Arc<App>>, call: Call, Job(id): Job) -> Answered {
    problem::ok(&JobStateAnswer::from(service::jobs::cancel(&app, &call, id).await?))
}

pub(super) async fn retry(State(app): State<Arc<App>>, call: Call, Job(id): Job) -> Answered {
    problem::ok(&JobStateAnswer::from(service::jobs::retry(&app, &call, id).await?))
}

pub(super) async fn list(State(app): State<Arc<App>>, call: Call, Asked(query): Asked<ListJobsQuery>) -> Answered {
    let (filter, page) = reads::list_jobs(query.into_message()?)?;
    problem::ok(&JobListAnswer::from(service::list::jobs(&app, &call, filter, &page).await?))
}
