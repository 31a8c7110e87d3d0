//! What can go wrong with a snapshot.

use std::io;
use std::path::{Path, PathBuf};

use crate::state::EngineError;

/// Why a snapshot could not be written, received or read. No half file is left behind.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The disk or the file system failed, or is full.
    #[error("snapshot: cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// How the system answered.
        source: io::Error,
    },
    /// The file is not what was written.
    #[error(
        "snapshot {path} is damaged: {reason}. The log is purged behind it, so no older snapshot can stand in; \
         replace this node's data from its peers{}",
        if *.older { " (an older snapshot exists; it is only right if the log still reaches back to it)" } else { "" }
    )]
    Damaged {
        /// The damaged file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
        /// Whether an older snapshot lies beside it.
        older: bool,
    },
    /// The file was written by a version of Bravo that this one does not know.
    #[error("snapshot {path} has format version {found}, this bravod knows up to {known}")]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest known version.
        known: u32,
    },
    /// The state could not be read.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl SnapshotError {
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    pub(super) fn damaged(path: &Path, reason: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), reason: reason.into(), older: false }
    }
}
