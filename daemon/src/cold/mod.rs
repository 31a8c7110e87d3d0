//! The cold tier: where versions of artifacts go as they grow old, by the project's rules.
//!
//! ```text
//!   state: a version is to be moved ──► leader: reads each chunk, writes it to the tier ──► MoveVersion
//!   read:  this node's chunks, its tier, the others' tiers ──► kept for a while, if it came from afar
//! ```
//!
//! A bucket is shared: what the leader writes is there for all. A folder is one node's own: a chunk goes to
//! those of all replicas, and counts when a majority has it, as hot ones do.

mod keeper;
mod name;
mod tier;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bravo_model::artifact::Part;
use bravo_model::lifecycle::{Class, Stay};
use bravo_model::{Code, Refusal};
use bravo_storage::blob;
use bytes::Bytes;
use futures_util::future::join_all;

pub(crate) use keeper::start;
pub(crate) use name::ColdName;
pub(crate) use tier::Tier;

use crate::blobs::on_disk;
use crate::cluster::Cluster;
use crate::raft::types::{GroupId, NodeId, partition_group};
use crate::transport::wire::{Answer, Query, Request, Response};

/// Longest time that a node may take over one chunk of its tier.
const COLD_PATIENCE: Duration = Duration::from_secs(90);
/// How long a group's leader may take to answer.
const ASK_PATIENCE: Duration = Duration::from_secs(5);

impl Cluster {
    /// Writes a chunk into the tier; answers when it is as safe as an acknowledged write.
    pub(crate) async fn put_cold(self: &Arc<Self>, name: ColdName, form: Bytes) -> Result<(), String> {
        if self.tier.is_shared() {
            return self.tier.put(&name, form).await;
        }
        let voters = self.group(partition_group(name.partition)).map(|group| group.voters()).unwrap_or_default();
        let wanted = voters.len() / 2 + 1;
        let writes = voters.into_iter().map(|node| self.put_cold_at(node, name, form.clone()));
        let (written, failed): (Vec<_>, Vec<_>) = join_all(writes).await.into_iter().partition(Result::is_ok);
        if written.len() >= wanted {
            return Ok(());
        }
        let problem = failed.into_iter().find_map(Result::err).unwrap_or_default();
        Err(format!(
            "a chunk is in the cold tiers of {} of {wanted} nodes that must have it ({problem})",
            written.len()
        ))
    }

    async fn put_cold_at(self: &Arc<Self>, node: NodeId, name: ColdName, form: Bytes) -> Result<(), String> {
        let call = self.call(node, Request::PutCold(name, form));
        match tokio::time::timeout(COLD_PATIENCE, call).await {
            Ok(Ok(Response::Done)) => Ok(()),
            Ok(Ok(other)) => Err(format!("node {node}: {other:?}")),
            Ok(Err(error)) => Err(format!("node {node}: {error}")),
            Err(_) => Err(format!("node {node}: no answer in time")),
        }
    }

    /// A chunk of a version wherever it is: among the nodes' chunks, or in the tier. `name` tells the stay
    /// that the version was last known to have; it may have moved on since.
    pub(crate) async fn chunk_of(self: &Arc<Self>, name: ColdName, part: Part) -> Result<Bytes, Refusal> {
        let hash = part.chunk.hash;
        match on_disk(&self.blobs, move |blobs| blobs.get(&hash)).await {
            Ok(Some(bytes)) => return Ok(bytes),
            Ok(None) => {}
            Err(detail) => tracing::warn!(detail, "a chunk cannot be read here; it is fetched from elsewhere"),
        }
        if name.stay.class == Class::Hot
            && let Some(bytes) = self.hot_chunk(part).await
        {
            return Ok(bytes);
        }
        let known = if name.stay.class == Class::Hot { None } else { self.get_cold(name, hash).await };
        let found = match known {
            Some(found) => Some(found),
            None => match self.stay_now(&name).await {
                Some(stay) => self.get_cold(ColdName { stay, ..name }, hash).await,
                None => None,
            },
        };
        if let Some(found) = found {
            return Ok(self.keep_for_a_while(hash, found).await);
        }
        let left = if name.stay.class == Class::Hot { None } else { self.hot_chunk(part).await };
        left.ok_or_else(|| {
            let detail = "no node that can be reached has a part of the artifact now, nor has the cold tier";
            Refusal::retry_after(Code::NoLeader, detail, 1_000)
        })
    }

    /// Where the version of a chunk is by now, if it moved on to the tier or within it.
    async fn stay_now(self: &Arc<Self>, name: &ColdName) -> Option<Stay> {
        let query = Query::Stays(vec![name.id]);
        let answer = self.read(partition_group(name.partition), query, Instant::now() + ASK_PATIENCE).await;
        let Ok(Answer::Stays(stays)) = answer else { return None };
        let stay = stays.into_iter().next().flatten()?.is;
        (stay.class != Class::Hot && stay != name.stay).then_some(stay)
    }

    /// A sound chunk of the tier: from this node's, else from another's.
    async fn get_cold(self: &Arc<Self>, name: ColdName, hash: blob::Hash) -> Option<Found> {
        match self.tier.get(&name).await {
            Ok(Some(form)) => {
                let own = !self.tier.is_shared();
                if let Some(found) = Found::check(hash, form, own).await {
                    return Some(found);
                }
                tracing::warn!(path = %name.path(), "a chunk in the cold tier is damaged");
            }
            Ok(None) => {}
            Err(detail) => tracing::warn!(detail, "the cold tier cannot be read here"),
        }
        self.get_others_cold(name, hash).await
    }

    /// The same, from another node's tier.
    async fn get_others_cold(self: &Arc<Self>, name: ColdName, hash: blob::Hash) -> Option<Found> {
        for node in self.members().into_keys().filter(|node| *node != self.node) {
            let call = self.call(node, Request::GetCold(name));
            if let Ok(Ok(Response::Chunk(Some(form)))) = tokio::time::timeout(COLD_PATIENCE, call).await
                && let Some(found) = Found::check(hash, form, false).await
            {
                return Some(found);
            }
        }
        None
    }

    /// What came from afar stays among this node's chunks. No version is hot with it, so that the sweep removes
    /// it when nobody has asked for it for long.
    async fn keep_for_a_while(&self, hash: blob::Hash, found: Found) -> Bytes {
        let Found { form, plain, own } = found;
        if !own
            && self.tier.may_keep(form.len() as u64, self.pace.orphan_age)
            && let Err(detail) = on_disk(&self.blobs, move |blobs| blobs.replace(&hash, &form)).await
        {
            tracing::warn!(detail, "a chunk from the cold tier could not be kept");
        }
        plain
    }

    /// What other nodes, and this one, ask of this node's tier.
    pub(crate) async fn serve_cold(&self, name: ColdName, form: Option<Bytes>) -> Response {
        let answer = match form {
            Some(form) => self.tier.put(&name, form).await.map(|()| Response::Done),
            None => self.tier.get(&name).await.map(Response::Chunk),
        };
        answer.unwrap_or_else(Response::Unknown)
    }

    fn partition_of(&self, group: GroupId) -> Option<u16> {
        self.group(group).map(|group| group.shared.partition)
    }
}

/// A chunk of a tier that was found to be sound.
struct Found {
    form: Bytes,
    plain: Bytes,
    /// It was in this node's own folder.
    own: bool,
}

impl Found {
    async fn check(hash: blob::Hash, form: Bytes, own: bool) -> Option<Self> {
        let opened = form.clone();
        let plain = tokio::task::spawn_blocking(move || blob::open(&hash, opened)).await.ok().flatten()?;
        Some(Self { form, plain, own })
    }
}
