//! T6: a disk that is full.

use std::time::Duration;

use bravo_tests::process::fault::{SmallDisk, has_root};
use bravo_tests::process::{Load, LoadOptions, Options, Procs, Recorder, judge};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_stops_one_node_and_nothing_else() {
    if !has_root("a_full_disk_stops_one_node_and_nothing_else") {
        return;
    }
    let folder = tempfile::Builder::new().prefix("bravo-full-").tempdir().unwrap();
    let disk = SmallDisk::new(folder.path().join("small"), 64).unwrap();
    let data = (1..=2).map(|id| folder.path().join(format!("data-{id}"))).chain([disk.path.join("data")]).collect();
    let mut procs = Procs::start(Options { data, ..Options::default() }).await.unwrap();
    let recorder = Recorder::new(&procs.rest, "full");
    recorder.configure(procs.nodes[0].public).await.unwrap();
    // Large payloads: the segment that is reserved is used up soon and the next one has no room.
    let load = LoadOptions { padding: 60_000, ..LoadOptions::default() };
    let load = Load::start(&recorder, &procs.addresses(), &load);
    tokio::time::sleep(Duration::from_secs(1)).await;
    disk.fill().unwrap();

    // It stops with a message, or it goes on and refuses; the others go on in any case.
    let ended = procs.nodes[2].ended(Duration::from_secs(40)).await.unwrap();
    let said = procs.nodes[2].said();
    match ended {
        Some(status) => {
            assert!(status.code().is_some_and(|code| code > 0), "it ended with {status}:\n{said}");
            let told = said.contains("disk full") || said.contains("No space left");
            assert!(told, "it does not say that the disk is full:\n{said}");
        }
        None => {
            let refused = said.contains("No space left") || said.contains("disk full");
            assert!(refused, "inconclusive: the full disk was not noticed in 40 s");
        }
    }
    let before = recorder.history.enqueued();
    tokio::time::sleep(Duration::from_secs(4)).await;
    let after = recorder.history.enqueued();
    assert!(after > before, "two nodes with room take no jobs while the third's disk is full");

    // Started again while there is no room: it may serve what it can or stop with a message.
    if !procs.nodes[2].runs() {
        procs.nodes[2].start().unwrap();
        if let Some(status) = procs.nodes[2].ended(Duration::from_secs(5)).await.unwrap() {
            assert!(status.code().is_some_and(|code| code > 0), "without room it ended with {status}");
        }
    }
    std::fs::remove_file(disk.path.join("filler")).unwrap();
    disk.grow(2_048).unwrap();
    procs.start_all().unwrap();
    if procs.node_ready(2, Duration::from_secs(20)).await.is_err() && !procs.nodes[2].runs() {
        // It had been started without room and ended only now.
        procs.start_all().unwrap();
    }
    procs.ready(Duration::from_secs(30)).await.unwrap();
    load.stop().await;
    judge(&mut procs, &recorder, 50).await.unwrap();
}
