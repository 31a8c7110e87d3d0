//! The configuration of a node: a TOML file, overridden key by key from the environment.
//!
//! ```text
//! file ──► table ◄── BRAVO_SECTION__KEY        load.rs
//!            │  unknown keys, forms, bounds     value.rs, by the key table of key.rs
//!            ▼
//!         Config ──► rules between keys         validate.rs
//! ```
//!
//! All errors are collected, each with the key it is about, so that one run shows all that is wrong.
//! Keys are declared once, with `section!`; `docs/configuration.md` is made from the same table.

mod admission;
mod artifacts;
mod balancing;
mod check;
mod docs;
mod edge;
mod engine;
mod key;
mod load;
mod place;
mod pools;
mod scaling;
#[cfg(test)]
pub(crate) mod testing;
mod validate;
mod value;

pub use admission::Admission;
pub use artifacts::{Artifacts, Cold};
pub use balancing::Balancing;
pub use check::check;
pub use docs::reference;
pub use edge::{Format, Level, Limits, Log, ProxyHeader, Queues, RateLimits, Reads, Shutdown, Webhooks, Workflows};
pub use engine::{Raft, Storage};
pub use key::{KeyDoc, Kind, SectionDoc};
pub use place::{Advertise, Auth, Cluster, Listen, Member, Node, Tls};
pub use scaling::{ActuatorKind, Pool, Scaling, Target, TargetKind};

use serde::{Deserialize, Serialize};

/// The whole configuration of one node. `Config::load` gives one that is known to be valid.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Who this node is and where it keeps its data.
    pub node: Node,
    /// The local addresses that it binds.
    pub listen: Listen,
    /// The addresses that it tells others.
    pub advertise: Advertise,
    /// Its cluster.
    pub cluster: Cluster,
    /// Certificates; absent only where the cluster is a single node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Who may use the public interface.
    pub auth: Auth,
    /// Replication and batching.
    pub raft: Raft,
    /// Disk and memory.
    pub storage: Storage,
    /// Chunks of artifacts.
    pub artifacts: Artifacts,
    /// Where old artifacts go.
    pub cold: Cold,
    /// Bounds of the public interface.
    pub limits: Limits,
    /// How many requests a caller may make.
    pub rate_limits: RateLimits,
    /// Which jobs are refused early.
    pub admission: Admission,
    /// Which reads go to replicas.
    pub reads: Reads,
    /// Queues.
    pub queues: Queues,
    /// How jobs are shared out among workers.
    pub balancing: Balancing,
    /// How many agents there should be.
    pub scaling: Scaling,
    /// Workflows.
    pub workflows: Workflows,
    /// Deliveries to webhooks.
    pub webhooks: Webhooks,
    /// Log lines.
    pub log: Log,
    /// How it stops.
    pub shutdown: Shutdown,
}

/// The key table: all sections in the order of the reference page.
pub const SECTIONS: &[SectionDoc] = &[
    Node::DOC,
    Listen::DOC,
    Advertise::DOC,
    Cluster::DOC,
    Tls::DOC,
    Auth::DOC,
    Raft::DOC,
    Storage::DOC,
    Artifacts::DOC,
    Cold::DOC,
    Limits::DOC,
    RateLimits::DOC,
    Admission::DOC,
    Reads::DOC,
    Queues::DOC,
    Balancing::DOC,
    Scaling::DOC,
    Workflows::DOC,
    Webhooks::DOC,
    Log::DOC,
    Shutdown::DOC,
];

/// One thing that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {detail}")]
pub struct ConfigError {
    /// The key, environment variable or file that it is about.
    pub key: String,
    /// What is wrong and what would be right.
    pub detail: String,
}

impl ConfigError {
    fn new(key: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { key: key.into(), detail: detail.into() }
    }
}

impl Config {
    /// The public address that clients and other nodes are told.
    pub fn advertised_public(&self) -> String {
        let own = self.founder().map(|member| member.public.clone());
        self.advertise.public.clone().or(own).unwrap_or_else(|| self.listen.public.to_string())
    }

    /// The peer address that other nodes are told.
    pub fn advertised_peer(&self) -> String {
        let own = self.founder().map(|member| member.peer.clone());
        self.advertise.peer.clone().or(own).unwrap_or_else(|| self.listen.peer.to_string())
    }

    /// This node as a member of its cluster.
    pub fn member(&self) -> Member {
        Member { id: self.node.id, peer: self.advertised_peer(), public: self.advertised_public() }
    }

    /// Whether this node speaks, or will speak, to other nodes.
    pub fn clustered(&self) -> bool {
        self.cluster.initial.len() > 1 || !self.cluster.join.is_empty()
    }

    /// This node's own entry in `cluster.initial`.
    fn founder(&self) -> Option<&Member> {
        self.cluster.initial.iter().find(|member| member.id == self.node.id)
    }
}
