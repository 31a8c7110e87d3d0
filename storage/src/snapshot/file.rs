//! A snapshot on disk.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::error::SnapshotError;
use super::format::{self, TRAILER_BYTES, Trailer};
use super::name::SnapshotName;
use super::rows::SnapshotRows;
use super::temp;

const BUFFER_BYTES: usize = 256 << 10;

/// A whole snapshot. To send it, open [`Self::path`] and read its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotFile {
    path: PathBuf,
    name: SnapshotName,
    meta: Vec<u8>,
    trailer: Trailer,
    header_bytes: u64,
}

impl SnapshotFile {
    /// The newest snapshot of a group, checked from its first byte to its last. A damaged one is an
    /// error even if an older one is there: the log was purged behind the newest.
    pub fn open(dir: &Path, group: u32) -> Result<Option<Self>, SnapshotError> {
        let folder = temp::folder(dir, group);
        let names = temp::list(&folder)?;
        let Some(newest) = names.last() else { return Ok(None) };
        let checked = Self::open_unverified(&newest.path(&folder), *newest).and_then(|file| {
            file.verify()?;
            Ok(file)
        });
        match checked {
            Ok(file) => Ok(Some(file)),
            Err(SnapshotError::Damaged { path, reason, .. }) => {
                Err(SnapshotError::Damaged { path, reason, older: names.len() > 1 })
            }
            Err(error) => Err(error),
        }
    }

    /// Reads header and trailer only.
    pub(super) fn open_unverified(path: &Path, name: SnapshotName) -> Result<Self, SnapshotError> {
        let mut file = File::open(path).map_err(SnapshotError::io("open", path))?;
        let total = file.metadata().map_err(SnapshotError::io("open", path))?.len();
        let (meta, header_bytes) = format::read_header(&mut file, path)?;
        if total < header_bytes + TRAILER_BYTES as u64 {
            return Err(SnapshotError::damaged(path, "it ends before its trailer"));
        }
        let mut trailer = [0; TRAILER_BYTES];
        file.seek(SeekFrom::End(-(TRAILER_BYTES as i64))).map_err(SnapshotError::io("read", path))?;
        file.read_exact(&mut trailer).map_err(SnapshotError::io("read", path))?;
        let trailer = Trailer::parse(&trailer, total, path)?;
        Ok(Self { path: path.to_owned(), name, meta, trailer, header_bytes })
    }

    /// Reads the whole file and compares its hash.
    pub fn verify(&self) -> Result<(), SnapshotError> {
        let failed = |error| SnapshotError::io("read", &self.path)(error);
        let file = File::open(&self.path).map_err(failed)?;
        let mut hasher = blake3::Hasher::new();
        let hashed = self.trailer.bytes + (TRAILER_BYTES - self.trailer.hash.len()) as u64;
        let copied = std::io::copy(&mut BufReader::with_capacity(BUFFER_BYTES, file).take(hashed), &mut hasher);
        if copied.map_err(failed)? != hashed || hasher.finalize() != self.trailer.hash {
            return Err(SnapshotError::damaged(&self.path, "checksum mismatch"));
        }
        Ok(())
    }

    /// The rows in key order, streamed.
    pub fn rows(&self) -> Result<SnapshotRows, SnapshotError> {
        let mut file = File::open(&self.path).map_err(SnapshotError::io("open", &self.path))?;
        file.seek(SeekFrom::Start(self.header_bytes)).map_err(SnapshotError::io("read", &self.path))?;
        let body = self.trailer.bytes - self.header_bytes;
        SnapshotRows::new(file.take(body), self.trailer.rows, &self.path)
    }

    /// What the writer of the snapshot said about it.
    pub fn meta(&self) -> &[u8] {
        &self.meta
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The last entry in it.
    pub fn name(&self) -> SnapshotName {
        self.name
    }

    /// Bytes of the file.
    pub fn len(&self) -> u64 {
        self.trailer.bytes + TRAILER_BYTES as u64
    }

    /// Whether there are no rows in it.
    pub fn is_empty(&self) -> bool {
        self.row_count() == 0
    }

    /// How many rows are in it.
    pub fn row_count(&self) -> u64 {
        self.trailer.rows
    }
}
