//! Jobs that come at random, whoever answers how fast, and a ledger of what became of each.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bravo_client::proto::jobs_client::JobsClient;
use bravo_client::proto::{EnqueueRequest, Eta, NewJob, Payload, new_job::End};
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint, Error};

const TENANTS: u64 = 40;
const PRIORITIES: u64 = 10;
/// Connections to each node.
const CHANNELS: usize = 4;

/// One job that was offered.
#[derive(Clone, Copy, Default)]
pub(crate) struct Entry {
    pub(crate) priority: usize,
    pub(crate) tenant: usize,
    /// It was let in, with this estimate.
    pub(crate) admitted: Option<Option<Eta>>,
    answered: Option<Instant>,
    /// It was refused early.
    pub(crate) shed: bool,
    started: Option<Instant>,
}

impl Entry {
    /// How long it waited for a worker, from the answer on.
    pub(crate) fn wait(&self) -> Option<Duration> {
        Some(self.started?.saturating_duration_since(self.answered?))
    }
}

/// All jobs of the run, by the number in their payload.
#[derive(Default)]
pub(crate) struct Ledger {
    entries: Mutex<Vec<Entry>>,
    started: AtomicU64,
}

impl Ledger {
    fn note(&self, entry: Entry) -> usize {
        let mut entries = self.entries.lock();
        entries.push(entry);
        entries.len() - 1
    }

    /// A worker got the job with this payload.
    pub(crate) fn started(&self, payload: &[u8]) {
        self.started.fetch_add(1, Ordering::Relaxed);
        let number = std::str::from_utf8(payload).ok().and_then(|text| text.parse::<usize>().ok());
        let mut entries = self.entries.lock();
        if let Some(entry) = number.and_then(|number| entries.get_mut(number)) {
            entry.started.get_or_insert_with(Instant::now);
        }
    }

    /// Jobs that workers got so far.
    pub(crate) fn started_all(&self) -> u64 {
        self.started.load(Ordering::Relaxed)
    }
}

/// Where jobs are offered.
pub(crate) struct Load {
    channels: Vec<Channel>,
    queue: String,
    ledger: Arc<Ledger>,
}

/// What became of the jobs of one load.
pub(crate) struct Round {
    pub(crate) entries: Vec<Entry>,
    pub(crate) failed: u64,
}

impl Load {
    pub(crate) async fn connect(servers: &[String], queue: String, ledger: Arc<Ledger>) -> Result<Self, Error> {
        let mut channels = Vec::new();
        for server in servers.iter().cycle().take(servers.len() * CHANNELS) {
            channels.push(Endpoint::new(server.clone())?.connect().await?);
        }
        Ok(Self { channels, queue, ledger })
    }

    /// Jobs without a deadline.
    pub(crate) async fn fill(&self, mut jobs: usize) -> Result<(), tonic::Status> {
        while jobs > 0 {
            let some = jobs.min(500);
            let request = EnqueueRequest { jobs: vec![self.job("fill"); some], ..EnqueueRequest::default() };
            JobsClient::new(self.channels[0].clone()).enqueue(request).await?;
            jobs -= some;
        }
        Ok(())
    }

    fn job(&self, payload: &str) -> NewJob {
        let json = payload.parse::<u64>().is_ok();
        let payload = Payload { data: payload.to_owned().into_bytes().into(), json };
        NewJob { queue: self.queue.clone(), payload: Some(payload), ..NewJob::default() }
    }

    /// Offers so many jobs a second, and waits until all are over.
    pub(crate) async fn offer(&self, per_second: f64, span: Duration, ttl: Duration) -> Round {
        let (began, first) = (Instant::now(), self.ledger.entries.lock().len());
        let (mut calls, mut failed) = (JoinSet::new(), 0);
        let mut at = 0.0;
        loop {
            at -= (1.0 - rand::random::<f64>()).ln() / per_second;
            let due = began + Duration::from_secs_f64(at);
            if due >= began + span {
                break;
            }
            tokio::time::sleep_until(due.into()).await;
            let (priority, tenant) = (rand::random_range(0..PRIORITIES), rand::random_range(0..TENANTS));
            let entry = Entry { priority: priority as usize, tenant: tenant as usize, ..Entry::default() };
            let number = self.ledger.note(entry);
            let mut job = self.job(&number.to_string());
            (job.priority, job.project_id) = (Some(priority as u32), format!("tenant-{tenant}"));
            job.end = Some(End::TtlMs(ttl.as_millis() as u64));
            let mut client = JobsClient::new(self.channels[number % self.channels.len()].clone());
            let ledger = self.ledger.clone();
            calls.spawn(async move {
                let answer = client.enqueue(EnqueueRequest { jobs: vec![job], ..EnqueueRequest::default() }).await;
                let (admitted, shed) = match answer {
                    Ok(answer) => (answer.into_inner().jobs.first().map(|job| job.eta), false),
                    Err(status) => (None, status.code() == tonic::Code::Unavailable),
                };
                if let Some(entry) = ledger.entries.lock().get_mut(number) {
                    (entry.admitted, entry.shed, entry.answered) = (admitted, shed, Some(Instant::now()));
                }
                admitted.is_some() || shed
            });
            while let Some(Ok(known)) = calls.try_join_next() {
                failed += u64::from(!known);
            }
        }
        while let Some(Ok(known)) = calls.join_next().await {
            failed += u64::from(!known);
        }
        tokio::time::sleep(ttl + Duration::from_millis(1_500)).await;
        Round { entries: self.ledger.entries.lock()[first..].to_vec(), failed }
    }
}
