//! Chunks of artifacts across the nodes: each goes to a majority of the replicas, or in shards to six nodes,
//! before its manifest is proposed, and a node that lacks one fetches it from another.

pub(crate) mod keeper;
mod mend;
mod place;
mod shards;

use std::sync::Arc;
use std::time::Duration;

use bravo_model::{Code, Refusal};
use bravo_storage::blob::{self, BlobError, BlobStore, Hash};
use bravo_storage::cache::TieredCache;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use crate::cluster::Cluster;
use crate::config::Artifacts;
use crate::raft::types::{GroupId, NodeId};
use crate::telemetry::events::Chunks;
use crate::transport::wire::{Request, Response};

/// Chunks that go on to slow nodes in the background; beyond it those nodes fetch them when they have time.
pub(crate) const STRAGGLERS_MAX: usize = 16;
/// Longest time that a node may take over one chunk.
const CHUNK_PATIENCE: Duration = Duration::from_secs(30);

/// Chunks that were read here and belong elsewhere, plain.
pub(crate) type ChunkCache = TieredCache<Hash>;

/// How often a node looks at its chunks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Between two searches for orphans.
    pub(crate) sweep_every: Duration,
    /// A chunk that was written or said to be in use since then may be on its way into a version.
    pub(crate) orphan_age: Duration,
    /// Between two rounds over all chunks.
    pub(crate) scrub_every: Duration,
    /// After each chunk that is read again.
    pub(crate) scrub_pause: Duration,
    /// Between two looks for chunks and shards that are missing.
    pub(crate) heal_every: Duration,
    /// Between two rounds of moves to the cold tier.
    pub(crate) move_every: Duration,
}

impl Pace {
    /// As it is configured.
    pub(crate) fn of(config: &Artifacts) -> Self {
        Self {
            sweep_every: Duration::from_millis(config.sweep_interval_ms),
            orphan_age: Duration::from_millis(config.orphan_age_ms),
            scrub_every: Duration::from_millis(config.scrub_interval_ms),
            scrub_pause: Duration::from_millis(config.scrub_pause_ms),
            heal_every: Duration::from_millis(config.heal_interval_ms),
            move_every: Duration::from_millis(config.move_interval_ms),
        }
    }

    /// How often an upload says that its chunks so far are in use, so that they are not taken for left over.
    pub(crate) fn renew_every(&self) -> Duration {
        self.orphan_age / 6
    }
}

