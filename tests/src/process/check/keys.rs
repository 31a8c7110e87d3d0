//! One job per key.

use std::collections::{BTreeMap, BTreeSet};

use super::Found;
use crate::process::history::{Call, End, Finals, Op, Said};

/// Repetitions under one idempotency key are one job; so are all enqueues of one unique key (the
/// histories use each unique key within its window only).
pub(super) fn one_job_per_key(ops: &[Op], finals: &Finals, found: &mut Found) {
    let mut jobs: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    let mut keys_of: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for op in ops {
        let Call::Enqueue { tag, key, unique, .. } = &op.call else { continue };
        let keys = key.iter().map(|key| format!("key {key}")).chain(unique.iter().map(|key| format!("unique {key}")));
        for key in keys {
            keys_of.entry(tag).or_default().insert(key.clone());
            if let End::Ok(Said::Enqueued { id, .. }) = &op.end {
                jobs.entry(key).or_default().insert(id);
            }
        }
    }
    // What was delivered or stands in the queue counts too, whatever the callers were told.
    let delivered = ops.iter().filter_map(|op| match &op.end {
        End::Ok(Said::Leased(leased)) => Some(leased.iter().map(|job| (job.tag.as_str(), job.id.as_str()))),
        _ => None,
    });
    let standing = finals.iter().map(|(id, job)| (job.tag.as_str(), id.as_str()));
    for (tag, id) in delivered.flatten().chain(standing) {
        for key in keys_of.get(tag).into_iter().flatten() {
            jobs.entry(key.clone()).or_default().insert(id);
        }
    }
    for (key, ids) in jobs.iter().filter(|(_, ids)| ids.len() > 1) {
        found.add("two jobs of one key", format!("{key}: {ids:?}"));
    }
}
