//! The node's UDP socket: dials peers and accepts them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use parking_lot::RwLock;
use quinn::{ClientConfig, Endpoint, EndpointConfig, IdleTimeout, ServerConfig, TransportConfig, VarInt};
use socket2::{Domain, Protocol, Socket, Type};

use super::TransportError;
use super::peer::Peer;
use super::server::{self, Service};
use super::tls::PeerTls;
use super::wire::{Request, Response};
use crate::raft::types::NodeId;
use crate::tasks::Tasks;

/// Socket buffers of this size took packet loss under load to nothing.
const SOCKET_BUFFER_BYTES: usize = 2 << 20;
/// A peer that is silent for this long is gone.
const IDLE_TIMEOUT_MS: u32 = 3_000;
const KEEP_ALIVE: Duration = Duration::from_millis(1_000);
/// Streams that a peer may have open: a few shared ones and one per group and snapshot.
const STREAMS_MAX: u32 = 1_024;

/// How peers are dialled; it changes with the certificates.
pub(super) type Dialling = Arc<RwLock<ClientConfig>>;

/// The node's end of all connections to peers.
pub struct Transport {
    endpoint: Endpoint,
    client: Dialling,
    shared: Arc<TransportConfig>,
    peers: RwLock<BTreeMap<NodeId, Arc<Peer>>>,
}

impl Transport {
    /// Binds the socket. Outgoing connections leave from the same address.
    pub fn bind(address: SocketAddr, tls: &PeerTls) -> anyhow::Result<Arc<Self>> {
        let shared = Arc::new(transport_config()?);
        let (server, client) = configs(tls, &shared);
        let socket = bind_udp(address).with_context(|| format!("listen.peer: cannot bind {address}/udp"))?;
        let runtime = Arc::new(quinn::TokioRuntime);
        let endpoint = Endpoint::new(EndpointConfig::default(), Some(server), socket, runtime)?;
        let client = Arc::new(RwLock::new(client));
        Ok(Arc::new(Self { endpoint, client, shared, peers: RwLock::default() }))
    }

    /// Uses other certificates for connections that are made from now on.
    pub fn renew(&self, tls: &PeerTls) {
        let (server, client) = configs(tls, &self.shared);
        self.endpoint.set_server_config(Some(server));
        *self.client.write() = client;
    }

    /// The handle of a peer, at this address.
    pub fn peer(&self, node: NodeId, address: &str) -> Arc<Peer> {
        if let Some(peer) = self.peers.read().get(&node) {
            peer.readdress(address);
            return peer.clone();
        }
        let new = || Peer::new(node, address.to_owned(), self.endpoint.clone(), self.client.clone());
        self.peers.write().entry(node).or_insert_with(new).clone()
    }

    /// Asks whoever listens at `address`, be it who it may, as long as it has a certificate of this cluster.
    pub async fn ask_stranger(&self, address: &str, request: &Request) -> Result<Response, TransportError> {
        let stranger = Peer::stranger(address.to_owned(), self.endpoint.clone(), self.client.clone());
        stranger.request(request).await
    }

    /// The handle of a peer that was named before.
    pub fn known_peer(&self, node: NodeId) -> Option<Arc<Peer>> {
        self.peers.read().get(&node).cloned()
    }

    /// Every peer that was named so far.
    pub fn peers(&self) -> Vec<(NodeId, Arc<Peer>)> {
        self.peers.read().iter().map(|(id, peer)| (*id, peer.clone())).collect()
    }

    /// Serves what peers open, until the endpoint is closed.
    pub async fn serve(self: Arc<Self>, service: Arc<dyn Service>, tasks: Tasks) {
        while let Some(incoming) = self.endpoint.accept().await {
            tasks.spawn(server::serve_connection(incoming, service.clone(), tasks.clone()));
        }
    }

    /// Closes every connection and waits until the peers know.
    pub async fn close(&self) {
        self.endpoint.close(0u32.into(), b"stopping");
        let _ = tokio::time::timeout(Duration::from_secs(1), self.endpoint.wait_idle()).await;
    }
}

fn configs(tls: &PeerTls, shared: &Arc<TransportConfig>) -> (ServerConfig, ClientConfig) {
    let mut server = ServerConfig::with_crypto(tls.server.clone());
    server.transport_config(shared.clone());
    let mut client = ClientConfig::new(tls.client.clone());
    client.transport_config(shared.clone());
    (server, client)
}

fn transport_config() -> anyhow::Result<TransportConfig> {
    let mut config = TransportConfig::default();
    config.max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_TIMEOUT_MS))));
    config.keep_alive_interval(Some(KEEP_ALIVE));
    config.max_concurrent_bidi_streams(STREAMS_MAX.into());
    config.max_concurrent_uni_streams(0u32.into());
    config.stream_receive_window(VarInt::from_u32(16 << 20));
    config.receive_window(VarInt::from_u32(64 << 20));
    config.send_window(64 << 20);
    Ok(config)
}

fn bind_udp(address: SocketAddr) -> std::io::Result<std::net::UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    // The kernel may give less than asked for; that costs speed, not correctness.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
    socket.bind(&address.into())?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests;
