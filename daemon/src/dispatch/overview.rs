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
    let asks = cluster.members().into_keys().map(|node| async move {
        match tokio::time::timeout(PATIENCE, cluster.call(node, Request::Workers)).await {
            Ok(Ok(Response::Workers(workers))) => workers.into_iter().map(|worker| (node, worker)).collect(),
            _ => Vec::new(),
        }
    });
    let mut latest: BTreeMap<(Name, Option<Name>), (NodeId, WorkerSeen)> = BTreeMap::new();
    for (node, worker) in join_all(asks).await.into_iter().flatten() {
        let newer = |known: &(NodeId, WorkerSeen)| known.1.last_heartbeat < worker.last_heartbeat;
        // Workers of different projects may have one name.
        let key = (worker.worker.clone(), worker.project.clone());
        if latest.get(&key).is_none_or(newer) {
            latest.insert(key, (node, worker));
        }
    }
    latest.into_values().collect()
}
