//! Many histories, and the shortest one that shows a failure.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Machine;
use super::coverage::Coverage;
use super::trial::{Complaint, judge_history, judge_seed};
use crate::history::History;

/// Kinds of complaints after which a run ends early.
const KINDS_MAX: usize = 8;

/// Pieces that are left out on trial before a history counts as short enough.
const TRIES_MAX: usize = 600;

/// Judges the histories of `count` seeds from `seed` on, on two threads; panics with the shortest
/// history for each kind of complaint.
pub(crate) fn run_histories<M: Machine>(seed: u64, count: u64, new: &(dyn Fn() -> M + Sync)) {
    let next = AtomicU64::new(0);
    let commands = AtomicU64::new(0);
    let coverage = Mutex::new(Coverage::default());
    let reports: Mutex<BTreeMap<&'static str, String>> = Mutex::new(BTreeMap::new());
    let judge = || loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let failures = reports.lock().expect("no panic while it is held").len();
        if number >= count || failures >= KINDS_MAX {
            return;
        }
        match judge_seed(seed + number, &|| new()) {
            Ok((history, reached)) => {
                coverage.lock().expect("no panic while it is held").add(&reached);
                commands.fetch_add(history.commands() as u64, Ordering::Relaxed);
            }
            Err((history, complaint)) => {
                let mut reports = reports.lock().expect("no panic while it is held");
                if !reports.contains_key(complaint.kind) {
                    let (history, complaint) = shortest(*history, complaint, &|| new());
                    let text = format!("seed {} (BRAVO_SEED={0}): {complaint}\n{history}", seed + number);
                    reports.insert(complaint.kind, text);
                }
            }
        }
    };
    std::thread::scope(|scope| (0..2).for_each(|_| drop(scope.spawn(judge))));
    let reports: Vec<String> = reports.into_inner().expect("no panic while it is held").into_values().collect();
    assert!(reports.is_empty(), "{}", reports.join("\n"));
    if count >= 1_000 {
        coverage.into_inner().expect("no panic while it is held").demand(count / 100);
    }
    println!("{count} histories, {} commands", commands.into_inner());
}

/// Leaves out pieces of the history, large ones first, as long as the same complaint remains.
pub(crate) fn shortest<M: Machine>(
    history: History,
    complaint: Complaint,
    new: &dyn Fn() -> M,
) -> (History, Complaint) {
    let (mut history, mut complaint) = (history, complaint);
    let mut piece = history.commands().max(1);
    let mut tries = 0;
    loop {
        let before = history.commands();
        let mut from = 0;
        while from < history.commands() {
            tries += 1;
            if tries > TRIES_MAX {
                return (history, complaint);
            }
            let candidate = history.without(from, from + piece);
            match judge_history(&candidate, new) {
                Err(again) if again.kind == complaint.kind => (history, complaint) = (candidate, again),
                _ => from += piece,
            }
        }
        if piece > 1 {
            piece /= 2;
        } else if history.commands() == before {
            return (history, complaint);
        }
    }
}
