//! Load over the client library: streams, batches that form by themselves, credits.

use std::sync::Arc;
use std::time::Duration;

use bravo_client::{Client, Error, JobContext, NewJob, Output, Producer, Summary, Worker};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::payload::Payload;
use super::plan::Plan;
use super::record::Record;
use crate::exit::Failure;
use crate::global::Global;

/// Jobs of one call while preloading.
const PRELOAD_BATCH: u64 = 1_000;
/// Such calls under way at once.
const PRELOADING: usize = 8;
const AFTER_ERROR: Duration = Duration::from_millis(20);

/// Clients, each bound to one of the servers as long as it answers.
pub(super) fn clients(plan: &Plan, global: &Global) -> Result<Vec<Client>, Failure> {
    let servers = global.servers.iter().cycle().take(plan.connections);
    let client = |url: &String| Global { servers: vec![url.clone()], ..global.clone() }.client();
    servers.map(client).collect()
}

/// Starts the producers.
pub(super) fn produce(plan: &Arc<Plan>, clients: &[Client], record: &Arc<Record>, tasks: &mut JoinSet<()>) {
    let producers: Vec<Producer> = clients.iter().map(Client::producer).collect();
    for producer in producers.iter().cycle().take(plan.producers) {
        tasks.spawn(producing(plan.clone(), producer.clone(), record.clone()));
    }
}

async fn producing(plan: Arc<Plan>, producer: Producer, record: Arc<Record>) {
    let full = || plan.works() && record.open() >= plan.open_max;
    while let Some(due_us) = record.starter().next(full).await {
        let job = NewJob::new(&plan.queue).json_text(record.payload(due_us));
        let taken = match plan.batch {
            1 => producer.enqueue(job).await.map(|_| 1),
            batch => producer.enqueue_many(vec![job; batch]).await.map(|jobs| jobs.len() as u64),
        };
        match taken {
            Ok(jobs) => record.enqueued(due_us, jobs),
            Err(error) => {
                record.failed(&code(&error));
                tokio::time::sleep(AFTER_ERROR).await;
            }
        }
    }
}

/// Starts the workers: one per client, or with batches as many as asked for.
pub(super) fn work(
    plan: &Arc<Plan>,
    clients: &[Client],
    record: &Arc<Record>,
    stop: &CancellationToken,
) -> JoinSet<Result<Summary, Error>> {
    let mut tasks = JoinSet::new();
    let (workers, credits) = match plan.batch {
        1 => (clients.len().min(plan.workers), plan.workers.div_ceil(clients.len())),
        batch => (plan.workers, batch),
    };
    for client in clients.iter().cycle().take(workers) {
        let (record, stop) = (record.clone(), stop.clone());
        let worker = Worker::builder(client, [plan.queue.clone()]).concurrency(credits).grace(Duration::from_secs(5));
        let handler = move |job: JobContext| {
            record.delivered(job.payload());
            record.finished(1);
            std::future::ready(Ok(Output::none()))
        };
        tasks.spawn(async move { worker.run(handler, stop.cancelled()).await });
    }
    tasks
}

/// Enqueues jobs that only take up room.
pub(super) async fn preload(plan: &Plan, client: &Client) -> Result<(), Error> {
    let producer = client.producer();
    let payload = Payload::new(!plan.run, plan.payload);
    let mut calls = JoinSet::new();
    for first in (0..plan.preload).step_by(PRELOAD_BATCH as usize) {
        if calls.len() == PRELOADING
            && let Some(ended) = calls.join_next().await
        {
            ended.map_err(|_| Error::Stopped)??;
        }
        let jobs = (plan.preload - first).min(PRELOAD_BATCH);
        let job = NewJob::new(&plan.queue).priority(0).json_text(payload.at(0));
        let producer = producer.clone();
        calls.spawn(async move { producer.enqueue_many(vec![job; jobs as usize]).await.map(drop) });
    }
    while let Some(ended) = calls.join_next().await {
        ended.map_err(|_| Error::Stopped)??;
    }
    Ok(())
}

fn code(error: &Error) -> String {
    match (error.code(), error) {
        (Some(code), _) => code.to_string(),
        (None, Error::Unreachable(_)) => "unreachable".into(),
        (None, Error::TimedOut(_)) => "timed_out".into(),
        (None, Error::Broken(_)) => "broken".into(),
        (None, _) => "failed".into(),
    }
}
