//! openraft's log storage over the node's shared log.
//!
//! openraft's checklist, and where it is kept: the vote is durable before it is answered
//! (`save_vote` awaits the fsync); the append callback comes only after fsync (the writer thread
//! calls it); vote and log writes are never reordered (one queue per node).

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};

use bravo_storage::log::{GroupLog, LogError, LogPoint, Record};
use bytes::{BufMut, Bytes, BytesMut};
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{EntryPayload, LogState, OptionalSend, RaftLogReader};

use super::types::alias::{LogEntry, LogId, Vote};
use super::types::{Batch, TypeConfig};

/// First byte of a record that holds a membership; a batch starts with [`Batch::FORMAT`], and a
/// blank entry is an empty record.
const MEMBERSHIP: u8 = 0xff;

/// Most bytes that one read for replication returns.
const READ_BYTES_MAX: usize = 4 << 20;

/// The log of one group.
#[derive(Clone)]
pub struct RaftLog {
    log: GroupLog,
}

impl RaftLog {
    /// Openraft's view of this group's log.
    pub fn new(log: GroupLog) -> Self {
        Self { log }
    }

    fn read(&self, range: impl RangeBounds<u64>, bytes_max: usize) -> io::Result<Vec<LogEntry>> {
        let start = match range.start_bound() {
            Bound::Included(&index) => index,
            Bound::Excluded(&index) => index + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(&index) => index + 1,
            Bound::Excluded(&index) => index,
            Bound::Unbounded => u64::MAX,
        };
        let records = self.log.read(start..end, bytes_max).map_err(to_io)?;
        records.into_iter().map(decode).collect()
    }
}

impl RaftLogReader<TypeConfig> for RaftLog {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> Result<Vec<LogEntry>, io::Error>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        self.read(range, usize::MAX)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<LogEntry>, io::Error> {
        self.read(start..end, READ_BYTES_MAX)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        self.log.vote().map(|bytes| unpack(&bytes)).transpose()
    }
}

impl RaftLogStorage<TypeConfig> for RaftLog {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let purged = self.log.purged().map(to_log_id);
        let last = self.log.last().map(to_log_id);
        Ok(LogState { last_purged_log_id: purged, last_log_id: last.or(purged) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        self.log.save_vote(pack(vote)?).await.map_err(to_io)
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        self.log.save_committed(pack(&committed)?);
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        match self.log.committed() {
            Some(bytes) => unpack(&bytes),
            None => Ok(None),
        }
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = LogEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let records = entries.into_iter().map(encode).collect::<io::Result<Vec<_>>>()?;
        let done = Box::new(move |result: Result<(), LogError>| callback.io_completed(result.map_err(to_io)));
        self.log.append(records, done).map_err(to_io)
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        self.log.truncate_after(last.map(|id| id.index)).await.map_err(to_io)
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        self.log.purge(LogPoint { term: upto.leader_id.term, index: upto.index });
        Ok(())
    }
}

fn encode(entry: LogEntry) -> io::Result<Record> {
    let data = match entry.payload {
        EntryPayload::Blank => Bytes::new(),
        EntryPayload::Normal(batch) => batch.0,
        EntryPayload::Membership(membership) => {
            let mut buffer = BytesMut::new();
            buffer.put_u8(MEMBERSHIP);
            buffer.put_slice(&serde_json::to_vec(&membership).map_err(io::Error::other)?);
            buffer.freeze()
        }
    };
    Ok(Record { term: entry.log_id.leader_id.term, index: entry.log_id.index, data })
}

fn decode(record: Record) -> io::Result<LogEntry> {
    let payload = match record.data.first() {
        None => EntryPayload::Blank,
        Some(&MEMBERSHIP) => {
            EntryPayload::Membership(serde_json::from_slice(&record.data[1..]).map_err(io::Error::other)?)
        }
        Some(_) => EntryPayload::Normal(Batch(record.data)),
    };
    Ok(LogEntry { log_id: to_log_id(LogPoint { term: record.term, index: record.index }), payload })
}

fn to_log_id(point: LogPoint) -> LogId {
    LogId { leader_id: openraft::vote::leader_id_std::CommittedLeaderId::new(point.term), index: point.index }
}

fn pack<T: serde::Serialize>(value: &T) -> io::Result<Bytes> {
    postcard::to_stdvec(value).map(Bytes::from).map_err(io::Error::other)
}

fn unpack<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    postcard::from_bytes(bytes).map_err(io::Error::other)
}

fn to_io(error: LogError) -> io::Error {
    io::Error::other(error)
}
