//! The worker runtime against played nodes.

#![allow(clippy::unwrap_used)]

mod fake;

use std::sync::Arc;
use std::time::Duration;

use bravo_api::proto;
use bravo_api::proto::work_request::Message as Request;
use bravo_api::proto::work_response::Message as Response;
use bravo_client::{Error, Failure, JobContext, Output, Summary, Worker, WorkerBuilder};
use fake::{Node, WorkEnd, client, job, within};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

struct Running {
    stop: CancellationToken,
    task: JoinHandle<Result<Summary, Error>>,
}

impl Running {
    async fn summary(self) -> Summary {
        within(self.task).await.unwrap().unwrap()
    }
}

fn start<F, R>(builder: WorkerBuilder, handler: F) -> Running
where
    F: Fn(JobContext) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Output, Failure>> + Send + 'static,
{
    let stop = CancellationToken::new();
    let task = tokio::spawn(builder.run(handler, stop.clone().cancelled_owned()));
    Running { stop, task }
}

/// Plays the end of a worker: everything is confirmed, and the stream ends when the worker wants it.
async fn see_off(mut stream: WorkEnd) {
    loop {
        match stream.next().await {
            Some(Request::Stop(_)) => stream.send(Response::Stopped(proto::Stopped {})),
            Some(Request::Ack(batch)) => stream.results(batch.sequence, &vec![""; batch.acks.len()]),
            Some(Request::Nack(batch)) => stream.results(batch.sequence, &vec![""; batch.nacks.len()]),
            Some(Request::Extend(batch)) => stream.results(batch.sequence, &vec![""; batch.leases.len()]),
            Some(_) => (),
            None => return,
        }
    }
}

#[tokio::test]
async fn jobs_are_worked_on_and_acks_are_batched() {
    let mut node = Node::start().await;
    let gate = Arc::new(Semaphore::new(0));
    let open = gate.clone();
    let builder = Worker::builder(&client(&[&node]), ["q"]).concurrency(100).worker_id("w").lease_ms(30_000);
    let running = start(builder, move |job| {
        let gate = gate.clone();
        async move {
            let _pass = gate.acquire().await?;
            Ok(Output::json(&format!("done {}", job.json::<u64>()?))?)
        }
    });
    let mut stream = node.work_stream().await;
    let hello = stream.hello().await;
    assert_eq!((hello.worker_id.as_str(), hello.capacity, hello.lease_ms), ("w", 100, Some(30_000)));
    assert_eq!(hello.queues, ["q"]);
    assert_eq!(stream.credit().await, 100);
    stream.push((0..100).map(|number| job(number, 30_000)).collect());
    tokio::time::sleep(Duration::from_millis(200)).await;
    open.add_permits(100);
    let (mut acked, mut messages, mut credits) = (0, 0, 0);
    while acked < 100 || credits < 100 {
        match stream.next().await {
            Some(Request::Ack(batch)) => {
                messages += 1;
                acked += batch.acks.len();
                let text = String::from_utf8(batch.acks[0].result.clone().unwrap().data.to_vec()).unwrap();
                assert_eq!(text, format!("\"done {}\"", &batch.acks[0].id[3..]));
                stream.results(batch.sequence, &vec![""; batch.acks.len()]);
            }
            Some(Request::Credit(credit)) => credits += credit.n,
            other => panic!("{other:?}"),
        }
    }
    assert!(messages < 50, "100 acks took {messages} messages");
    running.stop.cancel();
    see_off(stream).await;
    assert_eq!(running.summary().await, Summary { acked: 100, ..Summary::default() });
}

#[tokio::test]
async fn failures_and_panics_are_nacked() {
    let mut node = Node::start().await;
    let builder = Worker::builder(&client(&[&node]), ["q"]).concurrency(3);
    let running = start(builder, |job| async move {
        match job.id() {
            "j0-1" => Err(Failure::new("no luck").retry_in(Duration::from_secs(1))),
            "j0-2" => panic!("oh dear"),
            _ => Err(Failure::new("hopeless").dead()),
        }
    });
    let mut stream = node.work_stream().await;
    stream.hello().await;
    stream.push((1..=3).map(|number| job(number, 30_000)).collect());
    let mut nacks = Vec::new();
    while nacks.len() < 3 {
        let batch = stream.nacks().await;
        stream.results(batch.sequence, &vec![""; batch.nacks.len()]);
        nacks.extend(batch.nacks);
    }
    nacks.sort_by(|a, b| a.id.cmp(&b.id));
    assert_eq!((nacks[0].error.as_deref(), nacks[0].retry_in_ms), (Some("no luck"), Some(1_000)));
    assert_eq!(nacks[1].error.as_deref(), Some("the handler panicked: oh dear"));
    assert!(nacks[2].dead && !nacks[1].dead);
    running.stop.cancel();
    see_off(stream).await;
    assert_eq!(running.summary().await.nacked, 3);
}

