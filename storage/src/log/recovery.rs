//! Reading the log back at the start, and judging every byte of it.
//!
//! All segments are read in order and every frame's place in the chain, every checksum and the
//! continuity of every group are checked. What may happen to a log in a power loss is mended without a
//! word: a torn last write is cut, a segment whose creation was interrupted is dropped. All else is
//! refused, because a node that starts with a forgotten log or vote could break promises it gave.
//!
//! | found | judged |
//! |---|---|
//! | bad frame at the end of the newest segment, with a hole | torn write, cut |
//! | bad frame that later frames know to be durable, or without a hole | damage |
//! | file shorter (or longer) than its header says, no begin frame, file of zeros | damage |
//! | segment missing in the middle, or the newest (its predecessor is sealed) | damage |
//! | oldest segment missing while its entries are needed (checkpoint of the next one) | damage |
//! | older copy of a segment that is not the newest (frame chain, no seal, early end) | damage |
//! | older copy of the newest segment, whole sectors of the last write zeroed | not detectable here |

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{
    GroupId, LogPoint,
    error::LogError,
    frame::{self, FrameHeader},
    index::{GroupIndex, Location},
    record::{Kind, RawRecord},
    roll::Tail,
    segment::{self, FileKind, SegmentHeader, Segments},
    written::{MISSING, WrittenGroup, truncate_keeps},
};

/// A group as it was read.
#[derive(Default)]
pub(crate) struct RecoveredGroup {
    pub(crate) written: WrittenGroup,
    pub(crate) index: GroupIndex,
}

/// The whole log as it was read; no tail if there was no segment at all.
pub(crate) struct Recovered {
    pub(crate) groups: BTreeMap<GroupId, RecoveredGroup>,
    pub(crate) tail: Option<Tail>,
}

/// Reads all segments of `segments.disk`, mends the tail and opens every file.
pub(crate) fn recover(segments: &Segments) -> Result<Recovered, LogError> {
    let found = list(segments)?;
    let mut reader = Reader::default();
    let mut newest: Option<(u32, Vec<u8>)> = None;
    for (nth, seq) in found.iter().enumerate() {
        let file =
            segments.disk.open(&segment::name_of(*seq)).map_err(|error| LogError::io("opening a segment", &error))?;
        let len = file.len().map_err(|error| LogError::io("measuring a segment", &error))?;
        let mut bytes = vec![0; len as usize];
        file.pread(&mut bytes, 0).map_err(|error| LogError::io("reading a segment", &error))?;
        let is_newest = nth + 1 == found.len();
        if reader.segment(*seq, &bytes, nth == 0, is_newest)? == Verdict::NotBegun {
            segments
                .disk
                .remove(&segment::name_of(*seq))
                .and_then(|()| segments.disk.sync_dir())
                .map_err(|error| LogError::io("dropping a segment that was not begun", &error))?;
            tracing::info!(segment = seq, "dropped a log segment whose creation was interrupted");
            break;
        }
        segments.insert(*seq, file, len);
        newest = Some((*seq, bytes));
    }
    let tail = match newest {
        Some((seq, bytes)) => Some(reader.mend(segments, seq, &bytes)?),
        None => None,
    };
    reader.nothing_missing(found.first().copied())?;
    Ok(Recovered { groups: reader.groups, tail })
}

/// The segments on disk, in order and without a hole; removes attempts.
fn list(segments: &Segments) -> Result<Vec<u32>, LogError> {
    let names = segments.disk.list().map_err(|error| LogError::io("listing the directory", &error))?;
    let mut found = Vec::new();
    for name in names {
        match segment::kind_of(&name) {
            FileKind::Segment(seq) => found.push(seq),
            FileKind::Attempt => {
                segments.disk.remove(&name).map_err(|error| LogError::io("removing an attempt", &error))?;
            }
            FileKind::Foreign => {}
        }
    }
    found.sort_unstable();
    for pair in found.windows(2) {
        if pair[1] != pair[0] + 1 {
            return Err(LogError::corrupt(pair[0] + 1, 0, "the segment is missing, but later ones exist"));
        }
    }
    Ok(found)
}

#[derive(PartialEq, Eq)]
enum Verdict {
    Read,
    /// Created, but the log never went on in it.
    NotBegun,
}

#[derive(Default)]
struct Reader {
    groups: BTreeMap<GroupId, RecoveredGroup>,
    next_frame: u64,
    prev_crc: u32,
    /// End of the last good frame in its segment.
    end: usize,
    /// From here on the newest segment may have been written without being synced.
    synced_upto: usize,
    sealed: bool,
}

