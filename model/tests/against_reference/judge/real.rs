//! The real model on an ordered map.

use std::collections::BTreeMap;

use bravo_model::command::ListFilter;
use bravo_model::job::JobState;
use bravo_model::reply::Outcome;
use bravo_model::{Entry, Key, Name, Time, Value, invariant, view};
use bytes::Bytes;

use super::machine::{Machine, Shown, own_words, was_late};
use super::trial::PARTITION;
use crate::reference::{Counts, Reason};

#[derive(Default)]
pub(crate) struct Real(BTreeMap<Key, Value>);

impl Real {
    pub(crate) fn new() -> Self {
        Self::default()
    }
}

impl Machine for Real {
    fn apply(&mut self, at: Time, commands: Vec<Bytes>) -> Vec<Outcome> {
        bravo_model::apply(&mut self.0, PARTITION, &Entry { at, commands })
    }

    fn now(&self) -> Time {
        view::now(&self.0)
    }

    fn job(&self, seq: u64) -> Option<Shown> {
        let job = view::job(&self.0, seq)?;
        let late = was_late(job.deadline, job.finished_at);
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
            error: own_words(job.error, job.state, late),
            metadata: job.metadata,
            workflow: job.workflow,
            order_key: job.order_key,
            concurrency_key: job.concurrency_key,
            fairness_key: job.fairness_key,
            payload: view::payload(&self.0, seq).expect("a payload for as long as its job"),
            result: view::result(&self.0, seq),
        })
    }

    fn counts(&self, queue: &Name) -> Counts {
        let Some(queue) = view::queue(&self.0, queue) else { return Counts::default() };
        Counts {
            ready: queue.count(JobState::Ready),
            scheduled: queue.count(JobState::Scheduled),
            blocked: queue.count(JobState::Blocked),
            leased: queue.count(JobState::Leased),
            dead: queue.count(JobState::Dead),
        }
    }

    fn list(&self, filter: &ListFilter) -> Vec<u64> {
        // Small pages, so that cursors are used.
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = view::list(&self.0, filter, after, 3);
            all.extend(page.jobs.iter().map(|job| job.seq));
            if page.next.is_none() {
                return all;
            }
            after = page.next;
        }
    }

    fn why(&self, seq: u64) -> Option<Reason> {
        Some(match view::why(&self.0, seq)?.reason {
            "not_waiting" => Reason::None,
            "scheduled" => Reason::Scheduled,
            "backoff" => Reason::Backoff,
            "blocked_on" => Reason::BlockedOn,
            "paused" => Reason::Paused,
            "behind_order_key" => Reason::BehindOrderKey,
            "concurrency_limited" => Reason::ConcurrencyLimited,
            "rate_limited" => Reason::RateLimited,
            "behind" => Reason::Behind,
            "deliverable" => Reason::Front,
            other => panic!("{other:?} is no reason that the judge knows"),
        })
    }

    fn deliverable(&self, queue: &Name) -> bool {
        view::deliverable(&self.0, queue) > 0
    }

    fn next_due(&self) -> Option<Time> {
        view::next_due(&self.0)
    }

    fn digest(&self) -> Vec<u8> {
        view::digest(&self.0).to_vec()
    }

    fn violations(&self) -> Vec<String> {
        invariant::check(&self.0).into_iter().map(|found| format!("{}: {}", found.name, found.detail)).collect()
    }

    fn rows(&self) -> usize {
        self.0.len()
    }
}
