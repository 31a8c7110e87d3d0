//! T9 and T15: nodes that stand still.

use std::time::{Duration, Instant};

use bravo_tests::process::{
    End, Leased, Load, LoadOptions, Options, Procs, Recorder, Said, Task, code_of, judge, short_or_long,
};
use http::Method;

/// One leased job and the node that leads its partition.
async fn leased_job(procs: &Procs, recorder: &Recorder, tag: &str, lease_ms: u64) -> (Leased, usize) {
    let node = procs.nodes[0].public;
    let task = Task { tag: tag.into(), key: Some(tag.into()), ..Task::default() };
    assert!(matches!(recorder.enqueue(node, &task).await, End::Ok(_)), "the enqueue");
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        if let Some(job) = recorder.lease(node, "first", 1, 500, lease_ms).await.pop() {
            // The cluster has one partition.
            return (job, procs.leader(0).await.unwrap());
        }
        assert!(Instant::now() < deadline, "the job is not delivered");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_was_paused_serves_neither_stale_reads_nor_stale_acks() {
    const LEASE_MS: u64 = 2_000;
    let mut procs = Procs::start(Options { partitions: 1, ..Options::default() }).await.unwrap();
    let recorder = Recorder::new(&procs.rest, "paused");
    recorder.configure(procs.nodes[0].public).await.unwrap();
    for round in 0..short_or_long(3, 20) {
        let (stale, leader) = leased_job(&procs, &recorder, &format!("p{round}"), LEASE_MS).await;
        let paused = procs.nodes[leader].public;
        let other = procs.nodes[(leader + 1) % 3].public;
        procs.nodes[leader].pause().unwrap();
        tokio::time::sleep(Duration::from_millis(2 * LEASE_MS)).await;
        // The job went to another worker, which finished it: the others have a leader of their own.
        let deadline = Instant::now() + Duration::from_secs(15);
        let job = loop {
            if let Some(job) = recorder.lease(other, "second", 1, 500, LEASE_MS).await.pop() {
                break job;
            }
            assert!(Instant::now() < deadline, "the lease of a worker whose leader stands still never ends");
        };
        assert_eq!(job.id, stale.id);
        let result = format!("{}#{}", job.id, job.token);
        assert!(matches!(recorder.ack(other, &job, &result).await, End::Ok(Said::Done)), "the second worker's ack");

        procs.nodes[leader].resume().unwrap();
        let path = format!("/api/v1/jobs/{}", job.id);
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut answered = false;
        while !answered {
            // Right after the pause: the new state or no answer, never the old one.
            let (read, ack) = tokio::join!(procs.rest.get(paused, &path), recorder.ack(paused, &stale, "stale"));
            if let Ok(read) = read.as_ref().map(|read| read.clone()) {
                assert!(!read.is_ok() || read.body["state"] == "succeeded", "a stale read: {read:?}");
                answered = read.is_ok();
            }
            assert!(!matches!(ack, End::Ok(_)), "a stale ack was accepted");
            assert!(["", "lease_lost"].contains(&code_of(&ack)), "a stale ack was answered {ack:?}");
            answered &= code_of(&ack) == "lease_lost";
            assert!(Instant::now() < deadline, "the resumed node does not answer: {read:?} {ack:?}");
        }
    }
    judge(&mut procs, &recorder, 2).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_hangs_neither_stalls_the_others_nor_fills_their_memory() {
    let mut procs = Procs::start(Options::default()).await.unwrap();
    let recorder = Recorder::new(&procs.rest, "hangs");
    recorder.configure(procs.nodes[0].public).await.unwrap();
    let load = LoadOptions { padding: 20_000, ..LoadOptions::default() };
    // Clients know that node 3 hangs and ask the others.
    let load = Load::start(&recorder, &procs.addresses()[..2], &load);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before: Vec<u64> = procs.nodes.iter().map(|node| node.resident_bytes().unwrap()).collect();

    procs.nodes[2].pause().unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let end = Instant::now() + short_or_long(Duration::from_secs(8), Duration::from_secs(120));
    let mut slowest = Duration::ZERO;
    let mut number = 0;
    while Instant::now() < end {
        for node in &procs.nodes[..2] {
            number += 1;
            let tag = format!("probe-{number}");
            let began = Instant::now();
            let answer =
                recorder.enqueue(node.public, &Task { tag: tag.clone(), key: Some(tag), ..Task::default() }).await;
            assert!(matches!(answer, End::Ok(_)), "an enqueue while a peer hangs: {answer:?}");
            slowest = slowest.max(began.elapsed());
            let health = procs.rest.call(node.public, Method::GET, "/health", None, None, Duration::from_secs(1)).await;
            assert!(health.is_ok_and(|answer| answer.is_ok()), "/health while a peer hangs");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let grown: Vec<u64> = procs.nodes[..2]
        .iter()
        .zip(&before)
        .map(|(node, before)| node.resident_bytes().unwrap().saturating_sub(*before) >> 20)
        .collect();
    eprintln!("slowest enqueue {slowest:?}, grown by {grown:?} MiB");
    procs.nodes[2].resume().unwrap();
    load.stop().await;
    judge(&mut procs, &recorder, 50).await.unwrap();
    assert!(slowest < Duration::from_secs(2), "an enqueue took {slowest:?} while a peer hangs");
    // The log's cache (32 MiB) and what the state holds may fill; a queue for the peer may not.
    assert!(grown.iter().all(|mib| *mib < 192), "memory grew by {grown:?} MiB while a peer hangs");
}
