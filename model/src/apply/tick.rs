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
