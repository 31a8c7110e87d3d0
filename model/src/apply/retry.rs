//! Retry and redrive: put dead (and cancelled) jobs back, with as many attempts again.
//!
//! A job that is put back becomes ready now. Its order key's turn is by enqueue, so it goes before
//! jobs that were enqueued after it (see `take_turn`). A deadline that has passed is dropped: the
//! job would die of it at once, and the caller wants it done late rather than never. `max_ready`
//! and draining do not stop it: it was taken in long ago.

use super::Answer;
use crate::code::{Code, Refusal};
use crate::id::{JobId, Name};
use crate::job::{Job, JobState};
use crate::limits;
use crate::reply::Reply;
use crate::state::State;
use crate::table;

impl State<'_> {
    pub(super) fn retry(&mut self, seq: u64) -> Answer {
        let Some(old) = self.job(seq) else {
            return Err(Refusal::new(Code::NotFound, "there is no such job"));
        };
        if !matches!(old.state, JobState::Dead | JobState::Cancelled) {
            let detail = format!("only dead and cancelled jobs are retried, this one is {}", old.state.as_str());
            return Err(Refusal::new(Code::Conflict, detail));
        }
        if let Some(rival) = self.rival(&old) {
            let id = JobId { partition: self.partition, seq: rival };
            return Err(Refusal::new(Code::Conflict, format!("job {id} holds its unique key now")));
        }
        Ok(Reply::State(self.put_back(&old)))
    }

    /// Dead jobs whose unique key another job holds stay dead.
    pub(super) fn redrive(&mut self, name: &Name) -> Reply {
        let Some(number) = self.known(name) else { return Reply::Swept { done: 0, more: false } };
        let mut from = table::state(number, JobState::Dead, 0);
        let to = table::state(number, JobState::Cancelled, 0);
        let (mut done, mut seen) = (0, 0);
        while done == 0 && seen < limits::LIST_SCAN_MAX {
            let mut dead = Vec::new();
            self.rows().scan(&from, &to, &mut |key, _| {
                dead.push(table::last_u64(key));
                dead.len() < limits::SWEEP_MAX as usize
            });
            let Some(last) = dead.last() else { break };
            from = table::state(number, JobState::Dead, last.saturating_add(1));
            seen += dead.len();
            for seq in dead {
                if let Some(old) = self.job(seq)
                    && self.rival(&old).is_none()
                {
                    self.put_back(&old);
                    done += 1;
                }
            }
        }
        Reply::Swept { done, more: done > 0 && self.rows().first(&from, &to).is_some() }
    }

    fn put_back(&mut self, old: &Job) -> JobState {
        let now = self.now();
        let mut new = old.clone();
        new.max_attempts = old.attempt.saturating_add(old.keeping.attempts_granted);
        new.finished_at = None;
        new.cancel_requested = false;
        new.deadline = old.deadline.filter(|deadline| *deadline > now);
        new.keeping.keep_until = None;
        self.reclaim(&new);
        self.wait_until(&mut new, now);
        self.transition(Some(old), Some(&new));
        new.state
    }
}
