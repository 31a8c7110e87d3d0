//! Artifacts: blobs by project and path, in numbered versions.
//!
//! The model keeps what a version is made of, never its bytes, but for small ones, which are their own
//! manifest. Larger ones are cut into chunks that are named by their hash and lie on the nodes' disks: whole on
//! the replicas, or as six shards on six nodes, of which any four give the chunk. A manifest is proposed when
//! every chunk outlives the loss of a node.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::Time;
use crate::code::{Code, Refusal};
use crate::id::{Name, clip};
use crate::limits;
use crate::template::Expected;

/// Where an artifact is within its project: segments with `/` between them, none of them empty, `.` or `..`,
/// since clients and proxies write such paths anew. Shared by reference.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ArtifactPath(Arc<str>);

impl ArtifactPath {
    /// Checks and makes a path.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let refuse = |what: &str| {
            let detail = format!("path: {:?} {what}", clip(text));
            Err(Refusal::new(Code::InvalidArgument, detail))
        };
        if text.is_empty() || text.len() > limits::ARTIFACT_PATH_BYTES_MAX {
            return refuse(&format!("has not 1 to {} bytes", limits::ARTIFACT_PATH_BYTES_MAX));
        }
        if text.chars().any(char::is_control) {
            return refuse("has a control character");
        }
        if text.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
            return refuse("has a segment that is empty, . or ..");
        }
        Ok(Self(text.into()))
    }

    /// The path's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ArtifactPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for ArtifactPath {
    type Error = Refusal;

    fn try_from(text: String) -> Result<Self, Refusal> {
        Self::parse(&text)
    }
}

impl From<ArtifactPath> for String {
    fn from(path: ArtifactPath) -> Self {
        path.0.to_string()
    }
}

/// A part of an artifact: its name is what it hashes to (BLAKE3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// The hash of its bytes.
    pub hash: [u8; 32],
    /// How many there are; only the last one of an artifact is shorter than [`limits::CHUNK_BYTES`].
    pub bytes: u32,
}

/// Shards that a chunk is cut into.
pub const DATA_SHARDS: usize = 4;
/// Shards that are added, so that as many of all may be lost.
pub const RECOVERY_SHARDS: usize = 2;
/// Shards of one chunk.
pub const SHARDS: usize = DATA_SHARDS + RECOVERY_SHARDS;

/// The shards of a chunk, which are cut from the form in which it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shards {
    /// Bytes of that form.
    pub form_bytes: u32,
    /// What each shard hashes to: those that the form was cut into, then those that were added.
    pub hashes: [[u8; 32]; SHARDS],
}

/// A part of an artifact, and how it lies on the nodes' disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The chunk.
    pub chunk: Chunk,
    /// Its shards; none: it is kept whole.
    pub shards: Option<Shards>,
}

/// A chunk that is kept in shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coded {
    /// The chunk.
    pub chunk: Chunk,
    /// Its shards.
    pub shards: Shards,
}

impl Coded {
    /// What stands for it in keys. One chunk may be kept in several ways, since how small it gets is a matter
    /// of the build that took it in.
    pub fn id(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.chunk.hash).update(&self.shards.form_bytes.to_be_bytes());
        self.shards.hashes.iter().for_each(|hash| {
            hasher.update(hash);
        });
        *hasher.finalize().as_bytes()
    }
}

/// Where a version's bytes are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// Here.
    Inline(Bytes),
    /// In chunks on the nodes' disks, each of them whole, in this order.
    Chunks(Vec<Chunk>),
    /// In chunks on the nodes' disks, in this order; some are kept in shards.
    Parts(Vec<Part>),
}

impl Content {
    /// Of parts, in the oldest form that can say it.
    pub fn of(parts: Vec<Part>) -> Self {
        if parts.iter().any(|part| part.shards.is_some()) {
            return Self::Parts(parts);
        }
        Self::Chunks(parts.into_iter().map(|part| part.chunk).collect())
    }
}

/// What one version is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Bytes in all.
    pub size: u64,
    /// As the writer sent it.
    pub content_type: Option<String>,
    /// As the writer sent it: what the bytes are encoded with already.
    pub content_encoding: Option<String>,
    /// The hash of all bytes.
    pub blake3: [u8; 32],
    /// Where they are.
    pub content: Content,
}

