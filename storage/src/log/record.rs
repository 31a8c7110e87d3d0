//! How one record looks on disk.
//!
//! ```text
//! len u32 | crc32c u32 | group u32 | kind u8 | term u64 | index u64 | data ...     (little endian)
//!           └ over len and all that follows the crc      len = bytes behind the crc
//! ```
//!
//! Every record has its own checksum, so that a single one can be read back from the middle of a
//! segment without reading its neighbours.

use bytes::Bytes;

use super::GroupId;

/// Bytes in front of a record's data.
pub(crate) const RECORD_HEADER: usize = 29;
/// Bytes that `len` does not count: `len` itself and the checksum.
const PREFIX: usize = 8;

/// What a record says. Numbers are on disk and never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// A Raft log entry.
    Entry = 1,
    /// The group's newest vote.
    Vote = 2,
    /// Entries behind `(term, index)` are dropped; data `[0]` means: all entries.
    Truncate = 3,
    /// Entries up to `(term, index)` are dropped.
    Purge = 4,
    /// The group's newest commit mark.
    Committed = 5,
    /// State of one group at the beginning of a segment.
    Checkpoint = 6,
    /// First record of a segment.
    Header = 7,
    /// Last record of a segment: the next segment exists.
    Seal = 8,
}

impl Kind {
    fn of(byte: u8) -> Option<Kind> {
        Some(match byte {
            1 => Kind::Entry,
            2 => Kind::Vote,
            3 => Kind::Truncate,
            4 => Kind::Purge,
            5 => Kind::Committed,
            6 => Kind::Checkpoint,
            7 => Kind::Header,
            8 => Kind::Seal,
            _ => return None,
        })
    }
}

/// A decoded record that borrows the bytes it was read from.
#[derive(Debug)]
pub(crate) struct RawRecord<'a> {
    pub(crate) group: GroupId,
    pub(crate) kind: Kind,
    pub(crate) term: u64,
    pub(crate) index: u64,
    pub(crate) data: &'a [u8],
}

/// Appends one record to `buf`.
pub(crate) fn encode(buf: &mut Vec<u8>, record: &RawRecord<'_>) {
    let start = buf.len();
    let len = (RECORD_HEADER - PREFIX + record.data.len()) as u32;
    let mut header = [0u8; RECORD_HEADER];
    header[0..4].copy_from_slice(&len.to_le_bytes());
    header[8..12].copy_from_slice(&record.group.to_le_bytes());
    header[12] = record.kind as u8;
    header[13..21].copy_from_slice(&record.term.to_le_bytes());
    header[21..29].copy_from_slice(&record.index.to_le_bytes());
    buf.extend_from_slice(&header);
    buf.extend_from_slice(record.data);
    let crc = checksum(&header[0..4], &buf[start + PREFIX..]);
    buf[start + 4..start + PREFIX].copy_from_slice(&crc.to_le_bytes());
}

/// Decodes the record at the beginning of `bytes`; also says how long it is.
pub(crate) fn decode(bytes: &[u8]) -> Result<(RawRecord<'_>, usize), &'static str> {
    if bytes.len() < RECORD_HEADER {
        return Err("a record is cut short");
    }
    let total = u32_at(bytes, 0) as usize + PREFIX;
    if total < RECORD_HEADER || total > bytes.len() {
        return Err("a record has an impossible length");
    }
    if checksum(&bytes[0..4], &bytes[PREFIX..total]) != u32_at(bytes, 4) {
        return Err("a record's checksum does not match");
    }
    let kind = Kind::of(bytes[12]).ok_or("a record is of a kind that this version does not know")?;
    let record = RawRecord {
        group: u32_at(bytes, 8),
        kind,
        term: u64_at(bytes, 13),
        index: u64_at(bytes, 21),
        data: &bytes[RECORD_HEADER..total],
    };
    Ok((record, total))
}

/// Encoded size of a record with `data`.
pub(crate) fn encoded_len(data: &Bytes) -> usize {
    RECORD_HEADER + data.len()
}

fn checksum(len: &[u8], rest: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(len), rest)
}

/// Reads a little-endian `u32`; the caller has checked the bounds.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut out = [0; 4];
    out.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(out)
}

/// Reads a little-endian `u64`; the caller has checked the bounds.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut out = [0; 8];
    out.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(out)
}
