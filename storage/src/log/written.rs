//! One group's state *in the order of the log*: what the writer has put on disk, or recovery has read.
//!
//! The index that readers see ([`super::index`]) runs ahead of the disk. This one does not, and the
//! writer and recovery share its rules, so both agree on what a sequence of records means. It knows
//! which segments a group still needs, and it is what a new segment begins with (a checkpoint).
//!
//! # Why a truncated entry cannot come back
//!
//! Segments are removed oldest first, one at a time, the directory synced after each, so what is on
//! disk is always a contiguous run `k..=n` of segments. Let entry `e` lie in segment `i` and the
//! truncate record `t` that killed it in segment `j`. `t` was written after `e`, so `i <= j`. If `t` is
//! gone, then `k > j >= i` and `e` is gone as well. If `t` is there and `e` too, recovery reads them in
//! this order and drops `e`. The same holds for purge records.
//!
//! # Why an entry in a removed segment was not needed
//!
//! A segment is removed only when no group's `runs` begin in it or before it, after the record that
//! ended the last of them (a truncate or a purge) was fsynced. That record lies in a segment that
//! stays or in the removed one itself; in the latter case the checkpoint at the beginning of every
//! later segment says the same. Recovery proves it again: entries that the first checkpoint counts
//! but that no segment holds become a run in segment 0, and if such a run is still alive at the end,
//! the log is refused.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{
    GroupId, LogPoint,
    record::{Kind, RawRecord, u32_at, u64_at},
};

/// Stands for "in a segment that is no longer there".
pub(crate) const MISSING: u32 = 0;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct WrittenGroup {
    pub(crate) purged: Option<LogPoint>,
    pub(crate) last: Option<LogPoint>,
    /// First index and segment of each stretch of live entries; few, one per segment.
    runs: VecDeque<(u64, u32)>,
    pub(crate) vote: Option<Bytes>,
    pub(crate) committed: Option<Bytes>,
}

impl WrittenGroup {
    /// Whether there is nothing to say about the group; checkpoints leave it out then.
    pub(crate) fn is_blank(&self) -> bool {
        *self == WrittenGroup::default()
    }

    /// The index that the next entry must have; `None` if any will do.
    pub(crate) fn next(&self) -> Option<u64> {
        self.last.or(self.purged).map(|point| point.index + 1)
    }

    /// First live index.
    pub(crate) fn first(&self) -> Option<u64> {
        self.runs.front().map(|run| self.purged.map_or(run.0, |purged| run.0.max(purged.index + 1)))
    }

    /// The oldest segment that this group needs.
    pub(crate) fn oldest_segment(&self) -> Option<u32> {
        self.runs.front().map(|run| run.1)
    }

    pub(crate) fn entry(&mut self, point: LogPoint, segment: u32) {
        if self.runs.back().is_none_or(|run| run.1 != segment) {
            self.runs.push_back((point.index, segment));
        }
        self.last = Some(point);
    }

    /// Keeps entries up to `keep`; `None` drops all.
    pub(crate) fn truncate(&mut self, keep: Option<LogPoint>) {
        let Some(last) = self.last else { return };
        match keep {
            Some(keep) if keep.index >= last.index => {}
            Some(keep) => {
                while self.runs.back().is_some_and(|run| run.0 > keep.index) {
                    self.runs.pop_back();
                }
                self.last = self.runs.back().map(|_| keep);
            }
            None => {
                self.runs.clear();
                self.last = None;
            }
        }
    }

    pub(crate) fn purge(&mut self, upto: LogPoint) {
        self.purged = Some(upto);
        if self.last.is_none_or(|last| last.index <= upto.index) {
            self.runs.clear();
            self.last = None;
            return;
        }
        while self.runs.get(1).is_some_and(|second| second.0 <= upto.index + 1) {
            self.runs.pop_front();
        }
    }

    /// The checkpoint record's data.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.clear();
        let live = self.last.zip(self.first());
        out.push(
            u8::from(self.purged.is_some())
                | u8::from(live.is_some()) << 1
                | u8::from(self.vote.is_some()) << 2
                | u8::from(self.committed.is_some()) << 3,
        );
        let purged = self.purged.unwrap_or(LogPoint { term: 0, index: 0 });
        let (last, first) = live.unwrap_or((LogPoint { term: 0, index: 0 }, 0));
        for number in [purged.term, purged.index, last.term, last.index, first] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        let vote = self.vote.as_deref().unwrap_or_default();
        out.extend_from_slice(&(vote.len() as u32).to_le_bytes());
        out.extend_from_slice(vote);
        out.extend_from_slice(self.committed.as_deref().unwrap_or_default());
    }

    /// Reads a checkpoint back; live entries are taken to be missing until they are found.
    pub(crate) fn decode(data: &[u8]) -> Option<WrittenGroup> {
        const FIXED: usize = 1 + 5 * 8 + 4;
        if data.len() < FIXED {
            return None;
        }
        let flags = data[0];
        let vote_end = FIXED + u32_at(data, FIXED - 4) as usize;
        if data.len() < vote_end {
            return None;
        }
        let point = |at| LogPoint { term: u64_at(data, at), index: u64_at(data, at + 8) };
        let mut group = WrittenGroup {
            purged: (flags & 1 != 0).then(|| point(1)),
            vote: (flags & 4 != 0).then(|| Bytes::copy_from_slice(&data[FIXED..vote_end])),
            committed: (flags & 8 != 0).then(|| Bytes::copy_from_slice(&data[vote_end..])),
            ..WrittenGroup::default()
        };
        if flags & 2 != 0 {
            group.last = Some(point(17));
            group.runs.push_back((u64_at(data, 33), MISSING));
        }
        Some(group)
    }

    /// Whether two states say the same, wherever the entries lie.
    pub(crate) fn agrees_with(&self, other: &WrittenGroup) -> bool {
        self.purged == other.purged
            && self.last == other.last
            && self.first() == other.first()
            && self.vote == other.vote
            && self.committed == other.committed
    }
}

/// The record of a truncation.
pub(crate) fn truncate_record(group: GroupId, keep: Option<LogPoint>) -> RawRecord<'static> {
    let point = keep.unwrap_or(LogPoint { term: 0, index: 0 });
    let data: &[u8] = if keep.is_some() { &[1] } else { &[0] };
    RawRecord { group, kind: Kind::Truncate, term: point.term, index: point.index, data }
}

/// What a truncate record keeps.
pub(crate) fn truncate_keeps(record: &RawRecord<'_>) -> Option<LogPoint> {
    (record.data == [1]).then_some(LogPoint { term: record.term, index: record.index })
}
