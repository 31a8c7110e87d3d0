//! Lease: gives ready jobs of a queue to a worker, in order, as far as the queue's limits allow.

use super::{Answer, invalid};
use crate::bucket;
use crate::command::Lease;
use crate::finish::DEADLINE_EXCEEDED;
use crate::footprint::Hashes;
use crate::job::{Job, JobState, Place};
use crate::limits;
use crate::pick::{Found, Front, Kept, Picker, Sight};
use crate::reply::{Leased, LeasedJob, Reply};
use crate::row;
use crate::state::State;
use crate::table::{self, tag};

/// What is left of one lease call.
struct Budget {
    /// Jobs that may still be given.
    jobs: u64,
    /// Payload bytes that may still be given; the first job always fits.
    bytes: u64,
    /// Jobs that may still be set aside (parked, or dead by deadline), so that a call is bounded.
    aside: u32,
    /// What was seen of the queue so far.
    sight: Sight,
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
        if lease.labels.len() > limits::LABELS_MAX {
            return invalid(format!("labels: at most {}", limits::LABELS_MAX));
        }
        if lease.lease_ms.is_some_and(|ms| !(limits::LEASE_MS_MIN..=limits::LEASE_MS_MAX).contains(&ms)) {
            return invalid(format!("lease_ms: {} to {}", limits::LEASE_MS_MIN, limits::LEASE_MS_MAX));
        }
        let Some(number) = self.known(&lease.queue) else { return Ok(Reply::Leased(Leased::default())) };
        if self.queue(number).def.paused {
            return Ok(Reply::Leased(Leased::default()));
        }
        let jobs = u64::from(lease.max).min(self.allowed(number));
        let (bytes, sight) = (u64::from(lease.bytes_max), Sight::new(jobs));
        let mut budget = Budget { jobs, bytes, aside: limits::SWEEP_MAX, sight };
        let mut jobs = Vec::new();
        while budget.jobs > 0 && budget.aside > 0 && self.give_front(number, lease, &mut budget, &mut jobs) {}
        if !jobs.is_empty() {
            self.spend_tokens(number, jobs.len() as u64);
        }
        Ok(Reply::Leased(self.rest(number, lease, jobs)))
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

    /// What is next for the asker.
    fn find(&mut self, number: u32, lease: &Lease, sight: &mut Sight) -> Found {
        let now = self.now();
        self.queue(number);
        let Some(stats) = self.stats_of(number) else { return Found::Nothing(Kept::default()) };
        Picker::new(self.rows(), (number, stats), Some(&self.lanes), (lease, sight), now).find()
    }

