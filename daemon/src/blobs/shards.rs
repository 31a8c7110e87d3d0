//! Chunks in shards across the nodes: cut and spread where there are nodes enough, and put together again.
//!
//! ```text
//!   spread: form ── cut ──► six shards ──► six nodes; acknowledged when five have theirs on disk
//!   read:   four shards, from wherever they are ── join ──► form ── check its name ──► chunk
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bravo_model::Refusal;
use bravo_model::artifact::{Chunk, Coded, DATA_SHARDS, Part, SHARDS, Shards};
use bravo_model::limits::CODED_BYTES_MIN;
use bravo_storage::blob::{self, Hash};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;

use super::on_disk;
use super::place::places;
use crate::cluster::Cluster;
use crate::raft::types::{GroupId, NodeId};
use crate::telemetry::events::Spread;

/// Shards that are on disk before a write is acknowledged: a node that is lost right then takes one with it, and
/// another one may still follow.
const ACKNOWLEDGED: usize = SHARDS - 1;
/// Shards that do not come sooner are not waited for alone: the others are asked for as well.
const SHARD_PATIENCE: Duration = Duration::from_millis(500);

/// A shard as it travels and is kept.
#[derive(Clone, Debug)]
pub(super) struct Shard {
    pub(super) hash: Hash,
    pub(super) form: Bytes,
}

/// The shards of a chunk's form. Blocks for some milliseconds.
pub(super) fn cut(form: &[u8]) -> Option<[Shard; SHARDS]> {
    let named = |shard: Bytes| Shard { hash: *blake3::hash(&shard).as_bytes(), form: blob::as_it_is(&shard) };
    Some(blob::cut(form)?.map(named))
}

