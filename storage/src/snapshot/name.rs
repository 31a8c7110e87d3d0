//! Names of snapshots: the last entry they contain.

use std::fmt;
use std::path::{Path, PathBuf};

/// The last applied entry of a snapshot. A greater index is newer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotName {
    /// Index of the last entry.
    pub index: u64,
    /// Term of the last entry.
    pub term: u64,
}

const SUFFIX: &str = ".snap";

impl SnapshotName {
    /// The name of the snapshot that ends with this entry.
    pub fn new(index: u64, term: u64) -> Self {
        Self { index, term }
    }

    /// The name that a file has, unless it is no snapshot.
    pub(super) fn of_file(path: &Path) -> Option<Self> {
        let (index, term) = path.file_name()?.to_str()?.strip_suffix(SUFFIX)?.split_once('-')?;
        let name = Self { index: index.parse().ok()?, term: term.parse().ok()? };
        (name.to_string() + SUFFIX == path.file_name()?.to_str()?).then_some(name)
    }

    pub(super) fn path(self, folder: &Path) -> PathBuf {
        folder.join(format!("{self}{SUFFIX}"))
    }
}

impl fmt::Display for SnapshotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.index, self.term)
    }
}
