//! The log of one Raft group, as its user sees it.

use std::{
    ops::Range,
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;

use super::{
    GroupId, Handle, LogError, LogPoint, Record,
    index::{Location, Plan},
    queue::{Done, Request, Work},
    record::{self, Kind, RECORD_HEADER, encoded_len},
    shared::{Group, Inner},
};

/// The largest request; far above what Raft sends, far below what a segment can hold.
const REQUEST_BYTES_MAX: usize = 1 << 30;
/// Votes and commit marks are carried into every segment, so they have to be small.
const MARK_BYTES_MAX: usize = 64 << 10;
/// Records of one segment that lie close together are read at once.
const READ_SPAN_MAX: u32 = 1 << 20;
const READ_GAP_MAX: u32 = 4 << 10;

/// The log of one group; a cheap handle. Changes are visible at once and durable when they say so.
#[derive(Clone)]
pub struct GroupLog {
    pub(super) handle: Arc<Handle>,
    pub(super) group: Arc<Group>,
}

impl GroupLog {
    /// Which group this is.
    pub fn id(&self) -> GroupId {
        self.group.id
    }

    /// Appends records. They are readable at once; `done` is called on the writer's thread when they
    /// are durable, or cannot become so any more. It must not block. If this returns an error,
    /// nothing was appended and `done` is dropped without a call.
    ///
    /// Indexes are consecutive and go on behind [`GroupLog::last`]; a group that never had a record
    /// nor a purge point begins anywhere.
    pub fn append(
        &self,
        records: Vec<Record>,
        done: Box<dyn FnOnce(Result<(), LogError>) + Send>,
    ) -> Result<(), LogError> {
        let bytes = records.iter().map(|record| encoded_len(&record.data)).sum();
        if bytes > REQUEST_BYTES_MAX {
            return Err(LogError::TooLarge { bytes: bytes as u64, bytes_max: REQUEST_BYTES_MAX as u64 });
        }
        let inner = self.inner();
        let ticket = inner.tickets.fetch_add(1, Ordering::Relaxed) as u32;
        let mut index = self.group.index.lock();
        let mut next = index.next();
        for record in &records {
            if let Some(expected) = next.filter(|expected| *expected != record.index) {
                return Err(LogError::Gap { group: self.group.id, expected, found: record.index });
            }
            next = Some(record.index + 1);
        }
        // The writer cannot settle these before the lock is released, so queue first, index second;
        // cheap clones of the data go to the index.
        let copies = records.clone();
        self.push(Work::Append { records, ticket }, Some(done), bytes)?;
        let added = index.append(copies, ticket);
        inner.cached.fetch_add(added, Ordering::Relaxed);
        Ok(())
    }

    /// Stores the vote; durable before it returns, and ordered with appends and truncations.
    pub async fn save_vote(&self, vote: Bytes) -> Result<(), LogError> {
        check_mark(&vote)?;
        let bytes = encoded_len(&vote);
        let durable = {
            let _order = self.group.index.lock();
            self.push_and_tell(Work::Vote(vote), bytes)?
        };
        durable.await.unwrap_or(Err(LogError::Closed))
    }

    /// The newest durable vote.
    pub fn vote(&self) -> Option<Bytes> {
        self.group.index.lock().vote.clone()
    }

    /// Drops all records with a greater index (`None`: all); durable before it returns, and ordered.
    pub async fn truncate_after(&self, index: Option<u64>) -> Result<(), LogError> {
        let durable = {
            let mut group = self.group.index.lock();
            let live = index.filter(|index| group.first_index().is_some_and(|first| first <= *index));
            let keep = live.and_then(|index| group.point(index).or_else(|| group.last()));
            let durable = self.push_and_tell(Work::Truncate(keep), RECORD_HEADER + 1)?;
            let freed = group.truncate(keep.map(|keep| keep.index));
            self.inner().cached.fetch_sub(freed, Ordering::Relaxed);
            durable
        };
        durable.await.unwrap_or(Err(LogError::Closed))
    }

    /// Drops records up to `upto`, which may lie behind the last one (after a snapshot was
    /// installed): the log is empty then and goes on behind `upto`. Older purge points are ignored.
    /// Becomes durable soon, in order with all else; segments that nobody needs are removed then.
    pub fn purge(&self, upto: LogPoint) {
        let mut group = self.group.index.lock();
        let known = group.purged.is_some_and(|purged| purged.index >= upto.index);
        let before_all = group.first_index().is_some_and(|first| upto.index.saturating_add(1) < first);
        if known || before_all || self.push(Work::Purge(upto), None, RECORD_HEADER).is_err() {
            return;
        }
        let freed = group.purge(upto);
        self.inner().cached.fetch_sub(freed, Ordering::Relaxed);
    }

    /// Notes how far the group has committed. Rides along with the next write, so it may be lost.
    pub fn save_committed(&self, committed: Bytes) {
        if check_mark(&committed).is_ok() {
            let mut group = self.group.index.lock();
            group.committed = Some(committed.clone());
            self.inner().queue.push_lazy(self.group.id, committed);
        }
    }

    /// The newest commit mark.
    pub fn committed(&self) -> Option<Bytes> {
        self.group.index.lock().committed.clone()
    }

    /// Live records of `range`, in order: at least one if there is one, then up to `bytes_max` of
    /// encoded size. Indexes that are purged or not yet written are left out. May read from disk.
    pub fn read(&self, range: Range<u64>, bytes_max: usize) -> Result<Vec<Record>, LogError> {
        loop {
            let plan = self.group.index.lock().plan(range.clone(), bytes_max);
            let gone = plan.on_disk.first().map(|(point, location)| (point.index, location.segment));
            if let Some(records) = self.fetch(plan)? {
                return Ok(records);
            }
            // A segment went away under the plan, so its records must have been purged meanwhile.
            if let Some((index, segment)) = gone
                && self.first_index().is_some_and(|first| first <= index)
            {
                return Err(LogError::corrupt(segment, 0, "the segment is gone, but its records are needed"));
            }
        }
    }

    /// The last record's point, or the purge point if there is no record.
    pub fn last(&self) -> Option<LogPoint> {
        self.group.index.lock().last()
    }

    /// The point up to which records were purged.
    pub fn purged(&self) -> Option<LogPoint> {
        self.group.index.lock().purged
    }

    /// Index of the first live record.
    pub fn first_index(&self) -> Option<u64> {
        self.group.index.lock().first_index()
    }

    /// Bytes of the live records, to decide when a snapshot is due.
    pub fn bytes(&self) -> u64 {
        self.group.index.lock().bytes
    }

    /// The point of a live record, or the purge point.
    pub fn point(&self, index: u64) -> Option<LogPoint> {
        self.group.index.lock().point(index)
    }

    /// Whether more waits for the disk than it should: whoever proposes should hold back.
    pub fn pressure(&self) -> bool {
        self.inner().queue.bytes() > self.inner().options.queue_bytes_max
    }

    fn inner(&self) -> &Inner {
        &self.handle.inner
    }

    fn push(&self, work: Work, done: Option<Done>, bytes: usize) -> Result<(), LogError> {
        self.inner().queue.push(Request { group: self.group.clone(), work, done, bytes })
    }

    fn push_and_tell(
        &self,
        work: Work,
        bytes: usize,
    ) -> Result<tokio::sync::oneshot::Receiver<Result<(), LogError>>, LogError> {
        let (tell, durable) = tokio::sync::oneshot::channel();
        let done = move |outcome| {
            // Nobody listens if the caller's future was dropped; the change stands all the same.
            let _ = tell.send(outcome);
        };
        self.push(work, Some(Box::new(done)), bytes)?;
        Ok(durable)
    }

    /// Reads what a plan needs; `None` if a segment is gone.
    fn fetch(&self, plan: Plan) -> Result<Option<Vec<Record>>, LogError> {
        if plan.on_disk.is_empty() {
            return Ok(Some(plan.in_memory));
        }
        let mut records = Vec::with_capacity(plan.on_disk.len() + plan.in_memory.len());
        let mut rest = &plan.on_disk[..];
        while let Some(((_, first), _)) = rest.split_first() {
            let (span, tail) = rest.split_at(span_len(rest));
            rest = tail;
            let Some(file) = self.inner().segments.get(first.segment) else { return Ok(None) };
            let end = span.last().map_or(0, |(_, last)| last.offset + last.len);
            let mut buf = vec![0; (end - first.offset) as usize];
            file.pread(&mut buf, u64::from(first.offset)).map_err(|error| LogError::io("a read", &error))?;
            let buf = Bytes::from(buf);
            for (point, location) in span {
                let at = (location.offset - first.offset) as usize;
                let bytes = buf.slice(at..at + location.len as usize);
                records.push(self.check(*point, *location, &bytes)?);
            }
        }
        records.extend(plan.in_memory);
        Ok(Some(records))
    }

    /// Takes a record that was read, if it is the one that was written.
    fn check(&self, point: LogPoint, location: Location, bytes: &Bytes) -> Result<Record, LogError> {
        let bad = |detail: &str| LogError::corrupt(location.segment, location.offset as usize, detail);
        let (raw, len) = record::decode(bytes).map_err(bad)?;
        let same = raw.kind == Kind::Entry
            && raw.group == self.group.id
            && (raw.term, raw.index) == (point.term, point.index)
            && len == bytes.len();
        if !same {
            return Err(bad("another record than the one that was written"));
        }
        Ok(Record { term: point.term, index: point.index, data: bytes.slice(RECORD_HEADER..) })
    }
}

/// How many of the first locations can be read at once.
fn span_len(locations: &[(LogPoint, Location)]) -> usize {
    let first = locations[0].1;
    let close = locations.windows(2).take_while(|pair| {
        let (before, next) = (pair[0].1, pair[1].1);
        let end = before.offset + before.len;
        next.segment == first.segment
            && next.offset >= end
            && next.offset - end <= READ_GAP_MAX
            && next.offset + next.len - first.offset <= READ_SPAN_MAX
    });
    close.count() + 1
}

fn check_mark(data: &Bytes) -> Result<(), LogError> {
    if data.len() > MARK_BYTES_MAX {
        return Err(LogError::TooLarge { bytes: data.len() as u64, bytes_max: MARK_BYTES_MAX as u64 });
    }
    Ok(())
}