#[tokio::test]
async fn held_jobs_are_extended_in_one_message_with_their_progress() {
    let mut node = Node::start().await;
    let builder = Worker::builder(&client(&[&node]), ["q"]).concurrency(10);
    let running = start(builder, |job| async move {
        job.progress(&42)?;
        job.cancelled().await;
        Err(Failure::new("cancelled"))
    });
    let mut stream = node.work_stream().await;
    stream.hello().await;
    stream.push((0..10).map(|number| job(number, 900)).collect());
    let start = std::time::Instant::now();
    for _ in 0..4 {
        let batch = stream.extends().await;
        assert_eq!(batch.leases.len(), 10);
        stream.results(batch.sequence, &[""; 10]);
        if start.elapsed() < Duration::from_millis(350) {
            assert!(batch.leases.iter().all(|lease| lease.progress == "42"));
        }
    }
    assert!(start.elapsed() >= Duration::from_millis(900), "a third of the lease apart: {:?}", start.elapsed());
    // One cancel comes at once, one with a heartbeat; the lease of a third is lost.
    let lease = |number: u64| proto::HeldLease { id: format!("j0-{number}"), lease_token: 10 + number };
    stream.send(Response::CancelRequested(proto::CancelRequested { leases: vec![lease(1)] }));
    let batch = stream.nacks().await;
    assert_eq!(batch.nacks[0].id, "j0-1");
    stream.results(batch.sequence, &[""]);
    let batch = stream.extends().await;
    let results = batch.leases.iter().map(|lease| proto::ItemResult {
        cancel_requested: lease.id == "j0-2",
        code: if lease.id == "j0-3" { "lease_lost".into() } else { String::new() },
        ..Default::default()
    });
    let results = results.collect();
    stream.send(Response::Results(proto::Results { sequence: batch.sequence, results }));
    let batch = stream.nacks().await;
    assert_eq!(batch.nacks.len(), 1, "nothing is told of a lost lease");
    assert_eq!(batch.nacks[0].id, "j0-2");
    stream.results(batch.sequence, &[""]);
    running.task.abort();
}

