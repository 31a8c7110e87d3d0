//! Sees to it that each shard is where it belongs: after a disk was lost or damaged, after a node came or went.
//!
//! ```text
//!   leader:    which shards do you lack? ──► each node ──► copied from whoever has it, else made anew from four
//!   each node: a shard that belongs elsewhere goes when it is there
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bravo_model::artifact::{Coded, CodedRefs, SHARDS};
use bravo_model::view;
use bravo_storage::blob::{self, Hash};
use futures_util::future::join_all;

use super::keeper::{PAGE, PAGE_PAUSE};
use super::on_disk;
use super::place::places;
use super::shards::{Shard, cut};
use crate::cluster::Cluster;
use crate::raft::group::Group;
use crate::raft::types::{META_GROUP, NodeId};
use crate::telemetry::events::Mended;

/// Pause after each chunk that was mended.
const MEND_PAUSE: Duration = Duration::from_millis(20);

/// Shards of a page's chunks by the node that is asked for them: which chunk of the page, which of its shards.
type Asked = BTreeMap<NodeId, Vec<(usize, usize)>>;

/// Goes over the chunks in shards of the partitions that this node leads, and mends what is missing.
pub(super) async fn mend(cluster: Arc<Cluster>) {
    loop {
        tokio::time::sleep(cluster.pace.heal_every).await;
        let mut round = Round::default();
        for group in cluster.groups().iter().filter(|group| group.shared.group != META_GROUP) {
            let mut after = None;
            while group.shared.is_leader() {
                let Some(page) = next_page(group, &mut after) else { break };
                for (coded, missing) in absent(&cluster, &page).await {
                    round.mend(&cluster, &coded, missing).await;
                    tokio::time::sleep(MEND_PAUSE).await;
                }
                tokio::time::sleep(PAGE_PAUSE).await;
            }
        }
        round.tell();
    }
}

/// Gives up shards on this node that belong to others, which have them.
pub(super) async fn give_up(cluster: Arc<Cluster>) {
    loop {
        tokio::time::sleep(cluster.pace.sweep_every).await;
        let mut removed = 0_u64;
        for group in cluster.groups().iter().filter(|group| group.shared.group != META_GROUP) {
            let mut after = None;
            while let Some(page) = next_page(group, &mut after) {
                removed += give_up_of(&cluster, &page).await;
                tokio::time::sleep(PAGE_PAUSE).await;
            }
        }
        if removed > 0 {
            tracing::info!(removed, "removed shards that are on other nodes now");
        }
    }
}

fn next_page(group: &Group, after: &mut Option<Hash>) -> Option<Vec<Coded>> {
    let page: Vec<CodedRefs> = view::coded(&*group.shared.state.read(), *after, PAGE);
    *after = Some(page.last()?.coded.id());
    Some(page.into_iter().map(|row| row.coded).collect())
}

/// Chunks of a page and those of their shards that the nodes where they belong say not to have. A node that does
/// not answer is left alone: it may have all when it is back.
async fn absent(cluster: &Arc<Cluster>, page: &[Coded]) -> Vec<(Coded, Vec<(usize, NodeId)>)> {
    let nodes: Vec<NodeId> = cluster.members().into_keys().collect();
    let mut asked = Asked::new();
    for (chunk, coded) in page.iter().enumerate() {
        for (shard, node) in places(&coded.chunk.hash, &nodes).into_iter().flatten().enumerate() {
            asked.entry(node).or_default().push((chunk, shard));
        }
    }
    let mut missing: BTreeMap<usize, Vec<(usize, NodeId)>> = BTreeMap::new();
    for (node, chunk, shard) in answers(cluster, page, asked, false).await {
        missing.entry(chunk).or_default().push((shard, node));
    }
    missing.into_iter().map(|(chunk, missing)| (page[chunk], missing)).collect()
}

/// Those of the shards that the nodes say to have, or to lack.
async fn answers(cluster: &Arc<Cluster>, page: &[Coded], asked: Asked, has: bool) -> Vec<(NodeId, usize, usize)> {
    let calls = asked.into_iter().map(|(node, shards)| async move {
        let hashes = shards.iter().map(|(chunk, shard)| page[*chunk].shards.hashes[*shard]).collect();
        let held = cluster.has_at(node, hashes).await;
        let fitting = shards.into_iter().zip(held).filter(move |(_, held)| *held == has);
        fitting.map(|((chunk, shard), _)| (node, chunk, shard)).collect::<Vec<_>>()
    });
    join_all(calls).await.into_iter().flatten().collect()
}