impl Cluster {
    /// Writes a chunk in its form to the nodes that are to have it: in shards where it is large enough and there
    /// are six nodes, else, or where too few of them can take one, whole. Answers how it is kept, when it
    /// outlives the loss of any node. The rest goes on in the background, and `held` with it.
    pub(crate) async fn spread<T: Clone + Send + 'static>(
        self: &Arc<Self>,
        group: GroupId,
        chunk: Chunk,
        form: Bytes,
        held: T,
    ) -> Result<Part, Refusal> {
        let nodes: Vec<NodeId> = self.members().into_keys().collect();
        let mut kept = Spread::Whole;
        if form.len() >= CODED_BYTES_MIN && nodes.len() >= SHARDS {
            match self.spread_shards(&chunk.hash, &nodes, form.clone(), held.clone()).await {
                Ok(shards) => {
                    Spread::Shards.emit();
                    return Ok(Part { chunk, shards: Some(shards) });
                }
                Err(detail) => tracing::debug!(detail, "a chunk is kept whole"),
            }
            kept = Spread::Fallback;
        }
        self.spread_chunk(group, chunk.hash, form, held).await?;
        kept.emit();
        Ok(Part { chunk, shards: None })
    }

    async fn spread_shards<T: Send + 'static>(
        self: &Arc<Self>,
        chunk: &Hash,
        nodes: &[NodeId],
        form: Bytes,
        held: T,
    ) -> Result<Shards, String> {
        let form_bytes = u32::try_from(form.len()).map_err(|error| error.to_string())?;
        let shards = tokio::task::spawn_blocking(move || cut(&form)).await.map_err(|error| error.to_string())?;
        let (Some(shards), Some(places)) = (shards, places(chunk, nodes)) else {
            return Err("it cannot be cut into shards".into());
        };
        let hashes = shards.each_ref().map(|shard| shard.hash);
        let write = |(node, shard): (NodeId, Shard)| self.clone().write_at(node, shard.hash, shard.form);
        let writes: FuturesUnordered<_> = places.into_iter().zip(shards).map(write).collect();
        match self.written(writes, ACKNOWLEDGED, held).await {
            Ok(()) => Ok(Shards { form_bytes, hashes }),
            Err((had, problem)) => Err(format!("{had} of {ACKNOWLEDGED} shards are on disk ({problem})")),
        }
    }

    /// Says that parts of an upload are in use; answers whether each of them would still be acknowledged.
    pub(crate) async fn renew_parts(self: &Arc<Self>, group: GroupId, parts: &[Part]) -> bool {
        let whole: Vec<Hash> = parts.iter().filter(|part| part.shards.is_none()).map(|part| part.chunk.hash).collect();
        if !whole.is_empty() && !self.renew_chunks(group, &whole).await {
            return false;
        }
        let nodes: Vec<NodeId> = self.members().into_keys().collect();
        let coded = |part: &Part| Some((places(&part.chunk.hash, &nodes)?, part.shards?.hashes));
        let (mut asked, mut counts) = (BTreeMap::<NodeId, Vec<(usize, Hash)>>::new(), Vec::new());
        for (places, hashes) in parts.iter().filter_map(coded) {
            for (node, hash) in places.into_iter().zip(hashes) {
                asked.entry(node).or_default().push((counts.len(), hash));
            }
            counts.push(0);
        }
        let renewals = asked.into_iter().map(|(node, shards)| async move {
            let held = self.renew_at(node, shards.iter().map(|(_, hash)| *hash).collect()).await;
            shards.into_iter().zip(held).filter(|(_, held)| *held).map(|((part, _), _)| part).collect::<Vec<_>>()
        });
        for part in join_all(renewals).await.into_iter().flatten() {
            counts[part] += 1;
        }
        counts.into_iter().all(|count| count >= ACKNOWLEDGED)
    }

    /// A part's plain bytes, from the nodes' disks; kept on none of them.
    pub(crate) async fn others_part(self: &Arc<Self>, part: Part) -> Option<Bytes> {
        match part.shards {
            None => self.get_others_chunk(part.chunk.hash).await.map(|(_, plain)| plain),
            Some(shards) => self.join_chunk(&Coded { chunk: part.chunk, shards }).await.map(|(_, plain)| plain),
        }
    }

    /// The form and the plain bytes of a chunk that is kept in shards, if four of them can be had.
    pub(super) async fn join_chunk(self: &Arc<Self>, coded: &Coded) -> Option<(Bytes, Bytes)> {
        let (hash, form_bytes) = (coded.chunk.hash, usize::try_from(coded.shards.form_bytes).ok()?);
        let shards = self.gather(coded).await?;
        let joined = tokio::task::spawn_blocking(move || {
            let form = blob::join(&shards, form_bytes)?;
            Some((form.clone(), blob::open(&hash, form)?))
        });
        joined.await.ok()?
    }

    /// Four shards or more: those that the form was cut into, in whose place others come that are missing or late.
    async fn gather(self: &Arc<Self>, coded: &Coded) -> Option<[Option<Bytes>; SHARDS]> {
        let nodes: Vec<NodeId> = self.members().into_keys().collect();
        let (places, hashes) = (places(&coded.chunk.hash, &nodes)?, &coded.shards.hashes);
        let ask = |index: usize| {
            let (cluster, node, hash) = (self.clone(), places[index], hashes[index]);
            async move { (index, cluster.shard(node, hash).await) }
        };
        let mut found: [Option<Bytes>; SHARDS] = Default::default();
        let mut had = 0;
        let mut others = DATA_SHARDS..SHARDS;
        let mut asked: FuturesUnordered<_> = (0..DATA_SHARDS).map(ask).collect();
        while had < DATA_SHARDS {
            match tokio::time::timeout(SHARD_PATIENCE, asked.next()).await {
                Ok(Some((index, Some(shard)))) => {
                    found[index] = Some(shard);
                    had += 1;
                }
                Ok(Some((_, None))) => asked.extend(others.next().map(ask)),
                Ok(None) => break,
                Err(_) => asked.extend(others.by_ref().map(ask)),
            }
        }
        for index in 0..SHARDS {
            if had < DATA_SHARDS && found[index].is_none() {
                found[index] = self.shard_anywhere(&nodes, hashes[index]).await;
                had += usize::from(found[index].is_some());
            }
        }
        (had >= DATA_SHARDS).then_some(found)
    }

    /// A sound shard from this node's disk, else from the node where it belongs.
    async fn shard(self: &Arc<Self>, node: NodeId, hash: Hash) -> Option<Bytes> {
        if let Ok(Some(shard)) = on_disk(&self.blobs, move |blobs| blobs.get(&hash)).await {
            return Some(shard);
        }
        if node == self.node { None } else { Some(self.chunk_at(node, hash).await?.1) }
    }

    /// A sound shard from whoever has it: members came or went since it was written.
    pub(super) async fn shard_anywhere(self: &Arc<Self>, nodes: &[NodeId], hash: Hash) -> Option<Bytes> {
        for node in nodes {
            if let Some(shard) = self.shard(*node, hash).await {
                return Some(shard);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use bravo_storage::blob::{BlobStore, Effort};

    use super::*;

    /// What is damaged on disk is not handed out, so that it counts as lost: two may be, three may not.
    #[test]
    fn shards_outlive_damage_on_two_disks_and_not_on_three() {
        let mut plain = vec![0; 3 << 20];
        blake3::Hasher::new().finalize_xof().fill(&mut plain);
        let (name, form) = (*blake3::hash(&plain).as_bytes(), blob::encode(&plain, Effort::Quick));
        let shards = cut(&form).unwrap();
        let folders: [_; SHARDS] = std::array::from_fn(|_| tempfile::tempdir().unwrap());
        let stores = folders.each_ref().map(|folder| BlobStore::open(folder.path()).unwrap());
        for (store, shard) in stores.iter().zip(&shards) {
            store.put(&shard.hash, &shard.form).unwrap();
        }
        let read = || {
            let found = std::array::from_fn(|index| stores[index].get(&shards[index].hash).ok().flatten());
            blob::open(&name, blob::join(&found, form.len())?)
        };
        assert!(read().is_some_and(|back| back == plain));
        for (lost, damaged) in [0, 4, 2].into_iter().enumerate() {
            let hex = blake3::Hash::from_bytes(shards[damaged].hash).to_hex();
            let file = folders[damaged].path().join(&hex[..2]).join(hex.as_str());
            let mut bytes = std::fs::read(&file).unwrap();
            bytes[100_000] ^= 1;
            std::fs::write(&file, bytes).unwrap();
            assert_eq!(read().is_some_and(|back| back == plain), lost < 2, "{} are damaged", lost + 1);
        }
    }
}
