//! Workers seen lately, over all nodes.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::dispatch::overview;
use crate::gateway::app::App;
use crate::raft::types::NodeId;
use crate::transport::wire::WorkerSeen;

/// The workers of all nodes that answer, each with the node that heard of it last.
pub(crate) async fn list(app: &Arc<App>) -> Vec<(NodeId, WorkerSeen)> {
    overview::workers(&app.cluster).await
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
