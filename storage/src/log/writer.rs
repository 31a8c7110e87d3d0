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
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering, mpsc},
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{
    GroupId, LogPoint, Record,
    disk::DiskFile,
    error::LogError,
    frame::{FRAME_OVERHEAD, FrameBuilder, FramePlace},
    queue::{Request, Taken, Work},
    record::{Kind, RECORD_HEADER, RawRecord},
    segment::{self, SEAL_BYTES, SEGMENT_BYTES_MAX, SegmentHeader},
    shared::{Group, Inner},
    written::{WrittenGroup, truncate_record},
};

/// A batch ends here even if more waits, to bound memory and the time of one fsync.
const BATCH_BYTES_MAX: usize = 8 << 20;
/// When the log has been idle for this long, the last write is confirmed (see [`super::frame`]).
const CONFIRM_AFTER: Duration = Duration::from_millis(200);
/// Smaller segments (tests) are created on the spot.
const SPARE_FROM_BYTES: usize = 1 << 20;

/// The end of the log.
pub(crate) struct Tail {
    pub(crate) segment: u32,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) capacity: usize,
    pub(crate) offset: usize,
    pub(crate) synced_upto: usize,
    pub(crate) next_frame: u64,
    pub(crate) prev_crc: u32,
}

impl Tail {
    fn place(&self) -> FramePlace {
        FramePlace {
            segment: self.segment,
            offset: self.offset,
            seq: self.next_frame,
            synced_upto: self.synced_upto,
            prev_crc: self.prev_crc,
        }
    }
}

/// The next segment's file, being reserved by a thread of its own.
struct Spare {
    segment: u32,
    file: mpsc::Receiver<io::Result<Arc<dyn DiskFile>>>,
}

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
        // Purged and truncated records leave their marks behind; forget those at the front.
        while self.cached.front().is_some_and(|(group, upto)| !group.index.lock().caches_upto(*upto)) {
            self.cached.pop_front();
        }
    }

    /// Drops the oldest segments that no group needs. Runs only after the fsync that made the purge
    /// and truncate records durable which `groups` already knows.
    fn drop_segments(&mut self) -> Result<(), LogError> {
        let oldest = self
            .groups
            .iter()
            .filter_map(|(id, group)| group.oldest_segment().map(|segment| (segment, *id)))
            .min();
        *self.inner.holder.lock() = oldest.map(|(_, id)| id);
        let needed = oldest.map_or(self.tail.segment, |(segment, _)| segment.min(self.tail.segment));
        self.inner.segments.remove_below(needed)
    }

    fn reserve_spare(&mut self) {
        let capacity = self.inner.options.segment_bytes;
        if self.spare.is_some() || (capacity as usize) < SPARE_FROM_BYTES || self.tail.offset < self.tail.capacity / 2 {
            return;
        }
        let segment = self.tail.segment + 1;
        let (send, file) = mpsc::channel();
        let inner = self.inner.clone();
        let reserve = move || {
            let _ = send.send(segment::reserve(&*inner.segments.disk, segment, capacity));
        };
        // Without a thread the segment is created when it is needed, that is all.
        if std::thread::Builder::new().name("bravo-log-spare".into()).spawn(reserve).is_ok() {
            self.spare = Some(Spare { segment, file });
        }
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
            Some(spare) if spare.segment == begin.seq => match spare.file.recv() {
                Ok(file) => Some(file.map_err(|error| LogError::io("reserving the next segment", &error))?),
                Err(_) => None,
            },
            _ => None,
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

/// A segment to begin.
struct Begin {
    seq: u32,
    previous_end: u32,
    next_frame: u64,
    prev_crc: u32,
    /// Bytes that must fit behind the begin frame.
    needed: usize,
}

impl Begin {
    /// Creates the segment with the state of all groups in its first frame, durable with its name.
    fn create(
        self,
        inner: &Inner,
        groups: &BTreeMap<GroupId, WrittenGroup>,
        frame: &mut FrameBuilder,
        reserved: Option<Arc<dyn DiskFile>>,
    ) -> Result<Tail, LogError> {
        let checkpoints: Vec<(GroupId, Vec<u8>)> = groups
            .iter()
            .map(|(id, group)| {
                let mut data = Vec::new();
                group.encode(&mut data);
                (*id, data)
            })
            .collect();
        let mut header = SegmentHeader { seq: self.seq, capacity: 0, previous_end: self.previous_end };
        let begin_len = FRAME_OVERHEAD
            + RECORD_HEADER
            + header.encode().len()
            + checkpoints.iter().map(|(_, data)| RECORD_HEADER + data.len()).sum::<usize>();
        let wanted = inner.options.segment_bytes;
        header.capacity = wanted.max((begin_len + self.needed + SEAL_BYTES) as u64).min(SEGMENT_BYTES_MAX);

        let disk = &*inner.segments.disk;
        let file = match reserved.filter(|_| header.capacity == wanted) {
            Some(file) => file,
            None => segment::reserve(disk, self.seq, header.capacity)
                .map_err(|error| LogError::io("creating a segment", &error))?,
        };
        frame.begin();
        frame.push(&header.record(&header.encode()));
        for (group, data) in &checkpoints {
            frame.push(&RawRecord { group: *group, kind: Kind::Checkpoint, term: 0, index: 0, data });
        }
        let place = FramePlace {
            segment: self.seq,
            offset: 0,
            seq: self.next_frame,
            synced_upto: 0,
            prev_crc: self.prev_crc,
        };
        let (bytes, prev_crc) = frame.finish(place);
        let offset = bytes.len();
        file.pwrite(bytes, 0).map_err(|error| LogError::io("beginning a segment", &error))?;
        file.sync_data().map_err(|error| LogError::io("syncing a new segment", &error))?;
        disk.rename(&segment::new_name_of(self.seq), &segment::name_of(self.seq))
            .map_err(|error| LogError::io("naming a segment", &error))?;
        disk.sync_dir().map_err(|error| LogError::io("syncing the directory", &error))?;
        inner.segments.insert(self.seq, file.clone(), header.capacity);
        Ok(Tail {
            segment: self.seq,
            file,
            capacity: header.capacity as usize,
            offset,
            synced_upto: offset,
            next_frame: self.next_frame + 1,
            prev_crc,
        })
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
