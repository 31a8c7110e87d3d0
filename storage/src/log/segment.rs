//! Segment files: their names, their first and last record, and the set of open ones.
//!
//! A segment `<seq>.seg` is prepared under the name `<seq>.new`: space reserved, begin frame written,
//! fsynced, then renamed and the directory fsynced. So whatever is called `.seg` has a durable begin
//! frame and its full length for ever; a shorter file or one without a begin frame is damage, and a
//! `.new` is never more than an attempt.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::RwLock;

use super::{
    disk::{Disk, DiskFile},
    error::LogError,
    frame::FRAME_OVERHEAD,
    record::{Kind, RECORD_HEADER, RawRecord, u32_at, u64_at},
};

/// Version of everything in `storage/src/log`.
const FORMAT: u32 = 1;
const MAGIC: &[u8; 8] = b"BRAVOLOG";
const HEADER_LEN: usize = 8 + 4 + 8 + 4;
/// Kept free at the end of each segment for the seal.
pub(crate) const SEAL_BYTES: usize = FRAME_OVERHEAD + RECORD_HEADER;
/// Offsets are `u32` on disk and in memory.
pub(crate) const SEGMENT_BYTES_MAX: u64 = u32::MAX as u64;

pub(crate) fn name_of(seq: u32) -> String {
    format!("{:016x}.seg", u64::from(seq))
}

pub(crate) fn new_name_of(seq: u32) -> String {
    format!("{:016x}.new", u64::from(seq))
}

/// What a file in the log's directory is.
pub(crate) enum FileKind {
    Segment(u32),
    Attempt,
    Foreign,
}

pub(crate) fn kind_of(name: &str) -> FileKind {
    if name.ends_with(".new") {
        return FileKind::Attempt;
    }
    let seq = name
        .strip_suffix(".seg")
        .filter(|stem| stem.len() == 16)
        .and_then(|stem| u64::from_str_radix(stem, 16).ok())
        .and_then(|seq| u32::try_from(seq).ok());
    seq.map_or(FileKind::Foreign, FileKind::Segment)
}

/// The first record of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) seq: u32,
    /// Length of the file, for ever.
    pub(crate) capacity: u64,
    /// Where the segment before ended, in front of its seal.
    pub(crate) previous_end: u32,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        out[0..8].copy_from_slice(MAGIC);
        out[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        out[12..20].copy_from_slice(&self.capacity.to_le_bytes());
        out[20..24].copy_from_slice(&self.previous_end.to_le_bytes());
        out
    }

    pub(crate) fn record<'a>(&self, data: &'a [u8]) -> RawRecord<'a> {
        RawRecord { group: 0, kind: Kind::Header, term: 0, index: u64::from(self.seq), data }
    }

    pub(crate) fn decode(record: &RawRecord<'_>) -> Result<SegmentHeader, String> {
        if record.kind != Kind::Header || record.data.len() != HEADER_LEN || &record.data[0..8] != MAGIC {
            return Err("the segment does not begin with a segment header".into());
        }
        let format = u32_at(record.data, 8);
        if format != FORMAT {
            return Err(format!("format version {format}, but this program reads version {FORMAT}"));
        }
        Ok(SegmentHeader {
            seq: record.index as u32,
            capacity: u64_at(record.data, 12),
            previous_end: u32_at(record.data, 20),
        })
    }
}

type OpenFile = (Arc<dyn DiskFile>, u64);

/// All segments that are on disk, open for reading.
pub(crate) struct Segments {
    pub(crate) disk: Arc<dyn Disk>,
    /// Each with its length.
    files: RwLock<BTreeMap<u32, OpenFile>>,
    bytes: AtomicU64,
}

impl Segments {
    pub(crate) fn new(disk: Arc<dyn Disk>) -> Segments {
        Segments { disk, files: RwLock::default(), bytes: AtomicU64::new(0) }
    }

    pub(crate) fn insert(&self, seq: u32, file: Arc<dyn DiskFile>, bytes: u64) {
        let mut files = self.files.write();
        files.insert(seq, (file, bytes));
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        metrics::gauge!("bravo_log_segments").set(files.len() as f64);
    }

    pub(crate) fn get(&self, seq: u32) -> Option<Arc<dyn DiskFile>> {
        self.files.read().get(&seq).map(|(file, _)| file.clone())
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Number of the oldest segment.
    pub(crate) fn oldest(&self) -> Option<u32> {
        self.files.read().keys().next().copied()
    }

    /// Removes all segments below `needed`, oldest first. The directory is synced after each, because
    /// two removals may become durable in any order, and a hole in the run would look like damage.
    pub(crate) fn remove_below(&self, needed: u32) -> Result<(), LogError> {
        while let Some(oldest) = self.oldest().filter(|oldest| *oldest < needed) {
            self.disk.remove(&name_of(oldest)).map_err(|error| LogError::io("removing a segment", &error))?;
            self.disk.sync_dir().map_err(|error| LogError::io("syncing the directory", &error))?;
            let mut files = self.files.write();
            if let Some((_, bytes)) = files.remove(&oldest) {
                self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            }
            metrics::gauge!("bravo_log_segments").set(files.len() as f64);
        }
        Ok(())
    }
}

/// Reserves a file for segment `seq` and makes its length durable, so that its first write is cheap.
pub(crate) fn reserve(disk: &dyn Disk, seq: u32, capacity: u64) -> io::Result<Arc<dyn DiskFile>> {
    let file = disk.create_preallocated(&new_name_of(seq), capacity)?;
    file.sync_data()?;
    Ok(file)
}
