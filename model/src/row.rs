//! The rows that are not a job: what their bytes mean, and how a row is read and written.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::Time;
use crate::command::QueueDefinition;
use crate::id::Name;
use crate::job::{Job, JobState};
use crate::limits;
use crate::queue::QueueConfig;
use crate::reply::Reply;
use crate::table::{self, tag};
use crate::txn::{Key, Read, Value};
use crate::webhook;

/// Priorities, 0 to 9.
pub const PRIORITIES: usize = limits::PRIORITY_MAX as usize + 1;

/// What the partition as a whole remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// The state's clock: the newest stamp that was applied.
    pub now: Time,
    /// The partition that these rows are.
    pub partition: u16,
    /// The last job's sequence number.
    pub last_seq: u64,
    /// The last queue's number.
    pub last_queue: u32,
    /// Queues that have a number now.
    pub queues: u64,
    /// Idempotency keys that are kept.
    pub kept: u64,
    /// Meta group: the version of the newest queue definition.
    pub version: u64,
    /// Meta group: queues that are defined.
    pub definitions: u64,
}

/// What a queue's jobs add up to, and what changes with each of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Jobs by [`JobState`].
    pub counts: [u64; JobState::ALL.len()],
    /// Jobs in the ready order, by priority.
    pub open: [u64; PRIORITIES],
    /// The last place given in the ready order.
    pub ready_seq: u64,
    /// The rate limit's bucket: billionths of a token, at `bucket_at`.
    pub bucket: u64,
    /// When `bucket` was right; none: the bucket is full.
    pub bucket_at: Option<Time>,
    /// The highest virtual time at which a lane began to be served.
    pub vtime: u64,
    /// Lanes with rows of their own.
    pub lanes: u64,
    /// The lane of one project's jobs without a key or requirements, kept here so that a queue of one
    /// project costs no further row.
    pub lane0: Lane,
}

impl Stats {
    /// Jobs in this state.
    pub fn count(&self, state: JobState) -> u64 {
        self.counts.get(state as usize).copied().unwrap_or(0)
    }

    /// Jobs that wait: ready, scheduled and blocked.
    pub fn waiting(&self) -> u64 {
        let states = [JobState::Ready, JobState::Scheduled, JobState::Blocked];
        states.iter().fold(0, |sum: u64, state| sum.saturating_add(self.count(*state)))
    }

    /// Jobs in the ready order.
    pub fn open_all(&self) -> u64 {
        self.open.iter().fold(0, |sum: u64, open| sum.saturating_add(*open))
    }

    pub(crate) fn add(&mut self, state: JobState, up: bool) {
        if let Some(count) = self.counts.get_mut(state as usize) {
            step(count, up);
        }
    }
}

/// What has gone through a queue since it is known here: sums that only grow, whose differences are rates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// Times that a job became ready: the work that is asked for, retries too.
    pub arrived: u64,
    /// Leases that were granted.
    pub started: u64,
    /// Leases that ended, however they did.
    pub ended: u64,
    /// Of those, the ones that an ack ended.
    pub succeeded: u64,
    /// Milliseconds that those leases took which an ack or nack ended.
    pub service_ms: u64,
    /// The squares of these times, summed: milliseconds squared.
    pub service_ms2: u128,
    /// How many they were.
    pub served: u64,
}

impl Flow {
    /// What came since an earlier look.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            arrived: self.arrived.saturating_sub(earlier.arrived),
            started: self.started.saturating_sub(earlier.started),
            ended: self.ended.saturating_sub(earlier.ended),
            succeeded: self.succeeded.saturating_sub(earlier.succeeded),
            service_ms: self.service_ms.saturating_sub(earlier.service_ms),
            service_ms2: self.service_ms2.saturating_sub(earlier.service_ms2),
            served: self.served.saturating_sub(earlier.served),
        }
    }

    /// The sum over partitions.
    pub fn plus(self, other: Self) -> Self {
        Self {
            arrived: self.arrived.saturating_add(other.arrived),
            started: self.started.saturating_add(other.started),
            ended: self.ended.saturating_add(other.ended),
            succeeded: self.succeeded.saturating_add(other.succeeded),
            service_ms: self.service_ms.saturating_add(other.service_ms),
            service_ms2: self.service_ms2.saturating_add(other.service_ms2),
            served: self.served.saturating_add(other.served),
        }
    }
}

