//! Artifacts between processes: a node that was down gets its chunks, large bodies do not fill memory, and
//! `bravo artifact` does what it says.

use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

use bravo_tests::process::{Options, Procs, beside, short_or_long};

async fn run(procs: &Procs, node: usize, arguments: &[&str]) -> Output {
    let mut command = tokio::process::Command::new(beside("bravo").unwrap());
    let server = format!("http://{}", procs.nodes[node].public);
    command.args(["artifact"]).args(arguments).env("BRAVO_SERVER", server).kill_on_drop(true);
    tokio::time::timeout(Duration::from_secs(540), command.output()).await.unwrap().unwrap()
}

async fn done(procs: &Procs, node: usize, arguments: &[&str]) -> String {
    let output = run(procs, node, arguments).await;
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A file of so many MiB that nothing makes smaller.
fn noise(path: &Path, mib: usize) {
    use std::io::Write;
    let mut file = std::fs::File::create(path).unwrap();
    let mut part = vec![0; 1 << 20];
    for _ in 0..mib {
        rand::Rng::fill(&mut rand::rng(), &mut part[..]);
        file.write_all(&part).unwrap();
    }
}

fn same(a: &Path, b: &Path) -> bool {
    std::fs::read(a).unwrap() == std::fs::read(b).unwrap()
}

fn chunks(data: &Path) -> usize {
    let folders = std::fs::read_dir(data.join("blobs")).into_iter().flatten().flatten();
    let folders = folders.filter(|entry| entry.file_name() != "tmp");
    folders.map(|folder| std::fs::read_dir(folder.path()).into_iter().flatten().count()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_put_while_a_node_is_down_reaches_it_when_it_is_back() {
    let mut procs = Procs::start(Options::default()).await.unwrap();
    let (file, back) = (procs.folder().join("file"), procs.folder().join("back"));
    noise(&file, 9);
    procs.nodes[2].kill().unwrap();
    let (path, out) = (file.to_str().unwrap(), back.to_str().unwrap());
    done(&procs, 0, &["put", "p", "a/b", path]).await;
    assert_eq!([0, 1, 2].map(|node| chunks(&procs.nodes[node].data)), [3, 3, 0]);
    procs.nodes[2].start().unwrap();
    procs.ready(Duration::from_secs(30)).await.unwrap();
    done(&procs, 2, &["get", "p", "a/b", "-o", out]).await;
    assert!(same(&file, &back), "the node that was down has it for its callers");
    let deadline = Instant::now() + Duration::from_secs(60);
    while chunks(&procs.nodes[2].data) < 3 {
        assert!(Instant::now() < deadline, "it has {} of 3 chunks", chunks(&procs.nodes[2].data));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // It is a replica like the others now.
    procs.nodes[0].kill().unwrap();
    std::fs::remove_file(&back).unwrap();
    done(&procs, 2, &["get", "p", "a/b", "-o", out]).await;
    assert!(same(&file, &back));
    procs.nodes[1].kill().unwrap();
    let refused = run(&procs, 2, &["put", "p", "a/c", path]).await;
    assert!(!refused.status.success(), "no majority can have it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn artifacts_are_put_got_listed_and_deleted_by_command_line() {
    let procs = Procs::start(Options::default()).await.unwrap();
    let (file, back) = (procs.folder().join("file"), procs.folder().join("back"));
    let (path, out) = (file.to_str().unwrap(), back.to_str().unwrap());
    for text in ["first", "second"] {
        std::fs::write(&file, text).unwrap();
        done(&procs, 0, &["put", "shop", "build/a b.txt", path, "--content-type", "text/plain"]).await;
    }
    done(&procs, 1, &["put", "shop", "other", path]).await;
    let list = done(&procs, 1, &["list", "shop", "--prefix", "build/"]).await;
    let rows: Vec<_> = list.lines().map(|line| line.split_whitespace().take(5).collect::<Vec<_>>()).collect();
    assert_eq!(rows.len(), 2, "{list}");
    assert_eq!(rows[1], ["build/a", "b.txt", "2", "6", "text/plain"], "{list}");
    assert_eq!(done(&procs, 2, &["get", "shop", "build/a b.txt"]).await, "second");
    done(&procs, 2, &["get", "shop", "build/a b.txt", "--version", "1", "-o", out]).await;
    assert_eq!(std::fs::read_to_string(&back).unwrap(), "first");
    done(&procs, 0, &["delete", "shop", "build/a b.txt"]).await;
    let gone = run(&procs, 1, &["get", "shop", "build/a b.txt"]).await;
    let said = String::from_utf8_lossy(&gone.stderr).into_owned();
    assert!(gone.status.code() == Some(1) && said.contains("not_found"), "{said}");
    assert_eq!(run(&procs, 1, &["delete", "shop", "build/a b.txt"]).await.status.code(), Some(1));
}

/// Bytes of a process's memory at most so far.
fn peak(procs: &Procs, node: usize) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", procs.nodes[node].pid().unwrap())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() << 10
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_stays_flat_under_a_large_body() {
    let mib = short_or_long(512, 1_024);
    let procs = Procs::start(Options::default()).await.unwrap();
    let (file, back) = (procs.folder().join("file"), procs.folder().join("back"));
    let (path, out) = (file.to_str().unwrap(), back.to_str().unwrap());
    noise(&file, mib);
    let before = [0, 1, 2].map(|node| peak(&procs, node));
    done(&procs, 0, &["put", "p", "large", path]).await;
    let after_put = [0, 1, 2].map(|node| peak(&procs, node));
    done(&procs, 1, &["get", "p", "large", "-o", out]).await;
    let after = [0, 1, 2].map(|node| peak(&procs, node));
    assert!(std::process::Command::new("cmp").args([path, out]).status().unwrap().success());
    let grown: Vec<u64> = before.iter().zip(after).map(|(before, after)| (after - before) >> 20).collect();
    eprintln!(
        "{mib} MiB: peaks in MiB {:?}, {:?}, {:?}",
        before.map(|b| b >> 20),
        after_put.map(|b| b >> 20),
        after.map(|b| b >> 20)
    );
    assert!(grown.iter().all(|grown| *grown < MIB_GROWN_MAX), "{mib} MiB took {grown:?} MiB of the nodes' memory");
}

/// Chunks on their way to a slow node are held, 16 at most, and so are a few that come in.
const MIB_GROWN_MAX: u64 = 256;