impl Cluster {
    /// Writes a chunk in its form here and on the group's other replicas; answers when a majority has it on disk. The
    /// rest goes on in the background, and `held` with it.
    pub(crate) async fn spread_chunk<T: Send + 'static>(
        self: &Arc<Self>,
        group: GroupId,
        hash: Hash,
        form: Bytes,
        held: T,
    ) -> Result<(), Refusal> {
        let voters = self.group(group).map(|group| group.voters()).unwrap_or_default();
        let wanted = voters.len() / 2 + 1;
        let writes = voters.into_iter().map(|node| self.clone().write_at(node, hash, form.clone())).collect();
        self.written(writes, wanted, held).await.map_err(|(had, problem)| {
            let detail = format!("a chunk is on {had} of {wanted} nodes that must have it ({problem})");
            Refusal::retry_after(Code::NoLeader, detail, 500)
        })
    }

    /// Waits until so many writes are done. The rest goes on in the background, and `held` with it. The error: how
    /// many are done, and why not more.
    async fn written<T: Send + 'static>(
        &self,
        mut writes: FuturesUnordered<impl Future<Output = Result<(), String>> + Send + 'static>,
        wanted: usize,
        held: T,
    ) -> Result<(), (usize, String)> {
        let (mut had, mut problem) = (0, "it has no replicas yet".to_owned());
        while had < wanted {
            if had + writes.len() < wanted {
                return Err((had, problem));
            }
            match writes.next().await {
                Some(Ok(())) => had += 1,
                Some(Err(detail)) => problem = detail,
                None => return Err((had, problem)),
            }
        }
        let Ok(place) = self.stragglers.clone().try_acquire_owned() else { return Ok(()) };
        self.tasks.spawn(async move {
            while writes.next().await.is_some() {}
            drop((held, place));
        });
        Ok(())
    }

    async fn write_at(self: Arc<Self>, node: NodeId, hash: Hash, form: Bytes) -> Result<(), String> {
        let call = self.call(node, Request::PutChunk(hash, form));
        match tokio::time::timeout(CHUNK_PATIENCE, call).await {
            Ok(Ok(Response::Done)) => Ok(()),
            Ok(Ok(other)) => Err(format!("node {node}: {other:?}")),
            Ok(Err(error)) => Err(format!("node {node}: {error}")),
            Err(_) => Err(format!("node {node}: no answer in time")),
        }
    }

    /// Whether this node is to have the chunks of a group: the others read them from those that are.
    pub(crate) fn keeps_chunks_of(&self, group: GroupId) -> bool {
        self.group(group).is_some_and(|group| group.voters().contains(&self.node))
    }

    /// Fetches a chunk from another node and keeps it here, in the place of a damaged one if there is one.
    pub(crate) async fn fetch_chunk(self: &Arc<Self>, hash: Hash) -> Option<Bytes> {
        let (form, plain) = self.get_others_chunk(hash).await?;
        match on_disk(&self.blobs, move |blobs| blobs.replace(&hash, &form)).await {
            Ok(()) => Chunks::Repaired.emit(),
            Err(detail) => tracing::warn!(detail, "a chunk that was fetched could not be kept"),
        }
        Some(plain)
    }

    /// A sound chunk from another node, in its form and plain.
    pub(crate) async fn get_others_chunk(self: &Arc<Self>, hash: Hash) -> Option<(Bytes, Bytes)> {
        for node in self.members().into_keys().filter(|node| *node != self.node) {
            if let Some(found) = self.chunk_at(node, hash).await {
                return Some(found);
            }
        }
        None
    }

    /// A node's chunk, in its form and plain, if it has it and it is what its name says.
    async fn chunk_at(self: &Arc<Self>, node: NodeId, hash: Hash) -> Option<(Bytes, Bytes)> {
        let call = self.call(node, Request::GetChunk(hash));
        let Ok(Ok(Response::Chunk(Some(form)))) = tokio::time::timeout(CHUNK_PATIENCE, call).await else {
            return None;
        };
        let opened = form.clone();
        let plain = tokio::task::spawn_blocking(move || blob::open(&hash, opened)).await.ok().flatten()?;
        Some((form, plain))
    }

    /// Says on the group's replicas that chunks are in use; answers whether a majority has each.
    pub(crate) async fn renew_chunks(self: &Arc<Self>, group: GroupId, chunks: &[Hash]) -> bool {
        let voters = self.group(group).map(|group| group.voters()).unwrap_or_default();
        let wanted = voters.len() / 2 + 1;
        let mut asked: FuturesUnordered<_> =
            voters.into_iter().map(|node| self.renew_at(node, chunks.to_vec())).collect();
        let mut counts = vec![0; chunks.len()];
        while let Some(held) = asked.next().await {
            counts.iter_mut().zip(held).for_each(|(count, held)| *count += usize::from(held));
        }
        counts.into_iter().all(|count| count >= wanted)
    }

    /// Says on a node that chunks are in use; answers which it has, nothing if it cannot be asked.
    async fn renew_at(self: &Arc<Self>, node: NodeId, chunks: Vec<Hash>) -> Vec<bool> {
        self.held_at(node, chunks.len(), Request::RenewChunks(chunks)).await
    }

    /// Which chunks a node has, as far as it knows; nothing if it cannot be asked.
    async fn has_at(self: &Arc<Self>, node: NodeId, chunks: Vec<Hash>) -> Vec<bool> {
        self.held_at(node, chunks.len(), Request::HasChunks(chunks)).await
    }

    async fn held_at(self: &Arc<Self>, node: NodeId, count: usize, request: Request) -> Vec<bool> {
        match tokio::time::timeout(CHUNK_PATIENCE, self.call(node, request)).await {
            Ok(Ok(Response::Held(held))) if held.len() == count => held,
            _ => Vec::new(),
        }
    }

    /// What other nodes, and this one, ask of this node's chunks.
    pub(crate) async fn serve_chunk(&self, request: ChunkCall) -> Response {
        let answer = on_disk(&self.blobs, move |blobs| match request {
            ChunkCall::Put(hash, form) => blobs.put(&hash, &form).map(|()| {
                Chunks::Stored(form.len() as u64).emit();
                Response::Done
            }),
            ChunkCall::Get(hash) => blobs.get_form(&hash).map(Response::Chunk),
            ChunkCall::Renew(chunks) => {
                chunks.iter().map(|hash| blobs.renew(hash)).collect::<Result<_, _>>().map(Response::Held)
            }
            ChunkCall::Has(chunks) => Ok(Response::Held(chunks.iter().map(|hash| blobs.contains(hash)).collect())),
        });
        answer.await.unwrap_or_else(Response::Unknown)
    }
}

/// A call on a node's chunks.
pub(crate) enum ChunkCall {
    Put(Hash, Bytes),
    Get(Hash),
    Renew(Vec<Hash>),
    Has(Vec<Hash>),
}

/// Runs what waits for the disk beside the tasks that answer.
pub(crate) async fn on_disk<T: Send + 'static>(
    blobs: &Arc<BlobStore>,
    work: impl FnOnce(&BlobStore) -> Result<T, BlobError> + Send + 'static,
) -> Result<T, String> {
    let blobs = blobs.clone();
    match tokio::task::spawn_blocking(move || work(&blobs)).await {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}
