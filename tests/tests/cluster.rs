//! Nodes in one process, through the cluster's own handle.

#![allow(clippy::unwrap_used, reason = "a test's helpers may panic")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bravo_daemon::cluster::{Cluster, Repeat};
use bravo_daemon::dispatch::queue::Sink;
use bravo_daemon::dispatch::workers::Card;
use bravo_daemon::dispatch::{Credit, Profile, Waiter};
use bravo_daemon::raft::types::{META_GROUP, Member, partition_group};
use bravo_daemon::transport::wire::{Answer, Delivery, Query, Request, Response};
use bravo_model::command::{Ack, NewJob};
use bravo_model::{Code, Command, Envelope, JobState, Name, Payload, Reply};
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
    let waiter = Waiter::plain(Card::new(name("w")), Credit::new(max), Sink::Once(sender));
    cluster.dispatcher.wait(cluster, &name(queue), waiter);
    tokio::time::timeout(Duration::from_secs(10), receiver).await.expect("jobs in time").unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_bound_to_a_project_gets_its_jobs_alone() {
    let embedded = Embedded::start(3).await.unwrap();
    let (sender, mut receiver) = tokio::sync::oneshot::channel();
    let plain = Waiter::plain(Card::new(name("bound")), Credit::new(9), Sink::Once(sender));
    let profile = Profile { project: Some(name("mine")), ..Profile::default() };
    let worker = embedded.cluster(1);
    worker.dispatcher.wait(&worker, &name("q"), Waiter { profile: Arc::new(profile), ..plain });
    let of = |project: &str| NewJob { project: name(project), ..job("q", "1") };
    enqueue(&embedded.cluster(0), 3, vec![of("other"), of("another"), of("other")]).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(receiver.try_recv().is_err(), "there is nothing for it");
    let mine = enqueue(&embedded.cluster(0), 3, vec![of("other"), of("mine")]).await[1];
    let delivery = tokio::time::timeout(Duration::from_secs(10), receiver).await.expect("in time").unwrap();
    assert_eq!(delivery.jobs.iter().map(|(job, _)| job.seq).collect::<Vec<_>>(), [mine]);
    assert_eq!(lease(&worker, "q", 9).await.jobs.len(), 4, "the rest is for those who are not bound");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_asks_to_join_for_itself_and_for_no_other() {
    let embedded = Embedded::start(1).await.unwrap();
    let cluster = embedded.cluster(0);
    let before = cluster.members();
    match cluster.clone().serve(7, Request::Join(8, Member::default())).await {
        Response::Refused(refusal) => assert_eq!(refusal.code, Code::PermissionDenied, "{}", refusal.detail),
        other => panic!("node 7 had node 8 added: {other:?}"),
    }
    assert_eq!(cluster.members(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_removed_while_it_runs_is_heard_by_nobody() {
    let embedded = Embedded::start(3).await.unwrap();
    let (stays, goes) = (embedded.cluster(0), embedded.cluster(2));
    assert!(matches!(goes.call(stays.node, Request::Workers).await, Ok(Response::Workers(_))));
    stays.remove_member(goes.node).await.unwrap();
    // Each node learns by itself who is a member.
    let until = soon();
    loop {
        assert!(Instant::now() < until, "it is not refused");
        match goes.call(stays.node, Request::Workers).await {
            Ok(Response::Workers(_)) | Err(_) => {}
            Ok(Response::Refused(refusal)) => break assert_eq!(refusal.code, Code::PermissionDenied),
            Ok(other) => panic!("an answer of another kind: {other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    enqueue(&stays, 0, vec![job("q", "1")]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_lost_its_majority_knows_that_it_is_out_of_touch() {
    let mut embedded = Embedded::start(3).await.unwrap();
    let leads = |index: &usize| embedded.cluster(*index).leads(META_GROUP);
    let leader = (0..3).find(leads).expect("somebody leads");
    let cluster = embedded.cluster(leader);
    assert_eq!(cluster.staleness_ms(META_GROUP), 0);
    for other in (0..3).filter(|index| *index != leader) {
        embedded.stop_node(other).await;
    }
    let until = soon();
    while cluster.silent_ms(META_GROUP) < 2_000 || cluster.staleness_ms(META_GROUP) < 2_000 {
        assert!(Instant::now() < until, "it takes itself for up to date");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(cluster.leads(META_GROUP), "as far as it knows");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_hands_leadership_over_answers_no_read_that_misses_what_the_next_leader_acknowledged() {
    let embedded = Embedded::start(3).await.unwrap();
    let nodes: Vec<_> = (0..3).map(|index| embedded.cluster(index)).collect();
    let group = partition_group(0);
    let answers = Arc::new(AtomicUsize::new(0));
    let moves = tokio::spawn({
        let (nodes, answers) = (nodes.clone(), answers.clone());
        async move {
            for to in nodes.iter().cycle().take(24) {
                let before = answers.load(Ordering::Relaxed);
                nodes[0].transfer(group, to.node, soon()).await.unwrap();
                // If it does not come to lead, as it lags, another one does.
                let moved = async {
                    while answers.load(Ordering::Relaxed) < before + 3 {
                        tokio::time::sleep(Duration::from_millis(2)).await;
                    }
                };
                tokio::time::timeout(Duration::from_secs(20), moved).await.expect("somebody leads, and answers");
            }
        }
    });
    for from in nodes.iter().cycle() {
        if moves.is_finished() {
            break;
        }
        // The outcome may be unknown when leadership moves: then there is one job more.
        let envelope = Envelope::plain(Command::Enqueue(vec![job("q", "1")]));
        let reply = from.propose(group, &envelope, Repeat::Safe, soon()).await.unwrap();
        let Reply::Enqueued(enqueued) = reply else { panic!("enqueue: {reply:?}") };
        let seq = enqueued[0].seq;
        for node in &nodes {
            match node.clone().serve(node.node, Request::Query(group, Query::Job(seq), true)).await {
                Response::Answer(answer) => {
                    assert!(matches!(*answer, Answer::Job(Some(_))), "node {} does not know job {seq}", node.node);
                    answers.fetch_add(1, Ordering::Relaxed);
                }
                other => assert!(matches!(other, Response::NotLeader(_)), "{other:?}"),
            }
        }
    }
    moves.await.unwrap();
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
        let Answer::Job(Some(found)) = answer else { panic!("the job is known: {answer:?}") };
        assert_eq!(found.0.state, JobState::Succeeded);
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

/// The payload of the `n`th job and, with another `kind`, its result.
fn large(n: u64, kind: u8) -> Payload {
    let bytes: Vec<u8> = (0..30_000u64).map(|i| (n * 31 + i * i) as u8 ^ kind).collect();
    Payload { json: false, bytes: bytes.into() }
}

async fn read(cluster: &Arc<Cluster>, group: u32, seq: u64) -> (Option<Payload>, Option<Payload>) {
    let fresh = cluster.read(group, Query::Job(seq), soon()).await.unwrap();
    let stale = cluster.read_stale(group, &Query::Job(seq)).await.unwrap();
    assert_eq!(format!("{fresh:?}"), format!("{stale:?}"));
    let Answer::Job(Some(found)) = fresh else { panic!("the job is known") };
    let (_, payload, result) = *found;
    (payload, result)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payloads_and_results_that_moved_to_disk_are_read_and_delivered_as_they_were() {
    let mut embedded = Embedded::start(1).await.unwrap();
    embedded.stop_node(0).await;
    let storage = &mut embedded.configs[0].storage;
    (storage.memory_bytes_max, storage.cache_memory_bytes, storage.cache_disk_bytes) = (4 << 20, 2 << 20, 64 << 20);
    embedded.start_node(0).await.unwrap();
    embedded.settle(Duration::from_secs(20)).await.unwrap();
    let (cluster, group) = (embedded.cluster(0), partition_group(0));
    let mut seqs = Vec::new();
    for batch in 0..10 {
        let jobs = (0..20).map(|n| NewJob::new(name("cold"), name("default"), large(batch * 20 + n, 0))).collect();
        seqs.extend(enqueue(&cluster, 0, jobs).await);
    }
    let spilled = async |rows: usize| {
        let state = &cluster.group(group).unwrap().shared.state;
        while state.read().spilled_rows() < rows {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), spilled(150)).await.expect("payloads move to disk");
    for step in [7, 1, 3] {
        for (n, seq) in seqs.iter().enumerate().step_by(step) {
            assert_eq!(read(&cluster, group, *seq).await, (Some(large(n as u64, 0)), None));
        }
    }

    let mut left = seqs.len();
    while left > 0 {
        let delivery = lease(&cluster, "cold", 40).await;
        let mut acks = Vec::new();
        for (leased, payload) in &delivery.jobs {
            let n = seqs.iter().position(|seq| *seq == leased.seq).unwrap() as u64;
            assert_eq!(payload, &large(n, 0));
            acks.push(Ack { seq: leased.seq, token: leased.token, result: Some(large(n, 1)) });
        }
        left -= acks.len();
        let envelope = Envelope::plain(Command::Ack(acks));
        cluster.propose(group, &envelope, Repeat::Safe, soon()).await.unwrap();
    }
    tokio::time::timeout(Duration::from_secs(10), spilled(350)).await.expect("results move to disk");
    for (n, seq) in seqs.iter().enumerate().rev() {
        assert_eq!(read(&cluster, group, *seq).await, (Some(large(n as u64, 0)), Some(large(n as u64, 1))));
    }
    embedded.stop_node(0).await;
}
