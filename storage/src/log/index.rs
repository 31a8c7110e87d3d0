//! What readers of one group see: where each live record lies, and the recent ones themselves.
//!
//! Twelve bytes per record that is only on disk; terms are kept as runs, since they hardly change.
//! The records in memory are always the newest ones of the group, without a hole, so that one queue
//! beside the locations is enough. A record that is not yet fsynced has no location and stays in
//! memory whatever the cache's bound says.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{LogPoint, Record, record::encoded_len};

/// Added per cached record to what its data weighs.
const CACHE_OVERHEAD: usize = 48;
/// In place of a segment: not fsynced yet; the offset is then the ticket of the request.
const PENDING: u32 = u32::MAX;

/// Where a record lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Location {
    pub(crate) segment: u32,
    pub(crate) offset: u32,
    /// Encoded length.
    pub(crate) len: u32,
}

/// The part of a range that has to come from disk, and the part that is in memory behind it.
#[derive(Default)]
pub(crate) struct Plan {
    pub(crate) on_disk: Vec<(LogPoint, Location)>,
    pub(crate) in_memory: Vec<Record>,
}

#[derive(Default)]
pub(crate) struct GroupIndex {
    pub(crate) purged: Option<LogPoint>,
    pub(crate) vote: Option<Bytes>,
    pub(crate) committed: Option<Bytes>,
    /// Index of `slots[0]`.
    first: u64,
    slots: VecDeque<Location>,
    /// First index of each term, oldest first.
    terms: VecDeque<(u64, u64)>,
    /// The newest `cache.len()` records' data.
    cache: VecDeque<Bytes>,
    pub(crate) bytes: u64,
}

fn weight(data: &Bytes) -> usize {
    data.len() + CACHE_OVERHEAD
}

impl GroupIndex {
    pub(crate) fn next(&self) -> Option<u64> {
        self.last().map(|point| point.index + 1)
    }

    pub(crate) fn first_index(&self) -> Option<u64> {
        (!self.slots.is_empty()).then_some(self.first)
    }

    fn end(&self) -> u64 {
        self.first + self.slots.len() as u64
    }

    /// The last live record, or the purge point if there is none.
    pub(crate) fn last(&self) -> Option<LogPoint> {
        match self.terms.back() {
            Some((_, term)) if !self.slots.is_empty() => Some(LogPoint { term: *term, index: self.end() - 1 }),
            _ => self.purged,
        }
    }

    pub(crate) fn point(&self, index: u64) -> Option<LogPoint> {
        if self.slots.is_empty() || index < self.first || index >= self.end() {
            return self.purged.filter(|purged| purged.index == index);
        }
        let run = self.terms.partition_point(|(start, _)| *start <= index);
        self.terms.get(run.checked_sub(1)?).map(|(_, term)| LogPoint { term: *term, index })
    }

    fn push(&mut self, point: LogPoint, location: Location) {
        if self.slots.is_empty() {
            self.first = point.index;
            self.terms.clear();
        }
        if self.terms.back().is_none_or(|(_, term)| *term != point.term) {
            self.terms.push_back((point.index, point.term));
        }
        self.bytes += u64::from(location.len);
        self.slots.push_back(location);
    }

    /// Adds records that are on their way to disk; returns the weight added to the cache.
    pub(crate) fn append(&mut self, records: Vec<Record>, ticket: u32) -> usize {
        let mut added = 0;
        for record in records {
            let len = encoded_len(&record.data) as u32;
            let point = LogPoint { term: record.term, index: record.index };
            self.push(point, Location { segment: PENDING, offset: ticket, len });
            added += weight(&record.data);
            self.cache.push_back(record.data);
        }
        added
    }

    /// Adds a record that recovery found on disk.
    pub(crate) fn recovered(&mut self, point: LogPoint, location: Location) {
        self.push(point, location);
    }

    /// Notes where the records of a request lie now that they are durable. Those that were truncated
    /// or purged in the meantime are skipped; their successors carry another ticket.
    pub(crate) fn settle(&mut self, records: &[Record], ticket: u32, segment: u32, mut offset: u32) {
        for record in records {
            let len = encoded_len(&record.data) as u32;
            if let Some(at) = record.index.checked_sub(self.first)
                && let Some(slot) = self.slots.get_mut(at as usize)
                && slot.segment == PENDING
                && slot.offset == ticket
            {
                *slot = Location { segment, offset, len };
            }
            offset += len;
        }
    }

    /// Drops records behind `index` (`None`: all); returns the weight taken from the cache.
    pub(crate) fn truncate(&mut self, index: Option<u64>) -> usize {
        let keep = index.map_or(0, |index| index.saturating_add(1).saturating_sub(self.first)) as usize;
        let mut freed = 0;
        while self.slots.len() > keep {
            if let Some(slot) = self.slots.pop_back() {
                self.bytes -= u64::from(slot.len);
            }
            freed += self.cache.pop_back().as_ref().map_or(0, weight);
        }
        let end = self.end();
        while self.terms.back().is_some_and(|(start, _)| *start >= end) {
            self.terms.pop_back();
        }
        freed
    }

    /// Drops records up to `upto`; returns the weight taken from the cache.
    pub(crate) fn purge(&mut self, upto: LogPoint) -> usize {
        let mut freed = 0;
        while !self.slots.is_empty() && self.first <= upto.index {
            if self.cache.len() == self.slots.len() {
                freed += self.cache.pop_front().as_ref().map_or(0, weight);
            }
            if let Some(slot) = self.slots.pop_front() {
                self.bytes -= u64::from(slot.len);
            }
            self.first += 1;
        }
        while self.terms.get(1).is_some_and(|(start, _)| *start <= self.first) {
            self.terms.pop_front();
        }
        self.purged = Some(upto);
        freed
    }

    /// Forgets the data of durable records up to `upto`; returns the weight taken from the cache.
    pub(crate) fn evict(&mut self, upto: u64) -> usize {
        let mut freed = 0;
        loop {
            let at = self.slots.len() - self.cache.len();
            let durable = self.slots.get(at).is_some_and(|slot| slot.segment != PENDING);
            if !durable || self.first + at as u64 > upto {
                return freed;
            }
            freed += self.cache.pop_front().as_ref().map_or(0, weight);
        }
    }

    /// Whether a record up to `upto` is in memory.
    pub(crate) fn caches_upto(&self, upto: u64) -> bool {
        !self.cache.is_empty() && self.end() - self.cache.len() as u64 <= upto
    }

    /// What a read of `range` consists of, at least one record and then up to `bytes_max`.
    pub(crate) fn plan(&self, range: std::ops::Range<u64>, bytes_max: usize) -> Plan {
        let mut plan = Plan::default();
        if self.slots.is_empty() {
            return plan;
        }
        let cached_from = self.end() - self.cache.len() as u64;
        let mut run = self.terms.partition_point(|(start, _)| *start <= range.start.max(self.first));
        let mut bytes = 0;
        for index in range.start.max(self.first)..range.end.min(self.end()) {
            let slot = self.slots[(index - self.first) as usize];
            bytes += slot.len as usize;
            if bytes > bytes_max && !(plan.on_disk.is_empty() && plan.in_memory.is_empty()) {
                break;
            }
            while self.terms.get(run).is_some_and(|(start, _)| *start <= index) {
                run += 1;
            }
            let term = self.terms[run - 1].1;
            if index < cached_from {
                plan.on_disk.push((LogPoint { term, index }, slot));
            } else {
                let data = self.cache[(index - cached_from) as usize].clone();
                plan.in_memory.push(Record { term, index, data });
            }
        }
        plan
    }
}