    /// Gives jobs from the front of the ready order; false when there is nothing more to give.
    fn give_front(&mut self, number: u32, lease: &Lease, budget: &mut Budget, given: &mut Vec<LeasedJob>) -> bool {
        let Front { priority, lane, slot, before } = match self.find(number, lease, &mut budget.sight) {
            Found::Front(front) => front,
            Found::Empty(priority, lane) => {
                self.skip_damaged(number, priority, lane);
                budget.aside = budget.aside.saturating_sub(1);
                return true;
            }
            Found::Nothing(_) => return false,
        };
        // With several lanes each lease moves its lane back, so that the next may be another's.
        let batch = if self.stats(number).lanes == 0 { budget.jobs } else { 1 };
        let prefix = table::ready_slot(number, priority, lane, slot);
        let mut front = Vec::with_capacity(batch.min(1_000) as usize);
        row::walk(self.rows(), &prefix, &prefix, &mut |key, value| {
            let is_first = front.is_empty() || table::last_u64(key) < before;
            if is_first {
                front.push((*key, row::decode::<u64>(value)));
            }
            is_first && (front.len() as u64) < batch
        });
        for (key, seq) in front {
            let Some(job) = seq.and_then(|seq| self.job(seq)) else {
                // A damaged row: nothing can be given for it, and it must not block the front.
                self.txn.delete(&key);
                budget.aside = budget.aside.saturating_sub(1);
                continue;
            };
            match self.meet(job, lease, budget, given.is_empty()) {
                Met::Given(job) => {
                    given.push(job);
                    budget.sight.gave();
                }
                Met::Aside => budget.aside = budget.aside.saturating_sub(1),
                Met::Died => {
                    budget.aside = budget.aside.saturating_sub(1);
                    budget.sight.forget();
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

    /// A priority or lane counts jobs that are not there: damage, which must not block the others.
    fn skip_damaged(&mut self, number: u32, priority: u8, lane: u64) {
        let mut shown = Vec::new();
        for prefix in [tag::NEXT, tag::OWN].map(|tag| table::by_queue(tag, number)) {
            row::walk(self.rows(), &prefix, &prefix, &mut |key, _| {
                if table::last_u64(key) == lane && table::rank_of(key) == table::rank(priority) {
                    shown.push(*key);
                }
                true
            });
        }
        shown.iter().for_each(|key| self.txn.delete(key));
        if shown.is_empty()
            && let Some(open) = self.stats(number).open.get_mut(usize::from(priority))
        {
            *open = 0;
        }
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
        job.attempt = job.attempt.saturating_add(1);
        job.lease_token = job.lease_token.saturating_add(1);
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
    fn rest(&mut self, number: u32, lease: &Lease, jobs: Vec<LeasedJob>) -> Leased {
        let now = self.now();
        let allowed = self.allowed(number);
        let queue = self.queue(number);
        if queue.stats.open_all() == 0 || queue.free_in_flight() == 0 {
            return Leased { jobs, more: false, next_at: None };
        }
        if let Found::Nothing(kept) = self.find(number, lease, &mut Sight::new(1)) {
            return Leased { jobs, more: false, next_at: kept.until };
        }
        let queue = self.queue(number);
        let next_at = match &queue.def.config.rate_limit {
            Some(rate) if allowed == 0 => Some(bucket::next_at(&queue.stats, rate, now)),
            _ => None,
        };
        Leased { jobs, more: allowed > 0, next_at }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use crate::command::{Command, When};
    use crate::queue::RateLimit;
    use crate::testing::{World, name, refusal};
    use crate::{Code, JobState, QueueConfig, Reply};

    #[test]
    fn jobs_leave_by_priority_and_then_in_order() {
        let mut world = World::new();
        let seqs: Vec<u64> = [4, 9, 0, 4, 9].map(|priority| world.add(|job| job.priority = priority)).to_vec();
        assert_eq!(world.lease(2), [seqs[1], seqs[4]]);
        assert_eq!(world.lease(9), [seqs[0], seqs[3], seqs[2]]);
        assert!(world.lease(9).is_empty());
    }

    #[test]
    fn max_and_lease_ms_have_bounds_and_an_unknown_queue_has_nothing() {
        let mut world = World::new();
        let lease = |max, lease_ms| {
            let (queue, worker) = (name("nowhere"), name("w"));
            Command::Lease(super::Lease { bytes_max: 1, lease_ms, ..super::Lease::new(queue, worker, max) })
        };
        for bad in [lease(0, None), lease(1_001, None), lease(1, Some(99)), lease(1, Some(86_400_001))] {
            assert_eq!(refusal(&world.ask(bad)), Some(Code::InvalidArgument));
        }
        assert_eq!(world.ask(lease(1, None)), Reply::Leased(super::Leased::default()));
    }

    #[test]
    fn bytes_bound_a_lease_but_never_to_nothing() {
        let mut world = World::new();
        for _ in 0..3 {
            world.add(|job| job.payload.bytes = Bytes::from_static(b"0123456789"));
        }
        let mut lease = |bytes_max| {
            let lease = super::Lease { bytes_max, ..super::Lease::new(name("q"), name("w"), 9) };
            match world.ask(Command::Lease(lease)) {
                Reply::Leased(leased) => (leased.jobs.len(), leased.more),
                reply => panic!("{reply:?}"),
            }
        };
        assert_eq!((lease(1), lease(20)), ((1, true), (2, false)));
    }

    #[test]
    fn a_paused_queue_gives_nothing_and_resuming_wakes() {
        let mut world = World::new();
        let seq = world.add(|_| {});
        world.switch(QueueConfig::default(), true, false);
        assert_eq!((world.lease(1), world.why(seq)), (vec![], "paused"));
        let mut resumed = crate::row::undefined(name("q"));
        resumed.version = 100;
        assert!(world.wakes(Command::SetQueue(resumed)));
        assert_eq!(world.lease(1), [seq]);
    }

    #[test]
    fn in_flight_and_rate_limits_hold_and_say_when() {
        let mut world = World::new();
        let rate_limit = Some(RateLimit { per_second: 10.0, burst: 2 });
        world.set(QueueConfig { rate_limit, max_in_flight: Some(3), ..QueueConfig::default() });
        let seqs: Vec<u64> = (0..5).map(|_| world.add(|_| {})).collect();
        let leased = world.leases(5);
        assert_eq!((leased.jobs.len(), leased.more, leased.next_at), (2, false, Some(world.at + 100)));
        assert_eq!(world.why(seqs[2]), "rate_limited");
        world.at += 1_000;
        let leased = world.leases(5);
        assert_eq!((leased.jobs.len(), leased.more, leased.next_at), (1, false, None), "max_in_flight");
        assert_eq!(world.why(seqs[3]), "concurrency_limited");
        world.ack(seqs[0]).expect("acked");
        assert_eq!(world.lease(5), [seqs[3]]);
    }

    #[test]
    fn a_concurrency_key_runs_so_many_at_once_and_parked_jobs_come_back_to_their_places() {
        let mut world = World::new();
        world.set(QueueConfig { concurrency_per_key: 2, ..QueueConfig::default() });
        let keyed: Vec<u64> = (0..4).map(|_| world.add(|job| job.concurrency_key = Some("k".into()))).collect();
        let plain = world.add(|_| {});
        assert_eq!(world.lease(9), [keyed[0], keyed[1], plain]);
        assert_eq!(world.why(keyed[2]), "concurrency_limited");
        let late = world.add(|_| {});
        world.ack(keyed[1]).expect("acked");
        assert_eq!(world.lease(9), [keyed[2], late]);
    }

    #[test]
    fn a_freed_slot_is_not_kept_for_the_job_that_came_back_first() {
        let mut world = World::new();
        world.set(QueueConfig { concurrency_per_key: 1, ..QueueConfig::default() });
        let keyed = |world: &mut World, priority| {
            world.add(|job| (job.concurrency_key, job.priority) = (Some("k".into()), priority))
        };
        let (low, high) = (keyed(&mut world, 4), keyed(&mut world, 9));
        assert_eq!(world.lease(9), [high]);
        world.nack(high, Some(0), false).expect("nacked");
        assert_eq!(world.lease(9), [high], "{low} came back when the slot was free, and goes after it");
        let higher = keyed(&mut world, 9);
        world.ack(high).expect("acked");
        assert_eq!(world.lease(9), [higher]);
    }

    #[test]
    fn damaged_rows_do_not_block_the_front() {
        let mut rows = World::new().rows;
        let entry = |command| crate::Entry { at: 1, commands: vec![crate::Envelope::plain(command).encode()] };
        let job = |priority| crate::command::NewJob { priority, ..crate::testing::new_job() };
        for priority in [9, 9, 4] {
            crate::apply(&mut rows, 1, &entry(Command::Enqueue(vec![job(priority)])));
        }
        rows.remove(&crate::table::by_seq(crate::table::tag::JOB, 1));
        rows.remove(&crate::table::ready(1, 9, 0, 0, 2));
        let lease = super::Lease::new(name("q"), name("w"), 9);
        let outcome = crate::apply(&mut rows, 1, &entry(Command::Lease(lease))).remove(0);
        let Reply::Leased(leased) = outcome.reply else { panic!() };
        assert_eq!(leased.jobs.iter().map(|job| job.seq).collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn an_order_key_runs_one_after_the_other_through_failures() {
        let mut world = World::new();
        let seqs: Vec<u64> = (0..3).map(|_| world.add(|job| job.order_key = Some("k".into()))).collect();
        assert_eq!(world.lease(9), [seqs[0]]);
        assert_eq!(world.why(seqs[1]), "behind_order_key");
        world.nack(seqs[0], Some(1_000), false).expect("nacked");
        assert_eq!((world.lease(9), world.why(seqs[0])), (vec![], "backoff"));
        world.tick(1_000);
        assert_eq!(world.lease(9), [seqs[0]]);
        world.ask(Command::Cancel(seqs[1]));
        world.nack(seqs[0], None, true).expect("dead");
        assert_eq!(world.lease(9), [seqs[2]]);
        world.ask(Command::Retry(seqs[0]));
        assert_eq!(world.why(seqs[0]), "behind_order_key", "a leased job keeps its turn");
        world.ack(seqs[2]).expect("acked");
        assert_eq!(world.lease(9), [seqs[0]]);
    }

    #[test]
    fn a_job_whose_deadline_has_passed_is_never_given() {
        let mut world = World::new();
        let late = world.add(|job| job.deadline = Some(When::In(100)));
        let past = world.add(|job| job.deadline = Some(When::At(1)));
        let good = world.add(|_| {});
        world.at += 100;
        assert_eq!(world.lease(9), [good]);
        for seq in [late, past] {
            assert_eq!(
                (world.state(seq), world.job(seq).error),
                (Some(JobState::Dead), Some("deadline_exceeded".into()))
            );
        }
    }

    #[test]
    fn lanes_share_by_measured_work_not_by_count() {
        let mut world = World::new();
        for _ in 0..200 {
            for key in ["slow", "fast"] {
                world.add(|job| job.fairness_key = Some(key.into()));
            }
        }
        let mut work = [0u64; 2];
        for _ in 0..150 {
            let [seq] = world.lease(1)[..] else { panic!("a job") };
            let slow = world.job(seq).fairness_key.as_deref() == Some("slow");
            let ms = if slow { 90 } else { 10 };
            world.at += ms;
            work[usize::from(slow)] += ms;
            world.ack(seq).expect("acked");
        }
        assert!(work[0].abs_diff(work[1]) <= 200, "{work:?}");
    }

    #[test]
    fn a_weight_buys_a_share_and_a_late_lane_has_saved_nothing() {
        let mut world = World::new();
        let fairness_weights = [("heavy".to_owned(), 3)].into();
        world.set(QueueConfig { fairness_weights, ..QueueConfig::default() });
        let add = |world: &mut World, key: &str| {
            for _ in 0..100 {
                world.add(|job| job.fairness_key = Some(key.into()));
            }
        };
        let mut served = std::collections::BTreeMap::<String, u32>::new();
        let mut serve = |world: &mut World, jobs: u32| {
            served.clear();
            for _ in 0..jobs {
                let [seq] = world.lease(1)[..] else { panic!("a job") };
                *served.entry(world.job(seq).fairness_key.unwrap_or_default()).or_default() += 1;
                world.at += 10;
                world.ack(seq).expect("acked");
            }
            served.clone()
        };
        add(&mut world, "heavy");
        add(&mut world, "light");
        let first = serve(&mut world, 80);
        assert!(first["heavy"].abs_diff(60) <= 2, "{first:?}");
        add(&mut world, "late");
        let then = serve(&mut world, 50);
        assert!(then["late"].abs_diff(10) <= 2 && then["light"].abs_diff(10) <= 2, "{then:?}");
    }
}
