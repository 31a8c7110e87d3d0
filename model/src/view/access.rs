//! API keys and the audit log (meta group).

use crate::Time;
use crate::audit::{Entry, Head};
use crate::id::Name;
use crate::key::ApiKey;
use crate::limits;
use crate::row;
use crate::table::{self, tag};
use crate::txn::Read;

/// One key.
pub fn key(rows: &impl Read, id: &Name) -> Option<ApiKey> {
    row::read(rows, &table::api_key(id))
}

/// All keys, the oldest first.
pub fn keys(rows: &impl Read) -> Vec<ApiKey> {
    let prefix = table::key(tag::API_KEY, &[]);
    let mut found: Vec<ApiKey> = Vec::new();
    row::walk(rows, &prefix, &prefix, &mut |_, value| {
        found.extend(row::decode::<ApiKey>(value));
        true
    });
    found.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
    found
}

/// A page of the audit log: the first entries behind a number and not before a time that pass the filter, at most
/// `limit`, of at most [`limits::LIST_SCAN_MAX`] that are looked at; and the number behind which it goes on, if there
/// may be more.
pub fn audit(
    rows: &impl Read,
    (after, since): (u64, Time),
    limit: usize,
    mut wanted: impl FnMut(&Entry) -> bool,
) -> (Vec<Entry>, Option<u64>) {
    let head: Head = row::read(rows, &table::key(tag::AUDIT_HEAD, &[])).unwrap_or_default();
    let after = after.max(last_before(rows, &head, since));
    let prefix = table::key(tag::AUDIT, &[]);
    let from = table::by_seq(tag::AUDIT, after.saturating_add(1));
    let (mut found, mut looked, mut last) = (Vec::new(), 0, after);
    row::walk(rows, &from, &prefix, &mut |key, value| {
        if found.len() >= limit || looked >= limits::LIST_SCAN_MAX {
            return false;
        }
        looked += 1;
        last = table::last_u64(key);
        found.extend(row::decode::<Entry>(value).filter(|entry| wanted(entry)));
        true
    });
    (found, (last < head.seq).then_some(last))
}

/// The last entry before a time: entries are in its order.
fn last_before(rows: &impl Read, head: &Head, time: Time) -> u64 {
    let is_before = |seq| row::read::<Entry>(rows, &table::by_seq(tag::AUDIT, seq)).is_none_or(|entry| entry.at < time);
    // Everything up to `low` is before it, everything from `high` on is not.
    let (mut low, mut high) = (head.first.saturating_sub(1), head.seq.saturating_add(1));
    while time > 0 && high.saturating_sub(low) > 1 {
        let middle = low + (high - low) / 2;
        if is_before(middle) { low = middle } else { high = middle }
    }
    low
}
