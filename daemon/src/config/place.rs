//! Where a node stands: its identity, its addresses, its cluster and who may speak to it.

use super::key::{Kind, int, section};
use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

section! {
    /// Who this node is and where it keeps its data.
    ["node"] Node {
        /// The number of this node, unique in the cluster and never used again by another machine.
        /// It is written into the data folder at the first start and compared at each later one.
        /// Required.
        id: u64 = 0, int(1, 1 << 48);
        /// The folder of this node's log, snapshots, state, cache and blobs. It is made at the first
        /// start. No two daemons may share one. Required.
        data_dir: PathBuf = PathBuf::new(), Kind::Path;
    }
}

section! {
    /// The local addresses that the daemon binds.
    ["listen"] Listen {
        /// The TCP address of everything public: REST, gRPC, dashboard, `/health`, `/ready` and
        /// `/metrics` share this port.
        public: SocketAddr = loopback(7700), Kind::Socket;
        /// The UDP address for QUIC between nodes. Outgoing packets leave from it too.
        peer: SocketAddr = loopback(7701), Kind::Socket;
    }
}

section! {
    /// The addresses that this node tells others, where they differ from those that it binds (a
    /// container, a machine behind address translation, a bind to `0.0.0.0`).
    ["advertise"] Advertise {
        /// The public address that clients and other nodes are told. Default: this node's entry in
        /// `cluster.initial`, else `listen.public`.
        public: Option<String> = None, Kind::HostPort;
        /// The peer address that other nodes are told. Default: this node's entry in
        /// `cluster.initial`, else `listen.peer`.
        peer: Option<String> = None, Kind::HostPort;
    }
}

section! {
    /// Which cluster this node belongs to. Exactly one of `initial` and `join` is given; both only
    /// matter until the node belongs to a cluster and are ignored from then on.
    ["cluster"] Cluster {
        /// The name of the cluster. Nodes of clusters with different names refuse each other.
        name: String = "bravo".into(), Kind::Text;
        /// Raft groups for jobs. Fixed when the cluster is first formed; a joining node takes the
        /// number of the cluster.
        partitions: u32 = 8, int(1, 256);
        /// The founding members, the same list on each of them: `id`, `peer` and `public` address.
        initial: Vec<Member> = Vec::new(), Kind::Members;
        /// Peer addresses of a running cluster that this node asks to be added to: as a learner
        /// first, as a voter once it has caught up.
        join: Vec<String> = Vec::new(), Kind::HostPorts;
    }
}

section! {
    /// Certificates for mutual TLS between nodes, required unless the cluster is a single node, and for the
    /// public port. `bravo certs` makes the files. Files that change are read again within seconds, or at once
    /// on SIGHUP: new connections use what they hold now, and those that are open go on.
    ["tls"] Tls {
        /// PEM file with the certificate authorities that this node trusts.
        ca: PathBuf = PathBuf::new(), Kind::Path;
        /// PEM file with this node's certificate chain; it names the node's id.
        cert: PathBuf = PathBuf::new(), Kind::Path;
        /// PEM file with the private key of that certificate.
        key: PathBuf = PathBuf::new(), Kind::Path;
        /// PEM file with the certificate chain of the public port; `bravo certs server` makes one. Without it, the
        /// public port speaks plain HTTP.
        public_cert: Option<PathBuf> = None, Kind::Path;
        /// PEM file with the private key of that certificate.
        public_key: Option<PathBuf> = None, Kind::Path;
        /// PEM file with the certificate authorities whose client certificates stand for an API key;
        /// `bravo certs client` makes some.
        client_ca: Option<PathBuf> = None, Kind::Path;
    }
}

section! {
    /// Who may use the public interface.
    ["auth"] Auth {
        /// Whether each request must carry an API key or a client certificate. A wrong key is
        /// refused in any case.
        required: bool = false, Kind::Boolean;
        /// A file with one API key, `bravo_<id>_<secret>`, that may do everything and that the cluster does not
        /// keep: with it the first keys are made. `bravo key generate` writes such a key.
        admin_key_file: Option<PathBuf> = None, Kind::Path;
    }
}

/// A founding member of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its `node.id`.
    pub id: u64,
    /// Its peer address, `HOST:PORT`.
    pub peer: String,
    /// Its public address, `HOST:PORT`.
    pub public: String,
}

impl Member {
    /// The keys of one entry of `cluster.initial`.
    pub(super) const KEYS: [&'static str; 3] = ["id", "peer", "public"];
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}
