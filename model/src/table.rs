//! The key table: what is stored, under which key, for how long.
//!
//! Numbers in keys are big-endian, so that the front of a table is always the next thing to do.
//! `#q` is a queue's number (u32), `h16` the first 16 bytes of BLAKE3 over the strings that it
//! stands for. Two strings with one `h16` would take 2^64 hashes to find on purpose, so the strings
//! themselves are not compared. Values are postcard. A tag is never used again for something else.
//!
//! | tag | key | value | lives |
//! |---|---|---|---|
//! | 01 META | - | [`Meta`]: clock, counters | for ever |
//! | 02 NUMBER | h16(queue) | `u32` the queue's number here | as the queue |
//! | 03 QUEUE | #q | [`QueueDefinition`], version 0 if nobody defined it | until forgotten |
//! | 04 STATS | #q | [`Stats`]: counts, token bucket, lane 0 | as the queue |
//! | 10 JOB | seq | [`Job`] | until purged or retention ends |
//! | 11 PAYLOAD | seq | [`crate::Payload`], never rewritten | as the job |
//! | 12 RESULT | seq | [`crate::Payload`] | as the job |
//! | 13 STATE | #q state seq | - | as the job is in that state |
//! | 20 READY | #q 9-priority lane(u64) ready_seq | `u64` seq | while the job is [`Place::Open`] |
//! | 21 PARKED | #q h16(project, key) 9-priority ready_seq | `u64` seq | while it is [`Place::Parked`] |
//! | 22 SLOT | #q h16(project, key) | [`Slot`] | while jobs of the key are leased, parked or returned |
//! | 23 TURN | #q h16(project, key) seq | - | from enqueue until the job is final |
//! | 24 HEAD | #q h16(project, key) | `u64` seq whose turn it is | while the key has jobs |
//! | 25 LANE | #q lane | [`Lane`] | until idle and not ahead |
//! | 26 NEXT | #q 9-priority vtime lane | - | while the lane has open jobs of that priority |
//! | 27 IDLE | #q vtime lane | - | while the lane is kept only since it is ahead |
//! | 30 DUE | time 01 seq | - | one per job that time will change |
//! | 30 DUE | time 02 #q h16(project, key) | - | as the unique window |
//! | 30 DUE | time 03 idempotency key | - | as the kept answer |
//! | 40 UNIQUE | #q h16(project, key) | [`Unique`] | until the job is final, or its window ends |
//! | 41 KEPT | idempotency key | [`Kept`] | `kept_ms` |
//! | 50 NODE | id | [`crate::command::NodeRecord`] | meta group; until deleted |
//! | 51 CLUSTER | - | name, partitions | meta group; for ever |
//! | 52 DEFINITION | h16(queue) | [`QueueDefinition`] | meta group; until deleted |
//! | 53 TEMPLATE | h16(template) | [`Template`] | meta group; a deleted one until too many are remembered |
//! | 54 TEMPLATE_VERSION | h16(template) version(u32) | [`TemplateVersion`] | meta group; until too many came after it |
//! | 55 TEMPLATES | - | [`Templates`] | meta group; for ever |

use crate::Time;
use crate::command::QueueDefinition;
use crate::id::Name;
use crate::job::{Job, JobState, Place};
use crate::limits;
use crate::row::{Kept, Lane, Meta, Slot, Stats, Unique};
use crate::template::{Template, TemplateVersion, Templates};
use crate::txn::Key;

/// Rows in the docs above, named so that the links hold.
#[doc(hidden)]
pub type Rows =
    (Meta, Stats, Slot, Lane, Unique, Kept, QueueDefinition, Job, Place, Template, TemplateVersion, Templates);

/// A hash that stands for strings in keys.
pub type H16 = [u8; 16];

