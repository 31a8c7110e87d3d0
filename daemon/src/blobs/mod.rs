//! Chunks of artifacts across the nodes: each goes to a majority of the replicas before its manifest is
//! proposed, and a node that lacks one fetches it from another.

pub(crate) mod keeper;

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
        let mut writes: FuturesUnordered<_> =
            voters.into_iter().map(|node| self.clone().write_at(node, hash, form.clone())).collect();
        let (mut had, mut problem) = (0, "it has no replicas yet".to_owned());
        while had < wanted {
            match writes.next().await {
                Some(Ok(())) => had += 1,
                Some(Err(detail)) => problem = detail,
                None => {
                    let detail = format!("a chunk is on {had} of {wanted} nodes that must have it ({problem})");
                    return Err(Refusal::retry_after(Code::NoLeader, detail, 500));
                }
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
            let call = self.call(node, Request::GetChunk(hash));
            let Ok(Ok(Response::Chunk(Some(form)))) = tokio::time::timeout(CHUNK_PATIENCE, call).await else {
                continue;
            };
            let opened = form.clone();
            let plain = tokio::task::spawn_blocking(move || blob::open(&hash, opened)).await;
            if let Ok(Some(plain)) = plain {
                return Some((form, plain));
            }
        }
        None
    }

    /// Says on the group's replicas that chunks are in use; answers whether a majority has each.
    pub(crate) async fn renew_chunks(self: &Arc<Self>, group: GroupId, chunks: &[Hash]) -> bool {
        let voters = self.group(group).map(|group| group.voters()).unwrap_or_default();
        let wanted = voters.len() / 2 + 1;
        let mut asked: FuturesUnordered<_> = voters
            .into_iter()
            .map(|node| {
                let call = self.call(node, Request::RenewChunks(chunks.to_vec()));
                async { tokio::time::timeout(CHUNK_PATIENCE, call).await }
            })
            .collect();
        let mut counts = vec![0; chunks.len()];
        while let Some(answer) = asked.next().await {
            if let Ok(Ok(Response::Held(held))) = answer {
                counts.iter_mut().zip(held).for_each(|(count, held)| *count += usize::from(held));
            }
        }
        counts.into_iter().all(|count| count >= wanted)
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
        });
        answer.await.unwrap_or_else(Response::Unknown)
    }
}

/// A call on a node's chunks.
pub(crate) enum ChunkCall {
    Put(Hash, Bytes),
    Get(Hash),
    Renew(Vec<Hash>),
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
