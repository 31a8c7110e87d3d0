//! QUIC between nodes: mutual TLS, one dialled connection per peer, few long-lived streams.
//!
//! ```text
//!   connection A ──► B     control   votes, heartbeats of all groups, transfers   highest priority
//!                          append g  log entries of group g, pipelined
//!                          client    forwarded work, leases, reads
//!                          chunks    parts of artifacts
//!                          snapshot  one stream per snapshot                       lowest priority
//! ```
//!
//! Every stream but the snapshot's is a [`mux::Mux`]: frames with ids, answered in any order,
//! coalesced into as few writes as the pipe allows. Nothing hot opens a stream of its own.

pub mod endpoint;
pub mod frame;
pub mod mux;
pub mod peer;
pub mod server;
pub mod tls;
pub mod wire;

pub use endpoint::Transport;
pub use peer::Peer;

/// Why a call to a peer has no answer. The peer may or may not have acted on it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TransportError {
    /// No connection could be made.
    #[error("node {node} is unreachable: {detail}")]
    Unreachable {
        /// The peer.
        node: u64,
        /// What was tried.
        detail: String,
    },
    /// The connection broke while the answer was awaited.
    #[error("the connection broke")]
    Closed,
    /// The frame or its content was not understood.
    #[error("malformed: {0}")]
    Malformed(String),
}