/// First bytes of keys.
pub mod tag {
    #![allow(missing_docs)]
    pub const META: u8 = 0x01;
    pub const NUMBER: u8 = 0x02;
    pub const QUEUE: u8 = 0x03;
    pub const STATS: u8 = 0x04;
    pub const JOB: u8 = 0x10;
    pub const PAYLOAD: u8 = 0x11;
    pub const RESULT: u8 = 0x12;
    pub const STATE: u8 = 0x13;
    pub const READY: u8 = 0x20;
    pub const PARKED: u8 = 0x21;
    pub const SLOT: u8 = 0x22;
    pub const TURN: u8 = 0x23;
    pub const HEAD: u8 = 0x24;
    pub const LANE: u8 = 0x25;
    pub const NEXT: u8 = 0x26;
    pub const IDLE: u8 = 0x27;
    pub const DUE: u8 = 0x30;
    pub const UNIQUE: u8 = 0x40;
    pub const KEPT: u8 = 0x41;
    pub const NODE: u8 = 0x50;
    pub const CLUSTER: u8 = 0x51;
    pub const DEFINITION: u8 = 0x52;
    pub const TEMPLATE: u8 = 0x53;
    pub const TEMPLATE_VERSION: u8 = 0x54;
    pub const TEMPLATES: u8 = 0x55;
}

/// Kinds of due rows.
pub mod due {
    #![allow(missing_docs)]
    pub const JOB: u8 = 1;
    pub const UNIQUE: u8 = 2;
    pub const KEPT: u8 = 3;
}

/// The hash of one string, or of a project and a key.
pub fn h16(parts: &[&str]) -> H16 {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(part.as_bytes());
        // No name holds a zero byte, so the parts cannot be cut elsewhere.
        hasher.update(&[0]);
    }
    let mut short = [0; 16];
    short.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    short
}

/// A key of a tag and parts.
pub(crate) fn key(tag: u8, parts: &[&[u8]]) -> Key {
    let mut bytes = [0; Key::BYTES_MAX];
    bytes[0] = tag;
    let mut len = 1;
    for part in parts {
        let room = &mut bytes[len..];
        let fits = part.len().min(room.len());
        debug_assert_eq!(fits, part.len(), "a key layout outgrew Key::BYTES_MAX");
        room[..fits].copy_from_slice(&part[..fits]);
        len += fits;
    }
    Key::new(&bytes[..len])
}

/// The first key after all that begin with `prefix`.
pub(crate) fn after(prefix: &Key) -> Key {
    let mut bytes = prefix.as_slice().to_vec();
    while let Some(last) = bytes.pop() {
        if let Some(next) = last.checked_add(1) {
            bytes.push(next);
            return Key::new(&bytes);
        }
    }
    Key::new(&[0xff; Key::BYTES_MAX])
}

