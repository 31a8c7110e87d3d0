//! Invariants of webhooks.

use std::collections::BTreeMap;

use super::Census;
use crate::row;
use crate::table::{self, tag};
use crate::txn::Key;
use crate::webhook;

/// Webhooks, subscriptions, and deliveries that are not over are counted.
pub(super) fn webhooks_are_counted(census: &Census) -> Vec<String> {
    let mut wrong = Vec::new();
    for (rows, count) in [(tag::WEBHOOK, tag::WEBHOOKS), (tag::SUBSCRIPTION, tag::SUBSCRIPTIONS)] {
        let there = census.table(rows).len() as u64;
        let counted = census.table(count).values().find_map(row::decode::<u64>).unwrap_or(0);
        if there != counted {
            wrong.push(format!("table {rows:x}: {counted} are counted, {there} are there"));
        }
    }
    let mut expected: BTreeMap<Key, u64> = BTreeMap::new();
    for job in census.jobs.values().filter(|job| webhook::is_queue(&job.queue) && !job.state.is_final()) {
        let Some(name) = &job.concurrency_key else { continue };
        *expected.entry(table::webhook_text(tag::DELIVERIES, &job.project, name)).or_default() += 1;
    }
    let found = census.table(tag::DELIVERIES);
    let found: BTreeMap<Key, u64> =
        found.into_iter().filter_map(|(key, value)| Some((key, row::decode(&value)?))).collect();
    if expected != found {
        wrong.push(format!("deliveries: counted {found:?}, there are {expected:?}"));
    }
    wrong
}