/// Jobs of one project, fairness key and set of requirements, and the work they have had.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lane {
    /// Whose jobs; lane 0 that nobody had yet: nobody's.
    pub project: String,
    /// Their fairness key, if they have one.
    pub key: Option<String>,
    /// What they ask of their workers.
    pub requirements: BTreeMap<String, String>,
    /// The requirements as they stand in keys; 0 if there are none.
    pub class: u64,
    /// The project as it stands in keys.
    pub whose: u64,
    /// Work had, over the key's weight (see `fair`).
    pub vtime: u64,
    /// Its jobs in the ready order, by priority.
    pub open: [u64; PRIORITIES],
    /// Its jobs that are leased.
    pub leased: u64,
    /// Running mean of a lease's length: sixteenths of a millisecond; 0 before the first.
    pub mean_ms16: u64,
}

impl Lane {
    /// Whether it has jobs in the ready order.
    pub fn is_active(&self) -> bool {
        self.open.iter().any(|&open| open > 0)
    }

    /// Whether nothing would be lost with it but the work it is ahead.
    pub fn is_idle(&self) -> bool {
        self.leased == 0 && !self.is_active()
    }
}

/// The slots of one concurrency key. While jobs are parked, `leased + returned` fills the limit, and
/// those that would go first into the free slots are in the ready order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// Jobs of the key that are leased.
    pub leased: u64,
    /// Jobs that came back to the ready order for a free slot and were not leased yet.
    pub returned: u64,
    /// Jobs that are parked.
    pub parked: u64,
}

/// Who holds a unique key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unique {
    /// The first job.
    pub seq: u64,
    /// When the window ends; none: when the job is final.
    pub until: Option<Time>,
    /// How the job ended, if its record is gone before the window is over.
    pub ended: Option<JobState>,
}

/// The first answer to an idempotency key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// Hash of what was asked.
    pub body: [u8; 16],
    /// Forgotten then.
    pub until: Time,
    /// The answer.
    pub reply: Reply,
}

/// Counts up or down; never below zero.
pub(crate) fn step(count: &mut u64, up: bool) {
    *count = if up { count.saturating_add(1) } else { count.saturating_sub(1) };
}

/// Reads a row. Rows are checksummed below: one that does not decode counts as absent, the same on
/// every replica that holds these bytes.
pub(crate) fn read<T: DeserializeOwned>(rows: &(impl Read + ?Sized), key: &Key) -> Option<T> {
    decode(&rows.get(key)?)
}

/// Decodes a row's value.
pub(crate) fn decode<T: DeserializeOwned>(value: &Value) -> Option<T> {
    postcard::from_bytes(value).ok()
}

/// A job's record.
pub(crate) fn job(rows: &(impl Read + ?Sized), seq: u64) -> Option<Job> {
    read(rows, &table::by_seq(tag::JOB, seq))
}

/// A queue's number in this partition.
pub(crate) fn queue_number(rows: &(impl Read + ?Sized), name: &Name) -> Option<u32> {
    read(rows, &table::by_hash(tag::NUMBER, &table::h16(&[name.as_str()])))
}

/// What a queue is that nobody defined.
pub(crate) fn undefined(name: Name) -> QueueDefinition {
    let config = if webhook::is_queue(&name) { webhook::queue_config() } else { QueueConfig::default() };
    QueueDefinition { name, version: 0, config, paused: false, draining: false, home: false }
}

/// Visits what is under a prefix, in key order, from `from` on (a key under the prefix, or the prefix itself).
pub(crate) fn walk(rows: &(impl Read + ?Sized), from: &Key, prefix: &Key, visit: &mut dyn FnMut(&Key, &Value) -> bool) {
    rows.scan(from, &table::after(prefix), visit);
}

/// The first row under a prefix.
pub(crate) fn front(rows: &(impl Read + ?Sized), prefix: &Key) -> Option<(Key, Value)> {
    rows.first(prefix, &table::after(prefix))
}
