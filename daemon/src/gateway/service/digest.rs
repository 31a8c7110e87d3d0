//! Digests of the replicas' states, each group at one place in its log.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bravo_api::proto;
use bravo_model::Refusal;
use futures_util::future::{join_all, try_join_all};

use crate::gateway::app::App;
use crate::gateway::call::Call;
use crate::raft::types::{GroupId, META_GROUP};
use crate::transport::wire::{Request, Response};

/// Longest wait for one replica.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks all replicas that can be reached; at `at`, where that is still to be had, else at a marker
/// that is put into each group's log now.
pub(crate) async fn compare(app: &Arc<App>, call: &Call, at: Option<u64>) -> Result<proto::DigestResponse, Refusal> {
    let groups = 0..=GroupId::from(app.cluster.partitions());
    let mut digests = try_join_all(groups.map(|group| one(app, call, group, at))).await?.into_iter();
    let meta = digests.next();
    Ok(proto::DigestResponse { partitions: digests.collect(), meta })
}

async fn one(app: &Arc<App>, call: &Call, group: GroupId, at: Option<u64>) -> Result<proto::PartitionDigest, Refusal> {
    let index = match at {
        Some(index) => index,
        None => app.cluster.mark(group, call.deadline).await?,
    };
    let margin = Duration::from_millis(100);
    let until = (Instant::now() + PATIENCE).min(call.deadline.checked_sub(margin).unwrap_or(call.deadline));
    let asks = app.cluster.members().into_keys().map(|node| async move {
        let ask = app.cluster.call(node, Request::Digest(group, index));
        match tokio::time::timeout_at(until.into(), ask).await {
            Ok(Ok(Response::Digest(digest))) => {
                let digest = blake3::Hash::from_bytes(digest).to_hex().to_string();
                Some(proto::ReplicaDigest { node, digest })
            }
            _ => None,
        }
    });
    let replicas = join_all(asks).await.into_iter().flatten().collect();
    let partition = if group == META_GROUP { 0 } else { group - 1 };
    Ok(proto::PartitionDigest { partition, index, replicas })
}