/// The last eight bytes of a key, as a number (a seq, a lane).
pub(crate) fn last_u64(key: &Key) -> u64 {
    key.as_slice().last_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// META.
pub fn meta() -> Key {
    key(tag::META, &[])
}

/// A table whose key is one number: JOB, PAYLOAD, RESULT, NODE.
pub fn by_seq(tag: u8, seq: u64) -> Key {
    key(tag, &[&seq.to_be_bytes()])
}

/// A table whose key is a queue's number: QUEUE, STATS; and the prefix of all others of a queue.
pub fn by_queue(tag: u8, queue: u32) -> Key {
    key(tag, &[&queue.to_be_bytes()])
}

/// A table whose key is a hash: NUMBER, KEPT, DEFINITION.
pub fn by_hash(tag: u8, hash: &H16) -> Key {
    key(tag, &[hash])
}

/// TEMPLATE.
pub fn template(name: &Name) -> Key {
    by_hash(tag::TEMPLATE, &h16(&[name.as_str()]))
}

/// The prefix of TEMPLATE_VERSION for one template.
pub(crate) fn template_versions(name: &Name) -> Key {
    by_hash(tag::TEMPLATE_VERSION, &h16(&[name.as_str()]))
}

/// TEMPLATE_VERSION.
pub fn template_version(name: &Name, version: u32) -> Key {
    key(tag::TEMPLATE_VERSION, &[&h16(&[name.as_str()]), &version.to_be_bytes()])
}

/// A table whose key is a queue's number and a hash: SLOT, HEAD, UNIQUE; the prefix of PARKED and TURN.
pub fn by_key(tag: u8, queue: u32, hash: &H16) -> Key {
    key(tag, &[&queue.to_be_bytes(), hash])
}

/// STATE.
pub fn state(queue: u32, state: JobState, seq: u64) -> Key {
    key(tag::STATE, &[&queue.to_be_bytes(), &[state as u8], &seq.to_be_bytes()])
}

/// The priority as it stands in keys: the highest first.
pub(crate) fn rank(priority: u8) -> u8 {
    limits::PRIORITY_MAX.saturating_sub(priority)
}

/// READY.
pub fn ready(queue: u32, priority: u8, lane: u64, ready_seq: u64) -> Key {
    let [rank, lane, place] = [&[rank(priority)][..], &lane.to_be_bytes(), &ready_seq.to_be_bytes()];
    key(tag::READY, &[&queue.to_be_bytes(), rank, lane, place])
}

/// The prefix of READY for one lane of one priority.
pub(crate) fn ready_lane(queue: u32, priority: u8, lane: u64) -> Key {
    key(tag::READY, &[&queue.to_be_bytes(), &[rank(priority)], &lane.to_be_bytes()])
}

/// PARKED.
pub fn parked(queue: u32, hash: &H16, priority: u8, ready_seq: u64) -> Key {
    key(tag::PARKED, &[&queue.to_be_bytes(), hash, &[rank(priority)], &ready_seq.to_be_bytes()])
}

/// TURN.
pub fn turn(queue: u32, hash: &H16, seq: u64) -> Key {
    key(tag::TURN, &[&queue.to_be_bytes(), hash, &seq.to_be_bytes()])
}

/// LANE.
pub fn lane(queue: u32, lane: u64) -> Key {
    key(tag::LANE, &[&queue.to_be_bytes(), &lane.to_be_bytes()])
}

/// The prefix of NEXT for one priority.
pub(crate) fn next_rank(queue: u32, priority: u8) -> Key {
    key(tag::NEXT, &[&queue.to_be_bytes(), &[rank(priority)]])
}

/// NEXT.
pub fn next(queue: u32, priority: u8, vtime: u64, lane: u64) -> Key {
    key(tag::NEXT, &[&queue.to_be_bytes(), &[rank(priority)], &vtime.to_be_bytes(), &lane.to_be_bytes()])
}

/// IDLE.
pub fn idle(queue: u32, vtime: u64, lane: u64) -> Key {
    key(tag::IDLE, &[&queue.to_be_bytes(), &vtime.to_be_bytes(), &lane.to_be_bytes()])
}

/// The virtual time in a NEXT or IDLE key: the eight bytes before the lane.
pub(crate) fn vtime_of(key: &Key) -> u64 {
    let bytes = key.as_slice();
    bytes.len().checked_sub(8).and_then(|end| bytes[..end].last_chunk()).map_or(0, |b| u64::from_be_bytes(*b))
}

/// DUE: what is due at a time.
pub fn due(at: Time, kind: u8, what: &[u8]) -> Key {
    key(tag::DUE, &[&at.to_be_bytes(), &[kind], what])
}

/// DUE of a job.
pub fn due_job(at: Time, seq: u64) -> Key {
    due(at, due::JOB, &seq.to_be_bytes())
}

/// DUE of a unique window.
pub fn due_unique(at: Time, queue: u32, hash: &H16) -> Key {
    key(tag::DUE, &[&at.to_be_bytes(), &[due::UNIQUE], &queue.to_be_bytes(), hash])
}

/// Time, kind and the rest of a DUE key.
pub(crate) fn split_due(key: &Key) -> Option<(Time, u8, &[u8])> {
    let (at, rest) = key.as_slice().get(1..)?.split_first_chunk::<8>()?;
    let (kind, what) = rest.split_first()?;
    Some((u64::from_be_bytes(*at), *kind, what))
}
