//! One write of the log, framed: what makes a torn tail and a damaged log tell apart.
//!
//! ```text
//! magic u32 | crc u32 | seq u64 | synced_upto u32 | body_len u32 | records u32 | body_crc u32 | prev_crc u32 | mark u32
//! body: records                                                                                      | end mark u8
//! ```
//!
//! A group commit is one `pwrite` of one frame and one `fdatasync`. After a power loss any subset of
//! the sectors of the *last* write may be on disk, in any order, so "a bad record with a good one
//! behind it" is no proof of damage. Three rules decide, in this order:
//!
//! 1. **Known durable.** Every frame states `synced_upto`, the offset in its segment before which all
//!    bytes had been fdatasynced when it was written. A bad frame that begins below the `synced_upto`
//!    of any later frame had been durable: damage, refused.
//! 2. **Completely written.** Segments are fresh files full of zeros and never recycled, and a disk
//!    writes sectors whole. So a torn frame has at least one sector whose share of the frame is still
//!    zero, or (if a write was cut at a byte) ends in zeros where the non-zero end mark should be.
//!    A bad frame without such a hole was written whole and changed later: damage, refused. This is
//!    what catches a flipped bit in the very last, already acknowledged, write.
//! 3. Otherwise the frame is a torn tail: never acknowledged, cut.
//!
//! What stays undetectable: somebody puts zeros over whole sectors of the last write, or puts an older
//! copy of the newest segment back. The first is narrowed by a *confirming* frame that is written
//! behind the last one when the log goes idle or is closed; the second cannot be seen by a log alone
//! (the applied index of the state store and the peers' logs can tell).
//!
//! Frames are chained: `seq` counts frames over all segments, `prev_crc` is the header checksum of
//! the frame before, and the header checksum is salted with segment and offset. So a frame, or a
//! segment, taken from elsewhere (another node, an older copy) does not fit.

use super::record::{self, RawRecord, u32_at, u64_at};

/// Bytes in front of a frame's records.
pub(crate) const FRAME_HEADER: usize = 40;
/// Bytes around the records of a frame.
pub(crate) const FRAME_OVERHEAD: usize = FRAME_HEADER + 1;
const MAGIC: u32 = u32::from_le_bytes(*b"BRVf");
/// Ends the header and must not contain a zero byte: see rule 2.
const MARK: u32 = 0xA5A5_A5A5;
const END: u8 = 0xED;
/// What a disk writes whole. Larger sectors only make rule 2 more careful.
const SECTOR: usize = 512;

/// The fields of a frame header that the reader needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameHeader {
    pub(crate) crc: u32,
    pub(crate) seq: u64,
    pub(crate) synced_upto: usize,
    pub(crate) body_len: usize,
    records: u32,
    body_crc: u32,
    pub(crate) prev_crc: u32,
}

impl FrameHeader {
    /// Bytes of the whole frame.
    pub(crate) fn total(&self) -> usize {
        FRAME_OVERHEAD + self.body_len
    }
}

/// Where a frame goes and what it follows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FramePlace {
    pub(crate) segment: u32,
    pub(crate) offset: usize,
    pub(crate) seq: u64,
    pub(crate) synced_upto: usize,
    pub(crate) prev_crc: u32,
}

/// Builds frames in one buffer that is used again and again.
#[derive(Default)]
pub(crate) struct FrameBuilder {
    buf: Vec<u8>,
    records: u32,
}

impl FrameBuilder {
    /// Begins a new frame.
    pub(crate) fn begin(&mut self) {
        self.buf.clear();
        self.buf.resize(FRAME_HEADER, 0);
        self.records = 0;
    }

    /// Adds a record; returns its offset from the beginning of the frame.
    pub(crate) fn push(&mut self, record: &RawRecord<'_>) -> usize {
        let at = self.buf.len();
        record::encode(&mut self.buf, record);
        self.records += 1;
        at
    }

    /// How many records the frame has so far.
    pub(crate) fn records(&self) -> u32 {
        self.records
    }

