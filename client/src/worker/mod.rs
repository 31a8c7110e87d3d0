//! The worker runtime: runs a handler per job, keeps its leases, tells how it went.
//!
//! ```text
//!             credit n ──►            jobs ──► handler tasks (at most `concurrency` at once)
//!   Work stream  extend at a third ──►              │
//!             ◄── results, cancel_requested ──► JobContext::cancelled()
//!             ack, nack, whatever is ready ◄────────┘ outcome
//! ```
//!
//! Leases outlive the stream: when it breaks, or the node drains, the runtime opens another one to
//! any node and goes on with what it holds. Acks are repeated until they are answered.

mod context;
mod held;
mod outbox;
mod runtime;
mod session;

use std::collections::BTreeMap;
use std::time::Duration;

pub use context::{Failure, JobContext, Output};

use crate::job::millis;
use crate::{Client, Error};

/// Where to start: [`Worker::builder`].
#[derive(Debug)]
pub struct Worker;

/// Says how a worker works.
#[derive(Clone)]
pub struct WorkerBuilder {
    client: Client,
    config: Config,
}

#[derive(Clone, Debug)]
struct Config {
    queues: Vec<String>,
    worker_id: String,
    agent_type: String,
    labels: BTreeMap<String, String>,
    weight: Option<u32>,
    concurrency: usize,
    prefetch: usize,
    lease_ms: Option<u64>,
    grace: Duration,
}

/// What a worker did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Jobs whose ack was accepted.
    pub acked: u64,
    /// Jobs whose nack was accepted.
    pub nacked: u64,
    /// Jobs whose lease was lost before that.
    pub lost: u64,
    /// Jobs that were finished when the worker left, with no answer to the ack or nack.
    pub unconfirmed: u64,
}

impl Worker {
    /// Starts to say how a worker of these queues works.
    pub fn builder<Q: Into<String>>(client: &Client, queues: impl IntoIterator<Item = Q>) -> WorkerBuilder {
        let random = uuid::Uuid::new_v4().simple().to_string();
        let config = Config {
            queues: queues.into_iter().map(Into::into).collect(),
            worker_id: format!("w-{}-{}", std::process::id(), &random[..8]),
            agent_type: String::new(),
            labels: BTreeMap::new(),
            weight: None,
            concurrency: tasks_at_once(),
            prefetch: 0,
            lease_ms: None,
            grace: Duration::from_secs(30),
        };
        WorkerBuilder { client: client.clone(), config }
    }
}

/// `MAX_CONCURRENT_TASKS`, or 10.
fn tasks_at_once() -> usize {
    let text = std::env::var("MAX_CONCURRENT_TASKS").ok();
    text.and_then(|text| text.trim().parse().ok()).filter(|tasks| *tasks > 0).unwrap_or(10).min(1 << 20)
}

impl WorkerBuilder {
    /// Unique among the workers; made up unless set.
    pub fn worker_id(mut self, id: impl Into<String>) -> Self {
        self.config.worker_id = id.into();
        self
    }

    /// The type that scaling counts it under; each queue's own unless set.
    pub fn agent_type(mut self, agent_type: impl Into<String>) -> Self {
        self.config.agent_type = agent_type.into();
        self
    }

    /// A label: it gets jobs that require it with this value.
    pub fn label(mut self, label: impl Into<String>, value: impl Into<String>) -> Self {
        self.config.labels.insert(label.into(), value.into());
        self
    }

    /// Its weight beside others of its capacity, 1 to 1,000; 1 unless set.
    pub fn weight(mut self, weight: u32) -> Self {
        self.config.weight = Some(weight);
        self
    }

    /// Jobs that are worked on at once; unless set, `MAX_CONCURRENT_TASKS` of the environment, or 10.
    pub fn concurrency(mut self, jobs: usize) -> Self {
        self.config.concurrency = jobs.clamp(1, 1 << 20);
        self
    }

    /// Jobs that are leased beyond that, so that none has to be waited for; 0 unless set. Worth it
    /// for many short jobs; they are leased, and their attempt counts, while they wait.
    pub fn prefetch(mut self, jobs: usize) -> Self {
        self.config.prefetch = jobs.min(1 << 20);
        self
    }

    /// Length of the leases; each queue's own unless set.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.config.lease_ms = Some(millis(lease));
        self
    }

    /// Length of the leases in milliseconds; each queue's own unless set.
    pub fn lease_ms(mut self, ms: u64) -> Self {
        self.config.lease_ms = Some(ms);
        self
    }

    /// How long jobs may go on after `shutdown` before they are cancelled; 30 seconds unless set.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.config.grace = grace;
        self
    }

    /// Works until `shutdown` is ready, and then until what is held is finished (or nacked, when
    /// the grace is over) and confirmed. Broken connections are mended; an error is what no retry
    /// mends, such as a wrong key.
    ///
    /// The handler's error ends the attempt with a nack, and so does a panic.
    pub async fn run<F, R>(self, handler: F, shutdown: impl Future<Output = ()>) -> Result<Summary, Error>
    where
        F: Fn(JobContext) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Output, Failure>> + Send,
    {
        if self.config.queues.is_empty() {
            return Err(Error::Invalid("a worker needs a queue".into()));
        }
        runtime::Runtime::new(self.client.nodes.clone(), self.config, handler).run(shutdown).await
    }
}
