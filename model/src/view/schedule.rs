//! Reads of schedules.

use bytes::Bytes;

use crate::id::Name;
use crate::row;
use crate::schedule::{Schedule, Target};
use crate::table::{self, tag};
use crate::txn::Read;

/// A schedule with what it starts, also as the caller wrote it.
pub fn schedule(rows: &impl Read, name: &Name) -> Option<(Schedule, Target, Bytes)> {
    let hash = table::h16(&[name.as_str()]);
    let schedule = row::read(rows, &table::by_hash(tag::SCHEDULE, &hash))?;
    let (target, source) = row::read(rows, &table::by_hash(tag::SCHEDULE_TARGET, &hash))?;
    Some((schedule, target, source))
}

/// All schedules of this partition.
pub fn schedules(rows: &impl Read) -> Vec<Schedule> {
    let prefix = table::key(tag::SCHEDULE, &[]);
    let mut schedules = Vec::new();
    row::walk(rows, &prefix, &prefix, &mut |_, value| {
        schedules.extend(row::decode::<Schedule>(value));
        true
    });
    schedules
}
