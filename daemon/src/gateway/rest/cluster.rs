//! `/api/v1/cluster…` and `/api/v1/workers`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::IntoResponse;
use bravo_api::Timestamp;
use bravo_api::json::{self, AddMemberBody, ClusterAnswer, DigestAnswer, DigestQuery, Group, NodeAnswer, TransferBody};
use bravo_model::{Code, Refusal};
use http::StatusCode;
use serde::Serialize;
use serde_json::json;

use super::extract::Asked;
use crate::gateway::app::App;
use crate::gateway::body::Taken;
use crate::gateway::call::Call;
use crate::gateway::problem::{self, Answered};
use crate::gateway::service::{cluster, digest, workers};

pub(super) async fn overview(State(app): State<Arc<App>>) -> Answered {
    problem::ok(&ClusterAnswer::from(cluster::overview(&app).await))
}

pub(super) async fn digests(State(app): State<Arc<App>>, call: Call, Asked(query): Asked<DigestQuery>) -> Answered {
    problem::ok(&DigestAnswer::from(digest::compare(&app, &call, query.at).await?))
}

pub(super) async fn transfer(State(app): State<Arc<App>>, call: Call, body: Taken) -> Answered {
    let TransferBody { partition, to } = json::parse(&body.bytes)?;
    let number = match partition {
        Group::Meta => None,
        Group::Partition(number) => Some(number),
    };
    cluster::transfer(&app, &call, number, to).await?;
    problem::ok(&json!({ "partition": partition, "leader": to }))
}

pub(super) async fn add_member(State(app): State<Arc<App>>, body: Taken) -> Answered {
    let body: AddMemberBody = json::parse(&body.bytes)?;
    problem::json(StatusCode::CREATED, &NodeAnswer::from(cluster::add_member(&app, body.into()).await?))
}

pub(super) async fn remove_member(State(app): State<Arc<App>>, Path(id): Path<String>) -> Answered {
    let unknown = || Refusal::new(Code::NotFound, format!("there is no node {id:?}"));
    cluster::remove_member(&app, id.parse().map_err(|_| unknown())?).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

#[derive(Serialize)]
struct WorkersAnswer {
    workers: Vec<WorkerAnswer>,
}

/// A live agent.
#[derive(Serialize)]
struct WorkerAnswer {
    worker_id: String,
    agent_type: String,
    queues: Vec<String>,
    capacity: u32,
    in_flight: u32,
    node: u64,
    last_heartbeat: Timestamp,
    breaker: String,
    set_aside_until: Option<Timestamp>,
    labels: BTreeMap<String, String>,
    weight: u32,
    project_id: Option<String>,
}

pub(super) async fn workers(State(app): State<Arc<App>>) -> Answered {
    let definitions = app.definitions.get(&app.cluster);
    let worker = |(node, seen): (u64, crate::transport::wire::WorkerSeen)| {
        // A worker that does not say what it is, is what its first queue is worked by.
        let of_queue = || {
            let queue = seen.queues.first()?;
            let named = definitions.get(queue).and_then(|definition| definition.config.agent_type.as_ref());
            Some(named.unwrap_or(queue).to_string())
        };
        WorkerAnswer {
            agent_type: seen.agent_type.as_ref().map(ToString::to_string).or_else(of_queue).unwrap_or_default(),
            worker_id: seen.worker.into(),
            queues: seen.queues.into_iter().map(String::from).collect(),
            capacity: seen.capacity,
            in_flight: seen.in_flight,
            node,
            last_heartbeat: Timestamp(seen.last_heartbeat),
            breaker: seen.breaker,
            set_aside_until: seen.set_aside_until.map(Timestamp),
            labels: seen.labels,
            weight: seen.weight,
            project_id: seen.project.map(String::from),
        }
    };
    problem::ok(&WorkersAnswer { workers: workers::list(&app).await.into_iter().map(worker).collect() })
}
