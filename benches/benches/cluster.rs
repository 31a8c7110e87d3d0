//! Through real nodes in this process, with real files, QUIC and fsync: a round trip between two nodes,
//! and a job's way from enqueue over dispatch to ack.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bravo_benches::{job, name};
use bravo_daemon::cluster::{Cluster, Repeat};
use bravo_daemon::dev;
use bravo_daemon::dispatch::queue::Sink;
use bravo_daemon::dispatch::workers::Card;
use bravo_daemon::dispatch::{Credit, Waiter};
use bravo_daemon::node::Node;
use bravo_daemon::raft::types::partition_group;
use bravo_daemon::transport::wire::{Delivery, Request, Response};
use bravo_model::command::Ack;
use bravo_model::{Command, Envelope, Reply};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tokio::runtime::Runtime;

/// Ports of the nodes, below the ephemeral ones.
const PORT: u16 = 19_800;
/// The partition that the jobs go to.
const PARTITION: u16 = 0;

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

async fn start(folder: &std::path::Path, nodes: u16) -> Vec<Node> {
    let mut running = Vec::new();
    for config in dev::configs(folder, nodes, PORT + nodes * 100).expect("configurations") {
        running.push(Node::start(&config).await.expect("a node"));
    }
    let led = |node: &Node| node.cluster.groups().iter().all(|group| group.shared.leader().is_some());
    while !running.iter().all(led) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    running
}

async fn enqueue(cluster: &Arc<Cluster>, count: usize) {
    let envelope = Envelope::plain(Command::Enqueue(vec![job(256); count]));
    let reply = cluster.propose(partition_group(PARTITION), &envelope, Repeat::Never, soon()).await;
    assert!(matches!(reply, Ok(Reply::Enqueued(_))), "{reply:?}");
}

async fn lease(cluster: &Arc<Cluster>, max: u32) -> Delivery {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let waiter = Waiter::plain(Card::new(name("w")), Credit::new(max), Sink::Once(sender));
    cluster.dispatcher.wait(cluster, &name("bench"), waiter);
    receiver.await.expect("a delivery")
}

async fn ack(cluster: &Arc<Cluster>, delivery: &Delivery) {
    let acks = delivery.jobs.iter().map(|(job, _)| Ack { seq: job.seq, token: job.token, result: None }).collect();
    let envelope = Envelope::plain(Command::Ack(acks));
    let reply = cluster.propose(partition_group(delivery.partition), &envelope, Repeat::Safe, soon()).await;
    assert!(matches!(reply, Ok(Reply::Items(_))), "{reply:?}");
}

fn benches(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let pair = runtime.block_on(start(folder.path(), 2));
    let (here, there) = (pair[0].cluster.clone(), pair[1].cluster.node);
    c.bench_function("QUIC round trip of a small call", |b| {
        b.to_async(&runtime).iter(|| async {
            let answer = here.call(there, Request::Workers).await;
            assert!(matches!(answer, Ok(Response::Workers(_))), "{answer:?}");
        });
    });
    for node in pair {
        runtime.block_on(node.stop(Duration::from_secs(1)));
    }

    let folder = tempfile::tempdir().expect("a folder");
    let one = runtime.block_on(start(folder.path(), 1));
    let cluster = one[0].cluster.clone();
    let mut group = c.benchmark_group("enqueue, dispatch, ack on one node");
    for jobs in [1_u32, 64] {
        group.throughput(Throughput::Elements(jobs.into()));
        group.bench_function(BenchmarkId::from_parameter(jobs), |b| {
            b.to_async(&runtime).iter(|| async {
                enqueue(&cluster, jobs as usize).await;
                let mut left = jobs;
                while left > 0 {
                    let delivery = lease(&cluster, left).await;
                    left -= u32::try_from(delivery.jobs.len()).expect("a few");
                    ack(&cluster, &delivery).await;
                }
            });
        });
    }
    group.finish();
    for node in one {
        runtime.block_on(node.stop(Duration::from_secs(1)));
    }
}

criterion_group! {
    name = all;
    config = Criterion::default().sample_size(50);
    targets = benches
}
criterion_main!(all);
