//! T4 on sled's files: the state on disk is a cache of what the log and the snapshots hold, so damage to
//! it costs nothing.

use std::path::{Path, PathBuf};

use bravo_tests::process::fault::{flip_bit, put_back, sled_files, truncate};

use super::damage::{Patient, Start};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_to_the_state_on_disk_costs_nothing() {
    let mut patient = Patient::prepare("state").await;
    let root = patient.sound.clone();
    let files: Vec<(PathBuf, u64)> = sled_files(&root)
        .unwrap()
        .into_iter()
        .map(|path| (path.strip_prefix(&root).unwrap().to_owned(), path.metadata().unwrap().len()))
        .filter(|(_, length)| *length > 0)
        .take(3)
        .collect();
    assert!(!files.is_empty(), "inconclusive: there is no state on disk");
    let mut faults = Vec::new();
    for (file, length) in &files {
        let shown = file.display();
        for (place, offset) in [("head", 3), ("middle", length / 2), ("tail", length - 1)] {
            let start = patient.start(|data| flip_bit(&data.join(file), offset)).await;
            serves(&format!("a bit in the {place} of {shown}"), start, &mut faults);
        }
        let start = patient.start(|data| truncate(&data.join(file), length / 2)).await;
        serves(&format!("{shown} cut in half"), start, &mut faults);
        let start = patient.start(|data| Ok(std::fs::remove_file(data.join(file))?)).await;
        serves(&format!("{shown} removed"), start, &mut faults);
    }
    let older = patient.older.clone();
    let start = patient.start(|data| put_back(&older.join("state"), &data.join("state"))).await;
    serves("the state rolled back", start, &mut faults);
    let start = patient.start(|data| empty(&data.join("state"))).await;
    serves("the state removed", start, &mut faults);
    patient.heal(50).await;
    assert!(faults.is_empty(), "{}", faults.join("\n\n"));
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
