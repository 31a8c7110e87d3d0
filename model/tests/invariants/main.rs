//! Random histories: whatever is asked, in whatever order, every invariant holds after every entry,
//! and the same entries lead to the same bytes. A failure names its seed, which is the whole report.

mod draw;

use std::collections::BTreeMap;

use bravo_model::command::Entry;
use bravo_model::{Envelope, Key, Outcome, Value, apply, invariant, view};
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
                if matches!(outcome.reply, bravo_model::Reply::Refused(_)) {
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
        if matches!(outcome.reply, bravo_model::Reply::Refused(_)) {
            assert_eq!(tried, before);
        }
    }
    apply(&mut rows, PARTITION, &Entry { at, commands: vec![bytes::Bytes::new()] });
    assert_eq!(rows, before);
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
