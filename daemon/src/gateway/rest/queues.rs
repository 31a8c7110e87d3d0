//! `/api/v1/queues…`: configure, look at, switch, sweep.

use std::sync::Arc;

use axum::extract::State;
use axum::response::IntoResponse;
use bravo_api::convert::reads;
use bravo_api::json::{self, ListQueuesQuery, PurgeAnswer, QueueAnswer, QueueConfigBody, QueueListAnswer};
use bravo_api::json::{QueueSwitchesAnswer, ReadQuery, RedriveAnswer};
use bravo_model::Command;
use http::StatusCode;

use super::extract::{Asked, Queue};
use crate::gateway::app::App;
use crate::gateway::body::Taken;
use crate::gateway::call::{Call, hash};
use crate::gateway::problem::{self, Answered};
use crate::gateway::service::queues::{self, Switch};

/// Create a queue or replace its whole configuration.
#[utoipa::path(
    put,
    path = "/api/v1/queues/{queue}",
    tag = "queues",
    operation_id = "putQueue",
    params(("queue" = String, Path, description = "The queue; a slash in its name is written %2F."), ("Idempotency-Key" = Option<String>, Header)),
    request_body = QueueConfigBody,
    responses((status = 200, description = "The queue as it is now.", body = QueueAnswer)),
)]
pub(super) async fn put(State(app): State<Arc<App>>, call: Call, Queue(name): Queue, body: Taken) -> Answered {
    let config = json::parse::<QueueConfigBody>(&body.bytes)?.into_model()?;
    let digest = || hash(&[&body.bytes]);
    problem::ok(&QueueAnswer::from(queues::put(&app, &call, name, config, digest).await?))
}

/// Read a queue.
#[utoipa::path(
    get,
    path = "/api/v1/queues/{queue}",
    tag = "queues",
    operation_id = "getQueue",
    params(("queue" = String, Path, description = "The queue; a slash in its name is written %2F."), ReadQuery),
    responses((status = 200, description = "The queue.", body = QueueAnswer)),
)]
pub(super) async fn read(
    State(app): State<Arc<App>>,
    call: Call,
    Queue(name): Queue,
    query: Asked<ReadQuery>,
) -> Answered {
    problem::ok(&QueueAnswer::from(queues::read(&app, &call, &name, query.freshness()?).await?))
}

/// List queues, by name.
#[utoipa::path(
    get,
    path = "/api/v1/queues",
    tag = "queues",
    operation_id = "listQueues",
    params(ListQueuesQuery),
    responses((status = 200, description = "A page.", body = QueueListAnswer)),
)]
pub(super) async fn list(State(app): State<Arc<App>>, call: Call, Asked(query): Asked<ListQueuesQuery>) -> Answered {
    let page = reads::list_queues(query.into_message()?)?;
    problem::ok(&QueueListAnswer::from(queues::list(&app, &call, &page).await?))
}

/// Stop delivery.
#[utoipa::path(
    post,
    path = "/api/v1/queues/{queue}/pause",
    tag = "queues",
    operation_id = "pauseQueue",
    params(("queue" = String, Path, description = "The queue; a slash in its name is written %2F."), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, description = "The switches.", body = QueueSwitchesAnswer)),
)]
pub(super) async fn pause(app: State<Arc<App>>, call: Call, queue: Queue) -> Answered {
    switch(app, call, queue, Switch::Pause).await
}

/// End a pause and a drain.
#[utoipa::path(
    post,
    path = "/api/v1/queues/{queue}/resume",
    tag = "queues",
    operation_id = "resumeQueue",
    params(("queue" = String, Path, description = "The queue; a slash in its name is written %2F."), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, description = "The switches.", body = QueueSwitchesAnswer)),
)]
pub(super) async fn resume(app: State<Arc<App>>, call: Call, queue: Queue) -> Answered {
    switch(app, call, queue, Switch::Resume).await
}

/// Stop enqueues; what is there is worked off.
#[utoipa::path(
    post,
    path = "/api/v1/queues/{queue}/drain",
    tag = "queues",
    operation_id = "drainQueue",
    params(("queue" = String, Path, description = "The queue; a slash in its name is written %2F."), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, description = "The switches.", body = QueueSwitchesAnswer)),
)]
pub(super) async fn drain(app: State<Arc<App>>, call: Call, queue: Queue) -> Answered {
    switch(app, call, queue, Switch::Drain).await
}

async fn switch(State(app): State<Arc<App>>, call: Call, Queue(name): Queue, switch: Switch) -> Answered {
    problem::ok(&QueueSwitchesAnswer::from(queues::switch(&app, &call, name, switch).await?))
}

/// Remove what waits, leave what is leased.
#[utoipa::path(
    post,
    path = "/api/v1/queues/{queue}/purge",
    tag = "queues",
    operation_id = "purgeQueue",
    params(("queue" = String, Path, description = "The queue; a slash in its name is written %2F."), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, description = "How many.", body = PurgeAnswer)),
)]
pub(super) async fn purge(State(app): State<Arc<App>>, call: Call, Queue(name): Queue) -> Answered {
    let purged = queues::sweep(&app, &call, &name, Command::Purge).await?;
    problem::ok(&PurgeAnswer { purged })
}

/// Put the dead back.
#[utoipa::path(
    post,
    path = "/api/v1/queues/{queue}/redrive",
    tag = "queues",
    operation_id = "redriveQueue",
    params(("queue" = String, Path, description = "The queue; a slash in its name is written %2F."), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, description = "How many.", body = RedriveAnswer)),
)]
pub(super) async fn redrive(State(app): State<Arc<App>>, call: Call, Queue(name): Queue) -> Answered {
    let redriven = queues::sweep(&app, &call, &name, Command::Redrive).await?;
    problem::ok(&RedriveAnswer { redriven })
}

/// Delete a queue that is empty.
#[utoipa::path(
    delete,
    path = "/api/v1/queues/{queue}",
    tag = "queues",
    operation_id = "deleteQueue",
    params(("queue" = String, Path, description = "The queue; a slash in its name is written %2F.")),
    responses((status = 204, description = "It is gone.")),
)]
pub(super) async fn delete(State(app): State<Arc<App>>, call: Call, Queue(name): Queue) -> Answered {
    queues::delete(&app, &call, &name).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
