//! Random histories: whatever is asked, in whatever order, every invariant holds after every entry,
//! and the same entries lead to the same bytes. A failure names its seed, which is the whole report.

mod draw;

use std::collections::{BTreeMap, BTreeSet};

use bravo_model::command::{Entry, ListFilter};
use bravo_model::{Envelope, Key, Outcome, Reply, Value, apply, invariant, table, view};
use draw::History;

type Rows = BTreeMap<Key, Value>;

const PARTITION: u16 = 3;

/// Runs a history of `steps` entries, and checks after each.
fn run(seed: u64, steps: usize, check: bool) -> (Rows, Vec<Entry>) {
    let mut rows = Rows::new();
    let mut history = History::new(seed);
    let mut entries = Vec::new();
    for step in 0..steps {
        let (at, commands) = history.next_entry();
        let entry = Entry { at, commands: commands.iter().map(Envelope::encode).collect() };
        let before = view::now(&rows);
        let outcomes = apply(&mut rows, PARTITION, &entry);
        assert_eq!(outcomes.len(), commands.len(), "seed {seed} step {step}");
        if check {
            let violations = invariant::check(&rows);
            assert!(
                violations.is_empty(),
                "seed {seed} step {step}: {violations:#?}\nafter {commands:#?}\n{outcomes:#?}"
            );
        }
        assert_eq!(view::now(&rows), before.max(at), "seed {seed} step {step}");
        history.learn(&outcomes);
        entries.push(entry);
    }
    (rows, entries)
}

