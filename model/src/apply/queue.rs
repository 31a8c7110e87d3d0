//! Set and forget a queue: how definitions of the meta group arrive in a partition.

use super::Answer;
use crate::code::{Code, Refusal};
use crate::command::QueueDefinition;
use crate::id::Name;
use crate::job::JobState;
use crate::limits;
use crate::reply::Reply;
use crate::row;
use crate::state::State;

impl State<'_> {
    /// A partition keeps the newest version that it was told.
    pub(super) fn set_queue(&mut self, definition: QueueDefinition) -> Answer {
        definition.config.validate()?;
        let number = match self.known(&definition.name) {
            Some(number) if self.queue(number).def.version > definition.version => return Ok(Reply::Done),
            Some(number) => number,
            None if self.meta.queues >= limits::QUEUES_MAX => {
                let detail = format!("there are {} queues, and no more may be made", limits::QUEUES_MAX);
                return Err(Refusal::retry_after(Code::RateLimited, detail, 60_000));
            }
            None => self.intern(&definition.name),
        };
        let new_rate = definition.config.rate_limit.is_some() && self.queue(number).def.config.rate_limit.is_none();
        if new_rate {
            // A limit that begins now begins with a full bucket.
            self.stats(number).bucket_at = None;
        }
        self.define(number, definition);
        self.wake(number);
        Ok(Reply::Done)
    }

    /// A queue with jobs that are not done with stays; one with finished jobs alone falls back to
    /// defaults until retention takes them.
    pub(super) fn forget_queue(&mut self, name: &Name, version: u64) -> Answer {
        let Some(number) = self.known(name) else { return Ok(Reply::Done) };
        let queue = self.queue(number);
        if queue.def.version > version {
            return Ok(Reply::Done);
        }
        let held = queue.stats.waiting() + queue.stats.count(JobState::Leased) + queue.stats.count(JobState::Dead);
        if held > 0 {
            return Err(Refusal::new(Code::Conflict, format!("queue {name} still holds {held} jobs here")));
        }
        if queue.stats.counts.iter().sum::<u64>() > 0 {
            self.define(number, row::undefined(name.clone()));
        } else {
            self.forget(number);
        }
        Ok(Reply::Done)
    }
}
