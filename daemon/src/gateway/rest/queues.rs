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

pub(super) async fn put(State(app): State<Arc<App>>, call: Call, Queue(name): Queue, body: Taken) -> Answered {
    let config = json::parse::<QueueConfigBody>(&body.bytes)?.into_model()?;
    let digest = || hash(&[&body.bytes]);
    problem::ok(&QueueAnswer::from(queues::put(&app, &call, name, config, digest).await?))
}

pub(super) async fn read(
    State(app): State<Arc<App>>,
    call: Call,
    Queue(name): Queue,
    query: Asked<ReadQuery>,
) -> Answered {
    problem::ok(&QueueAnswer::from(queues::read(&app, &call, &name, query.freshness()?).await?))
}

pub(super) async fn list(State(app): State<Arc<App>>, call: Call, Asked(query): Asked<ListQueuesQuery>) -> Answered {
    let page = reads::list_queues(query.into_message()?)?;
    problem::ok(&QueueListAnswer::from(queues::list(&app, &call, &page).await?))
}

pub(super) async fn pause(app: State<Arc<App>>, call: Call, queue: Queue) -> Answered {
    switch(app, call, queue, Switch::Pause).await
}

pub(super) async fn resume(app: State<Arc<App>>, call: Call, queue: Queue) -> Answered {
    switch(app, call, queue, Switch::Resume).await
}

pub(super) async fn drain(app: State<Arc<App>>, call: Call, queue: Queue) -> Answered {
    switch(app, call, queue, Switch::Drain).await
}

async fn switch(State(app): State<Arc<App>>, call: Call, Queue(name): Queue, switch: Switch) -> Answered {
    problem::ok(&QueueSwitchesAnswer::from(queues::switch(&app, &call, name, switch).await?))
}

pub(super) async fn purge(State(app): State<Arc<App>>, call: Call, Queue(name): Queue) -> Answered {
    let purged = queues::sweep(&app, &call, &name, Command::Purge).await?;
    problem::ok(&PurgeAnswer { purged })
}

pub(super) async fn redrive(State(app): State<Arc<App>>, call: Call, Queue(name): Queue) -> Answered {
    let redriven = queues::sweep(&app, &call, &name, Command::Redrive).await?;
    problem::ok(&RedriveAnswer { redriven })
}

pub(super) async fn delete(State(app): State<Arc<App>>, call: Call, Queue(name): Queue) -> Answered {
    queues::delete(&app, &call, &name).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
