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
use crate::table::{self, H16, tag};

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
        let more_at_once = definition.config.concurrency_per_key > self.queue(number).def.config.concurrency_per_key;
        self.define(number, definition);
        self.wake(number);
        if more_at_once {
            self.unpark_all(number);
        }
        Ok(Reply::Done)
    }

    /// Lets parked jobs back after a raised limit. Keys beyond the bound follow as their leases end.
    fn unpark_all(&mut self, number: u32) {
        let prefix = table::by_queue(tag::SLOT, number);
        let mut hashes: Vec<H16> = Vec::new();
        row::walk(self.rows(), &prefix, &prefix, &mut |key, _| {
            hashes.extend(key.as_slice().last_chunk::<16>());
            hashes.len() < limits::SWEEP_MAX as usize
        });
        hashes.iter().for_each(|hash| self.unpark(number, hash, u64::MAX));
    }

    /// A queue with jobs that are not done with stays; one with finished jobs alone falls back to
    /// defaults until retention takes them.
    pub(super) fn forget_queue(&mut self, name: &Name, version: u64) -> Answer {
        let Some(number) = self.known(name) else { return Ok(Reply::Done) };
        let queue = self.queue(number);
        if queue.def.version > version {
            return Ok(Reply::Done);
        }
        let held = [queue.stats.waiting(), queue.stats.count(JobState::Leased), queue.stats.count(JobState::Dead)]
            .into_iter()
            .fold(0, u64::saturating_add);
        if held > 0 {
            return Err(Refusal::new(Code::Conflict, format!("queue {name} still holds {held} jobs here")));
        }
        if queue.stats.counts.iter().any(|count| *count > 0) {
            // The version stays, so that a definition from before the deletion does not come back.
            self.define(number, QueueDefinition { version, ..row::undefined(name.clone()) });
        } else {
            self.forget(number);
        }
        Ok(Reply::Done)
    }
}

#[cfg(test)]
mod tests {
    use crate::command::{Command, QueueDefinition};
    use crate::testing::{World, name, refusal};
    use crate::{Code, Reply, row, view};

    #[test]
    fn a_partition_keeps_the_newest_definition() {
        let mut world = World::new();
        let version = |version, paused| QueueDefinition { version, paused, ..row::undefined(name("q")) };
        world.ask(Command::SetQueue(version(5, true)));
        world.ask(Command::SetQueue(version(4, false)));
        let queue = view::queue(&world.rows, &name("q")).expect("it is known");
        assert_eq!((queue.version, queue.paused), (5, true));
    }

    #[test]
    fn a_raised_limit_lets_parked_jobs_back_at_once() {
        let mut world = World::new();
        let seqs: Vec<u64> = (0..3).map(|_| world.add(|job| job.concurrency_key = Some("k".into()))).collect();
        assert_eq!(world.lease(9), [seqs[0]]);
        world.set(crate::QueueConfig { concurrency_per_key: 2, ..crate::QueueConfig::default() });
        assert_eq!(world.lease(9), [seqs[1]]);
        assert_eq!(world.why(seqs[2]), "concurrency_limited");
    }

    #[test]
    fn an_empty_queue_is_forgotten_and_one_with_jobs_is_not() {
        let mut world = World::new();
        let forget = |version| Command::ForgetQueue { name: name("q"), version };
        assert_eq!(world.ask(forget(1)), Reply::Done);
        let seq = world.add(|_| {});
        assert_eq!(refusal(&world.ask(forget(1))), Some(Code::Conflict));
        world.lease(1);
        world.ack(seq).expect("acked");
        assert_eq!(world.ask(forget(1)), Reply::Done);
        assert!(world.state(seq).is_some(), "finished jobs are kept");
        world.tick(7 * 86_400_000);
        assert_eq!(world.ask(forget(1)), Reply::Done);
        assert_eq!(view::queues(&world.rows), []);
    }
}
