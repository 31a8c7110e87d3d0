//! `/api/v1/cluster…` and `/api/v1/workers`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::IntoResponse;
use bravo_api::Timestamp;
use bravo_api::json::{
    self, AddMemberBody, ClusterAnswer, DigestAnswer, DigestQuery, Group, NodeAnswer, TransferAnswer, TransferBody,
};
use bravo_model::{Code, Refusal};
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::extract::Asked;
use crate::gateway::app::App;
use crate::gateway::body::Taken;
use crate::gateway::call::Call;
use crate::gateway::problem::{self, Answered};
use crate::gateway::service::{cluster, digest, workers};

/// The cluster as this node knows it.
#[utoipa::path(
    get,
    path = "/api/v1/cluster",
    tag = "cluster",
    operation_id = "getCluster",
    responses((status = 200, description = "Nodes and partitions.", body = ClusterAnswer)),
)]
pub(super) async fn overview(State(app): State<Arc<App>>) -> Answered {
    problem::ok(&ClusterAnswer::from(cluster::overview(&app).await))
}

/// Digests of all reachable replicas, each group at one applied index.
#[utoipa::path(
    get,
    path = "/api/v1/cluster/digest",
    tag = "cluster",
    operation_id = "compareDigests",
    params(DigestQuery),
    responses((status = 200, description = "Equal digests: equal states.", body = DigestAnswer)),
)]
pub(super) async fn digests(State(app): State<Arc<App>>, call: Call, Asked(query): Asked<DigestQuery>) -> Answered {
    problem::ok(&DigestAnswer::from(digest::compare(&app, &call, query.at).await?))
}

/// Move a group's leadership to a node.
#[utoipa::path(
    post,
    path = "/api/v1/cluster/transfer",
    tag = "cluster",
    operation_id = "transferLeadership",
    request_body = TransferBody,
    responses((status = 200, description = "It leads.", body = TransferAnswer)),
)]
pub(super) async fn transfer(State(app): State<Arc<App>>, call: Call, body: Taken) -> Answered {
    let TransferBody { partition, to } = json::parse(&body.bytes)?;
    let number = match partition {
        Group::Meta => None,
        Group::Partition(number) => Some(number),
    };
    cluster::transfer(&app, &call, number, to).await?;
    problem::ok(&TransferAnswer { partition, leader: to })
}

/// Add a node to every group; answers when it has caught up.
#[utoipa::path(
    post,
    path = "/api/v1/cluster/members",
    tag = "cluster",
    operation_id = "addMember",
    request_body = AddMemberBody,
    responses((status = 201, description = "It is a member.", body = NodeAnswer)),
)]
pub(super) async fn add_member(State(app): State<Arc<App>>, call: Call, body: Taken) -> Answered {
    let body: AddMemberBody = json::parse(&body.bytes)?;
    problem::json(StatusCode::CREATED, &NodeAnswer::from(cluster::add_member(&app, &call, body.into()).await?))
}

/// Remove a node from every group.
#[utoipa::path(
    delete,
    path = "/api/v1/cluster/members/{id}",
    tag = "cluster",
    operation_id = "removeMember",
    params(("id" = String, Path, description = "The node.")),
    responses((status = 204, description = "It is removed.")),
)]
pub(super) async fn remove_member(State(app): State<Arc<App>>, call: Call, Path(id): Path<String>) -> Answered {
    let unknown = || Refusal::new(Code::NotFound, format!("there is no node {id:?}"));
    cluster::remove_member(&app, &call, id.parse().map_err(|_| unknown())?).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

#[derive(Serialize, ToSchema)]
struct WorkersAnswer {
    /// Agents that were heard of in the last minute.
    workers: Vec<WorkerAnswer>,
}

/// A live agent.
#[derive(Serialize, ToSchema)]
struct WorkerAnswer {
    /// Who it is.
    worker_id: String,
    /// What it is.
    agent_type: String,
    /// The queues that it serves.
    queues: Vec<String>,
    /// Jobs that it can work on at a time.
    capacity: u32,
    /// Jobs that it works on.
    in_flight: u32,
    /// The node that heard of it last.
    node: u64,
    /// When it was heard of last.
    last_heartbeat: Timestamp,
    /// `closed`, `open` or `half_open`.
    breaker: String,
    /// Until when it is given nothing, since it failed too often lately.
    set_aside_until: Option<Timestamp>,
    /// What it has, for the requirements of jobs.
    labels: BTreeMap<String, String>,
    /// Its share against others of the same capacity.
    weight: u32,
    /// The project whose jobs alone it gets.
    project_id: Option<String>,
}

/// Agents that were heard of in the last minute.
#[utoipa::path(
    get,
    path = "/api/v1/workers",
    tag = "cluster",
    operation_id = "listWorkers",
    responses((status = 200, description = "All that the nodes know.", body = WorkersAnswer)),
)]
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
