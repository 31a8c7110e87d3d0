//! Invariants of artifacts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use serde::de::DeserializeOwned;

use super::{Census, differences};
use crate::artifact::{Artifact, ArtifactVersion, ChunkRefs, Coded, CodedRefs, Part};
use crate::lifecycle::{Class, Life};
use crate::row;
use crate::table::{self, due, tag};
use crate::txn::Key;

/// A chunk's references are those of the versions that are kept hot, whether it is whole or in shards; a shard's
/// are those of the chunks in shards.
pub(super) fn chunks_are_counted(census: &Census) -> Vec<String> {
    let mut whole: BTreeMap<Key, ChunkRefs> = BTreeMap::new();
    let mut coded: BTreeMap<Key, CodedRefs> = BTreeMap::new();
    for Part { chunk, shards } in hot_versions(census).iter().flat_map(|version| version.manifest.parts()) {
        match shards.map(|shards| Coded { chunk, shards }) {
            None => whole.entry(table::chunk_refs(&chunk.hash)).or_insert(ChunkRefs { chunk, refs: 0 }).refs += 1,
            Some(of) => {
                coded.entry(table::coded(&of.id())).or_insert(CodedRefs { coded: of, refs: 0 }).refs += 1;
            }
        }
    }
    let mut shards: BTreeMap<Key, u64> = BTreeMap::new();
    for hash in coded.values().flat_map(|row| &row.coded.shards.hashes) {
        *shards.entry(table::shard_refs(hash)).or_default() += 1;
    }
    let mut wrong = miscounted(census, tag::CHUNK_REFS, &whole);
    wrong.extend(miscounted(census, tag::CODED, &coded));
    wrong.extend(miscounted(census, tag::SHARD_REFS, &shards));
    wrong
}

fn hot_versions(census: &Census) -> Vec<ArtifactVersion> {
    let lives = census.table(tag::LIFE);
    let hot = |key: &Key| {
        let life = table::version_in(key)
            .and_then(|(hash, number)| row::decode::<Life>(lives.get(&table::of_version(tag::LIFE, &hash, number))?));
        life.is_none_or(|life| life.stay.class == Class::Hot)
    };
    let versions = census.table(tag::ARTIFACT_VERSION);
    versions.iter().filter(|(key, _)| hot(key)).filter_map(|(_, value)| row::decode(value)).collect()
}

/// Rows of a table that are not what they should be.
fn miscounted<T>(census: &Census, table: u8, expected: &BTreeMap<Key, T>) -> Vec<String>
where
    T: DeserializeOwned + PartialEq + Debug,
{
    let found: BTreeMap<Key, T> =
        census.table(table).into_iter().filter_map(|(key, value)| Some((key, row::decode(&value)?))).collect();
    let keys: BTreeSet<&Key> = expected.keys().chain(found.keys()).collect();
    let wrong = keys.into_iter().filter(|key| expected.get(*key) != found.get(*key));
    wrong.map(|key| format!("chunk {key:?}: counted {:?}, found {:?}", found.get(key), expected.get(key))).collect()
}

/// An artifact that is there is listed and has its newest version; what is older than its first one, or is left
/// of a deleted one, is about to be swept; counts are right.
pub(super) fn artifacts_match(census: &Census) -> Vec<String> {
    let heads: Vec<Artifact> = census.table(tag::ARTIFACT).values().filter_map(row::decode).collect();
    let versions = census.keys(tag::ARTIFACT_VERSION);
    let awaited: BTreeSet<[u8; 16]> = census.keys(tag::DUE).iter().filter_map(awaited).collect();
    let (mut wrong, mut listed, mut owned) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    let mut counts: BTreeMap<Key, u64> = BTreeMap::new();
    for head in &heads {
        let hash = table::artifact_hash(&head.project, &head.path);
        *counts.entry(table::key(tag::ARTIFACT_NUMBERS, &[])).or_default() += 1;
        if head.forget_at.is_none() {
            *counts.entry(table::artifacts(&head.project)).or_default() += 1;
            listed.insert(table::artifact_listed(&head.project, &hash));
            if !versions.contains(&table::artifact_version(&hash, head.version)) {
                wrong.push(format!("{} has no version {}", head.path, head.version));
            }
        }
        let own = (1..=head.version).map(|version| table::artifact_version(&hash, version));
        let own: Vec<Key> = own.filter(|key| versions.contains(key)).collect();
        let late = own.iter().any(|key| table::last_u32(key) < head.first);
        if (late || head.forget_at.is_some()) && !awaited.contains(&hash) {
            wrong.push(format!("nothing will sweep {}", head.path));
        }
        owned.extend(own);
    }
    let kept = census.table(tag::ARTIFACTS).into_iter().chain(census.table(tag::ARTIFACT_NUMBERS));
    let kept: BTreeMap<Key, u64> = kept.filter_map(|(key, value)| Some((key, row::decode(&value)?))).collect();
    if kept != counts {
        wrong.push(format!("counted {kept:?}, found {counts:?}"));
    }
    wrong.extend(differences("ARTIFACT_VERSION", &owned, &versions));
    wrong.extend(differences("ARTIFACT_LIST", &listed, &census.keys(tag::ARTIFACT_LIST)));
    wrong
}

/// What is noted of a version is noted of one that is there; what it says to be due is due, and nothing else.
pub(super) fn lives_match(census: &Census) -> Vec<String> {
    let versions: BTreeSet<_> = census.keys(tag::ARTIFACT_VERSION).iter().filter_map(table::version_in).collect();
    let (mut wrong, mut awaited) = (Vec::new(), BTreeSet::new());
    for (key, value) in census.table(tag::LIFE) {
        let (Some(at), Some(life)) = (table::version_in(&key), row::decode::<Life>(&value)) else { continue };
        if !versions.contains(&at) {
            wrong.push(format!("LIFE of version {at:?}, which is not there"));
        }
        awaited.extend(life.due.map(|time| table::due_life(time, &at.0, at.1)));
    }
    let moves = census.keys(tag::MOVE);
    let lost = moves.iter().filter_map(table::version_in).filter(|at| !versions.contains(at));
    wrong.extend(lost.map(|at| format!("MOVE of version {at:?}, which is not there")));
    let found = census.keys(tag::DUE).into_iter();
    let found = found.filter(|key| table::split_due(key).is_some_and(|(_, kind, _)| kind == due::LIFE)).collect();
    wrong.extend(differences("DUE of versions", &awaited, &found));
    wrong
}

fn awaited(key: &Key) -> Option<[u8; 16]> {
    let (_, kind, what) = table::split_due(key)?;
    (kind == due::ARTIFACT).then(|| what.try_into().ok())?
}