#[test]
fn invariants_hold_after_every_entry() {
    let seeds = std::env::var("BRAVO_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(60);
    for seed in 0..seeds {
        run(seed, 150, true);
    }
}

#[test]
fn the_same_entries_lead_to_the_same_bytes() {
    for seed in 0..10 {
        let (rows, entries) = run(seed, 300, false);
        let mut again = Rows::new();
        for entry in &entries {
            apply(&mut again, PARTITION, entry);
        }
        assert_eq!(view::digest(&rows), view::digest(&again), "seed {seed}");
    }
}

#[test]
fn it_does_not_matter_how_commands_are_batched() {
    for seed in 0..20 {
        let (rows, entries) = run(seed, 200, false);
        let mut apart = Rows::new();
        for entry in &entries {
            for command in &entry.commands {
                apply(&mut apart, PARTITION, &Entry { at: entry.at, commands: vec![command.clone()] });
            }
            if entry.commands.is_empty() {
                apply(&mut apart, PARTITION, entry);
            }
        }
        assert_eq!(rows, apart, "seed {seed}");
    }
}

#[test]
fn a_refusal_changes_nothing_but_the_clock() {
    for seed in 100..120 {
        let mut rows = Rows::new();
        let mut history = History::new(seed);
        for step in 0..200 {
            let (at, commands) = history.next_entry();
            let mut outcomes: Vec<Outcome> = Vec::new();
            for command in &commands {
                let tick = Entry { at, commands: Vec::new() };
                apply(&mut rows, PARTITION, &tick);
                let before = rows.clone();
                let entry = Entry { at, commands: vec![command.encode()] };
                let outcome = apply(&mut rows, PARTITION, &entry).remove(0);
                if matches!(outcome.reply, Reply::Refused(_)) {
                    assert!(outcome.effects.is_empty(), "seed {seed} step {step}: {command:?}");
                    assert_eq!(before, rows, "seed {seed} step {step}: {command:?} was refused");
                }
                outcomes.push(outcome);
            }
            history.learn(&outcomes);
        }
    }
}

#[test]
fn noise_is_refused_and_changes_nothing() {
    let (mut rows, _) = run(7, 100, false);
    let at = view::now(&rows);
    let before = rows.clone();
    for seed in 0..2_000u64 {
        let noise = blake3_bytes(seed);
        let mut command = vec![(seed % 3) as u8];
        command.extend_from_slice(&noise[..(seed % 32) as usize]);
        let mut tried = rows.clone();
        let outcome = apply(&mut tried, PARTITION, &Entry { at, commands: vec![command.into()] }).remove(0);
        if matches!(outcome.reply, Reply::Refused(_)) {
            assert_eq!(tried, before);
        }
    }
    apply(&mut rows, PARTITION, &Entry { at, commands: vec![bytes::Bytes::new()] });
    assert_eq!(rows, before);
}

#[test]
fn the_histories_meet_what_matters() {
    // A random test that never gets anywhere passes too: these must all have been seen.
    let mut seen: BTreeMap<String, u64> = BTreeMap::new();
    for seed in 0..20 {
        let mut rows = Rows::new();
        let mut history = History::new(seed);
        for _ in 0..150 {
            let (at, commands) = history.next_entry();
            let commands = commands.iter().map(Envelope::encode).collect();
            let outcomes = apply(&mut rows, PARTITION, &Entry { at, commands });
            history.learn(&outcomes);
            for job in view::list(&rows, &ListFilter::default(), None, 1_000).jobs {
                let copy = if job.keeping.dead_letter_of.is_some() { "copy " } else { "" };
                *seen.entry(format!("{copy}{:?} {:?}", job.state, job.keeping.place)).or_default() += 1;
                *seen.entry(format!("lane {}", job.keeping.lane != 0)).or_default() += 1;
                *seen.entry(format!("cancel requested {}", job.cancel_requested)).or_default() += 1;
                let why = view::why(&rows, job.seq).map_or("unknown", |why| why.reason);
                *seen.entry(why.to_owned()).or_default() += 1;
            }
            for outcome in &outcomes {
                let what = match &outcome.reply {
                    Reply::Refused(refusal) => refusal.code.to_string(),
                    Reply::Items(items) => format!("{:?}", items.iter().map(|item| item.code).collect::<Vec<_>>()),
                    Reply::Leased(leased) => format!("leased {} {}", leased.jobs.len().min(2), leased.more),
                    reply => format!("{reply:?}").chars().take_while(|c| c.is_alphabetic()).collect(),
                };
                *seen.entry(what).or_default() += 1;
            }
        }
    }
    let wanted = [
        "Ready Open",
        "Ready Returned",
        "Ready Parked",
        "Ready Behind",
        "Scheduled Nowhere",
        "Leased Nowhere",
        "Succeeded Nowhere",
        "Dead Nowhere",
        "Cancelled Nowhere",
        "copy Ready Open",
        "copy Dead Nowhere",
        "lane true",
        "cancel requested true",
        "backoff",
        "scheduled",
        "paused",
        "behind_order_key",
        "concurrency_limited",
        "rate_limited",
        "behind",
        "deliverable",
        "not_waiting",
        "invalid_argument",
        "not_found",
        "conflict",
        "queue_full",
        "idempotency_key_reuse",
        "leased 2 true",
        "leased 2 false",
        "leased 0 false",
    ];
    let missing: Vec<&str> = wanted.into_iter().filter(|what| !seen.contains_key(*what)).collect();
    assert!(missing.is_empty(), "never met: {missing:?}\nof {seen:#?}");
}

#[test]
fn every_row_that_is_lost_is_noticed() {
    // The invariants are only worth what they see. A result may be absent, and a unique key's row
    // too (its window may be over); without the META row the clock and the counts are gone.
    let mut lost = BTreeSet::new();
    for seed in [1, 2, 3] {
        let (rows, _) = run(seed, 120, false);
        for key in rows.keys() {
            let tag = key.as_slice()[0];
            if [table::tag::RESULT, table::tag::UNIQUE].contains(&tag) {
                continue;
            }
            let mut damaged = rows.clone();
            damaged.remove(key);
            assert!(!invariant::check(&damaged).is_empty(), "seed {seed}: nobody missed {key:?}");
            lost.insert(tag);
        }
    }
    assert!(lost.len() >= 15, "{lost:?}");
}

#[test]
fn damage_never_panics() {
    // Rows are checksummed below; if one is damaged all the same, a node must not fall over.
    for seed in 0..10u64 {
        let (mut rows, entries) = run(seed, 60, false);
        let noise = blake3_bytes(seed);
        let keys: Vec<Key> = rows.keys().copied().collect();
        for (n, key) in keys.iter().enumerate().filter(|(n, _)| (n + seed as usize).is_multiple_of(5)) {
            rows.insert(*key, Value::copy_from_slice(&noise[..n % 32]));
        }
        for entry in &entries {
            apply(&mut rows, PARTITION, entry);
        }
        for seq in 0..200 {
            view::why(&rows, seq);
        }
        view::list(&rows, &ListFilter::default(), None, 100);
        view::queues(&rows);
    }
}

#[test]
fn everything_comes_to_an_end() {
    // After the history, time alone (and resumed queues) must empty the state: nothing is stuck.
    for seed in 0..20 {
        let (mut rows, _) = run(seed, 150, false);
        let forever = 20 * 366 * 86_400_000;
        for round in 0..400u64 {
            let at = view::next_due(&rows).unwrap_or(0).max(view::now(&rows)) + forever / 400 * (round % 2);
            let commands = draw::work_off(round, view::queues(&rows));
            let commands = commands.iter().map(Envelope::encode).collect();
            apply(&mut rows, PARTITION, &Entry { at, commands });
        }
        let left: Vec<_> = view::queues(&rows).into_iter().filter(|q| q.counts.iter().sum::<u64>() > 0).collect();
        assert!(left.is_empty(), "seed {seed}: {left:#?}");
        assert!(invariant::check(&rows).is_empty(), "seed {seed}");
    }
}

fn blake3_bytes(seed: u64) -> [u8; 32] {
    // A fixed mixer is enough here: no dependency for noise.
    let mut bytes = [0; 32];
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for byte in &mut bytes {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        *byte = x as u8;
    }
    bytes
}
