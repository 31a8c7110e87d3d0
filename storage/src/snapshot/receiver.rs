//! Installing a snapshot that comes over the network.

use std::io::Write;
use std::path::Path;

use super::error::SnapshotError;
use super::file::SnapshotFile;
use super::name::SnapshotName;
use super::temp::Temp;

/// Takes the bytes of a snapshot. Dropped before its end, or after a crash, it leaves nothing that
/// counts.
pub struct SnapshotReceiver {
    temp: Temp,
    name: SnapshotName,
    bytes: u64,
}

impl SnapshotReceiver {
    /// Begins to receive the snapshot `name` of a group.
    pub fn new(dir: &Path, group: u32, name: SnapshotName) -> Result<Self, SnapshotError> {
        Ok(Self { temp: Temp::create(dir, group, name)?, name, bytes: 0 })
    }

    /// The next bytes, in order. Blocks.
    pub fn write_chunk(&mut self, chunk: &[u8]) -> Result<(), SnapshotError> {
        self.temp.file.write_all(chunk).map_err(SnapshotError::io("write", &self.temp.path))?;
        self.bytes += chunk.len() as u64;
        Ok(())
    }

    /// Bytes received so far.
    pub fn len(&self) -> u64 {
        self.bytes
    }

    /// Whether nothing was received yet.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Checks the whole file, then gives it its name and removes older snapshots. Blocks.
    pub fn finish(self) -> Result<SnapshotFile, SnapshotError> {
        SnapshotFile::open_unverified(&self.temp.path, self.name)?.verify()?;
        let path = self.temp.publish(self.name)?;
        SnapshotFile::open_unverified(&path, self.name)
    }
}
