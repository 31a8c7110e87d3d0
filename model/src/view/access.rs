//! API keys and the audit log (meta group).

use crate::audit::Entry;
use crate::id::Name;
use crate::key::ApiKey;
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

/// The first entries of the audit log behind a number that pass the filter, at most so many.
pub fn audit(rows: &impl Read, after: u64, limit: usize, mut wanted: impl FnMut(&Entry) -> bool) -> Vec<Entry> {
    let prefix = table::key(tag::AUDIT, &[]);
    let from = table::by_seq(tag::AUDIT, after.saturating_add(1));
    let mut found = Vec::new();
    row::walk(rows, &from, &prefix, &mut |_, value| {
        found.extend(row::decode::<Entry>(value).filter(|entry| wanted(entry)));
        found.len() < limit
    });
    found
}
