//! Nodes in one process, through the cluster's own handle.

#![allow(clippy::unwrap_used, reason = "a test's helpers may panic")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use bravo_daemon::cluster::{Cluster, Repeat};
use bravo_daemon::dispatch::queue::Sink;
use bravo_daemon::dispatch::{Credit, Waiter};
use bravo_daemon::raft::types::partition_group;
use bravo_daemon::transport::wire::{Answer, Delivery, Query};
use bravo_model::command::{Ack, NewJob};
use bravo_model::{Command, Envelope, JobState, Name, Payload, Reply};
use bravo_tests::embedded::Embedded;
use bytes::Bytes;

fn name(text: &str) -> Name {
    Name::parse("name", text).unwrap()
}

fn job(queue: &str, payload: &'static str) -> NewJob {
    let payload = Payload { json: true, bytes: Bytes::from_static(payload.as_bytes()) };
    NewJob::new(name(queue), name("default"), payload)
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

async fn enqueue(cluster: &Arc<Cluster>, partition: u16, jobs: Vec<NewJob>) -> Vec<u64> {
    let envelope = Envelope::plain(Command::Enqueue(jobs));
    match cluster.propose(partition_group(partition), &envelope, Repeat::Never, soon()).await {
        Ok(Reply::Enqueued(jobs)) => jobs.iter().map(|job| job.seq).collect(),
        other => panic!("enqueue: {other:?}"),
    }
}

async fn lease(cluster: &Arc<Cluster>, queue: &str, max: u32) -> Delivery {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let waiter = Waiter { worker: name("w"), lease_ms: None, credit: Credit::new(max), sink: Sink::Once(sender) };
    cluster.dispatcher.wait(cluster, &name(queue), waiter);
    tokio::time::timeout(Duration::from_secs(10), receiver).await.expect("jobs in time").unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_job_goes_through_raft_quic_log_dispatch_and_ack_on_three_nodes() {
    let embedded = Embedded::start(3).await.unwrap();
    for partition in 0..8 {
        // In at one node, out at another, acknowledged at the third.
        let queue = format!("q{partition}");
        let worker = embedded.cluster(1);
        let waiting = tokio::spawn({
            let queue = queue.clone();
            async move { lease(&worker, &queue, 1).await }
        });
        let [seq] = enqueue(&embedded.cluster(0), partition, vec![job(&queue, r#"{"n":1}"#)]).await[..] else {
            panic!("one job")
        };
        let delivery = waiting.await.unwrap();
        let (leased, payload) = &delivery.jobs[0];
        assert_eq!((leased.seq, leased.attempt), (seq, 1));
        assert_eq!(payload.bytes, r#"{"n":1}"#);

        let group = partition_group(partition);
        let ack = Ack { seq, token: leased.token, result: None };
        let envelope = Envelope::plain(Command::Ack(vec![ack]));
        let reply = embedded.cluster(2).propose(group, &envelope, Repeat::Safe, soon()).await.unwrap();
        assert!(matches!(&reply, Reply::Items(items) if items[0].code.is_none()), "{reply:?}");

        let answer = embedded.cluster(0).read(group, Query::Job(seq), soon()).await.unwrap();
        let Answer::Job(Some((job, ..))) = answer else { panic!("the job is known: {answer:?}") };
        assert_eq!(job.state, JobState::Succeeded);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_have_equal_digests_at_one_index() {
    let embedded = Embedded::start(3).await.unwrap();
    let cluster = embedded.cluster(0);
    enqueue(&cluster, 0, (0..50).map(|_| job("digested", "1")).collect()).await;
    let group = partition_group(0);
    let index = cluster.mark(group, soon()).await.unwrap();
    let mut digests = Vec::new();
    for node in 0..3 {
        let replica = embedded.cluster(node).group(group).unwrap().clone();
        digests.push(replica.digest(index).await.expect("the marker was applied"));
    }
    assert_eq!(digests[0], digests[1]);
    assert_eq!(digests[0], digests[2]);
}
