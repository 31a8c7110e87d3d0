//! openraft's network over our streams.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{NetworkError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{AppendEntriesResponse, SnapshotResponse, StreamAppendError, TransferLeaderResponse};
use openraft::{AnyError, OptionalSend};
use tokio::io::AsyncReadExt;

use super::group::GroupState;
use super::types::alias::{
    AppendRequest, RpcError, Snapshot, StreamAppendResult, TransferRequest, Vote, VoteRequest, VoteResponse,
};
use super::types::{Member, NodeId, TypeConfig};
use crate::transport::mux::Mux;
use crate::transport::peer::{Peer, read_answer};
use crate::transport::wire::{self, Append, AppendAnswer, Control, ControlAnswer, SnapshotHead};
use crate::transport::{Transport, TransportError};

/// Append requests under way to one follower in one group.
const PIPELINE_MAX: usize = 32;

/// Bytes of a snapshot that are read at a time.
const SNAPSHOT_CHUNK: usize = 256 << 10;

/// Makes one group's clients of its peers.
#[derive(Clone)]
pub struct NetworkFactory {
    transport: Arc<Transport>,
    shared: Arc<GroupState>,
}

impl NetworkFactory {
    /// Clients for the group of `shared`.
    pub fn new(transport: Arc<Transport>, shared: Arc<GroupState>) -> Self {
        Self { transport, shared }
    }

    fn client(&self, target: NodeId, node: &Member, mode: Mode) -> Network {
        Network { peer: self.transport.peer(target, &node.peer), shared: self.shared.clone(), mode, stream: None }
    }
}

impl RaftNetworkFactory<TypeConfig> for NetworkFactory {
    type Network = Network;

    async fn new_client(&mut self, target: NodeId, node: &Member) -> Network {
        self.client(target, node, Mode::Entries)
    }

    async fn new_heartbeat_client(&mut self, target: NodeId, node: &Member) -> Network {
        self.client(target, node, Mode::Heartbeats)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Appends go over the group's own stream, pipelined.
    Entries,
    /// Appends go over the control stream, beside those of other groups.
    Heartbeats,
}

/// One group's client of one peer.
pub struct Network {
    peer: Arc<Peer>,
    shared: Arc<GroupState>,
    mode: Mode,
    stream: Option<Mux>,
}

impl Network {
    async fn heartbeat(&self, request: AppendRequest) -> Result<StreamAppendResult, RpcError> {
        let call = Control::Heartbeat(self.shared.group, request, self.shared.clock.now());
        match self.peer.control(&call).await.map_err(|error| rpc(&error))? {
            ControlAnswer::Append(result) => Ok(result),
            other => Err(unexpected(&other)),
        }
    }

    async fn append_stream(&mut self) -> Result<Mux, RpcError> {
        if let Some(stream) = &self.stream
            && !stream.is_closed()
        {
            return Ok(stream.clone());
        }
        let stream = self.peer.append_stream(self.shared.group).await.map_err(|error| rpc(&error))?;
        self.stream = Some(stream.clone());
        Ok(stream)
    }

    async fn send_snapshot(&self, vote: Vote, snapshot: Snapshot) -> Result<SnapshotResponse<TypeConfig>, Streaming> {
        let (mut send, receive) = self.peer.snapshot_stream(self.shared.group).await.map_err(|e| streaming(&e))?;
        let head = wire::pack(&SnapshotHead { vote, meta: snapshot.meta }).map_err(|e| streaming(&e))?;
        let broken = |error: quinn::WriteError| StreamingError::Network(NetworkError::new(&error));
        send.write_all(&(head.len() as u32).to_le_bytes()).await.map_err(broken)?;
        send.write_all(&head).await.map_err(broken)?;
        let local = |error: std::io::Error| StreamingError::Network(NetworkError::new(&error));
        let mut file = tokio::fs::File::open(snapshot.snapshot.path()).await.map_err(local)?;
        let mut chunk = vec![0; SNAPSHOT_CHUNK];
        loop {
            let read = file.read(&mut chunk).await.map_err(local)?;
            if read == 0 {
                break;
            }
            send.write_all(&chunk[..read]).await.map_err(broken)?;
        }
        let _ = send.finish();
        let answer = read_answer(receive).await.map_err(|e| streaming(&e))?;
        let vote: Vote = wire::unpack(&answer).map_err(|e| streaming(&e))?;
        Ok(SnapshotResponse::new(vote))
    }
}

type Streaming = StreamingError<TypeConfig>;

impl RaftNetworkV2<TypeConfig> for Network {
    type SnapshotData = bravo_storage::snapshot::SnapshotFile;

