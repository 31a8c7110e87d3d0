//! Artifacts in shards on six nodes: they cost half as much again, two nodes may be lost, and what a node lost
//! comes back.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bravo_tests::process::{Options, Procs, beside};
use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Three full chunks, and a last one of an odd length that is just large enough to be cut.
const BYTES: usize = (12 << 20) + 300_001;
const PATIENCE: Duration = Duration::from_secs(30);

async fn bravo(procs: &Procs, node: usize, arguments: &[&str]) {
    let mut command = tokio::process::Command::new(beside("bravo").unwrap());
    let server = format!("http://{}", procs.nodes[node].public);
    command.arg("artifact").args(arguments).env("BRAVO_SERVER", server).kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(60), command.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Reads an artifact at a node and compares it.
async fn same(procs: &Procs, node: usize, path: &str, file: &Path) {
    let out = procs.folder().join(format!("out-{node}"));
    bravo(procs, node, &["get", "p", path, "-o", out.to_str().unwrap()]).await;
    assert!(std::fs::read(&out).unwrap() == std::fs::read(file).unwrap(), "{path} at {node}");
    std::fs::remove_file(out).unwrap();
}

fn noise(path: &Path, bytes: usize) {
    let mut all = vec![0; bytes];
    rand::Rng::fill(&mut rand::rng(), &mut all[..]);
    std::fs::write(path, all).unwrap();
}

/// A node's chunk files and their lengths.
fn files(data: &Path) -> BTreeMap<PathBuf, u64> {
    let folders = std::fs::read_dir(data.join("blobs")).into_iter().flatten().flatten();
    let folders = folders.filter(|entry| entry.file_name() != "tmp");
    let files = folders.flat_map(|folder| std::fs::read_dir(folder.path()).into_iter().flatten().flatten());
    files.filter_map(|file| Some((file.path(), file.metadata().ok()?.len()))).collect()
}

fn bytes(data: &Path) -> u64 {
    files(data).values().sum()
}

async fn eventually(procs: &Procs, what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: {:?}", sizes(procs));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn sizes(procs: &Procs) -> Vec<(usize, u64)> {
    procs.nodes.iter().map(|node| (files(&node.data).len(), bytes(&node.data))).collect()
}

/// The sum of a metric's line over the nodes that run.
async fn sum(procs: &Procs, line: &str) -> u64 {
    let mut sum = 0;
    for node in procs.nodes.iter().filter(|node| node.runs()) {
        let text = procs.rest.text(node.public, "/metrics").await.unwrap();
        let value = text.lines().find_map(|one| one.strip_prefix(line));
        sum += value.map_or(0, |value| value.trim().parse::<u64>().unwrap());
    }
    sum
}

/// Chunks that the nodes spread in one way.
async fn spread(procs: &Procs, kept: &str) -> u64 {
    sum(procs, &format!("bravo_artifact_chunks_spread_total{{kept=\"{kept}\"}}")).await
}

/// Three founders and others that join them, until all know each other.
async fn cluster(count: u64, config: &str) -> Procs {
    let options = Options { partitions: 1, config: config.to_owned(), ..Options::default() };
    let mut procs = Procs::start(options).await.unwrap();
    for id in 4..=count {
        procs.add(id).unwrap();
    }
    procs.start_all().unwrap();
    procs.ready(Duration::from_secs(60)).await.unwrap();
    all_known(&procs).await;
    procs
}

async fn all_known(procs: &Procs) {
    let deadline = Instant::now() + PATIENCE;
    for node in &procs.nodes {
        loop {
            let answer = procs.rest.get(node.public, "/api/v1/cluster").await.unwrap();
            let members = answer.body["meta"]["members"].as_array().map_or(0, Vec::len);
            if members == procs.nodes.len() {
                break;
            }
            assert!(Instant::now() < deadline, "node {} knows {members} members", node.id);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Whether each node holds a quarter of what was put, and a few bytes of heads.
fn quarters(procs: &Procs, total: usize) -> bool {
    let quarter = total as u64 / 4;
    procs.nodes.iter().all(|node| (quarter..quarter + 200).contains(&bytes(&node.data)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_of_six_nodes_may_be_lost_and_what_is_missing_or_damaged_is_made_anew() {
    let config = "[artifacts]\nheal_interval_ms = 500\nscrub_interval_ms = 500\nscrub_pause_ms = 1\n";
    let mut procs = cluster(6, config).await;
    let [file, other, third] = ["file", "other", "third"].map(|name| procs.folder().join(name));
    noise(&file, BYTES);
    noise(&other, 5 << 20);
    noise(&third, 7 << 20);
    let leader = procs.leader(0).await.unwrap();
    bravo(&procs, leader, &["put", "p", "a", file.to_str().unwrap()]).await;
    eventually(&procs, "each node holds a quarter", || quarters(&procs, BYTES)).await;
    assert_eq!(spread(&procs, "shards").await, 4);

    // One that leads nothing loses its disk, and another one is away.
    let [lost, away] = [5, if leader == 4 { 3 } else { 4 }];
    let before: Vec<_> = procs.nodes.iter().map(|node| files(&node.data)).collect();
    procs.nodes[lost].kill().unwrap();
    std::fs::remove_dir_all(procs.nodes[lost].data.join("blobs")).unwrap();
    // Five shards are enough for what is put now.
    bravo(&procs, leader, &["put", "p", "c", other.to_str().unwrap()]).await;
    assert_eq!(spread(&procs, "shards").await, 4 + 2);
    procs.nodes[away].kill().unwrap();
    for node in 0..6 {
        if procs.nodes[node].runs() {
            same(&procs, node, "a", &file).await;
        }
    }
    // What is put now has no six nodes to go to.
    bravo(&procs, leader, &["put", "p", "b", third.to_str().unwrap()]).await;
    assert_eq!(spread(&procs, "fallback").await, 2);
    same(&procs, leader, "b", &third).await;
    same(&procs, leader, "c", &other).await;

    procs.start_all().unwrap();
    procs.ready(Duration::from_secs(30)).await.unwrap();
    let has_all = |node: usize| {
        let now = files(&procs.nodes[node].data);
        before[node].iter().all(|(path, bytes)| now.get(path) == Some(bytes))
    };
    eventually(&procs, "the node that lost its disk has its shards again", || has_all(lost)).await;
    assert!(sum(&procs, "bravo_artifact_shards_mended_total{how=\"made\"}").await >= 4);
    let shards = |node: usize| files(&procs.nodes[node].data).into_values().filter(|bytes| *bytes < 2 << 20).count();
    eventually(&procs, "and one of each chunk that was put meanwhile", || shards(lost) == 4 + 2).await;

    // Nobody else has a shard: what a disk damages is made anew too.
    let victim = before[leader].keys().next().unwrap().clone();
    let sound = std::fs::read(&victim).unwrap();
    let mut bad = sound.clone();
    bad[sound.len() / 2] ^= 1;
    std::fs::write(&victim, &bad).unwrap();
    eventually(&procs, "the damaged shard is as it was", || std::fs::read(&victim).is_ok_and(|now| now == sound)).await;
    for node in [lost, away] {
        same(&procs, node, "a", &file).await;
        same(&procs, node, "b", &third).await;
        same(&procs, node, "c", &other).await;
    }
}

/// Puts a file in pieces with pauses, for longer than the sweep waits.
async fn put_slowly(node: SocketAddr, path: &str, file: &Path) {
    let body = std::fs::read(file).unwrap();
    let mut stream = tokio::net::TcpStream::connect(node).await.unwrap();
    let head = format!("PUT /api/v1/artifacts/p/{path} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await.unwrap();
    for part in body.chunks(1 << 20) {
        stream.write_all(part).await.unwrap();
        tokio::time::sleep(Duration::from_millis(450)).await;
    }
    let mut answer = vec![0; 1_024];
    let count = stream.read(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 201"), "{}", String::from_utf8_lossy(&answer[..count]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seventh_node_takes_its_share_and_shards_that_no_version_needs_go() {
    let config = "[artifacts]\nheal_interval_ms = 500\nsweep_interval_ms = 500\norphan_age_ms = 2_000\n\
                  move_interval_ms = 200\n";
    let mut procs = cluster(6, config).await;
    let (file, slow) = (procs.folder().join("file"), procs.folder().join("slow"));
    noise(&file, BYTES);
    noise(&slow, BYTES);
    bravo(&procs, 1, &["put", "p", "a", file.to_str().unwrap()]).await;
    eventually(&procs, "each node holds a quarter", || quarters(&procs, BYTES)).await;
    put_slowly(procs.nodes[4].public, "slow", &slow).await;
    eventually(&procs, "an upload outlives the sweep", || quarters(&procs, 2 * BYTES)).await;

    procs.add(7).unwrap();
    procs.start_all().unwrap();
    procs.ready(Duration::from_secs(60)).await.unwrap();
    all_known(&procs).await;
    let shards = |procs: &Procs| sizes(procs).iter().map(|(count, _)| count).sum::<usize>();
    eventually(&procs, "it has some, and no shard is kept twice", || {
        !files(&procs.nodes[6].data).is_empty() && shards(&procs) == 2 * 4 * 6
    })
    .await;
    assert!(sum(&procs, "bravo_artifact_shards_mended_total{how=\"copied\"}").await > 0);
    same(&procs, 6, "a", &file).await;
    same(&procs, 0, "slow", &slow).await;

    // To the cold tier an artifact goes whole. Its shards go when no other one needs them.
    bravo(&procs, 0, &["put", "p", "b", file.to_str().unwrap()]).await;
    let rules = serde_json::json!({"rules": [{"prefix": "a", "cold_after_ms": 1}]});
    let (node, path) = (procs.nodes[0].public, "/api/v1/lifecycle/p");
    let set = procs.rest.call(node, Method::PUT, path, Some(&rules), None, Duration::from_secs(5)).await.unwrap();
    assert!(set.is_ok(), "{set:?}");
    let deadline = Instant::now() + PATIENCE;
    while sum(&procs, "bravo_artifact_moves_total{class=\"cold\"}").await == 0 {
        assert!(Instant::now() < deadline, "it is not moved");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(shards(&procs), 2 * 4 * 6, "another artifact is made of the same shards");
    for path in ["b", "slow"] {
        bravo(&procs, 2, &["delete", "p", path]).await;
    }
    eventually(&procs, "all shards are gone", || shards(&procs) == 0).await;
    same(&procs, 6, "a", &file).await;
}