impl Reader {
    fn segment(&mut self, seq: u32, bytes: &[u8], is_first: bool, is_newest: bool) -> Result<Verdict, LogError> {
        let bad = |detail: &str| LogError::corrupt(seq, 0, detail);
        let begin = frame::header_at(bytes, seq, 0).ok_or_else(|| bad("the segment has no valid beginning"))?;
        let body = frame::body_at(bytes, 0, &begin).map_err(bad)?;
        let header = begin_header(seq, body, &begin)?;
        if header.capacity != bytes.len() as u64 {
            let detail = format!("the file has {} bytes, but was created with {}", bytes.len(), header.capacity);
            return Err(LogError::corrupt(seq, bytes.len(), detail));
        }
        if is_first {
            if seq == 1 && begin.seq != 1 {
                return Err(bad("the first segment does not begin the log"));
            }
        } else if !self.sealed {
            let untouched = bytes[begin.total()..].iter().all(|byte| *byte == 0);
            let follows = begin.seq == self.next_frame + 1 && header.previous_end as usize == self.end;
            if is_newest && untouched && follows {
                return Ok(Verdict::NotBegun);
            }
            let detail = "the segment ends here, but a later one goes on (an older copy, or its end is damaged)";
            return Err(LogError::corrupt(seq - 1, self.end, detail));
        } else if begin.seq != self.next_frame || begin.prev_crc != self.prev_crc {
            return Err(bad("the segment does not continue the one before it"));
        }
        self.checkpoints(seq, body, &begin, is_first)?;
        self.accept(0, &begin);
        self.sealed = false;
        self.frames(seq, bytes)?;
        Ok(Verdict::Read)
    }

    /// Checks (or, in the first segment, takes) the state of all groups at a segment's beginning.
    fn checkpoints(&mut self, seq: u32, body: &[u8], begin: &FrameHeader, is_first: bool) -> Result<(), LogError> {
        let mut count = 0;
        let bad = |detail: &str| LogError::corrupt(seq, 0, detail);
        frame::records(
            body,
            begin,
            |record, _, _| {
                if record.kind == Kind::Header {
                    return Ok(());
                }
                let state = WrittenGroup::decode(record.data)
                    .filter(|_| record.kind == Kind::Checkpoint)
                    .ok_or_else(|| bad("the beginning holds a record that does not belong there"))?;
                count += 1;
                if is_first {
                    let mut index = GroupIndex::default();
                    index.purged = state.purged;
                    index.vote.clone_from(&state.vote);
                    index.committed.clone_from(&state.committed);
                    self.groups.insert(record.group, RecoveredGroup { written: state, index });
                } else if !self.groups.get(&record.group).is_some_and(|group| group.written.agrees_with(&state)) {
                    let detail = format!("group {} is not in the state that earlier segments left it in", record.group);
                    return Err(bad(&detail));
                }
                Ok(())
            },
            bad,
        )?;
        let known = self.groups.values().filter(|group| !group.written.is_blank()).count();
        if count == known { Ok(()) } else { Err(bad("the beginning does not know all groups")) }
    }

    /// Reads frames behind the first one until the segment ends.
    fn frames(&mut self, seq: u32, bytes: &[u8]) -> Result<(), LogError> {
        while !self.sealed {
            let at = self.end;
            let Some(header) = frame::header_at(bytes, seq, at) else { return self.judge_end(seq, bytes) };
            if header.seq != self.next_frame || header.prev_crc != self.prev_crc || header.synced_upto > at {
                return Err(LogError::corrupt(seq, at, "a frame that does not continue the one before it"));
            }
            let Ok(body) = frame::body_at(bytes, at, &header) else { return self.judge_end(seq, bytes) };
            let bad = |detail: &'static str| LogError::corrupt(seq, at, detail);
            let mut entries_at = at + frame::FRAME_HEADER;
            frame::records(
                body,
                &header,
                |record, _, len| {
                    let offset = entries_at;
                    entries_at += len;
                    self.apply(seq, offset, len, &record)
                },
                bad,
            )?;
            self.accept(at, &header);
        }
        Ok(())
    }

    fn accept(&mut self, at: usize, header: &FrameHeader) {
        self.end = at + header.total();
        self.next_frame = header.seq + 1;
        self.prev_crc = header.crc;
        self.synced_upto = header.synced_upto;
    }