    async fn append_entries(
        &mut self,
        rpc: AppendRequest,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RpcError> {
        Ok(match self.heartbeat(rpc).await? {
            Ok(_) => AppendEntriesResponse::Success,
            Err(StreamAppendError::Conflict(_)) => AppendEntriesResponse::Conflict,
            Err(StreamAppendError::HigherVote(vote)) => AppendEntriesResponse::HigherVote(vote),
        })
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Result<StreamAppendResult, RpcError>>, RpcError>>
    where
        S: Stream<Item = AppendRequest> + OptionalSend + Unpin + 'static,
    {
        Box::pin(async move {
            if self.mode == Mode::Heartbeats {
                let this = &*self;
                let answers = input.then(move |request| this.heartbeat(request));
                return Ok(Box::pin(answers) as BoxStream<'s, _>);
            }
            let stream = self.append_stream().await?;
            let shared = self.shared.clone();
            let input = hold_commits(input);
            // Each request is queued on the stream as it is pulled, so their order is kept; the
            // answers are awaited in the same order.
            let answers = input
                .map(move |request| {
                    let append = Append { request, now: shared.clock.now() };
                    let sent = wire::pack(&append).and_then(|body| stream.send(body));
                    async move {
                        let answer = sent.map_err(|e| rpc(&e))?.await.map_err(|_| rpc(&TransportError::Closed))?;
                        match wire::unpack::<AppendAnswer>(&answer).map_err(|e| rpc(&e))? {
                            Ok(result) => Ok(result),
                            Err(detail) => Err(RpcError::Network(NetworkError::new(&AnyError::error(detail)))),
                        }
                    }
                })
                .buffered(PIPELINE_MAX);
            Ok(Box::pin(answers) as BoxStream<'s, _>)
        })
    }

    async fn vote(&mut self, request: VoteRequest, _option: RPCOption) -> Result<VoteResponse, RpcError> {
        self.ask_vote(Control::Vote(self.shared.group, request)).await
    }

    async fn pre_vote(&mut self, request: VoteRequest, _option: RPCOption) -> Result<VoteResponse, RpcError> {
        self.ask_vote(Control::PreVote(self.shared.group, request)).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, Streaming> {
        tokio::select! {
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = self.send_snapshot(vote, snapshot) => sent,
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferRequest,
        _option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RpcError> {
        match self.peer.control(&Control::Transfer(self.shared.group, request)).await.map_err(|e| rpc(&e))? {
            ControlAnswer::Transfer(true) => Ok(Ok(())),
            other => Err(unexpected(&other)),
        }
    }
}

/// A commit that no entry carries to a follower waits for one this long.
pub(crate) const COMMIT_HELD_MAX: Duration = Duration::from_millis(10);

/// Leaves out requests that only tell how far the leader has committed, if one with entries, which
/// tells the same, follows soon. openraft matches answers to requests by log id, so what is left out
/// is answered by what comes after it.
fn hold_commits<S>(input: S) -> impl Stream<Item = AppendRequest> + Send + Unpin + 'static
where
    S: Stream<Item = AppendRequest> + Send + Unpin + 'static,
{
    struct Held {
        request: AppendRequest,
        until: tokio::time::Instant,
    }
    let next = |(mut input, mut held): (futures_util::stream::Fuse<S>, Option<Held>)| async move {
        loop {
            let request = match &held {
                None => input.next().await,
                Some(waiting) => match tokio::time::timeout_at(waiting.until, input.next()).await {
                    Ok(request) => request,
                    Err(_) => return held.map(|held| (held.request, (input, None))),
                },
            };
            match request {
                Some(request) if request.entries.is_empty() => {
                    let first = || tokio::time::Instant::now() + COMMIT_HELD_MAX;
                    let until = held.map_or_else(first, |held| held.until);
                    held = Some(Held { request, until });
                }
                Some(request) => return Some((request, (input, None))),
                // A probe is empty too, and the last of its stream.
                None => return held.map(|held| (held.request, (input, None))),
            }
        }
    };
    Box::pin(futures_util::stream::unfold((input.fuse(), None), next))
}

impl Network {
    async fn ask_vote(&self, call: Control) -> Result<VoteResponse, RpcError> {
        match self.peer.control(&call).await.map_err(|error| rpc(&error))? {
            ControlAnswer::Vote(response) => Ok(response),
            other => Err(unexpected(&other)),
        }
    }
}

/// Unreachable makes openraft back off; a broken connection is tried again at once.
fn rpc(error: &TransportError) -> RpcError {
    match error {
        TransportError::Unreachable { .. } => RpcError::Unreachable(Unreachable::new(error)),
        _ => RpcError::Network(NetworkError::new(error)),
    }
}

fn streaming(error: &TransportError) -> Streaming {
    match error {
        TransportError::Unreachable { .. } => StreamingError::Unreachable(Unreachable::new(error)),
        _ => StreamingError::Network(NetworkError::new(error)),
    }
}

fn unexpected(answer: &ControlAnswer) -> RpcError {
    let detail = match answer {
        ControlAnswer::Unavailable(detail) => detail.clone(),
        _ => "an answer of the wrong kind".into(),
    };
    RpcError::Unreachable(Unreachable::new(&AnyError::error(detail)))
}
