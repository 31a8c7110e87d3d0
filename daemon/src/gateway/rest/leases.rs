//! Leases over REST: long polls, and what ends or prolongs a lease.

use std::sync::Arc;

use axum::extract::State;
use bravo_api::json::{self, AckBody, ExtendBody, ItemsAnswer, LeaseBody, LeasedAnswer, NackBody};
use bravo_api::proto;
use bravo_model::Command;

use super::extract::Queue;
use crate::gateway::app::App;
use crate::gateway::body::Taken;
use crate::gateway::call::{Call, hash};
use crate::gateway::front::InFlight;
use crate::gateway::problem::{self, Answered};
use crate::gateway::service;

/// Lease ready jobs; wait up to wait_ms for the first. X-Timeout-Ms below wait_ms ends the wait early.
#[utoipa::path(
    post,
    path = "/api/v1/queues/{queue}/lease",
    tag = "leases",
    operation_id = "lease",
    params(("queue" = String, Path, description = "The queue; a slash in its name is written %2F.")),
    request_body = LeaseBody,
    responses((status = 200, description = "What the worker now holds; empty if nothing came in time.", body = LeasedAnswer)),
)]
pub(super) async fn lease(
    State(app): State<Arc<App>>,
    call: Call,
    in_flight: InFlight,
    Queue(queue): Queue,
    body: Taken,
) -> Answered {
    let wanted = json::parse::<LeaseBody>(&body.bytes)?.into_model(queue.into())?;
    drop(body);
    in_flight.leave();
    let jobs = service::lease::lease(&app, &call, wanted).await?;
    problem::ok(&LeasedAnswer::from(proto::LeaseResponse { jobs }))
}

/// End leases with success; each item stands for itself.
#[utoipa::path(
    post,
    path = "/api/v1/jobs/ack",
    tag = "leases",
    operation_id = "ack",
    params(("Idempotency-Key" = Option<String>, Header)),
    request_body = AckBody,
    responses((status = 200, description = "One result per item, in order.", body = ItemsAnswer)),
)]
pub(super) async fn ack(State(app): State<Arc<App>>, call: Call, body: Taken) -> Answered {
    let parsed = json::parse::<AckBody>(&body.bytes)?;
    let ids = parsed.ids();
    let digest = || hash(&[&body.bytes]);
    let results = service::items::each(&app, &call, parsed.into_model()?, Command::Ack, digest).await?;
    problem::ok(&ItemsAnswer::new(ids, results))
}

/// End leases with failure; each item stands for itself.
#[utoipa::path(
    post,
    path = "/api/v1/jobs/nack",
    tag = "leases",
    operation_id = "nack",
    params(("Idempotency-Key" = Option<String>, Header)),
    request_body = NackBody,
    responses((status = 200, description = "One result per item, in order.", body = ItemsAnswer)),
)]
pub(super) async fn nack(State(app): State<Arc<App>>, call: Call, body: Taken) -> Answered {
    let parsed = json::parse::<NackBody>(&body.bytes)?;
    let ids = parsed.ids();
    let digest = || hash(&[&body.bytes]);
    let results = service::items::each(&app, &call, parsed.into_model()?, Command::Nack, digest).await?;
    problem::ok(&ItemsAnswer::new(ids, results))
}

/// Prolong leases; each item stands for itself.
#[utoipa::path(
    post,
    path = "/api/v1/jobs/extend",
    tag = "leases",
    operation_id = "extend",
    params(("Idempotency-Key" = Option<String>, Header)),
    request_body = ExtendBody,
    responses((status = 200, description = "One result per item, in order.", body = ItemsAnswer)),
)]
pub(super) async fn extend(State(app): State<Arc<App>>, call: Call, body: Taken) -> Answered {
    let parsed = json::parse::<ExtendBody>(&body.bytes)?;
    let ids = parsed.ids();
    let digest = || hash(&[&body.bytes]);
    let results = service::items::each(&app, &call, parsed.into_model()?, Command::Extend, digest).await?;
    problem::ok(&ItemsAnswer::extended(ids, results))
}
