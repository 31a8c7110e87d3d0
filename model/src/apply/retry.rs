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
        let Some(old) = self.job_asked(seq) else {
            return Err(Refusal::new(Code::NotFound, "there is no such job"));
        };
        if !matches!(old.state, JobState::Dead | JobState::Cancelled) {
            let detail = format!("only dead and cancelled jobs are retried, this one is {}", old.state.as_str());
            return Err(Refusal::new(Code::Conflict, detail));
        }
        if let Some(workflow) = &old.workflow {
            // Its task has ended, and would not hear of what became of the job.
            let detail = format!("the job is a step of workflow {workflow}: retry that");
            return Err(Refusal::new(Code::Conflict, detail));
        }
        if let Some(rival) = self.rival(&old) {
            let id = JobId { partition: self.partition, seq: rival };
            return Err(Refusal::new(Code::Conflict, format!("job {id} holds its unique key now")));
        }
        Ok(Reply::State(self.put_back(&old)))
    }

    /// Dead jobs whose unique key another job holds stay dead, and so do steps of workflows: these are tried again
    /// with their workflow.
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
                    && old.workflow.is_none()
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

#[cfg(test)]
mod tests {
    use crate::command::Command;
    use crate::testing::{World, name, refusal};
    use crate::{Code, JobState, Reply};

    #[test]
    fn a_step_of_a_workflow_is_not_put_back_without_it() {
        let mut world = World::new();
        let seq = world.add(|job| job.workflow = Some(name("w1-7")));
        let other = world.add(|_| {});
        world.lease(2);
        for seq in [seq, other] {
            world.nack(seq, None, true).expect("dead");
        }
        let Reply::Refused(no) = world.ask(Command::Retry(seq)) else { panic!("it was put back") };
        assert!(no.code == Code::Conflict && no.detail.contains("w1-7"), "{no:?}");
        assert_eq!(world.ask(Command::Redrive(name("q"))), Reply::Swept { done: 1, more: false });
        assert_eq!((world.state(seq), world.state(other)), (Some(JobState::Dead), Some(JobState::Ready)));
    }

    fn die(world: &mut World, seq: u64) {
        while world.state(seq) != Some(JobState::Dead) {
            assert_eq!(world.lease(1), [seq]);
            world.nack(seq, Some(0), false).expect("nacked");
        }
    }

    #[test]
    fn a_retry_grants_as_many_attempts_again_and_counts_on() {
        let mut world = World::new();
        let seq = world.add(|job| job.max_attempts = Some(2));
        die(&mut world, seq);
        assert_eq!(world.ask(Command::Retry(seq)), Reply::State(JobState::Ready));
        let leased = world.leases(1).jobs;
        assert_eq!((leased[0].attempt, leased[0].token), (3, 3));
        world.nack(seq, Some(0), false).expect("nacked");
        die(&mut world, seq);
        assert_eq!(world.job(seq).attempt, 4);
        world.ask(Command::Retry(seq));
        assert_eq!(world.job(seq).max_attempts, 6);
        assert_eq!(refusal(&world.ask(Command::Retry(seq))), Some(Code::Conflict));
    }

    #[test]
    fn a_retry_does_not_make_a_second_job_of_a_unique_key() {
        let mut world = World::new();
        let first = world.add(|job| job.unique_key = Some("k".into()));
        world.ask(Command::Cancel(first));
        let second = world.add(|job| job.unique_key = Some("k".into()));
        assert_eq!(refusal(&world.ask(Command::Retry(first))), Some(Code::Conflict));
        world.ask(Command::Cancel(second));
        assert_eq!(world.ask(Command::Retry(first)), Reply::State(JobState::Ready));
        assert_eq!(world.add(|job| job.unique_key = Some("k".into())), first);
    }

    #[test]
    fn a_redrive_puts_all_dead_jobs_back_a_thousand_at_a_time() {
        let mut world = World::new();
        for _ in 0..2 {
            let jobs = vec![crate::testing::new_job(); 600];
            world.ask(Command::Enqueue(jobs));
        }
        let seqs = [world.lease(1_000), world.lease(1_000)].concat();
        let nack = |seq: &u64| {
            let (seq, error, retry_in_ms) = (*seq, None, None);
            crate::command::Nack { seq, token: 1, error, retry_in_ms, dead: true, unseen: false }
        };
        for seqs in seqs.chunks(1_000) {
            world.ask(Command::Nack(seqs.iter().map(nack).collect()));
        }
        assert_eq!(world.ask(Command::Redrive(name("q"))), Reply::Swept { done: 1_000, more: true });
        assert_eq!(world.ask(Command::Redrive(name("q"))), Reply::Swept { done: 200, more: false });
        assert_eq!(world.ask(Command::Redrive(name("nowhere"))), Reply::Swept { done: 0, more: false });
        assert_eq!(world.lease(1_000).len(), 1_000);
    }
}
