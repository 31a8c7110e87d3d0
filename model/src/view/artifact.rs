//! Artifacts, and the chunks that they are made of.

use std::collections::BTreeMap;

use crate::artifact::{Artifact, ArtifactPath, ArtifactVersion, ChunkRefs};
use crate::id::Name;
use crate::row;
use crate::table::{self, H16, tag};
use crate::txn::Read;

/// An artifact, and one version with its number: the newest, or the one asked for.
pub fn artifact(
    rows: &impl Read,
    project: &Name,
    path: &ArtifactPath,
    version: Option<u32>,
) -> Option<(Artifact, u32, ArtifactVersion)> {
    let hash = table::artifact_hash(project, path);
    let head: Artifact = row::read(rows, &table::by_hash(tag::ARTIFACT, &hash))?;
    let version = version.unwrap_or(head.version);
    if head.forget_at.is_some() || version < head.first {
        return None;
    }
    let of = row::read(rows, &table::artifact_version(&hash, version))?;
    Some((head, version, of))
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

/// Chunks that versions are made of, in the order of their hashes, behind one of them.
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

/// Whether a version is made of this chunk.
pub fn is_referred(rows: &impl Read, hash: &[u8; 32]) -> bool {
    rows.contains(&table::chunk_refs(hash))
}