    /// There is no good frame at `end`: is that the end of the log, or damage?
    fn judge_end(&self, seq: u32, bytes: &[u8]) -> Result<(), LogError> {
        if let Some(proof) = frame::proof_of_durability(bytes, seq, self.end, self.next_frame) {
            let detail = format!("a bad frame, but the frame at offset {proof} says that it had been durable");
            return Err(LogError::corrupt(seq, self.end, detail));
        }
        if !frame::may_be_torn(bytes, seq, self.end) {
            let detail = "a bad frame that was written whole and changed afterwards";
            return Err(LogError::corrupt(seq, self.end, detail));
        }
        Ok(())
    }

    fn apply(&mut self, seq: u32, offset: usize, len: usize, record: &RawRecord<'_>) -> Result<(), LogError> {
        if record.kind == Kind::Seal && record.index == u64::from(seq) {
            self.sealed = true;
            return Ok(());
        }
        let group = self.groups.entry(record.group).or_default();
        let point = LogPoint { term: record.term, index: record.index };
        match record.kind {
            Kind::Entry => {
                if let Some(expected) = group.written.next().filter(|expected| *expected != record.index) {
                    let detail =
                        format!("group {} continues at index {expected}, not at {}", record.group, record.index);
                    return Err(LogError::corrupt(seq, offset, detail));
                }
                group.written.entry(point, seq);
                let location = Location { segment: seq, offset: offset as u32, len: len as u32 };
                group.index.recovered(point, location);
            }
            Kind::Vote => {
                let vote = Bytes::copy_from_slice(record.data);
                group.written.vote = Some(vote.clone());
                group.index.vote = Some(vote);
            }
            Kind::Truncate => {
                let keep = truncate_keeps(record);
                group.written.truncate(keep);
                group.index.truncate(keep.map(|keep| keep.index));
            }
            Kind::Purge => {
                group.written.purge(point);
                group.index.purge(point);
            }
            Kind::Committed => {
                let committed = Bytes::copy_from_slice(record.data);
                group.written.committed = Some(committed.clone());
                group.index.committed = Some(committed);
            }
            Kind::Seal | Kind::Header | Kind::Checkpoint => {
                return Err(LogError::corrupt(seq, offset, "a record that does not belong there"));
            }
        }
        Ok(())
    }

    /// Cuts what is behind the last good frame and makes what was read durable.
    ///
    /// What was read may be in the page cache only (the process was killed between write and fsync, or
    /// an fsync had failed and the pages are marked clean though the disk never got them), and Raft is
    /// about to be told that it is durable. So the stretch that no frame knows to be synced is written
    /// once more, the same bytes, and synced.
    fn mend(&self, segments: &Segments, seq: u32, bytes: &[u8]) -> Result<Tail, LogError> {
        if self.sealed {
            return Err(LogError::corrupt(seq + 1, 0, "the newest segment is missing, the one before it is sealed"));
        }
        let file = segments.get(seq).ok_or(LogError::Closed)?;
        let end = self.end;
        let io = |error| LogError::io("mending the tail", &error);
        file.pwrite(&bytes[self.synced_upto..end], self.synced_upto as u64).map_err(io)?;
        if let Some(behind) = bytes[end..].iter().rposition(|byte| *byte != 0) {
            tracing::info!(segment = seq, offset = end, bytes = behind + 1, "cut a torn write off the log");
            file.pwrite(&vec![0; behind + 1], end as u64).map_err(io)?;
        }
        file.sync_data().map_err(io)?;
        segments.disk.sync_dir().map_err(io)?;
        Ok(Tail {
            segment: seq,
            file,
            capacity: bytes.len(),
            offset: end,
            synced_upto: end,
            next_frame: self.next_frame,
            prev_crc: self.prev_crc,
        })
    }

    fn nothing_missing(&self, first: Option<u32>) -> Result<(), LogError> {
        for (id, group) in &self.groups {
            if group.written.oldest_segment() == Some(MISSING) {
                let detail = format!("the segment is missing, and group {id} has entries in it that it needs");
                return Err(LogError::corrupt(first.unwrap_or(1).saturating_sub(1), 0, detail));
            }
        }
        Ok(())
    }
}

fn begin_header(seq: u32, body: &[u8], begin: &FrameHeader) -> Result<SegmentHeader, LogError> {
    let mut header = None;
    let bad = |detail: &str| LogError::corrupt(seq, 0, detail);
    frame::records(
        body,
        begin,
        |record, at, _| {
            if at == 0 {
                header = Some(SegmentHeader::decode(&record).map_err(|detail| bad(&detail))?);
            }
            Ok(())
        },
        bad,
    )?;
    header.filter(|header| header.seq == seq).ok_or_else(|| bad("the segment bears another number"))
}
