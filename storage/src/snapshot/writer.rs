//! Writing a snapshot.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use super::error::SnapshotError;
use super::file::SnapshotFile;
use super::format::{self, Trailer};
use super::name::SnapshotName;
use super::temp::Temp;
use crate::state::Frozen;

const BUFFER_BYTES: usize = 256 << 10;
/// Snapshots are written far more often than they are read; level 1 keeps them cheap.
const ZSTD_LEVEL: i32 = 1;

/// Writes snapshots.
pub struct SnapshotWriter;

impl SnapshotWriter {
    /// Writes all rows of `frozen` to `dir/<group>/<name>.snap` and removes older snapshots of the
    /// group. `meta` is the caller's own. Blocks; after an error nothing is left behind.
    pub fn write(
        dir: &Path,
        group: u32,
        name: SnapshotName,
        meta: &[u8],
        frozen: &Frozen,
    ) -> Result<SnapshotFile, SnapshotError> {
        let temp = Temp::create(dir, group, name)?;
        let mut out = Hashing::new(BufWriter::with_capacity(BUFFER_BYTES, &temp.file));
        write_all(&mut out, meta, frozen, &temp.path)?;
        drop(out);
        let path = temp.publish(name)?;
        SnapshotFile::open_unverified(&path, name)
    }
}

fn write_all(out: &mut Hashing<impl Write>, meta: &[u8], frozen: &Frozen, path: &Path) -> Result<(), SnapshotError> {
    let failed = |error| SnapshotError::io("write", path)(error);
    out.write_all(&format::header(meta)).map_err(failed)?;
    let rows = write_rows(out, frozen, path)?;
    let end = Trailer::hashed_part(rows, out.bytes);
    out.write_all(&end).map_err(failed)?;
    let hash = out.hasher.finalize();
    out.write_all(hash.as_bytes()).map_err(failed)?;
    out.flush().map_err(failed)
}

fn write_rows(out: &mut impl Write, frozen: &Frozen, path: &Path) -> Result<u64, SnapshotError> {
    let failed = |error| SnapshotError::io("write", path)(error);
    let mut encoder = zstd::Encoder::new(out, ZSTD_LEVEL).map_err(failed)?;
    let mut rows = 0u64;
    let mut outcome = Ok(());
    frozen.for_each(&mut |key, value| {
        outcome = write_row(&mut encoder, key.as_slice(), value);
        rows += 1;
        outcome.is_ok()
    })?;
    outcome.map_err(failed)?;
    encoder.finish().map_err(failed)?;
    Ok(rows)
}

fn write_row(out: &mut impl Write, key: &[u8], value: &[u8]) -> io::Result<()> {
    out.write_all(&[key.len() as u8])?;
    out.write_all(key)?;
    out.write_all(&(value.len() as u32).to_le_bytes())?;
    out.write_all(value)
}

/// Hashes and counts what passes through.
struct Hashing<W> {
    inner: W,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl<W: Write> Hashing<W> {
    fn new(inner: W) -> Self {
        Self { inner, hasher: blake3::Hasher::new(), bytes: 0 }
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
