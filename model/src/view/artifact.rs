//! Artifacts, and the chunks that they are made of.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::artifact::{Artifact, ArtifactPath, ArtifactVersion, ChunkRefs, CodedRefs};
use crate::id::Name;
use crate::lifecycle::{Class, Life, Lifecycle, Move, Stay, Stays, VersionId};
use crate::row;
use crate::table::{self, H16, tag};
use crate::txn::Read;

/// One version of an artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The artifact.
    pub head: Artifact,
    /// Which one it is.
    pub id: VersionId,
    /// The version.
    pub of: ArtifactVersion,
    /// Where its chunks are kept.
    pub stay: Stay,
}

/// One version of an artifact: the newest, or the one asked for.
pub fn artifact(rows: &impl Read, project: &Name, path: &ArtifactPath, version: Option<u32>) -> Option<Found> {
    let hash = table::artifact_hash(project, path);
    let head: Artifact = row::read(rows, &table::by_hash(tag::ARTIFACT, &hash))?;
    let version = version.unwrap_or(head.version);
    if head.forget_at.is_some() || version < head.first {
        return None;
    }
    let of: ArtifactVersion = row::read(rows, &table::artifact_version(&hash, version))?;
    let stay = life(rows, &hash, version).stay;
    Some(Found { head, id: VersionId { artifact: hash, version, made_at: of.updated_at }, of, stay })
}

/// A page of a project's artifacts in the order of their paths, and whether there are more. Rows are in the
/// order of hashes, since paths are longer than keys may be: all of the project's are looked at
/// (at most [`crate::limits::ARTIFACTS_OF_PROJECT_MAX`]), and no more than a page is held.
pub fn artifacts(
    rows: &impl Read,
    project: &Name,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
) -> (Vec<Artifact>, bool) {
    let mut found: BTreeMap<String, H16> = BTreeMap::new();
    let mut more = false;
    let all = table::artifacts_listed(project);
    row::walk(rows, &all, &all, &mut |key, value| {
        let path: Option<&str> = postcard::from_bytes(value).ok();
        let wanted = |path: &&str| path.starts_with(prefix) && after.is_none_or(|after| *path > after);
        let full = found.len() >= limit;
        if let (Some(path), Some(hash)) = (path.filter(wanted), key.as_slice().last_chunk::<16>()) {
            let late = full && found.last_key_value().is_none_or(|(last, _)| path > last.as_str());
            if !late {
                found.insert(path.to_owned(), *hash);
                if full {
                    found.pop_last();
                }
            }
            more |= full;
        }
        true
    });
    let heads = found.values().filter_map(|hash| row::read(rows, &table::by_hash(tag::ARTIFACT, hash)));
    (heads.collect(), more)
}

/// Chunks that versions keep whole, in the order of their hashes, behind one of them.
pub fn chunks(rows: &impl Read, after: Option<[u8; 32]>, limit: usize) -> Vec<ChunkRefs> {
    let prefix = table::key(tag::CHUNK_REFS, &[]);
    let from = after.map_or(prefix, |hash| table::after(&table::chunk_refs(&hash)));
    let mut found = Vec::new();
    row::walk(rows, &from, &prefix, &mut |_, value| {
        found.extend(row::decode::<ChunkRefs>(value));
        found.len() < limit
    });
    found
}

/// Chunks that versions keep in shards, in the order of their ids, behind one of these.
pub fn coded(rows: &impl Read, after: Option<[u8; 32]>, limit: usize) -> Vec<CodedRefs> {
    let prefix = table::key(tag::CODED, &[]);
    let from = after.map_or(prefix, |id| table::after(&table::coded(&id)));
    let mut found = Vec::new();
    row::walk(rows, &from, &prefix, &mut |_, value| {
        found.extend(row::decode::<CodedRefs>(value));
        found.len() < limit
    });
    found
}

/// In how many places of chunks that are kept in shards this shard stands.
pub fn shard_refs(rows: &impl Read, hash: &[u8; 32]) -> u64 {
    row::read(rows, &table::shard_refs(hash)).unwrap_or(0)
}

