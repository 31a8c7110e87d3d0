//! What this node does for its peers.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use bravo_model::{Code, Refusal, Time};
use bravo_storage::snapshot::SnapshotReceiver;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};
use openraft::raft::StreamAppendError;
use quinn::RecvStream;
use tokio_stream::wrappers::ReceiverStream;

use crate::cluster::Cluster;
use crate::raft::group::Group;
use crate::raft::machine::snapshot_name;
use crate::raft::types::alias::{AppendRequest, Snapshot, StreamAppendResult};
use crate::raft::types::{GroupId, NodeId};
use crate::transport::server::Service;
use crate::transport::wire::{self, Control, ControlAnswer, Request, Response, SnapshotHead};

/// Longest head of a snapshot stream.
const HEAD_BYTES_MAX: usize = 1 << 20;

/// While the node starts: how often a connection looks for the members to go by.
const START_LOOK: Duration = Duration::from_secs(1);

/// Peers are served from the moment the socket is bound; the groups follow when they have recovered.
#[derive(Default)]
pub struct PeerService {
    cluster: OnceLock<Arc<Cluster>>,
    snapshots: OnceLock<std::path::PathBuf>,
}

impl PeerService {
    /// Opens the door: the groups run.
    pub fn ready(&self, cluster: Arc<Cluster>, snapshots: std::path::PathBuf) {
        let _ = self.snapshots.set(snapshots);
        let _ = self.cluster.set(cluster);
    }

    fn group(&self, group: GroupId) -> Option<Group> {
        self.cluster.get()?.group(group).cloned()
    }

    async fn receive(&self, id: GroupId, mut stream: RecvStream) -> anyhow::Result<Bytes> {
        let group = self.group(id).context("the group does not run here")?;
        let mut len = [0; 4];
        stream.read_exact(&mut len).await?;
        let len = u32::from_le_bytes(len) as usize;
        anyhow::ensure!(len <= HEAD_BYTES_MAX, "a snapshot head of {len} bytes");
        let mut head = vec![0; len];
        stream.read_exact(&mut head).await?;
        let head: SnapshotHead = wire::unpack(&head)?;
        let folder = self.snapshots.get().context("the node is starting")?;
        let mut receiver = SnapshotReceiver::new(folder, id, snapshot_name(&head.meta))?;
        while let Some(chunk) = stream.read_chunk(1 << 20, true).await? {
            tokio::task::block_in_place(|| receiver.write_chunk(&chunk.bytes))?;
        }
        let file = tokio::task::block_in_place(|| receiver.finish())?;
        let snapshot = Snapshot { meta: head.meta, snapshot: file };
        group.shared.hear();
        let answer = group.raft.install_full_snapshot(head.vote, snapshot).await?;
        group.shared.hear();
        Ok(wire::pack(&answer.vote)?)
    }
}

impl Service for PeerService {
    fn knows(&self, peer: NodeId) -> bool {
        self.cluster.get().is_none_or(|cluster| cluster.knows(peer))
    }

    fn removed(self: Arc<Self>, peer: NodeId) -> BoxFuture<'static, ()> {
        async move {
            let cluster = loop {
                match self.cluster.get() {
                    Some(cluster) => break cluster,
                    None => tokio::time::sleep(START_LOOK).await,
                }
            };
            cluster.members.removed(peer).await;
        }
        .boxed()
    }

    fn control(self: Arc<Self>, _peer: NodeId, call: Control) -> BoxFuture<'static, ControlAnswer> {
        async move {
            let id = match &call {
                Control::Vote(id, _)
                | Control::PreVote(id, _)
                | Control::Heartbeat(id, ..)
                | Control::Transfer(id, _) => *id,
            };
            let Some(group) = self.group(id) else {
                return ControlAnswer::Unavailable("the group does not run here yet".into());
            };
            let answer = match call {
                Control::Vote(_, request) => group.raft.vote(request).await.map(|response| {
                    if response.vote_granted {
                        group.shared.hear();
                    }
                    ControlAnswer::Vote(response)
                }),
                Control::PreVote(_, request) => group.raft.pre_vote(request).await.map(ControlAnswer::Vote),
                Control::Heartbeat(_, request, now) => heartbeat(&group, request, now).await,
                Control::Transfer(_, request) => group
                    .raft
                    .handle_transfer_leader(request)
                    .await
                    .map(|_| ControlAnswer::Transfer(true))
                    .map_err(Into::into),
            };
            answer.unwrap_or_else(|error| ControlAnswer::Unavailable(error.to_string()))
        }
        .boxed()
    }

    fn request(self: Arc<Self>, peer: NodeId, request: Request) -> BoxFuture<'static, Response> {
        async move {
            match self.cluster.get() {
                Some(_) if !self.knows(peer) && !matches!(request, Request::Hello(_) | Request::Join(..)) => {
                    let detail = format!("node {peer} is not a member");
                    Response::Refused(Refusal::new(Code::PermissionDenied, detail))
                }
                Some(cluster) => cluster.clone().serve(peer, request).await,
                None => Response::NotLeader(None),
            }
        }
        .boxed()
    }

    fn leader_time(&self, group: GroupId, now: Time) {
        if let Some(group) = self.group(group)
            && !group.shared.is_leader()
        {
            group.shared.hear();
            group.shared.clock.follow(now);
        }
    }

    fn appends(
        &self,
        group: GroupId,
        requests: ReceiverStream<AppendRequest>,
    ) -> Option<BoxStream<'static, Result<StreamAppendResult, String>>> {
        let group = self.group(group)?;
        let answers = group.raft.stream_append(requests);
        Some(answers.map(|answer| answer.map_err(|fatal| fatal.to_string())).boxed())
    }

    fn snapshot(self: Arc<Self>, group: GroupId, stream: RecvStream) -> BoxFuture<'static, anyhow::Result<Bytes>> {
        async move { self.receive(group, stream).await }.boxed()
    }
}

type RaftFailure = openraft::errors::RaftError<crate::raft::types::TypeConfig>;

async fn heartbeat(group: &Group, request: AppendRequest, now: Time) -> Result<ControlAnswer, RaftFailure> {
    let prev = request.prev_log_id;
    let last = request.entries.last().map(|entry| entry.log_id).or(prev);
    let response = group.raft.append_entries(request).await?;
    let result = response.into_stream_result(prev, last);
    if !matches!(result, Err(StreamAppendError::HigherVote(_))) && !group.shared.is_leader() {
        group.shared.hear();
        group.shared.clock.follow(now);
    }
    Ok(ControlAnswer::Append(result))
}
