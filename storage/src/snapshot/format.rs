//! The bytes around the rows.

use std::io::Read;
use std::path::Path;

use super::error::SnapshotError;

pub(super) const VERSION: u32 = 1;
const MAGIC: &[u8; 8] = b"BRAVOSNP";
const END_MAGIC: &[u8; 8] = b"BRAVOEND";
/// More than any log id and membership take; a length beyond it is damage.
const META_BYTES_MAX: usize = 16 << 20;
const HASH_BYTES: usize = 32;
pub(super) const TRAILER_BYTES: usize = 24 + HASH_BYTES;

/// A header for this meta.
pub(super) fn header(meta: &[u8]) -> Vec<u8> {
    let mut header = Vec::with_capacity(meta.len() + 20);
    header.extend_from_slice(MAGIC);
    header.extend_from_slice(&VERSION.to_le_bytes());
    header.extend_from_slice(&(meta.len() as u32).to_le_bytes());
    header.extend_from_slice(meta);
    let crc = crc32c::crc32c(&header);
    header.extend_from_slice(&crc.to_le_bytes());
    header
}

/// Reads a header; answers its meta, and its length in bytes.
pub(super) fn read_header(file: &mut impl Read, path: &Path) -> Result<(Vec<u8>, u64), SnapshotError> {
    let cut = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => SnapshotError::damaged(path, "it ends inside its header"),
        _ => SnapshotError::io("read", path)(error),
    };
    let mut header = vec![0; 16];
    file.read_exact(&mut header).map_err(cut)?;
    if header[..8] != *MAGIC {
        return Err(SnapshotError::damaged(path, "it does not begin like a snapshot"));
    }
    let version = u32_at(&header, 8);
    let length = u32_at(&header, 12) as usize;
    if length > META_BYTES_MAX {
        return Err(SnapshotError::damaged(path, format!("its header claims {length} bytes of meta")));
    }
    header.resize(16 + length, 0);
    file.read_exact(&mut header[16..]).map_err(cut)?;
    let mut crc = [0; 4];
    file.read_exact(&mut crc).map_err(cut)?;
    if crc32c::crc32c(&header) != u32::from_le_bytes(crc) {
        return Err(SnapshotError::damaged(path, "checksum mismatch in its header"));
    }
    if version != VERSION {
        return Err(SnapshotError::Version { path: path.to_owned(), found: version, known: VERSION });
    }
    let bytes = header.len() as u64 + 4;
    Ok((header.split_off(16), bytes))
}

/// What ends a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trailer {
    pub(super) rows: u64,
    pub(super) bytes: u64,
    pub(super) hash: [u8; HASH_BYTES],
}

impl Trailer {
    /// The part that the hash covers.
    pub(super) fn hashed_part(rows: u64, bytes: u64) -> [u8; TRAILER_BYTES - HASH_BYTES] {
        let mut part = [0; TRAILER_BYTES - HASH_BYTES];
        part[..8].copy_from_slice(END_MAGIC);
        part[8..16].copy_from_slice(&rows.to_le_bytes());
        part[16..].copy_from_slice(&bytes.to_le_bytes());
        part
    }

    /// The trailer of a file with `total` bytes.
    pub(super) fn parse(bytes: &[u8; TRAILER_BYTES], total: u64, path: &Path) -> Result<Self, SnapshotError> {
        if bytes[..8] != *END_MAGIC {
            return Err(SnapshotError::damaged(path, "it does not end like a snapshot"));
        }
        let mut hash = [0; HASH_BYTES];
        hash.copy_from_slice(&bytes[24..]);
        let trailer = Self { rows: u64_at(bytes, 8), bytes: u64_at(bytes, 16), hash };
        if trailer.bytes != total - TRAILER_BYTES as u64 {
            return Err(SnapshotError::damaged(path, "its length is not the one it was written with"));
        }
        Ok(trailer)
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}
