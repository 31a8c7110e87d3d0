//! The dialling side: one connection to one peer, made when needed, and its shared streams.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use quinn::{Connection, Endpoint};
use tokio::sync::Semaphore;

use super::endpoint::Dialling;
use super::mux::Mux;
use super::wire::{self, Control, ControlAnswer, Request, Response, StreamKind};
use super::{TransportError, tls};
use crate::raft::types::NodeId;

/// A dial that takes longer has failed.
const DIAL_TIMEOUT: Duration = Duration::from_secs(1);
/// Calls with chunks to one peer at a time.
const CHUNK_CALLS_MAX: usize = 8;
/// After a failed dial nobody tries again for this long.
const REDIAL_AFTER: Duration = Duration::from_millis(200);

/// Stands for a node whose number is not known yet; no node has it.
const ANYBODY: NodeId = 0;

/// One peer. Shared by everything on this node that talks to it.
pub struct Peer {
    node: NodeId,
    address: Mutex<String>,
    endpoint: Endpoint,
    config: Dialling,
    dialled: tokio::sync::Mutex<Dialled>,
    control: tokio::sync::Mutex<Option<Mux>>,
    client: tokio::sync::Mutex<Option<Mux>>,
    chunks: tokio::sync::Mutex<Option<Mux>>,
    chunk_calls: Arc<Semaphore>,
}

#[derive(Default)]
struct Dialled {
    connection: Option<Connection>,
    failed: Option<(Instant, String)>,
}

impl Peer {
    /// A peer that is not connected yet.
    pub fn new(node: NodeId, address: String, endpoint: Endpoint, config: Dialling) -> Arc<Self> {
        Arc::new(Self {
            node,
            address: Mutex::new(address),
            endpoint,
            config,
            dialled: tokio::sync::Mutex::default(),
            control: tokio::sync::Mutex::default(),
            client: tokio::sync::Mutex::default(),
            chunks: tokio::sync::Mutex::default(),
            chunk_calls: Arc::new(Semaphore::new(CHUNK_CALLS_MAX)),
        })
    }

    /// Whoever listens at the address.
    pub fn stranger(address: String, endpoint: Endpoint, config: Dialling) -> Arc<Self> {
        Self::new(ANYBODY, address, endpoint, config)
    }

    /// Uses another address from the next dial on.
    pub fn readdress(&self, address: &str) {
        let mut known = self.address.lock();
        if *known != address {
            address.clone_into(&mut known);
        }
    }

    /// The live connection; dials if there is none.
    pub async fn connection(&self) -> Result<Connection, TransportError> {
        let mut dialled = self.dialled.lock().await;
        if let Some(connection) = &dialled.connection
            && connection.close_reason().is_none()
        {
            return Ok(connection.clone());
        }
        dialled.connection = None;
        if let Some((at, detail)) = &dialled.failed
            && at.elapsed() < REDIAL_AFTER
        {
            return Err(TransportError::Unreachable { node: self.node, detail: detail.clone() });
        }
        match self.dial().await {
            Ok(connection) => {
                if dialled.failed.take().is_some() {
                    tracing::info!(node = self.node, "a node can be reached again");
                }
                dialled.connection = Some(connection.clone());
                Ok(connection)
            }
            Err(error) => {
                let detail = format!("{error:#}");
                if dialled.failed.is_none() && self.node != ANYBODY {
                    tracing::warn!(node = self.node, detail, "a node cannot be reached");
                }
                dialled.failed = Some((Instant::now(), detail.clone()));
                Err(TransportError::Unreachable { node: self.node, detail })
            }
        }
    }

    async fn dial(&self) -> anyhow::Result<Connection> {
        let address = self.address.lock().clone();
        let resolved = resolve(&address).await?;
        let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let config = self.config.read().clone();
        let connecting = self.endpoint.connect_with(config, resolved, host)?;
        let connection = tokio::time::timeout(DIAL_TIMEOUT, connecting).await??;
        let found = tls::peer_node(&connection)?;
        if found != self.node && self.node != ANYBODY {
            connection.close(1u32.into(), b"wrong node");
            anyhow::bail!("{address} is node {found}, not node {}", self.node);
        }
        Ok(connection)
    }

    /// A call on the control stream.
    pub async fn control(&self, call: &Control) -> Result<ControlAnswer, TransportError> {
        let answer = self.shared(&self.control, StreamKind::Control).await?.call(wire::pack(call)?).await?;
        wire::unpack(&answer)
    }

    /// A call on the client stream; chunks have one of their own, so that nothing waits behind them.
    pub async fn request(&self, request: &Request) -> Result<Response, TransportError> {
        if matches!(request, Request::PutChunk(..) | Request::GetChunk(_) | Request::PutCold(..) | Request::GetCold(_))
        {
            return self.chunk_call(request).await;
        }
        let answer = self.shared(&self.client, StreamKind::Client).await?.call(wire::pack(request)?).await?;
        wire::unpack(&answer)
    }

    /// The call keeps its place until its answer is here, even if nobody waits for it any more: what was
    /// handed over for sending is held until it is sent.
    async fn chunk_call(&self, request: &Request) -> Result<Response, TransportError> {
        let place = self.chunk_calls.clone().acquire_owned().await.map_err(|_| TransportError::Closed)?;
        let answer = self.shared(&self.chunks, StreamKind::Chunks).await?.send(wire::pack(request)?)?;
        let answer = tokio::spawn(async move {
            let answer = answer.await;
            drop(place);
            answer
        });
        match answer.await {
            Ok(Ok(answer)) => wire::unpack(&answer),
            _ => Err(TransportError::Closed),
        }
    }

    /// A stream of entries for one group.
    pub async fn append_stream(&self, group: u32) -> Result<Mux, TransportError> {
        Mux::open(&self.connection().await?, StreamKind::Append, group).await
    }

    /// A one-off call on a stream of its own that sends `head` and then `chunks`, and awaits the answer.
    pub async fn snapshot_stream(&self, group: u32) -> Result<(quinn::SendStream, quinn::RecvStream), TransportError> {
        let connection = self.connection().await?;
        let (mut send, receive) = connection.open_bi().await.map_err(|_| TransportError::Closed)?;
        let _ = send.set_priority(-1);
        send.write_all(&StreamKind::Snapshot.header(group)).await.map_err(|_| TransportError::Closed)?;
        Ok((send, receive))
    }

    async fn shared(&self, slot: &tokio::sync::Mutex<Option<Mux>>, kind: StreamKind) -> Result<Mux, TransportError> {
        let mut slot = slot.lock().await;
        if let Some(mux) = &*slot
            && !mux.is_closed()
        {
            return Ok(mux.clone());
        }
        let mux = Mux::open(&self.connection().await?, kind, 0).await?;
        *slot = Some(mux.clone());
        Ok(mux)
    }
}

async fn resolve(address: &str) -> anyhow::Result<SocketAddr> {
    if let Ok(address) = address.parse() {
        return Ok(address);
    }
    let owned = address.to_owned();
    let found = tokio::task::spawn_blocking(move || owned.to_socket_addrs().map(|mut all| all.next())).await??;
    found.ok_or_else(|| anyhow::anyhow!("{address} does not resolve"))
}

/// Bytes of one answer that is not framed: the whole stream, bounded.
pub(crate) async fn read_answer(mut receive: quinn::RecvStream) -> Result<Bytes, TransportError> {
    receive.read_to_end(64 << 10).await.map(Bytes::from).map_err(|_| TransportError::Closed)
}
