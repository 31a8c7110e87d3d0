//! Tick: does what is due, from the front of the due table, a bounded number at a time.

use crate::Time;
use crate::finish::{DEADLINE_EXCEEDED, LEASE_EXPIRED};
use crate::job::{Job, JobState};
use crate::limits;
use crate::reply::Reply;
use crate::state::State;
use crate::table::{self, due};
use crate::txn::Key;

impl State<'_> {
    pub(super) fn tick(&mut self) -> Reply {
        let to = table::due(self.now().saturating_add(1), 0, &[]);
        let from = table::due(0, 0, &[]);
        let mut rows: Vec<Key> = Vec::new();
        self.rows().scan(&from, &to, &mut |key, _| {
            rows.push(*key);
            rows.len() < limits::SWEEP_MAX as usize
        });
        for key in &rows {
            if self.do_due(key).is_none() {
                // Done with, or damaged: it must not block the front.
                self.txn.delete(key);
            }
        }
        Reply::Swept { done: rows.len() as u64, more: self.rows().first(&from, &to).is_some() }
    }

    /// Does what a row asks for; none: the row is to be deleted (a job moves its own).
    fn do_due(&mut self, key: &Key) -> Option<()> {
        let (at, kind, what) = table::split_due(key)?;
        match kind {
            due::JOB => {
                let job = self.job(u64::from_be_bytes(what.try_into().ok()?))?;
                if crate::footprint::due_at(&job) == Some(at) {
                    self.job_due(&job);
                    return Some(());
                }
            }
            due::UNIQUE => {
                let (queue, hash) = what.split_first_chunk()?;
                self.end_window(u32::from_be_bytes(*queue), hash.try_into().ok()?, at);
            }
            due::WORKFLOW => return self.workflow_due(u64::from_be_bytes(what.try_into().ok()?), at),
            due::TASK => self.task_due(table::due_task_of(what)?, at),
            due::SCHEDULE => self.schedule_due(what.try_into().ok()?, at),
            due::ARTIFACT => return self.artifact_due(what.try_into().ok()?),
            due::LIFE => return self.life_due(what, at),
            due::REVIEW => return self.review_due(what.try_into().ok()?),
            due::KEPT => self.expire_kept(what.try_into().ok()?, at),
            _ => {}
        }
        None
    }

    fn job_due(&mut self, old: &Job) {
        let now = self.now();
        let late = old.deadline.is_some_and(|deadline| deadline <= now);
        match old.state {
            JobState::Blocked | JobState::Scheduled | JobState::Ready if late => {
                self.die(old, old.clone(), Some(DEADLINE_EXCEEDED));
            }
            JobState::Scheduled => {
                let mut new = old.clone();
                self.make_ready(&mut new);
                self.transition(Some(old), Some(&new));
            }
            JobState::Leased => self.expire(old, now),
            JobState::Succeeded | JobState::Dead | JobState::Cancelled => self.remove(old),
            JobState::Blocked | JobState::Ready => {}
        }
    }

    /// A lease that ended by itself: the worker is gone, so the job is ready again at once, without
    /// a backoff. The attempt counts.
    fn expire(&mut self, old: &Job, now: Time) {
        let mut new = old.clone();
        new.error = Some(LEASE_EXPIRED.to_owned());
        self.fail(old, new, now);
    }
}

#[cfg(test)]
mod tests {
    use crate::command::{Ack, Command, Nack, When};
    use crate::testing::World;
    use crate::{JobState, QueueConfig, Reply, limits, view};

    #[test]
    fn a_lost_lease_is_ready_again_at_once_and_counts_as_an_attempt() {
        let mut world = World::new();
        let seq = world.add(|job| job.max_attempts = Some(2));
        world.lease(1);
        assert_eq!(view::next_due(&world.rows), Some(world.at + 30_000));
        world.at += 30_000;
        assert!(world.wakes(Command::Tick));
        assert_eq!(world.leases(1).jobs[0].attempt, 2);
        world.tick(30_000);
        assert_eq!((world.state(seq), world.job(seq).error), (Some(JobState::Dead), Some("lease_expired".into())));
    }

    #[test]
    fn breakers_are_told_how_each_lease_ended_and_a_lost_one_is_a_failure() {
        let mut world = World::new();
        let [acked, refused, unseen, cancelled, _lost] = [(); 5].map(|()| world.add(|_| {}));
        assert_eq!(world.lease(9).len(), 5);
        let nack = |seq, unseen| {
            let nack = Nack { seq, token: 1, error: None, retry_in_ms: Some(1_000_000), dead: false, unseen };
            Command::Nack(vec![nack])
        };
        assert_eq!(world.ended(Command::Ack(vec![Ack { seq: acked, token: 1, result: None }])), [[1, 0, 0]]);
        assert_eq!(world.ended(nack(refused, false)), [[0, 1, 0]]);
        assert_eq!(world.ended(nack(unseen, true)), [[0, 0, 1]], "it never reached its worker");
        assert_eq!(world.ended(Command::Cancel(cancelled)), [[0; 3]; 0], "its worker still has it");
        world.at += 30_000;
        assert_eq!(world.ended(Command::Tick), [[0, 1, 1]], "nobody wanted the one, and the other was lost");
    }

    #[test]
    fn a_deadline_kills_what_waits() {
        let mut world = World::new();
        let seqs = [None, Some(When::In(9_000))]
            .map(|run_at| world.add(|job| (job.deadline, job.run_at) = (Some(When::In(500)), run_at)));
        world.tick(500);
        assert_eq!(seqs.map(|seq| world.state(seq)), [Some(JobState::Dead); 2]);
    }

    #[test]
    fn final_jobs_go_when_retention_is_over() {
        let mut world = World::new();
        world.set(QueueConfig { retention_ms: 1_000, ..QueueConfig::default() });
        let seqs = [world.add(|_| {}), world.add(|_| {}), world.add(|_| {})];
        world.lease(2);
        world.ack(seqs[0]).expect("acked");
        world.nack(seqs[1], None, true).expect("dead");
        world.ask(Command::Cancel(seqs[2]));
        world.tick(999);
        assert!(seqs.iter().all(|seq| world.state(*seq).is_some()));
        world.tick(1);
        assert!(seqs.iter().all(|seq| world.state(*seq).is_none()));
        assert_eq!(view::next_due(&world.rows), None);
    }

    #[test]
    fn a_tick_is_bounded_and_says_that_there_is_more() {
        let mut world = World::new();
        let job = crate::command::NewJob { run_at: Some(When::In(10)), ..crate::testing::new_job() };
        for _ in 0..3 {
            world.ask(Command::Enqueue(vec![job.clone(); 500]));
        }
        world.at += 10;
        assert_eq!(world.ask(Command::Tick), Reply::Swept { done: u64::from(limits::SWEEP_MAX), more: true });
        assert_eq!(world.ask(Command::Tick), Reply::Swept { done: 500, more: false });
    }
}
