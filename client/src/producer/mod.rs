//! Enqueues at volume: many tasks, one stream, batches that form by themselves.
//!
//! ```text
//!   enqueue ─┐                 ┌─ whatever waits, up to 1,000 jobs / 4 MiB, is one batch
//!   enqueue ─┼─► bounded room ─┤
//!   enqueue ─┘                 └─► up to `in_flight` batches under way ──► any node
//! ```
//!
//! Nobody waits for a timer: while the pipe is free a job leaves at once, and while it is full the
//! next batch grows. Each batch has an idempotency key of its own, under which it is sent again if
//! the connection breaks, to another node too: nothing is made twice.

mod batch;
mod pump;
mod session;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bravo_api::{Code, Refusal};
use prost::Message;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use crate::{Client, Enqueued, Error, NewJob, limits};
use batch::Entry;

/// What one unit of room holds.
const ROOM_UNIT: usize = 256;
/// Memory that a waiting job takes beside its content.
const JOB_OVERHEAD: usize = 512;

/// Says how a producer batches.
#[derive(Clone)]
pub struct ProducerBuilder {
    client: Client,
    options: Options,
    buffer_bytes: usize,
}

#[derive(Clone, Copy, Debug)]
struct Options {
    in_flight: usize,
    batch_jobs: usize,
    batch_bytes: usize,
    deadline: Duration,
    patience: Duration,
}

impl ProducerBuilder {
    pub(crate) fn new(client: Client) -> Self {
        let options = Options {
            in_flight: 8,
            batch_jobs: limits::ENQUEUE_JOBS_MAX,
            batch_bytes: limits::ENQUEUE_BYTES_MAX / 2,
            deadline: client.deadline(),
            patience: client.patience(),
        };
        Self { client, options, buffer_bytes: 64 << 20 }
    }

    /// Batches under way at once; 8 unless set.
    pub fn in_flight(mut self, batches: usize) -> Self {
        self.options.in_flight = batches.max(1);
        self
    }

    /// Jobs of one batch; 1,000 unless set, which is the most there can be.
    pub fn batch_jobs(mut self, jobs: usize) -> Self {
        self.options.batch_jobs = jobs.clamp(1, limits::ENQUEUE_JOBS_MAX);
        self
    }

    /// Memory of jobs that wait or are under way, beyond which enqueues wait; 64 MiB unless set.
    pub fn buffer_bytes(mut self, bytes: usize) -> Self {
        self.buffer_bytes = bytes;
        self
    }

    /// How long a job may take to be acknowledged, with everything that is tried again; the
    /// client's deadline unless set.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.options.deadline = deadline;
        self
    }

    /// The producer; must be called on a tokio runtime.
    pub fn build(self) -> Producer {
        let (inbox, entries) = mpsc::unbounded_channel();
        let most = u32::try_from((self.buffer_bytes / ROOM_UNIT).max(1)).unwrap_or(u32::MAX);
        tokio::spawn(pump::Pump::new(self.client.nodes.clone(), self.options, entries).run());
        Producer { inbox, room: Arc::new(Semaphore::new(most as usize)), most, options: self.options }
    }
}

/// Enqueues at volume; cheap to clone. When the last clone is dropped, what is under way is finished.
#[derive(Clone)]
pub struct Producer {
    inbox: mpsc::UnboundedSender<Entry>,
    /// Bounds what waits and what is under way, by memory.
    room: Arc<Semaphore>,
    most: u32,
    options: Options,
}

impl Producer {
    /// Enqueues a job; returns when it is durable. Waits first where there is no room.
    pub async fn enqueue(&self, job: NewJob) -> Result<Enqueued, Error> {
        let jobs = self.submit(vec![job]).await?.await?;
        jobs.into_iter().next().ok_or_else(|| Error::Broken("an empty answer".into()))
    }

    /// Enqueues any number of jobs, in batches; returns when all are durable. After an error some
    /// of them may be.
    pub async fn enqueue_many(&self, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>, Error> {
        let mut enqueued = Vec::with_capacity(jobs.len());
        let mut pending = Vec::new();
        let (mut chunk, mut bytes) = (Vec::new(), 0);
        for job in jobs {
            let size = job.0.encoded_len();
            if chunk.len() == self.options.batch_jobs || (bytes + size > self.options.batch_bytes && !chunk.is_empty())
            {
                pending.push(self.submit(std::mem::take(&mut chunk)).await?);
                bytes = 0;
            }
            bytes += size;
            chunk.push(job);
        }
        if !chunk.is_empty() {
            pending.push(self.submit(chunk).await?);
        }
        for pending in pending {
            enqueued.extend(pending.await?);
        }
        Ok(enqueued)
    }

    /// Hands over the jobs of at most one batch, which stay together; waits for room only. What
    /// becomes of them is told by [`Pending`].
    pub async fn submit(&self, jobs: Vec<NewJob>) -> Result<Pending, Error> {
        let sizes = jobs.iter().map(|job| job.0.encoded_len());
        let bytes: usize = sizes.sum();
        if jobs.is_empty() || jobs.len() > self.options.batch_jobs {
            let detail = format!("jobs: 1 to {}, these are {}", self.options.batch_jobs, jobs.len());
            return Err(Error::Refused(Refusal::new(Code::InvalidArgument, detail)));
        }
        if bytes > self.options.batch_bytes {
            let detail = format!("jobs: {bytes} bytes, at most {} go together", self.options.batch_bytes);
            return Err(Error::Refused(Refusal::new(Code::PayloadTooLarge, detail)));
        }
        let units = (bytes + jobs.len() * JOB_OVERHEAD) / ROOM_UNIT;
        let units = u32::try_from(units).unwrap_or(u32::MAX).clamp(1, self.most);
        let room = self.room.clone().acquire_many_owned(units).await.map_err(|_| Error::Stopped)?;
        let (reply, answer) = oneshot::channel();
        let jobs = jobs.into_iter().map(Into::into).collect();
        let entry = Entry { jobs, bytes, end: Instant::now() + self.options.deadline, reply, _room: room };
        self.inbox.send(entry).map_err(|_| Error::Stopped)?;
        Ok(Pending(answer))
    }
}

/// What becomes of submitted jobs: a future. Dropping it does not take them back.
#[derive(Debug)]
pub struct Pending(oneshot::Receiver<Result<Vec<Enqueued>, Error>>);

impl Future for Pending {
    type Output = Result<Vec<Enqueued>, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|answer| answer.unwrap_or(Err(Error::Stopped)))
    }
}
