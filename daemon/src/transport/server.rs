//! The accepting side: reads the streams that peers open and answers on them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, FuturesUnordered};
use futures_util::{FutureExt, StreamExt};
use quinn::{Incoming, RecvStream, SendStream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::frame::FrameReader;
use super::wire::{self, Append, AppendAnswer, Control, ControlAnswer, Request, Response, StreamKind};
use super::{mux, tls};
use crate::raft::types::alias::{AppendRequest, StreamAppendResult};
use crate::raft::types::{GroupId, NodeId};
use crate::tasks::Tasks;

/// Calls of one stream that are worked on at a time; further ones wait in the stream.
const CALLS_MAX: usize = 4_096;
/// The same of chunks, which are large.
const CHUNKS_MAX: usize = 8;
/// Append requests of one stream that are worked on at a time.
const APPENDS_MAX: usize = 64;
/// A handshake that takes longer is given up.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);

/// What a node does for its peers.
pub trait Service: Send + Sync + 'static {
    /// Whether this node may talk to us.
    fn knows(&self, peer: NodeId) -> bool;
    /// Ready when a node that might talk to us may not any more.
    fn removed(self: Arc<Self>, peer: NodeId) -> BoxFuture<'static, ()>;
    /// A vote, heartbeat or transfer.
    fn control(self: Arc<Self>, peer: NodeId, call: Control) -> BoxFuture<'static, ControlAnswer>;
    /// Forwarded work.
    fn request(self: Arc<Self>, peer: NodeId, request: Request) -> BoxFuture<'static, Response>;
    /// The leader's clock, seen with an append.
    fn leader_time(&self, group: GroupId, now: bravo_model::Time);
    /// Feeds append requests to the group and gives its answers in order, ending after an error.
    fn appends(
        &self,
        group: GroupId,
        requests: ReceiverStream<AppendRequest>,
    ) -> Option<BoxStream<'static, Result<StreamAppendResult, String>>>;
    /// Receives and installs a snapshot; the answer's bytes go back on the stream.
    fn snapshot(self: Arc<Self>, group: GroupId, stream: RecvStream) -> BoxFuture<'static, anyhow::Result<Bytes>>;
}

/// Serves one connection until it closes.
pub(super) async fn serve_connection(incoming: Incoming, service: Arc<dyn Service>, tasks: Tasks) {
    let from = incoming.remote_address();
    let Ok(Ok(connection)) = tokio::time::timeout(HANDSHAKE_TIMEOUT, async { incoming.await }).await else {
        tracing::debug!(%from, "a peer's handshake failed");
        return;
    };
    let peer = match tls::peer_node(&connection) {
        Ok(peer) => peer,
        Err(error) => {
            tracing::warn!(%from, %error, "refused a peer");
            connection.close(2u32.into(), b"no node certificate");
            return;
        }
    };
    // Streams are let in when they are opened: with the connection, those of a node that is removed end as well.
    let mut removed = service.clone().removed(peer);
    loop {
        tokio::select! {
            stream = connection.accept_bi() => {
                let Ok((send, receive)) = stream else { return };
                tasks.spawn(serve_stream(peer, send, receive, service.clone()));
            }
            () = &mut removed => {
                tracing::info!(peer, "closed the connection of a node that is no member any more");
                connection.close(3u32.into(), b"not a member any more");
                return;
            }
        }
    }
}

