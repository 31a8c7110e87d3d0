//! Producers and workers that go on through faults.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rand::Rng;
use rand::seq::IndexedRandom;
use tokio::task::JoinSet;

use super::history::{End, Leased};
use super::recorder::{Recorder, Task};

/// Repetitions of a call whose outcome is unknown.
const REPEATS: usize = 30;

/// How much is done at a time.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Clients that enqueue.
    pub producers: usize,
    /// Clients that work jobs off.
    pub workers: usize,
    /// Further bytes of each payload.
    pub padding: usize,
    /// Pause of a producer after each job.
    pub pause: Duration,
    /// Length of leases.
    pub lease_ms: u64,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self { producers: 4, workers: 3, padding: 100, pause: Duration::from_millis(10), lease_ms: 2_000 }
    }
}

/// Clients at work until they are stopped.
pub struct Load {
    stop: Arc<AtomicBool>,
    clients: JoinSet<()>,
}

struct Client {
    recorder: Recorder,
    nodes: Vec<SocketAddr>,
    options: LoadOptions,
    stop: Arc<AtomicBool>,
}

impl Load {
    /// Starts the clients.
    pub fn start(recorder: &Recorder, nodes: &[SocketAddr], options: &LoadOptions) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let numbers = Arc::new(AtomicU64::new(0));
        let mut clients = JoinSet::new();
        let client = || Client {
            recorder: recorder.clone(),
            nodes: nodes.to_vec(),
            options: options.clone(),
            stop: stop.clone(),
        };
        for _ in 0..options.producers {
            clients.spawn(client().produce(numbers.clone()));
        }
        for number in 0..options.workers {
            clients.spawn(client().work(format!("w{number}")));
        }
        Self { stop, clients }
    }

    /// Stops the clients; each ends the call that it is in.
    pub async fn stop(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.clients.join_next().await {
            if let Err(error) = ended {
                std::panic::resume_unwind(error.into_panic());
            }
        }
    }
}

impl Client {
    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn any_node(&self) -> SocketAddr {
        *self.nodes.choose(&mut rand::rng()).expect("a node")
    }

    async fn produce(self, numbers: Arc<AtomicU64>) {
        while !self.is_stopped() {
            let number = numbers.fetch_add(1, Ordering::Relaxed);
            let tag = format!("t{number}");
            // Every tenth has a delay, every third a unique key that its repetitions share.
            let task = Task {
                key: Some(format!("k-{tag}")),
                unique: number.is_multiple_of(3).then(|| format!("u-{tag}")),
                delay_ms: if number.is_multiple_of(10) { 500 } else { 0 },
                padding: self.options.padding,
                tag,
            };
            for _ in 0..REPEATS {
                match self.recorder.enqueue(self.any_node(), &task).await {
                    End::Ok(_) | End::Failed(_) => break,
                    _ if self.is_stopped() => break,
                    _ => tokio::time::sleep(Duration::from_millis(100)).await,
                }
            }
            tokio::time::sleep(self.options.pause).await;
        }
    }

    async fn work(self, name: String) {
        while !self.is_stopped() {
            let node = self.any_node();
            let jobs = self.recorder.lease(node, &name, 8, 300, self.options.lease_ms).await;
            if jobs.is_empty() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            for job in &jobs {
                self.finish(job).await;
            }
        }
    }

    /// Mostly acks; now and then gives back, prolongs, or forgets the job.
    async fn finish(&self, job: &Leased) {
        let chance = rand::rng().random_range(0..100);
        match chance {
            0..3 => return,
            3..6 => {
                self.recorder.nack(self.any_node(), job, 20).await;
                return;
            }
            6..12 => {
                self.recorder.extend(self.any_node(), job, self.options.lease_ms).await;
            }
            _ => {}
        }
        let result = format!("{}#{}", job.id, job.token);
        for _ in 0..3 {
            if !matches!(self.recorder.ack(self.any_node(), job, &result).await, End::Unknown(_)) {
                return;
            }
        }
    }
}
