//! Templates of workflows: a name, numbered documents, and what a write may demand of the one that is there.
//!
//! The model keeps a document as bytes and never looks into it; what it says was checked before.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::Time;
use crate::id::Name;

/// A template as lists tell it; its row outlives it, so that its numbers go on if it comes back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Template {
    /// Its name.
    pub name: Name,
    /// The newest version, from 1.
    pub version: u32,
    /// What it is for, from the newest document.
    pub description: String,
    /// The entity tag of the newest version, without quotes.
    pub etag: String,
    /// When the newest version was made.
    pub updated_at: Time,
    /// It was deleted: only its number counts.
    pub deleted: bool,
}

/// One version's document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateVersion {
    /// JSON text.
    pub document: Bytes,
    /// When it was made.
    pub updated_at: Time,
}

/// All templates together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Templates {
    /// Templates that are there.
    pub count: u64,
    /// Names of deleted ones that are remembered.
    pub deleted: u64,
    /// Bytes of all documents that are kept.
    pub bytes: u64,
    /// No forgotten name had a version beyond this one; new names begin behind it.
    pub floor: u32,
    /// Grows with every change, so that a reader can tell that there was none.
    pub changes: u64,
}

/// A new document for a template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutTemplate {
    /// The template.
    pub name: Name,
    /// What the document says that it is for.
    pub description: String,
    /// JSON text.
    pub document: Bytes,
    /// What must be true of the template that is there.
    pub expected: Expected,
}

/// What a write demands of what is there, as HTTP's conditional headers put it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    /// `If-Match`: it is there and has one of these.
    pub matches: Option<Tags>,
    /// `If-None-Match`: it is not there, or has none of these.
    pub differs: Option<Tags>,
}

/// Entity tags that a caller names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tags {
    /// `*`: whatever is there.
    Any,
    /// Without quotes.
    These(Vec<String>),
}

impl Tags {
    /// Whether the tag is among them.
    pub fn hold(&self, etag: &str) -> bool {
        match self {
            Self::Any => true,
            Self::These(tags) => tags.iter().any(|tag| tag == etag),
        }
    }
}

impl Expected {
    /// There must be none.
    pub fn absent() -> Self {
        Self { matches: None, differs: Some(Tags::Any) }
    }

    /// Whether it holds for the entity tag of what is there.
    pub fn holds(&self, etag: Option<&str>) -> bool {
        let matches = |tags: &Tags| etag.is_some_and(|etag| tags.hold(etag));
        self.matches.as_ref().is_none_or(matches) && !self.differs.as_ref().is_some_and(matches)
    }
}

/// The strong entity tag of a version: its number, and what its document hashes to. The number alone would
/// do, if nobody ever restored a backup.
pub fn etag(version: u32, document: &[u8]) -> String {
    let hash = blake3::hash(document).to_hex();
    format!("{version}-{}", hash.get(..16).unwrap_or_default())
}
