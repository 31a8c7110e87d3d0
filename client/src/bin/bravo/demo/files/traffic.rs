//! The jobs: one per file and round, from one producer to several workers.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bravo_client::{Client, Failure, NewJob, Output, Summary, Worker};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::walk::File;
use super::stats::Stats;
use super::work::{Order, work};
use crate::demo::client;

/// The queue of the files.
pub(super) const QUEUE: &str = "files";
/// Enqueues that are awaited at a time.
const SENDING_MAX: usize = 32;
/// Jobs that wait or run; more would measure the length of the queue.
const OPEN_MAX: u64 = 200;
/// Jobs a second at most, so that work arrives all through the fault however fast it is done.
const PER_SECOND_MAX: f64 = 1_000.0;
/// Jobs of one worker at a time.
const CONCURRENCY: usize = 2;
/// How soon a job is given to another worker when its lease went lost with a node.
const LEASE: Duration = Duration::from_secs(5);

/// A job that was enqueued.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    /// Index of its file.
    pub(super) file: usize,
    /// Its id.
    pub(super) id: String,
}

/// Enqueues round after round, each file once a round, until it is told to stop between two rounds
/// or as many rounds are done as are wanted.
pub(super) async fn produce(
    client: Client,
    files: Arc<Vec<File>>,
    stats: Arc<Stats>,
    goes_on: impl Fn(u64) -> bool,
) -> Result<(u64, Vec<Sent>), String> {
    let producer = client.producer();
    let (mut round, mut sent) = (0, Vec::new());
    let mut sending = FuturesUnordered::new();
    while goes_on(round) {
        for (index, file) in files.iter().enumerate() {
            while sending.len() >= SENDING_MAX || (stats.open() >= OPEN_MAX && !sending.is_empty()) {
                sent.extend(sending.next().await.transpose()?);
            }
            while stats.open() >= OPEN_MAX {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            let begun = (round * files.len() as u64 + index as u64) as f64;
            let early = begun / PER_SECOND_MAX - stats.start.elapsed().as_secs_f64();
            if early > 0.002 {
                tokio::time::sleep(Duration::from_secs_f64(early)).await;
            }
            let (producer, stats) = (producer.clone(), stats.clone());
            let (path, bytes) = (file.name(), file.bytes);
            sending.push(async move {
                let sent_us = stats.now_us();
                let key = format!("{round}/{path}");
                let job = NewJob::new(QUEUE).unique_key(key).unique_for(Duration::from_secs(3_600));
                let job = job.json(&Order { path, bytes, sent_us }).map_err(|error| error.to_string())?;
                let enqueued = producer.enqueue(job).await.map_err(|error| format!("enqueue: {error}"))?;
                stats.acknowledged(sent_us);
                Ok::<_, String>(Sent { file: index, id: enqueued.id.into() })
            });
        }
        round += 1;
    }
    while let Some(one) = sending.next().await {
        sent.push(one?);
    }
    Ok((round, sent))
}

/// The workers, each with a connection of its own.
pub(super) struct Workers {
    tasks: JoinSet<Result<Summary, bravo_client::Error>>,
    stop: CancellationToken,
}

impl Workers {
    /// Starts this many, spread over the nodes.
    pub(super) fn start(count: usize, urls: &[String], root: &Path, stats: &Arc<Stats>) -> Result<Self, String> {
        let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
        for (number, url) in urls.iter().cycle().take(count).enumerate() {
            let client = client(std::slice::from_ref(url))?;
            let (root, stats, stop) = (root.to_owned(), stats.clone(), stop.clone());
            tasks.spawn(async move {
                let handler = move |job: bravo_client::JobContext| handle(job, root.clone(), stats.clone());
                Worker::builder(&client, [QUEUE])
                    .worker_id(format!("demo-{}", number + 1))
                    .concurrency(CONCURRENCY)
                    .lease(LEASE)
                    .run(handler, stop.cancelled())
                    .await
            });
        }
        Ok(Self { tasks, stop })
    }

    /// Stops them when they have finished what they hold; what they did together.
    pub(super) async fn stop(mut self) -> Result<Summary, String> {
        self.stop.cancel();
        let mut all = Summary::default();
        while let Some(ended) = self.tasks.join_next().await {
            let one = ended.map_err(|error| format!("worker: {error}"))?.map_err(|error| format!("worker: {error}"))?;
            all.acked += one.acked;
            all.nacked += one.nacked;
            all.lost += one.lost;
            all.unconfirmed += one.unconfirmed;
        }
        Ok(all)
    }
}

async fn handle(job: bravo_client::JobContext, root: PathBuf, stats: Arc<Stats>) -> Result<Output, Failure> {
    let order: Order = job.json()?;
    stats.delivered(order.sent_us, job.attempt() == 1);
    let path = root.join(&order.path);
    let worked = tokio::task::spawn_blocking(move || work(&path)).await?;
    stats.finished();
    // A file that is gone is no failure of the job: another attempt would not find it either.
    let gone = |error: std::io::Error| serde_json::json!({ "unreadable": error.to_string() });
    Ok(match worked {
        Ok(facts) => Output::json(&facts)?,
        Err(error) => Output::json(&gone(error))?,
    })
}

/// Waits until the handlers have finished all that was enqueued.
pub(super) async fn all_done(stats: &Stats, jobs: u64) {
    while stats.done.load(Ordering::Relaxed) < jobs {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
