//! The producer against played nodes: batches, pipelining, the same key again, another node.

mod fake;

use std::time::Duration;

use bravo_client::{Code, Error, NewJob, Producer};
use fake::{Node, PATIENCE, client, within};
use tokio::task::JoinSet;

fn job(number: usize) -> NewJob {
    NewJob::new("q").json_text(number.to_string())
}

fn spawn_enqueues(producer: &Producer, count: usize) -> JoinSet<(usize, Result<String, Error>)> {
    let mut tasks = JoinSet::new();
    for number in 0..count {
        let producer = producer.clone();
        tasks.spawn(async move { (number, producer.enqueue(job(number)).await.map(|job| job.id.to_string())) });
    }
    tasks
}

async fn all_ok(tasks: JoinSet<(usize, Result<String, Error>)>) {
    for (number, result) in within(tasks.join_all()).await {
        assert_eq!(result.as_deref(), Ok(&*number.to_string()), "each caller gets the answer to its own job");
    }
}

#[tokio::test]
async fn what_waits_goes_as_one_message_and_batches_are_pipelined() {
    let mut node = Node::start().await;
    let producer = client(&[&node]).producer_builder().in_flight(2).build();
    let tasks = spawn_enqueues(&producer, 3_000);
    let mut stream = node.enqueue_stream().await;
    let (first, second) = (stream.batch().await, stream.batch().await);
    assert!(first.jobs.len() <= 1_000 && second.jobs.len() <= 1_000);
    assert_ne!(first.idempotency_key, second.idempotency_key);
    // Two are under way: the third comes only after an answer, and has grown meanwhile.
    let third = tokio::time::timeout(Duration::from_millis(200), stream.batch()).await;
    assert!(third.is_err(), "no more than in_flight");
    stream.accept(&second);
    let third = stream.batch().await;
    assert_eq!(third.jobs.len(), 1_000);
    stream.accept(&third);
    stream.accept(&first);
    let mut left = 3_000 - first.jobs.len() - second.jobs.len() - third.jobs.len();
    while left > 0 {
        let batch = stream.batch().await;
        left -= batch.jobs.len();
        stream.accept(&batch);
    }
    all_ok(tasks).await;
}