    /// Seals the frame for its place; returns its bytes and the checksum for the chain.
    pub(crate) fn finish(&mut self, place: FramePlace) -> (&[u8], u32) {
        let body_len = self.buf.len() - FRAME_HEADER;
        let body_crc = crc32c::crc32c(&self.buf[FRAME_HEADER..]);
        let head = &mut self.buf[..FRAME_HEADER];
        head[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        head[8..16].copy_from_slice(&place.seq.to_le_bytes());
        head[16..20].copy_from_slice(&(place.synced_upto as u32).to_le_bytes());
        head[20..24].copy_from_slice(&(body_len as u32).to_le_bytes());
        head[24..28].copy_from_slice(&self.records.to_le_bytes());
        head[28..32].copy_from_slice(&body_crc.to_le_bytes());
        head[32..36].copy_from_slice(&place.prev_crc.to_le_bytes());
        head[36..40].copy_from_slice(&MARK.to_le_bytes());
        let crc = header_crc(head, place.segment, place.offset);
        head[4..8].copy_from_slice(&crc.to_le_bytes());
        self.buf.push(END);
        (&self.buf, crc)
    }

    /// Gives memory back after an unusually large frame.
    pub(crate) fn shrink(&mut self, bytes_max: usize) {
        if self.buf.capacity() > bytes_max {
            self.buf.clear();
            self.buf.shrink_to(bytes_max);
        }
    }
}

/// The frame header at `offset` of a segment's bytes, if there is a valid one.
pub(crate) fn header_at(bytes: &[u8], segment: u32, offset: usize) -> Option<FrameHeader> {
    let head = bytes.get(offset..offset + FRAME_HEADER)?;
    if u32_at(head, 0) != MAGIC || u32_at(head, 4) != header_crc(head, segment, offset) {
        return None;
    }
    Some(FrameHeader {
        crc: u32_at(head, 4),
        seq: u64_at(head, 8),
        synced_upto: u32_at(head, 16) as usize,
        body_len: u32_at(head, 20) as usize,
        records: u32_at(head, 24),
        body_crc: u32_at(head, 28),
        prev_crc: u32_at(head, 32),
    })
}

/// The records' bytes of a frame whose header is valid, if they are whole.
pub(crate) fn body_at<'a>(bytes: &'a [u8], offset: usize, header: &FrameHeader) -> Result<&'a [u8], &'static str> {
    let frame = bytes.get(offset..offset + header.total()).ok_or("a frame is longer than its segment")?;
    let body = &frame[FRAME_HEADER..FRAME_HEADER + header.body_len];
    if crc32c::crc32c(body) != header.body_crc || frame[frame.len() - 1] != END {
        return Err("a frame's checksum does not match");
    }
    Ok(body)
}

/// Calls `each` for every record of a body, with the record's offset in the body and its length.
pub(crate) fn records<E>(
    body: &[u8],
    header: &FrameHeader,
    mut each: impl FnMut(RawRecord<'_>, usize, usize) -> Result<(), E>,
    bad: impl Fn(&'static str) -> E,
) -> Result<(), E> {
    let mut at = 0;
    for _ in 0..header.records {
        let (record, len) = record::decode(&body[at..]).map_err(&bad)?;
        each(record, at, len)?;
        at += len;
    }
    if at == body.len() { Ok(()) } else { Err(bad("a frame has more bytes than records")) }
}

/// Rule 2: whether the bad frame at `offset` can be the rest of an interrupted write.
pub(crate) fn may_be_torn(bytes: &[u8], segment: u32, offset: usize) -> bool {
    let total = header_at(bytes, segment, offset).map_or(FRAME_HEADER, |header| header.total());
    let end = (offset + total).min(bytes.len());
    if bytes[offset..end].last().is_none_or(|byte| *byte == 0) {
        return true;
    }
    let mut at = offset;
    while at < end {
        let next = ((at / SECTOR + 1) * SECTOR).min(end);
        if bytes[at..next].iter().all(|byte| *byte == 0) {
            return true;
        }
        at = next;
    }
    false
}

/// Rule 1: the first frame behind `from` that proves that the bytes at `bad` had been durable.
pub(crate) fn proof_of_durability(bytes: &[u8], segment: u32, bad: usize, seq_min: u64) -> Option<usize> {
    let magic = MAGIC.to_le_bytes();
    let mut at = bad + 1;
    while at + FRAME_HEADER <= bytes.len() {
        // Zeros fill most of what is searched; step over them by the sector.
        if bytes[at] == 0 && bytes[at..].len() >= SECTOR && bytes[at..at + SECTOR].iter().all(|byte| *byte == 0) {
            at += SECTOR;
            continue;
        }
        if bytes[at..at + 4] == magic
            && let Some(header) = header_at(bytes, segment, at)
            && header.seq > seq_min
            && header.synced_upto > bad
        {
            return Some(at);
        }
        at += 1;
    }
    None
}

fn header_crc(head: &[u8], segment: u32, offset: usize) -> u32 {
    let mut salt = [0u8; 8];
    salt[0..4].copy_from_slice(&segment.to_le_bytes());
    salt[4..8].copy_from_slice(&(offset as u32).to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c(&salt), &head[8..FRAME_HEADER])
}