impl Manifest {
    /// The parts, if it has any.
    pub fn parts(&self) -> impl Iterator<Item = Part> + '_ {
        let (chunks, parts): (&[Chunk], &[Part]) = match &self.content {
            Content::Inline(_) => (&[], &[]),
            Content::Chunks(chunks) => (chunks, &[]),
            Content::Parts(parts) => (&[], parts),
        };
        chunks.iter().map(|chunk| Part { chunk: *chunk, shards: None }).chain(parts.iter().copied())
    }

    /// Whether the bytes are the same and say the same of themselves, however they are kept.
    pub fn says_the_same(&self, other: &Self) -> bool {
        let all = |of: &Self| (of.size, of.blake3, of.content_type.clone(), of.content_encoding.clone());
        all(self) == all(other)
    }

    /// The strong entity tag: what the content hashes to.
    pub fn etag(&self) -> String {
        let hash = blake3::Hash::from_bytes(self.blake3).to_hex();
        hash.get(..32).unwrap_or_default().to_owned()
    }

    pub(crate) fn check(&self) -> Result<(), Refusal> {
        let refuse = |code, detail: String| Err(Refusal::new(code, detail));
        if self.size > limits::ARTIFACT_BYTES_MAX {
            let detail = format!("{} bytes, an artifact has at most {}", self.size, limits::ARTIFACT_BYTES_MAX);
            return refuse(Code::PayloadTooLarge, detail);
        }
        let headers = [("Content-Type", &self.content_type), ("Content-Encoding", &self.content_encoding)];
        for (name, value) in headers {
            if value.as_ref().is_some_and(|value| value.len() > limits::ARTIFACT_HEADER_BYTES_MAX) {
                let detail = format!("{name}: longer than {} bytes", limits::ARTIFACT_HEADER_BYTES_MAX);
                return refuse(Code::InvalidArgument, detail);
            }
        }
        let whole = match &self.content {
            Content::Inline(bytes) => bytes.len() <= limits::INLINE_BYTES_MAX && bytes.len() as u64 == self.size,
            Content::Chunks(_) | Content::Parts(_) => self.adds_up(),
        };
        if whole { Ok(()) } else { refuse(Code::InvalidArgument, "the manifest does not add up".to_owned()) }
    }

    /// Whether its parts are as long as they may be, and together as long as it says.
    fn adds_up(&self) -> bool {
        let (mut bytes, mut last) = (0, limits::CHUNK_BYTES as u32);
        for Part { chunk, shards } in self.parts() {
            let fits = (1..=limits::CHUNK_BYTES as u32).contains(&chunk.bytes);
            let formed = shards.is_none_or(|it| (1..=limits::FORM_BYTES_MAX as u32).contains(&it.form_bytes));
            if !fits || !formed || last != limits::CHUNK_BYTES as u32 {
                return false;
            }
            last = chunk.bytes;
            bytes += u64::from(chunk.bytes);
        }
        bytes == self.size
    }
}

/// An artifact as lists tell it; its row outlives it for a while, so that its numbers go on if it comes back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// Where it belongs.
    pub project: Name,
    /// Where it is there.
    pub path: ArtifactPath,
    /// The newest version, from 1.
    pub version: u32,
    /// The oldest version that is there. Older ones go in the background.
    pub first: u32,
    /// Bytes of the newest version.
    pub size: u64,
    /// The entity tag of the newest version, without quotes.
    pub etag: String,
    /// The newest version's type.
    pub content_type: Option<String>,
    /// When the newest version was made, or when it was deleted.
    pub updated_at: Time,
    /// It was deleted, and its number is forgotten then: when no cache shows its versions any more.
    pub forget_at: Option<Time>,
}

/// One version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactVersion {
    /// What it is made of.
    pub manifest: Manifest,
    /// When it was made.
    pub updated_at: Time,
}

/// A chunk that versions are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkRefs {
    /// The chunk.
    pub chunk: Chunk,
    /// In how many places of versions it stands.
    pub refs: u64,
}

/// A chunk that versions keep in shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodedRefs {
    /// The chunk.
    pub coded: Coded,
    /// In how many places of versions it stands.
    pub refs: u64,
}