/// Whether a version keeps this chunk whole, or one of its chunks in shards of which this is one.
pub fn is_referred(rows: &impl Read, hash: &[u8; 32]) -> bool {
    is_whole(rows, hash) || rows.contains(&table::shard_refs(hash))
}

/// Whether a version keeps this chunk whole.
pub fn is_whole(rows: &impl Read, hash: &[u8; 32]) -> bool {
    rows.contains(&table::chunk_refs(hash))
}

/// A project's lifecycle rules.
pub fn lifecycle(rows: &impl Read, project: &Name) -> Option<Lifecycle> {
    row::read(rows, &table::lifecycle(project))
}

/// All projects' lifecycle rules, at most [`crate::limits::LIFECYCLES_MAX`].
pub fn lifecycles(rows: &impl Read) -> Vec<Lifecycle> {
    let prefix = table::key(tag::LIFECYCLE, &[]);
    let mut found = Vec::new();
    row::walk(rows, &prefix, &prefix, &mut |_, value| {
        found.extend(row::decode::<Lifecycle>(value));
        true
    });
    found
}

/// Versions whose chunks are to be moved, behind one of them.
pub fn moves(rows: &impl Read, after: Option<&VersionId>, limit: usize) -> Vec<Move> {
    let wanted = of_versions::<Stay>(rows, tag::MOVE, after, limit, |_| true);
    let whole = |(artifact, version, to)| {
        let of: ArtifactVersion = row::read(rows, &table::artifact_version(&artifact, version))?;
        let id = VersionId { artifact, version, made_at: of.updated_at };
        Some(Move { id, from: life(rows, &artifact, version).stay, to, manifest: of.manifest })
    };
    wanted.into_iter().filter_map(whole).collect()
}

/// Versions whose chunks are not hot any more, behind one of them, and where they are.
pub fn put_away(rows: &impl Read, after: Option<&VersionId>, limit: usize) -> Vec<(VersionId, Stay, Vec<[u8; 32]>)> {
    let found = of_versions::<Life>(rows, tag::LIFE, after, limit, |life| life.stay.class > Class::Hot);
    let whole = |(artifact, version, life): (H16, u32, Life)| {
        let of: ArtifactVersion = row::read(rows, &table::artifact_version(&artifact, version))?;
        let chunks = of.manifest.parts().map(|part| part.chunk.hash).collect();
        Some((VersionId { artifact, version, made_at: of.updated_at }, life.stay, chunks))
    };
    found.into_iter().filter_map(whole).collect()
}

/// Where a version's chunks are, and are to be; none if it is not there any more.
pub fn stays(rows: &impl Read, id: &VersionId) -> Option<Stays> {
    let of: ArtifactVersion = row::read(rows, &table::artifact_version(&id.artifact, id.version))?;
    (of.updated_at == id.made_at).then(|| Stays {
        is: life(rows, &id.artifact, id.version).stay,
        to: row::read(rows, &table::of_version(tag::MOVE, &id.artifact, id.version)),
    })
}

fn life(rows: &impl Read, artifact: &H16, version: u32) -> Life {
    row::read(rows, &table::of_version(tag::LIFE, artifact, version)).unwrap_or_default()
}

/// Rows of a table by version, behind one of them.
fn of_versions<T: serde::de::DeserializeOwned>(
    rows: &impl Read,
    table: u8,
    after: Option<&VersionId>,
    limit: usize,
    wanted: impl Fn(&T) -> bool,
) -> Vec<(H16, u32, T)> {
    let prefix = table::key(table, &[]);
    let from = after.map_or(prefix, |id| table::after(&table::of_version(table, &id.artifact, id.version)));
    let mut found = Vec::new();
    row::walk(rows, &from, &prefix, &mut |key, value| {
        let row = row::decode::<T>(value).filter(|row| wanted(row));
        found.extend(row.zip(table::version_in(key)).map(|(row, (artifact, version))| (artifact, version, row)));
        found.len() < limit
    });
    found
}
