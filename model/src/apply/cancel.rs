//! Cancel: a waiting job is cancelled at once; the worker of a leased one is asked.

use super::Answer;
use crate::code::{Code, Refusal};
use crate::job::{Job, JobState};
use crate::reply::{Effect, Reply};
use crate::state::State;

impl State<'_> {
    pub(super) fn cancel(&mut self, seq: u64) -> Answer {
        let Some(old) = self.job_asked(seq) else {
            return Err(Refusal::new(Code::NotFound, "there is no such job"));
        };
        match old.state {
            JobState::Blocked | JobState::Scheduled | JobState::Ready => {
                self.finish(&old, old.clone(), JobState::Cancelled);
                Ok(Reply::State(JobState::Cancelled))
            }
            JobState::Leased => {
                self.ask_to_stop(&old);
                Ok(Reply::State(JobState::Leased))
            }
            JobState::Cancelled => Ok(Reply::State(JobState::Cancelled)),
            JobState::Succeeded | JobState::Dead => {
                Err(Refusal::new(Code::Conflict, format!("the job is {} already", old.state.as_str())))
            }
        }
    }

    /// Has the worker of a leased job told that the job is not wanted any more; once for each lease.
    pub(super) fn ask_to_stop(&mut self, old: &Job) {
        if old.cancel_requested {
            return;
        }
        let mut new = old.clone();
        new.cancel_requested = true;
        self.transition(Some(old), Some(&new));
        let tell = |worker| Effect::CancelRequested { seq: old.seq, token: old.lease_token, worker };
        self.noted.extend(old.worker.clone().map(tell));
    }
}

#[cfg(test)]
mod tests {
    use crate::command::{Command, Envelope, When};
    use crate::testing::{World, name, refusal};
    use crate::{Code, Effect, JobState, Reply};

    #[test]
    fn another_projects_job_is_not_there() {
        let mut world = World::new();
        let seq = world.add(|_| {});
        let asks = |scope: &str, command| Envelope { scope: Some(name(scope)), ..Envelope::plain(command) };
        for command in [Command::Cancel(seq), Command::Retry(seq)] {
            let absent = world.run(&asks("other", command.clone())).reply;
            assert_eq!(refusal(&absent), Some(Code::NotFound));
        }
        world.lease(1);
        let token = world.job(seq).lease_token;
        let ack = Command::Ack(vec![crate::command::Ack { seq, token, result: None }]);
        let items = |reply: Reply| match reply {
            Reply::Items(items) => items[0].code,
            other => panic!("{other:?}"),
        };
        assert_eq!(items(world.run(&asks("other", ack.clone())).reply), Some(Code::NotFound));
        assert_eq!(items(world.run(&asks("p", ack.clone())).reply), None);
        assert_eq!(items(world.run(&asks("other", ack)).reply), Some(Code::NotFound), "though it may be repeated");
    }

    #[test]
    fn what_waits_is_cancelled_at_once_and_again() {
        let mut world = World::new();
        for run_at in [None, Some(When::In(1_000))] {
            let seq = world.add(|job| job.run_at = run_at);
            for _ in 0..2 {
                assert_eq!(world.ask(Command::Cancel(seq)), Reply::State(JobState::Cancelled));
            }
        }
        world.tick(2_000);
        assert!(world.lease(9).is_empty());
        assert_eq!(refusal(&world.ask(Command::Cancel(99))), Some(Code::NotFound));
    }

    #[test]
    fn an_ack_that_comes_first_wins_over_a_cancel() {
        let mut world = World::new();
        let seq = world.add(|_| {});
        world.lease(1);
        assert_eq!(world.ask(Command::Cancel(seq)), Reply::State(JobState::Leased));
        world.ack(seq).expect("acked");
        assert_eq!(refusal(&world.ask(Command::Cancel(seq))), Some(Code::Conflict));
    }

    #[test]
    fn the_worker_is_to_be_told_once_for_each_lease() {
        let mut world = World::new();
        let seq = world.add(|_| {});
        let cancel = Envelope::plain(Command::Cancel(seq));
        for token in 1..=2 {
            world.lease(1);
            let told = Effect::CancelRequested { seq, token, worker: name("w") };
            assert_eq!(world.run(&cancel).effects, [told]);
            assert_eq!(world.run(&cancel).effects, []);
            world.nack(seq, None, false).expect("nacked");
            assert_eq!(world.run(&cancel).effects, []);
            world.ask(Command::Retry(seq));
        }
    }

    #[test]
    fn the_end_of_the_lease_makes_it_cancelled_and_its_ack_is_lost() {
        let mut world = World::new();
        let seq = world.add(|_| {});
        world.lease(1);
        world.ask(Command::Cancel(seq));
        world.nack(seq, None, false).expect("nacked");
        assert_eq!(world.state(seq), Some(JobState::Cancelled));
        assert_eq!(world.ack(seq), Err(Code::LeaseLost));
    }
}
