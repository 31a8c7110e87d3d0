//! Moves what the state says is to be moved, and keeps the tier in order.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bravo_model::artifact::Part;
use bravo_model::lifecycle::{Class, Move, Stays, VersionId};
use bravo_model::{Command, Envelope, view};
use bravo_storage::blob::{self, Effort};
use bytes::Bytes;
use futures_util::StreamExt;

use super::{ASK_PATIENCE, ColdName, Found};
use crate::cluster::{Cluster, Repeat};
use crate::raft::group::Group;
use crate::raft::types::{GroupId, META_GROUP, partition_group};
use crate::telemetry::events::{Chunks, ColdMoved};
use crate::transport::wire::{Answer, Query};

/// Versions that are looked up at a time.
const PAGE: usize = 16;
/// Objects about which a leader is asked at a time.
const ASKED: usize = 500;
/// Orphans that are remembered from one search to the next.
const ORPHANS_MAX: usize = 100_000;

/// Starts the tasks.
pub(crate) fn start(cluster: &Arc<Cluster>) {
    cluster.tasks.spawn(moves(cluster.clone()));
    cluster.tasks.spawn(sweep(cluster.clone()));
    if !cluster.tier.is_shared() {
        cluster.tasks.spawn(heal(cluster.clone()));
    }
}

/// Works off what is to be moved in the groups that this node leads. What cannot be moved now waits.
async fn moves(cluster: Arc<Cluster>) {
    loop {
        tokio::time::sleep(cluster.pace.move_every).await;
        for group in cluster.groups().iter().filter(|group| group.shared.group != META_GROUP) {
            let mut after: Option<VersionId> = None;
            while group.shared.is_leader() {
                let page = view::moves(&*group.shared.state.read(), after.as_ref(), PAGE);
                let Some(last) = page.last() else { break };
                after = Some(last.id);
                for one in page {
                    let (id, to) = (one.id, one.to);
                    if let Err(detail) = move_one(&cluster, group.shared.partition, one).await {
                        tracing::warn!(?id, ?to, detail, "a version could not be moved yet");
                    }
                }
            }
        }
    }
}

async fn move_one(cluster: &Arc<Cluster>, partition: u16, of: Move) -> Result<(), String> {
    let Move { id, from, to, manifest } = of;
    let effort = if to.class == Class::Archive { Effort::Thorough } else { Effort::Quick };
    for (index, part) in manifest.parts().enumerate() {
        let name = ColdName { partition, id, stay: from, index: u32::try_from(index).unwrap_or(u32::MAX) };
        let bytes = read(cluster, name, part).await?;
        let form = tokio::task::spawn_blocking(move || blob::encode(&bytes, effort)).await;
        let form = form.map_err(|error| error.to_string())?;
        cluster.put_cold(ColdName { stay: to, ..name }, form).await?;
    }
    let (envelope, deadline) = (Envelope::plain(Command::MoveVersion { id, to }), Instant::now() + ASK_PATIENCE);
    let moved = cluster.propose(partition_group(partition), &envelope, Repeat::Safe, deadline).await;
    moved.map_err(|refusal| refusal.detail)?;
    ColdMoved { to: to.class, bytes: manifest.size }.emit();
    Ok(())
}

/// What is in the tier already is not kept on its way to the archive.
async fn read(cluster: &Arc<Cluster>, name: ColdName, part: Part) -> Result<Bytes, String> {
    if name.stay.class == Class::Cold
        && let Some(found) = cluster.get_cold(name, part.chunk.hash).await
    {
        return Ok(found.plain);
    }
    cluster.chunk_of(name, part).await.map_err(|refusal| refusal.detail)
}

/// Removes objects of which the state knows nothing: of moves that were called off, of versions that moved on,
/// that expired or were deleted. One goes when two searches found it so, and the leader says the same; as no name
/// is used twice, nobody can come to need it while it goes.
async fn sweep(cluster: Arc<Cluster>) {
    let mut seen = HashSet::new();
    loop {
        tokio::time::sleep(cluster.pace.sweep_every).await;
        let mut now = HashSet::new();
        for group in cluster.groups().iter().filter(|group| group.shared.group != META_GROUP) {
            if cluster.tier.is_shared() && !group.shared.is_leader() {
                continue;
            }
            for class in [Class::Cold, Class::Archive] {
                let orphans = match orphans(&cluster, group.shared.group, class).await {
                    Ok(orphans) => orphans,
                    Err(detail) => {
                        tracing::warn!(detail, "the cold tier could not be searched");
                        continue;
                    }
                };
                let (again, new): (Vec<_>, Vec<_>) = orphans.into_iter().partition(|name| seen.contains(name));
                now.extend(new.into_iter().take(ORPHANS_MAX.saturating_sub(now.len())));
                for part in again.chunks(ASKED) {
                    if let Err(detail) = remove(&cluster, group.shared.group, part).await {
                        tracing::warn!(detail, "orphans stay in the cold tier until the next search");
                    }
                }
            }
        }
        seen = now;
    }
}