async fn serve_stream(peer: NodeId, send: SendStream, mut receive: RecvStream, service: Arc<dyn Service>) {
    let mut header = [0; 5];
    if receive.read_exact(&mut header).await.is_err() {
        return;
    }
    match StreamKind::parse(header) {
        // A stranger may say hello and ask to join; the service refuses it the rest.
        Some((kind, _)) if kind != StreamKind::Client && !service.knows(peer) => {
            tracing::warn!(peer, ?kind, "refused a node that is not a member");
        }
        Some((StreamKind::Control, _)) => {
            let _ = send.set_priority(3);
            let handle = move |body: Bytes| {
                let service = service.clone();
                async move {
                    let answer = service.control(peer, wire::unpack(&body).ok()?).await;
                    wire::pack(&answer).ok()
                }
                .boxed()
            };
            serve_calls(send, receive, CALLS_MAX, handle).await;
        }
        Some((kind @ (StreamKind::Client | StreamKind::Chunks), _)) => {
            let handle = move |body: Bytes| {
                let service = service.clone();
                async move {
                    let answer = service.request(peer, wire::unpack(&body).ok()?).await;
                    wire::pack(&answer).ok()
                }
                .boxed()
            };
            let calls = if kind == StreamKind::Chunks { CHUNKS_MAX } else { CALLS_MAX };
            serve_calls(send, receive, calls, handle).await;
        }
        Some((StreamKind::Append, group)) => {
            let _ = send.set_priority(2);
            serve_appends(group, send, receive, service).await;
        }
        Some((StreamKind::Snapshot, group)) => serve_snapshot(group, send, receive, service).await,
        None => tracing::warn!(peer, kind = header[0], "a stream of an unknown kind"),
    }
}

/// Answers calls in whatever order they finish.
async fn serve_calls(
    send: SendStream,
    receive: RecvStream,
    calls_max: usize,
    handle: impl Fn(Bytes) -> BoxFuture<'static, Option<Bytes>>,
) {
    let (answers, queued) = mpsc::unbounded_channel();
    let writer = tokio::spawn(mux::write_frames(send, queued));
    let mut reader = FrameReader::new(receive);
    let mut calls = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            Some((id, answer)) = calls.next(), if !calls.is_empty() => {
                // A call that was not understood ends the stream: the versions do not fit.
                let Some(answer) = answer else { break };
                if answers.send((id, answer)).is_err() {
                    break;
                }
            }
            frame = reader.next(), if calls.len() < calls_max => {
                let Ok(Some((id, body))) = frame else { break };
                let call = handle(body);
                calls.push(async move { (id, call.await) });
            }
        }
    }
    drop(answers);
    let _ = writer.await;
}

/// Feeds a group's append requests to openraft, pipelined, and answers in order.
async fn serve_appends(group: GroupId, send: SendStream, receive: RecvStream, service: Arc<dyn Service>) {
    let (answers, queued) = mpsc::unbounded_channel();
    let writer = tokio::spawn(mux::write_frames(send, queued));
    let mut reader = FrameReader::new(receive);
    'sessions: loop {
        let (requests, stream) = mpsc::channel(APPENDS_MAX);
        let Some(mut results) = service.appends(group, ReceiverStream::new(stream)) else { break };
        let mut ids = VecDeque::new();
        loop {
            tokio::select! {
                biased;
                result = results.next(), if !ids.is_empty() => {
                    let Some(result) = result else { break };
                    let Some(id) = ids.pop_front() else { break };
                    let refused = !matches!(result, Ok(Ok(_)));
                    let Ok(body) = wire::pack::<AppendAnswer>(&result) else { break 'sessions };
                    if answers.send((id, body)).is_err() {
                        break 'sessions;
                    }
                    if refused {
                        break;
                    }
                }
                frame = reader.next(), if ids.len() < APPENDS_MAX => {
                    let Ok(Some((id, body))) = frame else { break 'sessions };
                    let Ok(append) = wire::unpack::<Append>(&body) else { break 'sessions };
                    service.leader_time(group, append.now);
                    ids.push_back(id);
                    if requests.send(append.request).await.is_err() {
                        break;
                    }
                }
            }
        }
        // What was pipelined behind a refusal is refused too; the leader starts over.
        for id in ids {
            let body = wire::pack::<AppendAnswer>(&Err("an earlier append was refused".into()));
            if body.is_ok_and(|body| answers.send((id, body)).is_err()) {
                break 'sessions;
            }
        }
    }
    drop(answers);
    let _ = writer.await;
}

async fn serve_snapshot(group: GroupId, mut send: SendStream, receive: RecvStream, service: Arc<dyn Service>) {
    match service.snapshot(group, receive).await {
        Ok(answer) => {
            if send.write_all(&answer).await.is_ok() {
                let _ = send.finish();
                let _ = send.stopped().await;
            }
        }
        Err(error) => {
            tracing::warn!(group, error = %format!("{error:#}"), "a snapshot was not installed");
            let _ = send.reset(1u32.into());
        }
    }
}
