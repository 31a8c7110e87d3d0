//! T4 on sled's files: the state on disk is a cache of what the log and the snapshots hold, so damage to
//! it costs nothing.

use std::path::{Path, PathBuf};

use anyhow::Context;
use bravo_tests::process::fault::{flip_bit, put_back, sled_files, truncate};

use super::damage::{Patient, Start};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_to_the_state_on_disk_costs_nothing() {
    let mut patient = Patient::prepare("state").await;
    let mut faults = Vec::new();
    for nth in 0..2 {
        for (place, share) in [("head", 0.0), ("middle", 0.5), ("tail", 1.0)] {
            let start = patient.start(|data| flip_bit(&nth_file(data, nth)?, offset(data, nth, share)?)).await;
            serves(&format!("a bit in the {place} of file {nth}"), start, &mut faults);
        }
        let start = patient.start(|data| truncate(&nth_file(data, nth)?, offset(data, nth, 0.5)?)).await;
        serves(&format!("file {nth} cut in half"), start, &mut faults);
        let start = patient.start(|data| Ok(std::fs::remove_file(nth_file(data, nth)?)?)).await;
        serves(&format!("file {nth} removed"), start, &mut faults);
    }
    let older = patient.older.clone();
    let start = patient.start(|data| put_back(&older.join("state"), &data.join("state"))).await;
    serves("the state rolled back", start, &mut faults);
    let start = patient.start(|data| empty(&data.join("state"))).await;
    serves("the state removed", start, &mut faults);
    patient.heal(50).await;
    assert!(faults.is_empty(), "{}", faults.join("\n\n"));
}

/// One of sled's files that are not empty, the largest first.
fn nth_file(data: &Path, nth: usize) -> anyhow::Result<PathBuf> {
    let mut files = sled_files(data)?;
    files.retain(|path| path.metadata().is_ok_and(|file| file.len() > 0));
    files.into_iter().nth(nth).context("inconclusive: there is no state on disk")
}

fn offset(data: &Path, nth: usize, share: f64) -> anyhow::Result<u64> {
    let length = nth_file(data, nth)?.metadata()?.len();
    Ok(((length - 1) as f64 * share) as u64)
}

fn empty(folder: &Path) -> anyhow::Result<()> {
    std::fs::remove_dir_all(folder)?;
    Ok(std::fs::create_dir(folder)?)
}

fn serves(name: &str, start: anyhow::Result<Start>, faults: &mut Vec<String>) {
    match start {
        Ok(Start::Serves) => eprintln!("{name}: serves"),
        other => faults.push(format!("{name}: {other:?}")),
    }
}
