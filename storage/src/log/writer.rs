//! The one thread that writes: group commit over all groups.
//!
//! ```text
//! append, vote, truncate, purge ──► queue ──► take all that waits ──► one frame, one pwrite ──► one fdatasync ──► callbacks
//!   (any thread, never blocks)        ▲                                                              │
//!                                     └───────── what arrives meanwhile is the next batch ◄──────────┘
//! ```
//!
//! Any error of a write, a sync or a new segment poisons the log. A failed fsync is never repeated:
//! the kernel may have dropped the dirty pages and would report success for data that is gone.

use std::{
    collections::{BTreeMap, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{
    GroupId, LogPoint, Record,
    error::LogError,
    frame::{FRAME_OVERHEAD, FrameBuilder},
    queue::{Request, Taken, Work},
    record::{Kind, RECORD_HEADER, RawRecord},
    roll::{Begin, Spare, Tail},
    segment::SEAL_BYTES,
    shared::{Group, Inner},
    written::{WrittenGroup, truncate_record},
};

/// A batch ends here even if more waits, to bound memory and the time of one fsync.
const BATCH_BYTES_MAX: usize = 8 << 20;
/// When the log has been idle for this long, the last write is confirmed (see [`super::frame`]).
const CONFIRM_AFTER: Duration = Duration::from_millis(200);
/// Smaller segments (tests) are created on the spot.
const SPARE_FROM_BYTES: usize = 1 << 20;
const CACHED_MARKS_MIN: usize = 4096;

pub(crate) struct Writer {
    inner: Arc<Inner>,
    groups: BTreeMap<GroupId, WrittenGroup>,
    tail: Tail,
    frame: FrameBuilder,
    /// Offset in the frame of each request's first record.
    starts: Vec<usize>,
    /// The last frame was synced, and nothing behind it says so yet.
    unconfirmed: bool,
    spare: Option<Spare>,
    /// Which records to forget first: the last index of each durable append, in log order.
    cached: VecDeque<(Arc<Group>, u64)>,
    cached_marks_max: usize,
}

impl Writer {
    /// Continues at `tail`, or begins the first segment.
    pub(crate) fn new(
        inner: Arc<Inner>,
        groups: BTreeMap<GroupId, WrittenGroup>,
        tail: Option<Tail>,
    ) -> Result<Writer, LogError> {
        let mut frame = FrameBuilder::default();
        let tail = match tail {
            Some(tail) => tail,
            None => {
                let file = Begin { seq: 1, previous_end: 0, next_frame: 1, prev_crc: 0, needed: 0 };
                file.create(&inner, &groups, &mut frame, None)?
            }
        };
        let mut writer = Writer {
            inner,
            groups,
            tail,
            frame,
            starts: Vec::new(),
            unconfirmed: true,
            spare: None,
            cached: VecDeque::new(),
            cached_marks_max: CACHED_MARKS_MIN,
        };
        writer.drop_segments()?;
        Ok(writer)
    }

    /// Runs until the log is closed or poisoned.
    pub(crate) fn run(mut self) {
        let guard = PoisonGuard(Some(self.inner.clone()));
        let outcome = self.serve();
        if let Err(error) = outcome {
            tracing::error!(%error, "the log is poisoned; the node must stop");
            guard.poison(&error);
        }
        guard.disarm();
    }

    fn serve(&mut self) -> Result<(), LogError> {
        loop {
            match self.inner.queue.take(BATCH_BYTES_MAX, self.unconfirmed.then_some(CONFIRM_AFTER)) {
                Taken::Batch(mut requests, lazy) => {
                    let outcome = self.commit(&requests, &lazy);
                    if let Err(error) = &outcome {
                        // Newcomers are refused before anybody hears of the error.
                        self.inner.queue.refuse(error);
                    }
                    let told = tell(&mut requests, &outcome);
                    outcome.and(told)?;
                    self.tidy(requests)?;
                }
                Taken::Idle(lazy) => self.confirm(&lazy)?,
                Taken::Closed(lazy) => {
                    if self.unconfirmed || !lazy.is_empty() {
                        self.confirm(&lazy)?;
                    }
                    if self.tail.synced_upto != self.tail.offset {
                        self.sync()?;
                    }
                    return Ok(());
                }
            }
        }
    }

    /// Makes a batch durable and tells the groups where their records lie.
    fn commit(&mut self, requests: &[Request], lazy: &BTreeMap<GroupId, Bytes>) -> Result<(), LogError> {
        let bytes = requests.iter().map(|request| request.bytes).sum::<usize>() + lazy_bytes(lazy);
        self.make_room(FRAME_OVERHEAD + bytes)?;
        self.frame.begin();
        self.starts.clear();
        for request in requests {
            let start = self.encode(request);
            self.starts.push(start);
        }
        self.encode_lazy(lazy);
        let offset = self.tail.offset;
        self.write()?;
        self.sync()?;
        self.unconfirmed = true;
        for (request, start) in requests.iter().zip(&self.starts) {
            match &request.work {
                Work::Append { records, ticket } => {
                    let at = (offset + start) as u32;
                    request.group.index.lock().settle(records, *ticket, self.tail.segment, at);
                    if let Some(last) = records.last() {
                        self.cached.push_back((request.group.clone(), last.index));
                    }
                }
                Work::Vote(vote) => request.group.index.lock().vote = Some(vote.clone()),
                Work::Truncate(_) | Work::Purge(_) => {}
            }
        }
        Ok(())
    }

    /// Encodes one request; returns the offset of its first record in the frame.
    fn encode(&mut self, request: &Request) -> usize {
        let group = request.group.id;
        let written = self.groups.entry(group).or_default();
        match &request.work {
            Work::Append { records, .. } => {
                let mut start = None;
                for Record { term, index, data } in records {
                    let record = RawRecord { group, kind: Kind::Entry, term: *term, index: *index, data };
                    let at = self.frame.push(&record);
                    start.get_or_insert(at);
                    written.entry(LogPoint { term: *term, index: *index }, self.tail.segment);
                }
                start.unwrap_or_default()
            }
            Work::Vote(vote) => {
                written.vote = Some(vote.clone());
                self.frame.push(&RawRecord { group, kind: Kind::Vote, term: 0, index: 0, data: vote })
            }
            Work::Truncate(keep) => {
                written.truncate(*keep);
                self.frame.push(&truncate_record(group, *keep))
            }
            Work::Purge(upto) => {
                written.purge(*upto);
                let (term, index) = (upto.term, upto.index);
                self.frame.push(&RawRecord { group, kind: Kind::Purge, term, index, data: &[] })
            }
        }
    }

    fn encode_lazy(&mut self, lazy: &BTreeMap<GroupId, Bytes>) {
        for (group, committed) in lazy {
            self.groups.entry(*group).or_default().committed = Some(committed.clone());
            self.frame.push(&RawRecord { group: *group, kind: Kind::Committed, term: 0, index: 0, data: committed });
        }
    }

    /// Writes a frame behind the last one that says "all before me is durable". Not synced: it only
    /// helps a later start to tell a damaged tail from a torn one.
    fn confirm(&mut self, lazy: &BTreeMap<GroupId, Bytes>) -> Result<(), LogError> {
        self.make_room(FRAME_OVERHEAD + lazy_bytes(lazy))?;
        self.frame.begin();
        self.encode_lazy(lazy);
        self.write()?;
        self.unconfirmed = false;
        Ok(())
    }

    /// Work that nobody waits for: bounds the cache, drops segments, reserves the next one.
    fn tidy(&mut self, requests: Vec<Request>) -> Result<(), LogError> {
        self.evict();
        self.frame.shrink(2 * BATCH_BYTES_MAX);
        if requests.iter().any(|request| matches!(request.work, Work::Purge(_) | Work::Truncate(_))) {
            self.drop_segments()?;
        }
        drop(requests);
        self.reserve_spare();
        Ok(())
    }

    fn evict(&mut self) {
        let bound = self.inner.options.cache_bytes;
        while self.inner.cached.load(Ordering::Relaxed) > bound {
            let Some((group, upto)) = self.cached.pop_front() else { return };
            let freed = group.index.lock().evict(upto);
            self.inner.cached.fetch_sub(freed, Ordering::Relaxed);
        }
        // Purged and truncated records leave their marks behind; forget those now and then.
        if self.cached.len() >= self.cached_marks_max {
            self.cached.retain(|(group, upto)| group.index.lock().caches_upto(*upto));
            self.cached_marks_max = (2 * self.cached.len()).max(CACHED_MARKS_MIN);
        }
    }

    /// Drops the oldest segments that no group needs. Runs only after the fsync that made the purge
    /// and truncate records durable which `groups` already knows.
    fn drop_segments(&mut self) -> Result<(), LogError> {
        let oldest =
            self.groups.iter().filter_map(|(id, group)| group.oldest_segment().map(|segment| (segment, *id))).min();
        *self.inner.holder.lock() = oldest.map(|(_, id)| id);
        let needed = oldest.map_or(self.tail.segment, |(segment, _)| segment.min(self.tail.segment));
        self.inner.segments.remove_below(needed)
    }

    fn reserve_spare(&mut self) {
        let capacity = self.inner.options.segment_bytes;
        if self.spare.is_some() || (capacity as usize) < SPARE_FROM_BYTES || self.tail.offset < self.tail.capacity / 2 {
            return;
        }
        self.spare = Spare::reserve(&self.inner, self.tail.segment + 1);
    }

    /// Sees to it that a frame of `needed` bytes fits, with a new segment if need be.
    fn make_room(&mut self, needed: usize) -> Result<(), LogError> {
        if self.tail.offset + needed + SEAL_BYTES <= self.tail.capacity {
            return Ok(());
        }
        // First the new segment in full, then the seal in the old one: whoever finds a seal knows that
        // the next segment must exist, and whoever finds none knows that it holds nothing yet.
        let mut seal = FrameBuilder::default();
        seal.begin();
        seal.push(&RawRecord { group: 0, kind: Kind::Seal, term: 0, index: u64::from(self.tail.segment), data: &[] });
        let (seal, seal_crc) = seal.finish(self.tail.place());
        let begin = Begin {
            seq: self.tail.segment + 1,
            previous_end: self.tail.offset as u32,
            next_frame: self.tail.next_frame + 1,
            prev_crc: seal_crc,
            needed,
        };
        let reserved = match self.spare.take() {
            Some(spare) => spare.take(begin.seq)?,
            None => None,
        };
        let next = begin.create(&self.inner, &self.groups, &mut self.frame, reserved)?;
        let old = std::mem::replace(&mut self.tail, next);
        old.file.pwrite(seal, old.offset as u64).map_err(|error| LogError::io("sealing a segment", &error))?;
        old.file.sync_data().map_err(|error| LogError::io("syncing a sealed segment", &error))?;
        self.drop_segments()
    }

    fn write(&mut self) -> Result<(), LogError> {
        let records = self.frame.records();
        let (bytes, crc) = self.frame.finish(self.tail.place());
        let len = bytes.len();
        self.tail.file.pwrite(bytes, self.tail.offset as u64).map_err(|error| LogError::io("a write", &error))?;
        self.tail.offset += len;
        self.tail.next_frame += 1;
        self.tail.prev_crc = crc;
        metrics::counter!("bravo_log_writes_total").increment(1);
        metrics::counter!("bravo_log_written_bytes_total").increment(len as u64);
        metrics::counter!("bravo_log_records_total").increment(u64::from(records));
        Ok(())
    }

    fn sync(&mut self) -> Result<(), LogError> {
        let begin = Instant::now();
        self.tail.file.sync_data().map_err(|error| LogError::io("fdatasync", &error))?;
        metrics::histogram!("bravo_log_fsync_seconds").record(begin.elapsed());
        self.tail.synced_upto = self.tail.offset;
        Ok(())
    }
}

/// Calls back. A callback that panics is a bug of the caller, who then has missed what it was told;
/// the others are still told, and the log stops.
fn tell(requests: &mut [Request], outcome: &Result<(), LogError>) -> Result<(), LogError> {
    let mut told = Ok(());
    for request in requests {
        if let Some(done) = request.done.take()
            && catch_unwind(AssertUnwindSafe(|| done(outcome.clone()))).is_err()
        {
            told = Err(LogError::Poisoned { cause: "a callback of an append panicked".into() });
        }
    }
    told
}

fn lazy_bytes(lazy: &BTreeMap<GroupId, Bytes>) -> usize {
    lazy.values().map(|data| RECORD_HEADER + data.len()).sum()
}

/// Poisons the log, also when the writer's thread unwinds, so that nobody waits for ever.
struct PoisonGuard(Option<Arc<Inner>>);

impl PoisonGuard {
    fn poison(&self, error: &LogError) {
        let error = match error {
            LogError::Poisoned { .. } => error.clone(),
            other => LogError::Poisoned { cause: other.to_string() },
        };
        let Some(inner) = &self.0 else { return };
        let mut waiting = inner.queue.poison(error.clone());
        let _ = tell(waiting.make_contiguous(), &Err(error));
    }

    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for PoisonGuard {
    fn drop(&mut self) {
        self.poison(&LogError::Poisoned { cause: "the writer's thread panicked".into() });
    }
}
