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
        let hot = name.stay.class == Class::Hot;
        if hot
            && self.keeps_chunks_of(partition_group(name.partition))
            && part.shards.is_none()
            && let Some(bytes) = self.fetch_chunk(hash).await
        {
            return Ok(bytes);
        }
        if !hot
            && !self.tier.is_shared()
            && let Some(found) = self.get_own_cold(name, hash).await
        {
            return Ok(found.plain);
        }
        let from_afar = || {
            let cluster = self.clone();
            async move { cluster.chunk_from_afar(name, part).await }
        };
        self.chunks.get_or_load(hash, from_afar).await
    }

    /// A chunk that this node is not to keep.
    async fn chunk_from_afar(self: Arc<Self>, name: ColdName, part: Part) -> Result<Bytes, Refusal> {
        let (hot, hash) = (name.stay.class == Class::Hot, part.chunk.hash);
        if hot && let Some(plain) = self.others_part(part).await {
            return Ok(plain);
        }
        if !hot && let Some(found) = self.get_cold(name, hash).await {
            return Ok(found.plain);
        }
        if let Some(stay) = self.stay_now(&name).await
            && let Some(found) = self.get_cold(ColdName { stay, ..name }, hash).await
        {
            return Ok(found.plain);
        }
        if !hot && let Some(plain) = self.others_part(part).await {
            return Ok(plain);
        }
        let detail = "no node that can be reached has a part of the artifact now, nor has the cold tier";
        Err(Refusal::retry_after(Code::NoLeader, detail, 1_000))
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
        match self.get_own_cold(name, hash).await {
            Some(found) => Some(found),
            None => self.get_others_cold(name, hash).await,
        }
    }

    async fn get_own_cold(&self, name: ColdName, hash: blob::Hash) -> Option<Found> {
        match self.tier.get(&name).await {
            Ok(Some(form)) => {
                let found = Found::check(hash, form).await;
                if found.is_none() {
                    tracing::warn!(path = %name.path(), "a chunk in the cold tier is damaged");
                }
                found
            }
            Ok(None) => None,
            Err(detail) => {
                tracing::warn!(detail, "the cold tier cannot be read here");
                None
            }
        }
    }

    /// The same, from another node's tier.
    async fn get_others_cold(self: &Arc<Self>, name: ColdName, hash: blob::Hash) -> Option<Found> {
        for node in self.members().into_keys().filter(|node| *node != self.node) {
            let call = self.call(node, Request::GetCold(name));
            if let Ok(Ok(Response::Chunk(Some(form)))) = tokio::time::timeout(COLD_PATIENCE, call).await
                && let Some(found) = Found::check(hash, form).await
            {
                return Some(found);
            }
        }
        None
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
}

impl Found {
    async fn check(hash: blob::Hash, form: Bytes) -> Option<Self> {
        let opened = form.clone();
        let plain = tokio::task::spawn_blocking(move || blob::open(&hash, opened)).await.ok().flatten()?;
        Some(Self { form, plain })
    }
}