/// A new version of an artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutArtifact {
    /// Where it belongs.
    pub project: Name,
    /// Where it is there.
    pub path: ArtifactPath,
    /// What it is made of.
    pub manifest: Manifest,
    /// What must be true of the artifact that is there.
    pub expected: Expected,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_what_every_client_sends_as_it_is() {
        for good in ["a", "a/b.txt", "ü/…", "a b", ".hidden", "a:b@c+d"] {
            assert_eq!(ArtifactPath::parse(good).unwrap().as_str(), good);
        }
        let long = "x".repeat(limits::ARTIFACT_PATH_BYTES_MAX + 1);
        for bad in ["", "/a", "a/", "a//b", "a/../b", ".", "a\nb", "a\0b", &long] {
            assert!(ArtifactPath::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn old_manifests_are_still_read_and_written() {
        #[derive(Serialize)]
        enum Old {
            Inline(Bytes),
            Chunks(Vec<Chunk>),
        }
        let chunk = Chunk { hash: [7; 32], bytes: 5 };
        let part = Part { chunk, shards: None };
        let inline = Bytes::from_static(b"abc");
        let old = postcard::to_allocvec(&Old::Inline(inline.clone())).unwrap();
        assert_eq!(postcard::from_bytes::<Content>(&old).unwrap(), Content::Inline(inline));
        let old = postcard::to_allocvec(&Old::Chunks(vec![chunk])).unwrap();
        assert_eq!(postcard::from_bytes::<Content>(&old).unwrap(), Content::Chunks(vec![chunk]));
        assert_eq!(postcard::to_allocvec(&Content::of(vec![part])).unwrap(), old, "older nodes read it");
        let shards = Shards { form_bytes: 9, hashes: [[1; 32]; SHARDS] };
        let coded = Content::of(vec![Part { chunk, shards: Some(shards) }, part]);
        let bytes = postcard::to_allocvec(&coded).unwrap();
        assert_eq!(postcard::from_bytes::<Content>(&bytes).unwrap(), coded);
    }

    #[test]
    fn a_manifest_adds_up() {
        let chunk = |bytes: usize| Chunk { hash: [1; 32], bytes: bytes as u32 };
        let check = |size, content| {
            let manifest = Manifest { size, content_type: None, content_encoding: None, blake3: [0; 32], content };
            manifest.check().map_err(|refusal| refusal.code)
        };
        let full = limits::CHUNK_BYTES;
        let bad = Err(Code::InvalidArgument);
        assert_eq!(check(0, Content::Inline(Bytes::new())), Ok(()));
        assert_eq!(check(1, Content::Inline(Bytes::new())), bad);
        assert_eq!(check(full as u64 + 3, Content::Chunks(vec![chunk(full), chunk(3)])), Ok(()));
        assert_eq!(check(full as u64 + 3, Content::Chunks(vec![chunk(3), chunk(full)])), bad);
        assert_eq!(check(full as u64 + 1, Content::Chunks(vec![chunk(full + 1)])), bad);
        assert_eq!(check(0, Content::Chunks(vec![chunk(0)])), bad);
        assert_eq!(check(6, Content::Chunks(vec![chunk(3), chunk(3)])), bad);
        let part = |bytes, form_bytes: usize| {
            let shards = Shards { form_bytes: form_bytes as u32, hashes: [[2; 32]; SHARDS] };
            Part { chunk: chunk(bytes), shards: Some(shards) }
        };
        let whole = |bytes| Part { chunk: chunk(bytes), shards: None };
        let parts = |size: usize, parts: &[Part]| check(size as u64, Content::Parts(parts.to_vec()));
        assert_eq!(parts(full + 3, &[part(full, limits::FORM_BYTES_MAX), whole(3)]), Ok(()));
        assert_eq!(parts(full + 3, &[part(full, 1), part(3, 1)]), Ok(()));
        for form_bytes in [0, limits::FORM_BYTES_MAX + 1, u32::MAX as usize] {
            assert_eq!(parts(full, &[part(full, form_bytes)]), bad, "{form_bytes}");
        }
        assert_eq!(parts(full + 3, &[whole(3), part(full, 9)]), bad);
        assert_eq!(parts(full, &[whole(3)]), bad);
        let large = vec![0; limits::INLINE_BYTES_MAX + 1];
        assert_eq!(check(large.len() as u64, Content::Inline(large.into())), bad);
        let over = limits::ARTIFACT_BYTES_MAX + 1;
        assert_eq!(check(over, Content::Chunks(Vec::new())), Err(Code::PayloadTooLarge));
    }
}
