//! What can go wrong with a chunk.

use std::io;
use std::path::{Path, PathBuf};

/// Why a chunk cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The disk or the file system failed.
    #[error("blobs: cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// How the system answered.
        source: io::Error,
    },
    /// The file is there, and is not what its name says.
    #[error("blobs: {path} is damaged: its content does not hash to its name")]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// An fsync failed before.
    #[error("blobs: an fsync failed, nothing more is written")]
    Poisoned,
}

impl BlobError {
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}