#[tokio::test]
async fn without_answers_a_lease_ends_by_the_workers_clock() {
    let mut node = Node::start().await;
    let (ended, end) = oneshot::channel();
    let ended = Arc::new(parking_lot::Mutex::new(Some(ended)));
    let running = start(Worker::builder(&client(&[&node]), ["q"]), move |job| {
        let ended = ended.clone();
        async move {
            job.cancelled().await;
            if let Some(ended) = ended.lock().take() {
                let _ = ended.send(());
            }
            Ok(Output::none())
        }
    });
    let mut stream = node.work_stream().await;
    stream.hello().await;
    stream.push(vec![job(1, 600)]);
    let start = std::time::Instant::now();
    within(end).await.unwrap();
    assert!((550..1_200).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
    running.task.abort();
}

#[tokio::test]
async fn a_lost_stream_is_mended_and_what_is_held_goes_on() {
    let (mut a, mut b) = (Node::start().await, Node::start().await);
    let gate = Arc::new(Semaphore::new(1));
    let open = gate.clone();
    let only_a = bravo_client::Client::builder().server(&a.url).server(&b.url);
    let builder = Worker::builder(&only_a.discover(false).build().unwrap(), ["q"]).concurrency(2).worker_id("w");
    let running = start(builder, move |_| {
        let gate = gate.clone();
        async move {
            gate.acquire().await?.forget();
            Ok(Output::none())
        }
    });
    let (mut stream, on_a) = tokio::select! {
        stream = a.work_stream() => (stream, true),
        stream = b.work_stream() => (stream, false),
    };
    stream.hello().await;
    stream.push(vec![job(1, 2_000), job(2, 2_000)]);
    // One is done, and its ack gets no answer before the node goes.
    let lost = stream.acks().await;
    stream.send(Response::GoAway(proto::GoAway { reason: "drains".into() }));
    let mut stream = if on_a { b.work_stream().await } else { a.work_stream().await };
    let hello = stream.hello().await;
    assert_eq!((hello.worker_id.as_str(), hello.in_flight), ("w", 2));
    let again = stream.acks().await;
    assert_eq!(again.acks, lost.acks);
    stream.results(again.sequence, &[""]);
    let held = stream.extends().await;
    assert!(held.leases.iter().any(|lease| lease.id != again.acks[0].id), "the other one is prolonged here");
    stream.results(held.sequence, &vec![""; held.leases.len()]);
    open.add_permits(1);
    running.stop.cancel();
    see_off(stream).await;
    assert_eq!(running.summary().await, Summary { acked: 2, ..Summary::default() });
}

#[tokio::test]
async fn an_ack_that_the_daemon_cannot_take_now_is_repeated() {
    let mut node = Node::start().await;
    let running = start(Worker::builder(&client(&[&node]), ["q"]), |_| async { Ok(Output::none()) });
    let mut stream = node.work_stream().await;
    stream.hello().await;
    stream.push(vec![job(1, 30_000)]);
    let first = stream.acks().await;
    stream.results(first.sequence, &["no_leader"]);
    let second = stream.acks().await;
    assert_eq!(second.acks, first.acks);
    stream.results(second.sequence, &["lease_lost"]);
    running.stop.cancel();
    see_off(stream).await;
    assert_eq!(running.summary().await, Summary { lost: 1, ..Summary::default() });
}

#[tokio::test]
async fn a_worker_says_what_it_is_and_takes_ten_jobs_at_a_time_unless_told_otherwise() {
    let mut node = Node::start().await;
    let builder = Worker::builder(&client(&[&node]), ["q"]).label("gpu", "yes").label("zone", "a").weight(3);
    let running = start(builder, |_| async { Ok(Output::none()) });
    let mut stream = node.work_stream().await;
    let hello = stream.hello().await;
    let labels: Vec<_> = hello.labels.iter().map(|(label, value)| (label.as_str(), value.as_str())).collect();
    assert_eq!(labels, [("gpu", "yes"), ("zone", "a")]);
    assert_eq!((hello.weight, hello.capacity), (Some(3), 10));
    running.stop.cancel();
    see_off(stream).await;
    assert_eq!(running.summary().await, Summary::default());
}

#[tokio::test]
async fn a_graceful_stop_finishes_what_is_held() {
    let mut node = Node::start().await;
    let gate = Arc::new(Semaphore::new(0));
    let open = gate.clone();
    let running = start(Worker::builder(&client(&[&node]), ["q"]).concurrency(2), move |_| {
        let gate = gate.clone();
        async move {
            gate.acquire().await?.forget();
            Ok(Output::none())
        }
    });
    let mut stream = node.work_stream().await;
    stream.hello().await;
    stream.credit().await;
    stream.push(vec![job(1, 30_000)]);
    running.stop.cancel();
    assert!(matches!(stream.next_but_credit().await, Some(Request::Stop(_))));
    // One more was already on its way.
    stream.push(vec![job(2, 30_000)]);
    stream.send(Response::Stopped(proto::Stopped {}));
    open.add_permits(2);
    see_off(stream).await;
    assert_eq!(running.task.await.unwrap().unwrap(), Summary { acked: 2, ..Summary::default() });
}

/// The stream that comes next, at either node.
async fn first(a: &mut Node, b: &mut Node) -> WorkEnd {
    tokio::select! {
        stream = a.work_stream() => stream,
        stream = b.work_stream() => stream,
    }
}

#[tokio::test]
async fn a_worker_that_stops_says_so_on_the_stream_that_takes_the_place_of_a_lost_one() {
    let (mut a, mut b) = (Node::start().await, Node::start().await);
    let gate = Arc::new(Semaphore::new(0));
    let open = gate.clone();
    let both = bravo_client::Client::builder().server(&a.url).server(&b.url).discover(false).build().unwrap();
    let running = start(Worker::builder(&both, ["q"]), move |_| {
        let gate = gate.clone();
        async move {
            gate.acquire().await?.forget();
            Ok(Output::none())
        }
    });
    let mut stream = first(&mut a, &mut b).await;
    stream.hello().await;
    stream.credit().await;
    stream.push(vec![job(1, 30_000)]);
    running.stop.cancel();
    assert!(matches!(stream.next_but_credit().await, Some(Request::Stop(_))));
    stream.send(Response::GoAway(proto::GoAway { reason: "drains".into() }));
    let mut stream = first(&mut a, &mut b).await;
    assert_eq!(stream.hello().await.in_flight, 1);
    loop {
        match stream.next_but_credit().await {
            Some(Request::Stop(_)) => break,
            Some(Request::Extend(batch)) => stream.results(batch.sequence, &vec![""; batch.leases.len()]),
            other => panic!("{other:?}"),
        }
    }
    stream.send(Response::Stopped(proto::Stopped {}));
    open.add_permits(1);
    see_off(stream).await;
    assert_eq!(running.summary().await, Summary { acked: 1, ..Summary::default() });
}

#[tokio::test]
async fn when_the_grace_is_over_jobs_are_cancelled_and_nacked() {
    let mut node = Node::start().await;
    let builder = Worker::builder(&client(&[&node]), ["q"]).grace(Duration::from_millis(200));
    let running = start(builder, |job| async move {
        job.cancelled().await;
        Err(Failure::new("had to stop"))
    });
    let mut stream = node.work_stream().await;
    stream.hello().await;
    stream.push(vec![job(1, 30_000)]);
    tokio::time::sleep(Duration::from_millis(100)).await;
    running.stop.cancel();
    see_off(stream).await;
    assert_eq!(running.summary().await, Summary { nacked: 1, ..Summary::default() });
}

#[tokio::test]
async fn prefetched_jobs_wait_for_a_slot() {
    let mut node = Node::start().await;
    let builder = Worker::builder(&client(&[&node]), ["q"]).concurrency(1).prefetch(3);
    let (at_once, most) = (Arc::new(std::sync::atomic::AtomicUsize::new(0)), Arc::new(parking_lot::Mutex::new(0)));
    let seen = most.clone();
    let running = start(builder, move |_| {
        let (at_once, most) = (at_once.clone(), most.clone());
        async move {
            use std::sync::atomic::Ordering::SeqCst;
            let now = at_once.fetch_add(1, SeqCst) + 1;
            {
                let mut most = most.lock();
                *most = now.max(*most);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            at_once.fetch_sub(1, SeqCst);
            Ok(Output::none())
        }
    });
    let mut stream = node.work_stream().await;
    stream.hello().await;
    assert_eq!(stream.credit().await, 4);
    stream.push((1..=4).map(|number| job(number, 30_000)).collect());
    running.stop.cancel();
    see_off(stream).await;
    assert_eq!(running.summary().await.acked, 4);
    assert_eq!(*seen.lock(), 1);
}

#[tokio::test]
async fn a_wrong_key_ends_the_worker() {
    let mut node = Node::start().await;
    let running = start(Worker::builder(&client(&[&node]), ["q"]), |_| async { Ok(Output::none()) });
    let stream = node.work_stream().await;
    let refusal = bravo_client::Refusal::new(bravo_client::Code::Unauthenticated, "who?");
    stream.responses.send(Err(bravo_api::problem::status_of(refusal))).unwrap();
    let error = within(running.task).await.unwrap().unwrap_err();
    assert_eq!(error.code(), Some(bravo_client::Code::Unauthenticated));
}

#[tokio::test]
async fn a_step_adds_tasks_to_its_workflow_under_its_lease() {
    let mut node = Node::start().await;
    let cluster = client(&[&node]);
    let builder = Worker::builder(&cluster, ["q"]).worker_id("w").lease_ms(30_000);
    let running = start(builder, move |context| {
        let cluster = cluster.clone();
        async move {
            context.add_tasks(&cluster, &serde_json::json!([{"id": "more", "queue": "q"}])).await?;
            Ok(Output::none())
        }
    });
    let mut stream = node.work_stream().await;
    stream.hello().await;
    stream.push(vec![proto::LeasedJob { workflow_id: Some("w0-1".into()), ..job(1, 30_000) }, job(2, 30_000)]);
    for _ in 0..2 {
        match stream.next_but_credit().await {
            Some(Request::Ack(batch)) => {
                assert_eq!(batch.acks[0].id, "j0-1");
                stream.results(batch.sequence, &[""]);
            }
            Some(Request::Nack(batch)) => {
                assert_eq!(batch.nacks[0].id, "j0-2", "it is no step");
                stream.results(batch.sequence, &[""]);
            }
            other => panic!("{other:?}"),
        }
    }
    {
        let added = node.shared.added.lock();
        assert_eq!(added.len(), 1);
        let one = &added[0];
        assert_eq!((one.id.as_str(), one.job_id.as_str(), one.lease_token), ("w0-1", "j0-1", 11));
        assert_eq!(one.tasks, r#"[{"id":"more","queue":"q"}]"#);
    }
    running.stop.cancel();
    see_off(stream).await;
    let summary = running.summary().await;
    assert_eq!((summary.acked, summary.nacked), (1, 1));
}
