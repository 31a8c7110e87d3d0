//! After a write to meta: waits until all nodes know of it, so that the next call obeys it wherever it goes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use crate::gateway::app::App;
use crate::raft::types::{META_GROUP, NodeId};
use crate::transport::wire::{Answer, Query, Request, Response};

/// Longest wait.
const SPREAD: Duration = Duration::from_millis(300);
/// Pause before a node is asked again.
const PAUSE: Duration = Duration::from_millis(2);

/// Asks each node's own replica of meta until its answer shows the write.
pub(crate) async fn spread(app: &Arc<App>, query: Query, shows: impl Fn(&Answer) -> bool) {
    let until = Instant::now() + SPREAD;
    let nodes = app.cluster.members().into_keys().map(|node| {
        let (query, shows) = (query.clone(), &shows);
        async move {
            while !knows(app, node, query.clone(), shows).await && Instant::now() < until {
                tokio::time::sleep(PAUSE).await;
            }
        }
    });
    let _ = tokio::time::timeout_at(until.into(), join_all(nodes)).await;
}

async fn knows(app: &Arc<App>, node: NodeId, query: Query, shows: impl Fn(&Answer) -> bool) -> bool {
    match app.cluster.call(node, Request::Query(META_GROUP, query, false)).await {
        Ok(Response::Answer(answer)) => shows(&answer),
        Ok(_) => false,
        // A node that is not there takes no calls either.
        Err(_) => true,
    }
}
