//! T7: an fsync that fails.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bravo_tests::process::{Load, LoadOptions, Options, Procs, Recorder, judge};

const RUN: &str = "/usr/lib/fiu/fiu_run_preload.so";
const POSIX: &str = "/usr/lib/fiu/fiu_posix_preload.so";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_fsync_fails_stops_and_nothing_acknowledged_is_lost() {
    assert!(Path::new(POSIX).exists(), "libfiu is needed: tests/setup.sh installs it");
    let folder = tempfile::Builder::new().prefix("bravo-fiu-").tempdir().unwrap();
    let fifo = folder.path().join("control");
    let env = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let broken = vec![env("LD_PRELOAD", &format!("{RUN}:{POSIX}")), env("FIU_CTRL_FIFO", fifo.to_str().unwrap())];
    let options = Options { env: vec![broken, Vec::new(), Vec::new()], ..Options::default() };
    let mut procs = Procs::start(options).await.unwrap();
    let recorder = Recorder::new(&procs.rest, "sync");
    recorder.configure(procs.nodes[0].public).await.unwrap();
    let load = Load::start(&recorder, &procs.addresses(), &LoadOptions::default());
    tokio::time::sleep(Duration::from_secs(2)).await;

    // 5 is EIO.
    for call in ["fdatasync", "fsync"] {
        let fail = format!("enable name=posix/io/sync/{call},failinfo=5");
        let pid = procs.nodes[0].pid().unwrap().to_string();
        let control = Command::new("fiu-ctrl").args(["-f", fifo.to_str().unwrap(), "-c", &fail, &pid]).status();
        assert!(control.unwrap().success(), "fiu-ctrl");
    }
    let status = procs.nodes[0].ended(Duration::from_secs(10)).await.unwrap();
    let said = procs.nodes[0].said();
    let status = status.unwrap_or_else(|| panic!("the node goes on with a disk that cannot sync:\n{said}"));
    assert!(status.code().is_some_and(|code| code > 0), "it ended with {status}:\n{said}");
    assert!(said.contains("Input/output error"), "it does not say why:\n{said}");

    // The others go on, and the node comes back once its disk is whole.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = recorder.history.enqueued();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(recorder.history.enqueued() > before, "two nodes take no jobs while the third is gone");
    procs.nodes[0].env.clear();
    procs.nodes[0].start().unwrap();
    procs.ready(Duration::from_secs(30)).await.unwrap();
    load.stop().await;
    judge(&mut procs, &recorder, 50).await.unwrap();
}
