//! The real model on an ordered map.

use std::collections::BTreeMap;

use bravo_model::command::ListFilter;
use bravo_model::job::JobState;
use bravo_model::reply::Outcome;
use bravo_model::{Entry, Job, Key, Name, Payload, Read, Time, Value, table};
use bytes::Bytes;

use super::machine::{Machine, Shown};
use super::trial::PARTITION;
use crate::reference::{Counts, Reason};

#[derive(Default)]
pub(crate) struct Real(BTreeMap<Key, Value>);

impl Real {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    fn row(&self, seq: u64) -> Option<Job> {
        self.0.get(&table::by_seq(table::tag::JOB, seq)).map(|v| postcard::from_bytes(v).unwrap())
    }
    fn jobs(&self) -> Vec<Job> {
        let mut out = vec![];
        self.0.scan(&Key::new(&[table::tag::JOB]), &Key::new(&[table::tag::JOB + 1]), &mut |_, v| {
            out.push(postcard::from_bytes(v).unwrap());
            true
        });
        out
    }
    fn payload(&self, tag: u8, seq: u64) -> Option<Payload> {
        self.0.get(&table::by_seq(tag, seq)).map(|v| postcard::from_bytes(v).unwrap())
    }
}

impl Machine for Real {
    fn apply(&mut self, at: Time, commands: Vec<Bytes>) -> Vec<Outcome> {
        bravo_model::apply(&mut self.0, PARTITION, &Entry { at, commands })
    }
    fn now(&self) -> Time {
        let meta: bravo_model::row::Meta = postcard::from_bytes(self.0.get(&table::meta()).unwrap()).unwrap();
        meta.now
    }
    fn job(&self, seq: u64) -> Option<Shown> {
        let job = self.row(seq)?;
        Some(Shown {
            seq: job.seq,
            queue: job.queue,
            project: job.project,
            state: job.state,
            priority: job.priority,
            attempt: job.attempt,
            max_attempts: job.max_attempts,
            enqueued_at: job.enqueued_at,
            run_at: job.run_at,
            deadline: job.deadline,
            started_at: job.started_at,
            finished_at: job.finished_at,
            token: job.lease_token,
            lease_expires_at: job.lease_expires_at,
            worker: job.worker,
            cancel_requested: job.cancel_requested && job.state == JobState::Leased,
            progress: job.progress,
            error: job.error.filter(|_| job.state != JobState::Succeeded),
            metadata: job.metadata,
            workflow: job.workflow,
            order_key: job.order_key,
            concurrency_key: job.concurrency_key,
            fairness_key: job.fairness_key,
            payload: self.payload(table::tag::PAYLOAD, seq).expect("a payload as long as its job"),
            result: self.payload(table::tag::RESULT, seq),
        })
    }
    fn counts(&self, queue: &Name) -> Counts {
        let jobs = self.jobs();
        let count = |state| jobs.iter().filter(|job| job.queue == *queue && job.state == state).count() as u64;
        Counts {
            ready: count(JobState::Ready),
            scheduled: count(JobState::Scheduled),
            blocked: count(JobState::Blocked),
            leased: count(JobState::Leased),
            dead: count(JobState::Dead),
        }
    }
    fn list(&self, filter: &ListFilter) -> Vec<u64> {
        self.jobs().iter().filter(|job| filter.state.is_none_or(|s| s == job.state)).map(|job| job.seq).collect()
    }
    fn why(&self, _seq: u64) -> Option<Reason> {
        Some(Reason::Unknown)
    }
    fn deliverable(&self, _queue: &Name) -> Option<bool> {
        None
    }
    fn next_due(&self) -> Option<Time> {
        let (key, _) = self.0.first(&Key::new(&[table::tag::DUE]), &Key::new(&[table::tag::DUE + 1]))?;
        Some(u64::from_be_bytes(key.as_slice()[1..9].try_into().unwrap()))
    }
    fn digest(&self) -> Vec<u8> {
        let mut hash = blake3::Hasher::new();
        for (k, v) in &self.0 {
            hash.update(k.as_slice());
            hash.update(v);
        }
        hash.finalize().as_bytes().to_vec()
    }
    fn violations(&self) -> Vec<String> {
        Vec::new()
    }
    fn rows(&self) -> usize {
        self.0.len()
    }
}
