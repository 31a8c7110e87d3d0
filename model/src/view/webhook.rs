//! Webhooks (meta group), and what a partition knows of them.

use serde::de::DeserializeOwned;

use crate::id::Name;
use crate::row;
use crate::table::{self, tag};
use crate::txn::{Key, Read};
use crate::webhook::{Subscription, Webhook};

/// One webhook.
pub fn webhook(rows: &impl Read, project: &Name, name: &Name) -> Option<Webhook> {
    row::read(rows, &table::webhook(tag::WEBHOOK, project, name))
}

/// The webhooks of a project, by name.
pub fn webhooks_of(rows: &impl Read, project: &Name) -> Vec<Webhook> {
    let mut found: Vec<Webhook> = under(rows, &table::webhooks(tag::WEBHOOK, project));
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// What partitions need of all webhooks.
pub fn webhooks(rows: &impl Read) -> Vec<Subscription> {
    under(rows, &table::key(tag::WEBHOOK, &[])).iter().map(Webhook::subscription).collect()
}

/// All webhooks that the partition knows of.
pub fn subscriptions(rows: &impl Read) -> Vec<Subscription> {
    under(rows, &table::key(tag::SUBSCRIPTION, &[]))
}

fn under<T: DeserializeOwned>(rows: &impl Read, prefix: &Key) -> Vec<T> {
    let mut found = Vec::new();
    row::walk(rows, prefix, prefix, &mut |_, value| {
        found.extend(row::decode::<T>(value));
        true
    });
    found
}