#[tokio::test]
async fn new_batches_go_under_the_key_prefix_that_the_node_recommends() {
    let mut node = Node::start().await;
    let producer = client(&[&node]).producer();
    let mut stream = {
        let first = tokio::spawn({
            let producer = producer.clone();
            async move { producer.enqueue(job(0)).await }
        });
        let mut stream = node.enqueue_stream().await;
        let batch = stream.batch().await;
        assert!(batch.key_kept_ms > 0 && batch.key_kept_ms < 3_600_000, "kept for {} ms", batch.key_kept_ms);
        stream.recommend("there");
        stream.accept(&batch);
        within(first).await.unwrap().unwrap();
        stream
    };
    let second = tokio::spawn(async move { producer.enqueue(job(1)).await });
    let batch = stream.batch().await;
    assert!(batch.idempotency_key.starts_with("there/"), "{}", batch.idempotency_key);
    stream.accept(&batch);
    within(second).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_broken_stream_is_repeated_on_another_node_under_the_same_key() {
    let (mut a, mut b) = (Node::start().await, Node::start().await);
    let client = bravo_client::Client::builder().server(&a.url).api_key("secret").deadline(PATIENCE);
    a.shared.members.lock().extend([a.address(), b.address()]);
    let producer = client.build().unwrap().producer();
    let tasks = spawn_enqueues(&producer, 10);
    let mut stream = a.enqueue_stream().await;
    let lost = stream.batch().await;
    // The other node was learned from this one.
    tokio::time::sleep(Duration::from_millis(200)).await;
    a.stop();
    drop(stream);
    let mut stream = b.enqueue_stream().await;
    let mut left = 10;
    let mut repeated = false;
    while left > 0 {
        let batch = stream.batch().await;
        if batch.idempotency_key == lost.idempotency_key {
            assert_eq!(batch.jobs, lost.jobs);
            repeated = true;
        }
        left -= batch.jobs.len();
        stream.accept(&batch);
    }
    assert!(repeated);
    all_ok(tasks).await;
}

#[tokio::test]
async fn an_unknown_outcome_is_repeated_under_the_same_key() {
    let mut node = Node::start().await;
    let producer = client(&[&node]).producer();
    let tasks = spawn_enqueues(&producer, 1);
    let mut stream = node.enqueue_stream().await;
    let first = stream.batch().await;
    stream.refuse(&first, "no_leader");
    let second = stream.batch().await;
    assert_eq!((&second.idempotency_key, &second.jobs), (&first.idempotency_key, &first.jobs));
    stream.refuse(&second, "shed");
    let third = stream.batch().await;
    assert_eq!(third.idempotency_key, first.idempotency_key);
    stream.accept(&third);
    all_ok(tasks).await;
}

#[tokio::test]
async fn one_refused_job_does_not_take_the_others_with_it() {
    let mut node = Node::start().await;
    let producer = client(&[&node]).producer_builder().in_flight(1).build();
    let tasks = spawn_enqueues(&producer, 50);
    let mut stream = node.enqueue_stream().await;
    let is_bad = |job: &bravo_client::proto::NewJob| job.payload.as_ref().unwrap().data == "7";
    let mut accepted = 0;
    let mut keys = std::collections::HashSet::new();
    while accepted < 49 {
        let batch = stream.batch().await;
        assert!(keys.insert(batch.idempotency_key.clone()), "a refused batch is split under new keys");
        if batch.jobs.iter().any(is_bad) {
            stream.refuse(&batch, "queue_full");
        } else {
            accepted += batch.jobs.len();
            stream.accept(&batch);
        }
        if batch.jobs.len() == 1 && is_bad(&batch.jobs[0]) {
            continue;
        }
    }
    for (number, result) in within(tasks_left(tasks, &mut stream)).await {
        let code = result.as_ref().err().and_then(Error::code);
        assert_eq!(code, (number == 7).then_some(Code::QueueFull), "{number}: {result:?}");
    }
}

/// Answers what may still come while the callers are waited for.
async fn tasks_left(
    tasks: JoinSet<(usize, Result<String, Error>)>,
    stream: &mut fake::EnqueueEnd,
) -> Vec<(usize, Result<String, Error>)> {
    let mut all = std::pin::pin!(tasks.join_all());
    loop {
        tokio::select! {
            results = &mut all => return results,
            batch = stream.batch() => stream.refuse(&batch, "queue_full"),
        }
    }
}

#[tokio::test]
async fn a_full_buffer_makes_callers_wait() {
    let mut node = Node::start().await;
    let producer = client(&[&node]).producer_builder().buffer_bytes(4_096).build();
    let tasks = spawn_enqueues(&producer, 100);
    let mut stream = node.enqueue_stream().await;
    let mut seen = 0;
    while seen < 100 {
        let batch = stream.batch().await;
        assert!(batch.jobs.len() <= 8, "4,096 bytes hold eight jobs of 512, not {}", batch.jobs.len());
        seen += batch.jobs.len();
        stream.accept(&batch);
    }
    all_ok(tasks).await;
}

#[tokio::test]
async fn many_jobs_of_one_caller_stay_in_order() {
    let mut node = Node::start().await;
    let producer = client(&[&node]).producer();
    let task = tokio::spawn(async move { producer.enqueue_many((0..2_500).map(job).collect()).await });
    let mut stream = node.enqueue_stream().await;
    let mut seen = 0;
    while seen < 2_500 {
        let batch = stream.batch().await;
        seen += batch.jobs.len();
        stream.accept(&batch);
    }
    let jobs = within(task).await.unwrap().unwrap();
    assert!(jobs.iter().enumerate().all(|(number, job)| job.id.as_str() == number.to_string()));
}

#[tokio::test]
async fn the_deadline_ends_the_wait() {
    let mut node = Node::start().await;
    let producer = client(&[&node]).producer_builder().deadline(Duration::from_millis(300)).build();
    let tasks = spawn_enqueues(&producer, 1);
    let mut stream = node.enqueue_stream().await;
    stream.batch().await;
    let (_, result) = within(tasks.join_all()).await.remove(0);
    let error = result.unwrap_err();
    assert!(matches!(error, Error::TimedOut(_)) && error.outcome_unknown(), "{error:?}");
}

#[tokio::test]
async fn without_a_node_nothing_was_sent() {
    let node = Node::start().await;
    node.stop();
    let builder = bravo_client::Client::builder().server(&node.url).patience(Duration::from_millis(300));
    let client = builder.build().unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let error = within(client.producer().enqueue(job(1))).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable(_)) && !error.outcome_unknown(), "{error:?}");
    let error = within(client.job("j0-1")).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable(_)), "{error:?}");
}
