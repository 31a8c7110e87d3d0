//! What is always true of the tables, by name: the same predicates serve tests, simulation and
//! production (a panic in debug builds, a counted metric in release ones).

mod artifacts;
mod jobs;
mod keys;
mod templates;
mod webhooks;
mod workflows;

use std::collections::{BTreeMap, BTreeSet};

use crate::command::QueueDefinition;
use crate::footprint::{Footprint, Hashes};
use crate::job::Job;
use crate::row::{self, Flow, Meta, Stats};
use crate::table::{self, tag};
use crate::txn::{Key, Read, Value};
use crate::workflow::packed;

/// An invariant that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which one.
    pub name: &'static str,
    /// Of what, and how.
    pub detail: String,
}

/// One invariant: its name, and what is wrong with these tables.
type Invariant = (&'static str, fn(&Census) -> Vec<String>);

/// Every invariant.
const ALL: [Invariant; 24] = [
    ("rows_decode", jobs::rows_decode),
    ("one_place_per_job", jobs::one_place_per_job),
    ("index_rows_follow_from_jobs", jobs::index_rows_follow_from_jobs),
    ("leased_have_due", jobs::leased_have_due),
    ("tokens_grow", jobs::tokens_grow),
    ("counts_match_rows", jobs::counts_match_rows),
    ("no_orphan_rows", jobs::no_orphan_rows),
    ("order_heads_only_move", keys::order_heads_only_move),
    ("slots_match", keys::slots_match),
    ("lanes_match", keys::lanes_match),
    ("unique_points_back", keys::unique_points_back),
    ("kept_answers_are_counted", keys::kept_answers_are_counted),
    ("templates_match", templates::templates_match),
    ("workflow_counts", workflows::workflow_counts),
    ("workflow_lists_follow", workflows::workflow_lists_follow),
    ("tasks_wait_for_what_is_open", workflows::tasks_wait_for_what_is_open),
    ("jobs_of_tasks_point_back", workflows::jobs_of_tasks_point_back),
    ("task_times_have_due", workflows::task_times_have_due),
    ("no_orphans_of_workflows", workflows::no_orphans_of_workflows),
    ("packed_are_over", workflows::packed_are_over),
    ("artifacts_match", artifacts::artifacts_match),
    ("chunks_are_counted", artifacts::chunks_are_counted),
    ("lives_match", artifacts::lives_match),
    ("webhooks_are_counted", webhooks::webhooks_are_counted),
];

/// Checks every invariant; reads every row.
pub fn check(rows: &impl Read) -> Vec<Violation> {
    let census = Census::take(rows);
    let violations = |(name, holds): Invariant| {
        holds(&census).into_iter().map(move |detail| Violation { name, detail }).collect::<Vec<_>>()
    };
    ALL.into_iter().flat_map(violations).collect()
}

/// All rows, read once.
struct Census {
    meta: Meta,
    tables: BTreeMap<u8, BTreeMap<Key, Value>>,
    jobs: BTreeMap<u64, Job>,
    queues: BTreeMap<u32, (QueueDefinition, Stats)>,
    /// Jobs' footprints, by seq.
    footprints: BTreeMap<u64, Footprint>,
}

impl Census {
    fn take(rows: &impl Read) -> Self {
        let mut tables: BTreeMap<u8, BTreeMap<Key, Value>> = BTreeMap::new();
        rows.scan(&Key::new(&[]), &Key::new(&[0xff; Key::BYTES_MAX]), &mut |key, value| {
            let tag = key.as_slice().first().copied().unwrap_or(0);
            tables.entry(tag).or_default().insert(*key, value.clone());
            true
        });
        // As if nothing were packed; whatever is packed and has rows beside it is told by `packed_are_over`.
        for (key, value) in tables.get(&tag::PACKED).cloned().unwrap_or_default() {
            for (key, value) in packed::unpack(table::last_u64(&key), &value).unwrap_or_default() {
                let tag = key.as_slice().first().copied().unwrap_or(0);
                tables.entry(tag).or_default().insert(key, value);
            }
        }
        let mut census = Self {
            meta: row::read(rows, &table::meta()).unwrap_or_default(),
            tables,
            jobs: BTreeMap::new(),
            queues: BTreeMap::new(),
            footprints: BTreeMap::new(),
        };
        for (key, value) in census.table(tag::JOB) {
            census.jobs.extend(row::decode(&value).map(|job| (table::last_u64(&key), job)));
        }
        for (key, value) in census.table(tag::QUEUE) {
            let number = key.as_slice().last_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
            let stats = row::read(rows, &table::by_queue(tag::STATS, number)).unwrap_or_default();
            census.queues.extend(row::decode(&value).map(|def| (number, (def, stats))));
        }
        census.footprints = census.jobs.iter().map(|(seq, job)| (*seq, Footprint::of(job, &Hashes::of(job)))).collect();
        census
    }

    /// What has gone through each queue.
    fn flows(&self) -> BTreeMap<u32, Flow> {
        let number = |key: &Key| key.as_slice().last_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
        self.table(tag::FLOW).iter().filter_map(|(key, value)| Some((number(key), row::decode(value)?))).collect()
    }

    fn table(&self, tag: u8) -> BTreeMap<Key, Value> {
        self.tables.get(&tag).cloned().unwrap_or_default()
    }

    fn keys(&self, tag: u8) -> BTreeSet<Key> {
        self.tables.get(&tag).into_iter().flat_map(BTreeMap::keys).copied().collect()
    }
}

/// Says which keys are there and should not be, and the other way round.
fn differences(what: &str, expected: &BTreeSet<Key>, found: &BTreeSet<Key>) -> Vec<String> {
    let missing = expected.difference(found).map(|key| format!("{what}: {key:?} is missing"));
    let surplus = found.difference(expected).map(|key| format!("{what}: {key:?} is left over"));
    missing.chain(surplus).collect()
}
