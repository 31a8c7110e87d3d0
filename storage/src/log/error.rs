//! What can go wrong in the log. Few kinds, each with one right reaction of the caller.

use std::io;

/// An error of the shared log. `Clone`, because one failed fsync answers many requests.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The disk refused. If it refused a write or a sync, the log is poisoned from here on.
    #[error("log: {op} failed: {message}")]
    Io {
        /// What was tried.
        op: &'static str,
        /// The kind of the error (`StorageFull` when the disk is full).
        kind: io::ErrorKind,
        /// The error in words.
        message: String,
    },
    /// An earlier write or sync failed; nothing is accepted until the process starts anew.
    /// What the disk holds since then is unknown, so a sync is never tried again.
    #[error("log: poisoned by an earlier error, the node must stop: {cause}")]
    Poisoned {
        /// The first error.
        cause: String,
    },
    /// Bytes that had been durable are damaged or gone.
    #[error(
        "log: segment {segment:016x}.seg is damaged at offset {offset}: {detail}. Do not delete or edit \
         segments: a node with a forgotten log could break a promise it gave. Replace this node's data \
         from its peers (remove the member, empty its data directory, join it again)"
    )]
    Corrupt {
        /// Sequence number of the segment.
        segment: u64,
        /// Offset of the damage in the segment's file.
        offset: u64,
        /// What was found.
        detail: String,
    },
    /// Appended records do not continue the group's log; nothing was appended.
    #[error("log: group {group} continues at index {expected}, not at {found}")]
    Gap {
        /// The group.
        group: u32,
        /// The index that was expected.
        expected: u64,
        /// The index that was found.
        found: u64,
    },
    /// One request is larger than a segment may ever be; nothing was appended.
    #[error("log: a request of {bytes} bytes is over the limit of {bytes_max}")]
    TooLarge {
        /// Encoded size of the request.
        bytes: u64,
        /// The largest possible size.
        bytes_max: u64,
    },
    /// The log was closed.
    #[error("log: closed")]
    Closed,
    /// Another process (or another handle in this one) has this log open.
    #[error("log: {dir} is in use by another process")]
    InUse {
        /// The directory.
        dir: String,
    },
}

impl LogError {
    pub(crate) fn io(op: &'static str, error: &io::Error) -> LogError {
        LogError::Io { op, kind: error.kind(), message: error.to_string() }
    }

    pub(crate) fn corrupt(segment: u32, offset: usize, detail: impl Into<String>) -> LogError {
        LogError::Corrupt { segment: u64::from(segment), offset: offset as u64, detail: detail.into() }
    }
}
