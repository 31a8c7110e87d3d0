//! Workers seen lately, over all nodes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bravo_model::Name;
use futures_util::future::join_all;

use crate::cluster::Cluster;
use crate::raft::types::NodeId;
use crate::transport::wire::{Request, Response, WorkerSeen};

/// Longest wait for a node's workers.
const PATIENCE: Duration = Duration::from_millis(500);

/// The workers of all nodes that answer, each with the node that heard of it last.
pub(crate) async fn workers(cluster: &Arc<Cluster>) -> Vec<(NodeId, WorkerSeen)> {
    latest(ask(cluster).await.into_iter().filter_map(|(node, workers)| Some((node, workers?))))
}

/// The workers of each member; none of one that does not answer.
pub(crate) async fn ask(cluster: &Arc<Cluster>) -> Vec<(NodeId, Option<Vec<WorkerSeen>>)> {
    let asks = cluster.members().into_keys().map(|node| async move {
        match tokio::time::timeout(PATIENCE, cluster.call(node, Request::Workers)).await {
            Ok(Ok(Response::Workers(workers))) => (node, Some(workers)),
            _ => (node, None),
        }
    });
    join_all(asks).await
}

/// Each worker once, as the node saw it that heard of it last.
pub(crate) fn latest(of: impl IntoIterator<Item = (NodeId, Vec<WorkerSeen>)>) -> Vec<(NodeId, WorkerSeen)> {
    let mut latest: BTreeMap<(Name, Option<Name>), (NodeId, WorkerSeen)> = BTreeMap::new();
    for (node, worker) in of.into_iter().flat_map(|(node, workers)| workers.into_iter().map(move |of| (node, of))) {
        let newer = |known: &(NodeId, WorkerSeen)| known.1.last_heartbeat < worker.last_heartbeat;
        // Workers of different projects may have one name.
        let key = (worker.worker.clone(), worker.project.clone());
        if latest.get(&key).is_none_or(newer) {
            latest.insert(key, (node, worker));
        }
    }
    latest.into_values().collect()
}