/// Old objects of stays that this replica knows to be over.
async fn orphans(cluster: &Cluster, group: GroupId, class: Class) -> Result<Vec<ColdName>, String> {
    let (Some(replica), Some(partition)) = (cluster.group(group), cluster.partition_of(group)) else {
        return Ok(Vec::new());
    };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let before = now.saturating_sub(cluster.pace.orphan_age.as_secs());
    let (mut found, mut listed) = (Vec::new(), cluster.tier.list(class, partition));
    while let Some(one) = listed.next().await {
        let (name, written) = one?;
        let old = u64::try_from(written).is_ok_and(|written| written <= before);
        let needed = |stays: Stays| stays.need(name.stay);
        if old && !view::stays(&*replica.shared.state.read(), &name.id).is_some_and(needed) {
            found.push(name);
        }
        if found.len() >= ORPHANS_MAX {
            break;
        }
    }
    Ok(found)
}

async fn remove(cluster: &Arc<Cluster>, group: GroupId, orphans: &[ColdName]) -> Result<(), String> {
    let query = Query::Stays(orphans.iter().map(|name| name.id).collect());
    let answer = cluster.read(group, query, Instant::now() + ASK_PATIENCE).await.map_err(|refusal| refusal.detail)?;
    let Answer::Stays(stays) = answer else { return Err("the leader answered something else".into()) };
    let mut removed = 0_u64;
    for (name, stays) in orphans.iter().zip(stays) {
        if !stays.is_some_and(|stays| stays.need(name.stay)) {
            cluster.tier.remove(name).await?;
            removed += 1;
        }
    }
    Chunks::SweptCold(removed).emit();
    if removed > 0 {
        tracing::info!(removed, "removed chunks from the cold tier that no version is made of");
    }
    Ok(())
}

/// Sees to it that this node's own folder has what it should, and that it is sound.
async fn heal(cluster: Arc<Cluster>) {
    loop {
        tokio::time::sleep(cluster.pace.scrub_every).await;
        let own = |group: &&Group| group.shared.group != META_GROUP && cluster.keeps_chunks_of(group.shared.group);
        for group in cluster.groups().iter().filter(own) {
            let mut after = None;
            loop {
                let page = view::put_away(&*group.shared.state.read(), after.as_ref(), PAGE);
                let Some(last) = page.last() else { break };
                after = Some(last.0);
                for (id, stay, chunks) in page {
                    for (index, hash) in chunks.into_iter().enumerate() {
                        let index = u32::try_from(index).unwrap_or(u32::MAX);
                        let name = ColdName { partition: group.shared.partition, id, stay, index };
                        heal_one(&cluster, name, hash).await;
                        tokio::time::sleep(cluster.pace.scrub_pause).await;
                    }
                }
            }
        }
    }
}

async fn heal_one(cluster: &Arc<Cluster>, name: ColdName, hash: blob::Hash) {
    let problem = match cluster.tier.get(&name).await {
        Ok(Some(form)) if Found::check(hash, form.clone()).await.is_some() => {
            return Chunks::Scrubbed(true).emit();
        }
        Ok(Some(_)) => "damaged",
        Ok(None) => "missing",
        Err(_) => "unreadable",
    };
    let Some(found) = cluster.get_others_cold(name, hash).await else {
        // It may have moved on since this replica was looked at.
        tracing::debug!(path = %name.path(), problem, "a chunk of the cold tier cannot be mended now");
        return;
    };
    let mended = cluster.tier.put(&name, found.form).await.is_ok();
    if problem == "damaged" {
        Chunks::Scrubbed(false).emit();
    }
    if mended {
        Chunks::Repaired.emit();
    }
    tracing::warn!(path = %name.path(), problem, mended, "a chunk of the cold tier was not what it should be");
}
