//! `GET /api/v1/cluster…`, members, transfer.

use serde::de::{Error, Unexpected};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::{IntoParams, ToSchema};

use crate::proto;
use crate::proto::transfer_request;

/// A Raft group: a job partition by its number, or `"meta"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// A job partition.
    Partition(u32),
    /// The group that holds queues, members and the like.
    Meta,
}

impl Serialize for Group {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Partition(number) => serializer.serialize_u32(*number),
            Self::Meta => serializer.serialize_str("meta"),
        }
    }
}

impl<'de> Deserialize<'de> for Group {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const EXPECTED: &str = "a partition's number, or \"meta\"";
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::Number(number) => {
                let small = number.as_u64().and_then(|number| u32::try_from(number).ok());
                small
                    .map(Self::Partition)
                    .ok_or_else(|| D::Error::invalid_value(Unexpected::Other("number"), &EXPECTED))
            }
            serde_json::Value::String(name) if name == "meta" => Ok(Self::Meta),
            _ => Err(D::Error::invalid_value(Unexpected::Other("value"), &EXPECTED)),
        }
    }
}

/// The cluster as one node knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClusterAnswer {
    /// The cluster's name.
    pub name: String,
    /// Its nodes.
    pub nodes: Vec<NodeAnswer>,
    /// Its job partitions.
    pub partitions: Vec<PartitionAnswer>,
    /// The group that holds queues, members and the like.
    pub meta: Option<PartitionAnswer>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeAnswer {
    /// Its id.
    pub id: u64,
    /// `host:port` of REST and gRPC.
    pub public: String,
    /// `host:port` of QUIC between nodes.
    pub peer: String,
    /// `voter` or `learner`.
    pub role: String,
    /// `up`, `down`, `draining` or `unknown`.
    pub state: String,
    /// The version of its program.
    pub version: String,
}

/// A Raft group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PartitionAnswer {
    /// Its number, or `"meta"`.
    pub id: Group,
    /// The node that leads it, if one is known.
    pub leader: Option<u64>,
    /// The Raft term.
    pub term: u64,
    /// The index of the last applied entry.
    pub last_applied: u64,
    /// Its replicas.
    pub members: Vec<Member>,
}

/// A replica of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Member {
    /// The node.
    pub node: u64,
    /// `leader`, `follower` or `learner`.
    pub role: String,
    /// The last index that it is known to have; known on the leader only.
    pub matched: Option<u64>,
    /// Entries that it is behind; known on the leader only.
    pub lag: Option<u64>,
}

impl PartitionAnswer {
    fn new(id: Group, partition: proto::Partition) -> Self {
        let member = |member: proto::PartitionMember| Member {
            node: member.node,
            role: member.role,
            matched: member.matched,
            lag: member.lag,
        };
        Self {
            id,
            leader: partition.leader,
            term: partition.term,
            last_applied: partition.last_applied,
            members: partition.members.into_iter().map(member).collect(),
        }
    }
}

impl From<proto::Node> for NodeAnswer {
    fn from(node: proto::Node) -> Self {
        let proto::Node { id, public, peer, role, state, version } = node;
        Self { id, public, peer, role, state, version }
    }
}

impl From<proto::ClusterView> for ClusterAnswer {
    fn from(view: proto::ClusterView) -> Self {
        let partition = |partition: proto::Partition| PartitionAnswer::new(Group::Partition(partition.id), partition);
        Self {
            name: view.name,
            nodes: view.nodes.into_iter().map(NodeAnswer::from).collect(),
            partitions: view.partitions.into_iter().map(partition).collect(),
            meta: view.meta.map(|meta| PartitionAnswer::new(Group::Meta, meta)),
        }
    }
}

/// A node to add.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddMemberBody {
    /// Its id.
    pub id: u64,
    /// `host:port` of QUIC between nodes.
    pub peer: String,
    /// `host:port` of REST and gRPC.
    pub public: String,
}

impl From<AddMemberBody> for proto::AddMemberRequest {
    fn from(body: AddMemberBody) -> Self {
        Self { id: body.id, peer: body.peer, public: body.public }
    }
}

/// Leadership to move.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TransferBody {
    /// Of which group.
    pub partition: Group,
    /// The node that shall lead.
    pub to: u64,
}

/// Leadership that was moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct TransferAnswer {
    /// Of which group.
    pub partition: Group,
    /// Who leads now.
    pub leader: u64,
}

impl From<Group> for transfer_request::Group {
    fn from(group: Group) -> Self {
        match group {
            Group::Partition(number) => Self::Partition(number),
            Group::Meta => Self::Meta(true),
        }
    }
}

impl From<TransferBody> for proto::TransferRequest {
    fn from(body: TransferBody) -> Self {
        Self { group: Some(body.partition.into()), to: body.to }
    }
}

/// The query of `GET /api/v1/cluster/digest`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct DigestQuery {
    /// At this index, where it is still to be had; the server chooses if absent.
    pub at: Option<u64>,
}

/// Digests of the replicas' states.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DigestAnswer {
    /// One per job partition.
    pub partitions: Vec<GroupDigest>,
    /// The meta group's.
    pub meta: Option<GroupDigest>,
}

/// Digests of one group's replicas.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GroupDigest {
    /// The group.
    pub partition: Group,
    /// The applied index that they are taken at.
    pub index: u64,
    /// One per replica that could be reached.
    pub replicas: Vec<ReplicaDigest>,
}

/// The digest of one replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReplicaDigest {
    /// The node.
    pub node: u64,
    /// Hexadecimal.
    pub digest: String,
}

impl From<proto::DigestResponse> for DigestAnswer {
    fn from(response: proto::DigestResponse) -> Self {
        let replica = |replica: proto::ReplicaDigest| ReplicaDigest { node: replica.node, digest: replica.digest };
        let digest = |partition, digest: proto::PartitionDigest| GroupDigest {
            partition,
            index: digest.index,
            replicas: digest.replicas.into_iter().map(replica).collect(),
        };
        let partition = |message: proto::PartitionDigest| digest(Group::Partition(message.partition), message);
        Self {
            partitions: response.partitions.into_iter().map(partition).collect(),
            meta: response.meta.map(|message| digest(Group::Meta, message)),
        }
    }
}