/// What came of one round.
#[derive(Default)]
struct Round {
    mended: u64,
    /// Chunks of which too many shards are missing now.
    lost: u64,
    /// Nodes that could not take a shard: their disk may be full, and the others are to be mended.
    refused: BTreeSet<NodeId>,
}

impl Round {
    /// Copies the missing shards of a chunk, or makes them anew.
    async fn mend(&mut self, cluster: &Arc<Cluster>, coded: &Coded, missing: Vec<(usize, NodeId)>) {
        let nodes: Vec<NodeId> = cluster.members().into_keys().collect();
        let mut made: Option<[Shard; SHARDS]> = None;
        for (index, node) in missing {
            if self.refused.contains(&node) {
                continue;
            }
            let hash = coded.shards.hashes[index];
            let (form, how) = match cluster.shard_anywhere(&nodes, hash).await {
                Some(shard) => (blob::as_it_is(&shard), Mended::Copied),
                None => {
                    if made.is_none() {
                        made = make(cluster, coded).await;
                    }
                    let Some(shards) = &made else {
                        self.lost += 1;
                        return;
                    };
                    (shards[index].form.clone(), Mended::Made)
                }
            };
            match cluster.clone().write_at(node, hash, form).await {
                Ok(()) => {
                    how.emit();
                    self.mended += 1;
                }
                Err(detail) => {
                    tracing::warn!(detail, "a node cannot take the shards now that it lacks");
                    self.refused.insert(node);
                }
            }
        }
    }

    fn tell(&self) {
        let Self { mended, lost, .. } = self;
        if *mended > 0 {
            tracing::info!(mended, "put shards of artifacts where they were missing");
        }
        if *lost > 0 {
            tracing::warn!(lost, "of some chunks of artifacts fewer than four shards can be had now");
        }
    }
}

/// All shards of a chunk, made anew from four of them.
async fn make(cluster: &Arc<Cluster>, coded: &Coded) -> Option<[Shard; SHARDS]> {
    let (form, _) = cluster.join_chunk(coded).await?;
    let made = tokio::task::spawn_blocking(move || cut(&form)).await.ok().flatten()?;
    (made.each_ref().map(|shard| shard.hash) == coded.shards.hashes).then_some(made)
}

/// A shard goes from here if it stands in one place only, and the node of that place says that it has it.
async fn give_up_of(cluster: &Arc<Cluster>, page: &[Coded]) -> u64 {
    let nodes: Vec<NodeId> = cluster.members().into_keys().collect();
    let mut elsewhere = Vec::new();
    for (chunk, coded) in page.iter().enumerate() {
        let placed = places(&coded.chunk.hash, &nodes).into_iter().flatten().enumerate();
        elsewhere.extend(placed.filter(|(_, node)| *node != cluster.node).map(|(shard, node)| (node, chunk, shard)));
    }
    let hash = |chunk: usize, shard: usize| page[chunk].shards.hashes[shard];
    let hashes: Vec<Hash> = elsewhere.iter().map(|(_, chunk, shard)| hash(*chunk, *shard)).collect();
    let here = on_disk(&cluster.blobs, move |blobs| Ok(hashes.iter().map(|hash| blobs.contains(hash)).collect()));
    let here: Vec<bool> = here.await.unwrap_or_default();
    let mut asked = Asked::new();
    for ((node, chunk, shard), _) in elsewhere.into_iter().zip(here).filter(|(_, here)| *here) {
        if places_of(cluster, &hash(chunk, shard)) == 1 {
            asked.entry(node).or_default().push((chunk, shard));
        }
    }
    let (age, there) = (cluster.pace.orphan_age, answers(cluster, page, asked, true).await);
    let hashes: Vec<Hash> = there.into_iter().map(|(_, chunk, shard)| hash(chunk, shard)).collect();
    let removed = on_disk(&cluster.blobs, move |blobs| {
        hashes.iter().try_fold(0, |removed, hash| Ok(removed + u64::from(blobs.remove_older(hash, age)?)))
    });
    removed.await.unwrap_or_default()
}

/// In how many places a chunk file is needed, as far as this node's replicas know: one that is a whole chunk
/// as well is needed here.
fn places_of(cluster: &Cluster, hash: &Hash) -> u64 {
    let count = |group: &Group| {
        let rows = group.shared.state.read();
        let shards = view::shard_refs(&*rows, hash);
        if view::is_whole(&*rows, hash) { u64::MAX } else { shards }
    };
    cluster.groups().iter().map(count).fold(0, u64::saturating_add)
}
