//! Keeps a node's chunks in order, gently: fetches those that it lacks, finds damaged ones and replaces
//! them, and removes those that no version is made of.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bravo_model::view;
use bravo_storage::blob::Hash;

use super::{mend, on_disk};
use crate::cluster::Cluster;
use crate::raft::group::Group;
use crate::raft::types::{META_GROUP, partition_group};
use crate::telemetry::events::Chunks;
use crate::transport::wire::{Answer, Query};

/// Chunks that are looked for at a time.
pub(super) const PAGE: usize = 1_000;
/// Pause between pages.
pub(super) const PAGE_PAUSE: Duration = Duration::from_millis(250);
/// Such chunks that are remembered from one search to the next.
const ORPHANS_MAX: usize = 100_000;
/// How long the leaders may take to answer.
const ASK_PATIENCE: Duration = Duration::from_secs(5);

/// Starts the tasks.
pub(crate) fn start(cluster: &Arc<Cluster>) {
    cluster.tasks.spawn(heal(cluster.clone()));
    cluster.tasks.spawn(scrub(cluster.clone()));
    cluster.tasks.spawn(sweep(cluster.clone()));
    cluster.tasks.spawn(mend::mend(cluster.clone()));
    cluster.tasks.spawn(mend::give_up(cluster.clone()));
}

/// Fetches what a version is made of that this node is to have and that is not here: it was away, or is new.
async fn heal(cluster: Arc<Cluster>) {
    loop {
        tokio::time::sleep(cluster.pace.heal_every).await;
        let mut fetched = 0_u64;
        let own = |group: &&Group| group.shared.group != META_GROUP && cluster.keeps_chunks_of(group.shared.group);
        for group in cluster.groups().iter().filter(own) {
            let mut after = None;
            loop {
                let page = view::chunks(&*group.shared.state.read(), after, PAGE);
                let Some(last) = page.last() else { break };
                after = Some(last.chunk.hash);
                let full = page.len() == PAGE;
                let missing = on_disk(&cluster.blobs, move |blobs| {
                    let hashes = page.into_iter().map(|refs| refs.chunk.hash);
                    Ok(hashes.filter(|hash| !blobs.contains(hash)).collect::<Vec<_>>())
                });
                for hash in missing.await.unwrap_or_default() {
                    fetched += u64::from(cluster.fetch_chunk(hash).await.is_some());
                }
                if !full {
                    break;
                }
                tokio::time::sleep(PAGE_PAUSE).await;
            }
        }
        if fetched > 0 {
            tracing::info!(fetched, "fetched chunks of artifacts that this node lacked");
        }
    }
}

/// Reads every chunk now and then, and replaces those that are not what their name says.
async fn scrub(cluster: Arc<Cluster>) {
    loop {
        tokio::time::sleep(cluster.pace.scrub_every).await;
        for first in 0..=u8::MAX {
            for hash in on_disk(&cluster.blobs, move |blobs| blobs.names(first)).await.unwrap_or_default() {
                tokio::time::sleep(cluster.pace.scrub_pause).await;
                let read = on_disk(&cluster.blobs, move |blobs| blobs.get(&hash).map(|_| ())).await;
                Chunks::Scrubbed(read.is_ok()).emit();
                if let Err(detail) = read {
                    let mended = cluster.fetch_chunk(hash).await.is_some();
                    tracing::warn!(detail, mended, "a chunk of an artifact was damaged");
                }
            }
        }
    }
}

/// Removes what no version is made of: of uploads that came to no end, and of deleted artifacts. A chunk goes
/// when two searches found it so, that those who read a version as it is deleted have time to the end.
async fn sweep(cluster: Arc<Cluster>) {
    let mut seen = HashSet::new();
    loop {
        tokio::time::sleep(cluster.pace.sweep_every).await;
        let (mut now, mut removed, age) = (HashSet::new(), 0_u64, cluster.pace.orphan_age);
        for first in 0..=u8::MAX {
            let old = on_disk(&cluster.blobs, move |blobs| {
                let names = blobs.names(first)?.into_iter();
                Ok(names.filter(|hash| blobs.is_older(hash, age)).collect::<Vec<Hash>>())
            });
            let mut orphans = old.await.unwrap_or_default();
            if orphans.is_empty() {
                continue;
            }
            orphans.retain(|hash| !is_referred(&cluster, hash));
            let (again, new): (Vec<_>, Vec<_>) = orphans.into_iter().partition(|hash| seen.contains(hash));
            now.extend(new.into_iter().take(ORPHANS_MAX.saturating_sub(now.len())));
            for part in again.chunks(PAGE) {
                removed += remove(&cluster, part.to_vec()).await;
            }
            tokio::time::sleep(PAGE_PAUSE).await;
        }
        seen = now;
        Chunks::Swept(removed).emit();
        if removed > 0 {
            tracing::info!(removed, "removed chunks that no artifact is made of");
        }
    }
}

fn is_referred(cluster: &Cluster, hash: &Hash) -> bool {
    cluster.groups().iter().any(|group| view::is_referred(&*group.shared.state.read(), hash))
}

/// Removes chunks that all leaders say are in no version: this node may not have applied the newest ones yet.
async fn remove(cluster: &Arc<Cluster>, mut orphans: Vec<Hash>) -> u64 {
    for partition in 0..cluster.partitions() {
        let (query, deadline) = (Query::Referred(orphans.clone()), Instant::now() + ASK_PATIENCE);
        let Ok(Answer::Referred(referred)) = cluster.read(partition_group(partition), query, deadline).await else {
            return 0;
        };
        if referred.len() != orphans.len() {
            return 0;
        }
        let mut referred = referred.into_iter();
        orphans.retain(|_| referred.next() == Some(false));
    }
    let age = cluster.pace.orphan_age;
    let removed = on_disk(&cluster.blobs, move |blobs| {
        let mut removed = 0;
        for hash in &orphans {
            removed += u64::from(blobs.remove_older(hash, age)?);
        }
        Ok(removed)
    });
    removed.await.unwrap_or_default()
}
