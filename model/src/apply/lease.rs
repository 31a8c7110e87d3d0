//! Lease: gives ready jobs of a queue to a worker, in order, as far as the queue's limits allow.

use super::{Answer, invalid};
use crate::bucket;
use crate::command::Lease;
use crate::finish::DEADLINE_EXCEEDED;
use crate::footprint::Hashes;
use crate::job::{Job, JobState, Place};
use crate::limits;
use crate::reply::{Leased, LeasedJob, Reply};
use crate::row::{self, PRIORITIES};
use crate::state::State;
use crate::table;

/// What is left of one lease call.
struct Budget {
    /// Jobs that may still be given.
    jobs: u64,
    /// Payload bytes that may still be given; the first job always fits.
    bytes: u64,
    /// Jobs that may still be set aside (parked, or dead by deadline), so that a call is bounded.
    aside: u32,
}

/// What became of one job at the front.
enum Met {
    Given(LeasedJob),
    Aside,
    /// It died: jobs it held back may now stand before the next one that was read.
    Died,
    Full,
}

impl State<'_> {
    pub(super) fn lease(&mut self, lease: &Lease) -> Answer {
        if lease.max == 0 || lease.max > limits::LEASE_JOBS_MAX {
            return invalid(format!("max: 1 to {}", limits::LEASE_JOBS_MAX));
        }
        if lease.lease_ms.is_some_and(|ms| !(limits::LEASE_MS_MIN..=limits::LEASE_MS_MAX).contains(&ms)) {
            return invalid(format!("lease_ms: {} to {}", limits::LEASE_MS_MIN, limits::LEASE_MS_MAX));
        }
        let Some(number) = self.known(&lease.queue) else { return Ok(Reply::Leased(Leased::default())) };
        if self.queue(number).def.paused {
            return Ok(Reply::Leased(Leased::default()));
        }
        let mut budget = Budget {
            jobs: u64::from(lease.max).min(self.allowed(number)),
            bytes: u64::from(lease.bytes_max),
            aside: limits::SWEEP_MAX,
        };
        let mut jobs = Vec::new();
        while budget.jobs > 0 && budget.aside > 0 && self.give_front(number, lease, &mut budget, &mut jobs) {}
        if !jobs.is_empty() {
            self.spend_tokens(number, jobs.len() as u64);
        }
        Ok(Reply::Leased(self.rest(number, jobs)))
    }

    /// Leases that the queue's own limits leave now.
    fn allowed(&mut self, number: u32) -> u64 {
        let now = self.now();
        let queue = self.queue(number);
        let tokens = queue.def.config.rate_limit.as_ref().map_or(u64::MAX, |r| bucket::tokens(&queue.stats, r, now));
        tokens.min(queue.free_in_flight())
    }

    fn spend_tokens(&mut self, number: u32, jobs: u64) {
        let now = self.now();
        let queue = self.queue(number);
        if let Some(rate) = &queue.def.config.rate_limit {
            bucket::take(&mut queue.stats, rate, now, jobs);
        }
    }

    /// Gives jobs from the front of the ready order; false when there is nothing more to give.
    fn give_front(&mut self, number: u32, lease: &Lease, budget: &mut Budget, given: &mut Vec<LeasedJob>) -> bool {
        let open = self.stats(number).open;
        let Some(priority) = (0..PRIORITIES as u8).rev().find(|p| open.get(usize::from(*p)).is_some_and(|n| *n > 0))
        else {
            return false;
        };
        let lane = self.next_lane(number, priority);
        // With several lanes each lease moves its lane back, so that the next may be another's.
        let batch = if self.stats(number).lanes == 0 { budget.jobs } else { 1 };
        let prefix = table::ready_lane(number, priority, lane);
        let mut front = Vec::with_capacity(batch.min(open.iter().sum()) as usize);
        row::walk(self.rows(), &prefix, &prefix, &mut |key, value| {
            front.push((*key, row::decode::<u64>(value)));
            (front.len() as u64) < batch
        });
        if front.is_empty() {
            return false;
        }
        for (key, seq) in front {
            let Some(job) = seq.and_then(|seq| self.job(seq)) else {
                // A damaged row: nothing can be given for it, and it must not block the front.
                self.txn.delete(&key);
                budget.aside = budget.aside.saturating_sub(1);
                continue;
            };
            match self.meet(job, lease, budget, given.is_empty()) {
                Met::Given(job) => given.push(job),
                Met::Aside => budget.aside = budget.aside.saturating_sub(1),
                Met::Died => {
                    budget.aside = budget.aside.saturating_sub(1);
                    return true;
                }
                Met::Full => return false,
            }
            if budget.jobs == 0 || budget.aside == 0 {
                return false;
            }
        }
        true
    }

    fn meet(&mut self, old: Job, lease: &Lease, budget: &mut Budget, first: bool) -> Met {
        let now = self.now();
        if old.deadline.is_some_and(|deadline| deadline <= now) {
            self.die(&old, old.clone(), Some(DEADLINE_EXCEEDED));
            return Met::Died;
        }
        if old.concurrency_key.is_some() && self.is_saturated(&old, &Hashes::of(&old)) {
            self.park(&old);
            return Met::Aside;
        }
        let bytes = u64::from(old.keeping.payload_bytes);
        if bytes > budget.bytes && !first {
            return Met::Full;
        }
        budget.bytes = budget.bytes.saturating_sub(bytes);
        budget.jobs -= 1;
        let number = old.keeping.queue_number;
        let lease_ms = lease.lease_ms.unwrap_or(self.queue(number).def.config.lease_ms);
        let charged = self.estimate(number, old.keeping.lane);
        let mut job = old.clone();
        job.state = JobState::Leased;
        job.attempt += 1;
        job.lease_token += 1;
        job.started_at = Some(now);
        job.lease_ms = lease_ms;
        job.lease_expires_at = Some(now.saturating_add(lease_ms));
        job.worker = Some(lease.worker.clone());
        job.keeping.place = Place::Nowhere;
        job.keeping.charged = charged;
        self.transition(Some(&old), Some(&job));
        Met::Given(LeasedJob {
            seq: job.seq,
            queue: job.queue,
            project: job.project,
            attempt: job.attempt,
            token: job.lease_token,
            expires_at: now.saturating_add(lease_ms),
            lease_ms,
            metadata: job.metadata,
            workflow: job.workflow,
        })
    }

    /// The answer, with what the caller may do about jobs that are left.
    fn rest(&mut self, number: u32, jobs: Vec<LeasedJob>) -> Leased {
        let now = self.now();
        let allowed = self.allowed(number);
        let queue = self.queue(number);
        let left = queue.stats.open_all() > 0 && queue.free_in_flight() > 0;
        let next_at = match &queue.def.config.rate_limit {
            Some(rate) if left && allowed == 0 => Some(bucket::next_at(&queue.stats, rate, now)),
            _ => None,
        };
        Leased { jobs, more: left && allowed > 0, next_at }
    }
}
