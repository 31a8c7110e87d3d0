//! Workers seen lately, over all nodes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bravo_model::Name;
use futures_util::future::join_all;

use crate::gateway::app::App;
use crate::raft::types::NodeId;
use crate::transport::wire::{Request, Response, WorkerSeen};

/// Longest wait for a node's workers.
const PATIENCE: Duration = Duration::from_millis(500);

/// The workers of all nodes that answer, each with the node that heard of it last.
pub(crate) async fn list(app: &Arc<App>) -> Vec<(NodeId, WorkerSeen)> {
    let asks = app.cluster.members().into_keys().map(|node| async move {
        match tokio::time::timeout(PATIENCE, app.cluster.call(node, Request::Workers)).await {
            Ok(Ok(Response::Workers(workers))) => workers.into_iter().map(|worker| (node, worker)).collect(),
            _ => Vec::new(),
        }
    });
    let mut latest: BTreeMap<Name, (NodeId, WorkerSeen)> = BTreeMap::new();
    for (node, worker) in join_all(asks).await.into_iter().flatten() {
        let newer = |known: &(NodeId, WorkerSeen)| known.1.last_heartbeat < worker.last_heartbeat;
        if latest.get(&worker.worker).is_none_or(newer) {
            latest.insert(worker.worker.clone(), (node, worker));
        }
    }
    latest.into_values().collect()
}

/// Whether any worker that serves the queue may have jobs of the project that require this; none: nobody serves it.
pub(crate) async fn anyone_fits(
    app: &Arc<App>,
    queue: &str,
    project: &str,
    requirements: &BTreeMap<String, String>,
) -> Option<bool> {
    let all = list(app).await;
    let mut serve =
        all.iter().filter(|(_, worker)| worker.queues.iter().any(|served| served.as_str() == queue)).peekable();
    serve.peek()?;
    let fits = |worker: &WorkerSeen| {
        worker.project.as_ref().is_none_or(|own| own.as_str() == project)
            && requirements.iter().all(|(label, value)| worker.labels.get(label) == Some(value))
    };
    Some(serve.any(|(_, worker)| fits(worker)))
}
