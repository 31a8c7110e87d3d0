//! The Raft log of a node: one log on disk, shared by all Raft groups.
//!
//! Why one and not one per group: a node leads or follows some nine groups, and an fsync costs the
//! same whether it makes one record durable or a thousand. One writer thread takes what all groups
//! have waiting, writes it with one `pwrite` and makes it durable with one `fdatasync`; while that
//! runs, the next batch gathers.
//!
//! ```text
//! GroupLog 1 ─┐                        ┌─► log/0000000000000001.seg   begin frame: state of all groups
//! GroupLog 2 ─┼─► queue ─► writer ─────┤                             frame, frame, frame, ... seal
//! GroupLog n ─┘               │        └─► log/0000000000000002.seg   begin frame, frame, ... zeros
//!     ▲                       ▼
//!     └── index per group: location of each record, the newest records themselves
//! ```
//!
//! Votes, truncations and purges are records of the same log, so their order against appends is the
//! order in which they were asked for. What is on disk is described in `record` (one record),
//! `frame` (one write; how a torn tail and damage are told apart), `segment` (one file) and
//! `written` (what a run of records means, and why nothing that was dropped comes back);
//! `recovery` judges it all at the start.

mod disk;
mod error;
mod frame;
mod group;
mod index;
mod queue;
mod record;
mod recovery;
mod roll;
mod segment;
mod shared;
pub mod testing;
#[cfg(test)]
mod tests;
mod writer;
mod written;

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize},
    },
    thread::JoinHandle,
};

use bytes::Bytes;
use parking_lot::Mutex;

pub use self::{
    disk::{DirDisk, Disk, DiskFile},
    error::LogError,
    group::GroupLog,
};
use self::{queue::Queue, recovery::Recovered, segment::Segments, shared::Group, shared::Inner, writer::Writer};

/// Number of a Raft group on this node.
pub type GroupId = u32;

/// One entry of a group's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Term of the leader that made it.
    pub term: u64,
    /// Its place in the group's log.
    pub index: u64,
    /// What the log's user stores. Shared, never copied: a slice of a larger buffer keeps all of it
    /// in memory while the record is cached.
    pub data: Bytes,
}

/// A place in a group's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogPoint {
    /// Term of the entry.
    pub term: u64,
    /// Index of the entry.
    pub index: u64,
}

/// Bounds of the log.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// Size of a segment file, reserved in full when it is created.
    pub segment_bytes: u64,
    /// Bound on the recent records kept in memory, over all groups. Records that are not yet durable
    /// are kept beyond it.
    pub cache_bytes: usize,
    /// When more bytes than this wait for the writer, [`SharedLog::pressure`] says so.
    pub queue_bytes_max: usize,
}

impl Default for LogOptions {
    fn default() -> LogOptions {
        LogOptions { segment_bytes: 64 << 20, cache_bytes: 32 << 20, queue_bytes_max: 64 << 20 }
    }
}

/// The log of a node; a cheap handle. The last handle closes the log.
#[derive(Clone)]
pub struct SharedLog {
    handle: Arc<Handle>,
}

impl SharedLog {
    /// Opens the log in `dir`, which is created if need be and locked.
    pub fn open(dir: &Path, options: LogOptions) -> Result<SharedLog, LogError> {
        let disk = DirDisk::open(dir).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => LogError::InUse { dir: dir.display().to_string() },
            _ => LogError::io("opening the directory", &error),
        })?;
        SharedLog::open_on(Arc::new(disk), options)
    }

    /// Opens the log on any disk.
    pub fn open_on(disk: Arc<dyn Disk>, options: LogOptions) -> Result<SharedLog, LogError> {
        let segments = Segments::new(disk);
        let Recovered { groups, tail } = recovery::recover(&segments)?;
        let mut indexes = BTreeMap::new();
        let mut written = BTreeMap::new();
        for (id, group) in groups {
            indexes.insert(id, Arc::new(Group { id, index: Mutex::new(group.index) }));
            written.insert(id, group.written);
        }
        let inner = Arc::new(Inner {
            options,
            queue: Queue::default(),
            groups: Mutex::new(indexes),
            segments,
            cached: AtomicUsize::new(0),
            tickets: AtomicU64::new(0),
            holder: Mutex::new(None),
        });
        let writer = Writer::new(inner.clone(), written, tail)?;
        let thread = std::thread::Builder::new()
            .name("bravo-log".into())
            .spawn(move || writer.run())
            .map_err(|error| LogError::io("starting the writer", &error))?;
        Ok(SharedLog { handle: Arc::new(Handle { inner, thread: Mutex::new(Some(thread)) }) })
    }

    /// The log of one group, which begins empty.
    pub fn group(&self, group: GroupId) -> GroupLog {
        GroupLog { handle: self.handle.clone(), group: self.handle.inner.group(group) }
    }

    /// Writes and syncs what waits, then stops the writer. Later requests fail with `Closed`.
    pub fn close(&self) {
        self.handle.close();
    }

    /// Bytes of all segment files.
    pub fn bytes_on_disk(&self) -> u64 {
        self.handle.inner.segments.bytes()
    }

    /// Whether a write or a sync failed. Nothing is accepted any more; the node must stop.
    pub fn is_poisoned(&self) -> bool {
        self.handle.inner.queue.is_poisoned()
    }

    /// Whether more than `queue_bytes_max` waits for the disk: whoever proposes should hold back.
    pub fn pressure(&self) -> bool {
        self.queued_bytes() > self.handle.inner.options.queue_bytes_max
    }

    /// Bytes that wait for the disk.
    pub fn queued_bytes(&self) -> usize {
        self.handle.inner.queue.bytes()
    }

    /// The group whose entries keep the oldest segment alive. Segments go oldest first, so a quiet
    /// group with a few old entries holds all later ones back: when [`SharedLog::bytes_on_disk`]
    /// grows, a snapshot of this group (and a purge) is what helps.
    pub fn oldest_holder(&self) -> Option<GroupId> {
        *self.handle.inner.holder.lock()
    }
}

/// Closes the log when the last user is gone.
pub(crate) struct Handle {
    inner: Arc<Inner>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Handle {
    fn close(&self) {
        self.inner.queue.close();
        let thread = self.thread.lock().take();
        // A callback may hold the last handle; the writer cannot wait for itself.
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != std::thread::current().id()) {
            let _ = thread.join();
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.close();
    }
}
