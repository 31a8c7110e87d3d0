//! The types that openraft is instantiated with.

use std::fmt;

use bravo_model::{Entry, Reply};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use openraft::impls::leader_id_std;
use serde::{Deserialize, Serialize};

/// A Raft group on every node: 0 is `meta`, job partition `p` is group `p + 1`.
pub type GroupId = u32;

/// The group that holds members, queue definitions and other facts of the whole cluster.
pub const META_GROUP: GroupId = 0;

/// The group of a job partition.
pub const fn partition_group(partition: u16) -> GroupId {
    partition as GroupId + 1
}

/// A node's number.
pub type NodeId = u64;

openraft::declare_raft_types!(
    /// One Raft entry is a batch of commands; one answer is a list of replies.
    pub TypeConfig:
        D = Batch,
        R = Applied,
        NodeId = u64,
        Node = Member,
        LeaderId = leader_id_std::LeaderId<u64, u64>,
);

/// Where a member listens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// `host:port` of QUIC between nodes.
    pub peer: String,
    /// `host:port` of REST and gRPC.
    pub public: String,
}

/// An encoded [`Entry`]: encoded once by the leader, then shared by log, network and apply.
///
/// Layout: format byte, `at` u64 LE, then per command u32 LE length and bytes.
#[derive(Clone, Serialize, Deserialize)]
pub struct Batch(pub Bytes);

/// What applying a batch answered, one reply per command.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Applied(pub Vec<Reply>);

impl Batch {
    /// First byte of an encoded batch of commands; [`crate::raft::log`] tells entry kinds apart by it.
    pub const FORMAT: u8 = 1;

    /// First byte of a marker: a place in the log at which replicas keep their state for a digest.
    const MARKER: u8 = 2;

    /// A marker.
    pub fn marker() -> Self {
        Self(Bytes::from_static(&[Self::MARKER]))
    }

    /// Whether this is a marker.
    pub fn is_marker(&self) -> bool {
        self.0.first() == Some(&Self::MARKER)
    }

    /// Encodes an entry.
    pub fn encode(at: u64, commands: &[Bytes]) -> Self {
        let bytes: usize = commands.iter().map(|command| command.len() + 4).sum();
        let mut buffer = BytesMut::with_capacity(9 + bytes);
        buffer.put_u8(Self::FORMAT);
        buffer.put_u64_le(at);
        for command in commands {
            buffer.put_u32_le(command.len() as u32);
            buffer.put_slice(command);
        }
        Self(buffer.freeze())
    }

    /// Decodes without copying; `None` if this build does not know the format.
    pub fn decode(&self) -> Option<Entry> {
        let mut rest = self.0.clone();
        if rest.remaining() < 9 || rest.get_u8() != Self::FORMAT {
            return None;
        }
        let at = rest.get_u64_le();
        let mut commands = Vec::new();
        while rest.has_remaining() {
            let len = (rest.remaining() >= 4).then(|| rest.get_u32_le() as usize)?;
            commands.push((rest.remaining() >= len).then(|| rest.split_to(len))?);
        }
        Some(Entry { at, commands })
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "batch of {} bytes", self.0.len())
    }
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// openraft's types with our configuration filled in.
pub(crate) mod alias {
    use super::TypeConfig;

    pub(crate) type LogId = openraft::type_config::alias::LogIdOf<TypeConfig>;
    pub(crate) type Vote = openraft::type_config::alias::VoteOf<TypeConfig>;
    pub(crate) type LogEntry = openraft::type_config::alias::EntryOf<TypeConfig>;
    pub(crate) type StoredMembership = openraft::type_config::alias::StoredMembershipOf<TypeConfig>;
    pub(crate) type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<TypeConfig>;
    pub(crate) type AppendRequest = openraft::raft::AppendEntriesRequest<TypeConfig>;
    pub(crate) type StreamAppendResult = openraft::raft::StreamAppendResult<TypeConfig>;
    pub(crate) type VoteRequest = openraft::raft::VoteRequest<TypeConfig>;
    pub(crate) type VoteResponse = openraft::raft::VoteResponse<TypeConfig>;
    pub(crate) type TransferRequest = openraft::raft::TransferLeaderRequest<TypeConfig>;
    pub(crate) type RpcError = openraft::errors::RPCError<TypeConfig>;
    pub(crate) type Snapshot =
        openraft::type_config::alias::SnapshotOf<TypeConfig, bravo_storage::snapshot::SnapshotFile>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_comes_back_as_it_was_and_a_cut_one_is_not_read() {
        let commands = vec![Bytes::from_static(b"one"), Bytes::new(), Bytes::from_static(b"three")];
        let batch = Batch::encode(7, &commands);
        assert_eq!(batch.decode(), Some(Entry { at: 7, commands }));
        let cut = Batch(batch.0.slice(..batch.0.len() - 1));
        assert_eq!(cut.decode(), None);
    }
}
