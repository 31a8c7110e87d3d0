//! Many histories, and the shortest one that shows a failure.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::Machine;
use super::coverage::Coverage;
use super::trial::{Complaint, judge_history, judge_seed};
use crate::history::History;

/// Judges the histories of `count` seeds from `seed` on, on two threads; panics with the shortest
/// history for the first complaint.
pub(crate) fn run_histories<M: Machine>(seed: u64, count: u64, new: &(dyn Fn() -> M + Sync)) {
    let next = AtomicU64::new(0);
    let failed = AtomicBool::new(false);
    let commands = AtomicU64::new(0);
    let coverage = Mutex::new(Coverage::default());
    let report: Mutex<Option<String>> = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !failed.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    match judge_seed(seed + number, &|| new()) {
                        Ok((history, reached)) => {
                            coverage.lock().expect("no panic while it is held").add(&reached);
                            commands.fetch_add(history.commands() as u64, Ordering::Relaxed);
                        }
                        Err((history, complaint)) => {
                            failed.store(true, Ordering::Relaxed);
                            let (history, complaint) = shortest(*history, complaint, &|| new());
                            let text = format!("seed {} (BRAVO_SEED={0}): {complaint}\n{history}", seed + number);
                            report.lock().expect("no panic while it is held").get_or_insert(text);
                        }
                    }
                }
            });
        }
    });
    if let Some(report) = report.into_inner().expect("no panic while it is held") {
        panic!("{report}");
    }
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
    loop {
        let before = history.commands();
        let mut from = 0;
        while from < history.commands() {
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
