//! Cancel: a waiting job is cancelled at once; the worker of a leased one is asked.

use super::Answer;
use crate::code::{Code, Refusal};
use crate::job::JobState;
use crate::reply::Reply;
use crate::state::State;

impl State<'_> {
    pub(super) fn cancel(&mut self, seq: u64) -> Answer {
        let Some(old) = self.job(seq) else {
            return Err(Refusal::new(Code::NotFound, "there is no such job"));
        };
        let mut new = old.clone();
        match old.state {
            JobState::Blocked | JobState::Scheduled | JobState::Ready => {
                self.finish(&old, new, JobState::Cancelled);
                Ok(Reply::State(JobState::Cancelled))
            }
            JobState::Leased => {
                if !old.cancel_requested {
                    new.cancel_requested = true;
                    self.transition(Some(&old), Some(&new));
                }
                Ok(Reply::State(JobState::Leased))
            }
            JobState::Cancelled => Ok(Reply::State(JobState::Cancelled)),
            JobState::Succeeded | JobState::Dead => {
                Err(Refusal::new(Code::Conflict, format!("the job is {} already", old.state.as_str())))
            }
        }
    }
}
