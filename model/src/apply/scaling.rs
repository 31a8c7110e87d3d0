//! Scaling policies, and what controllers have learned (meta).

use bytes::Bytes;

use super::{Answer, invalid};
use crate::code::{Code, Refusal};
use crate::id::Name;
use crate::limits;
use crate::reply::Reply;
use crate::scaling::{ScalingMemory, ScalingPolicy};
use crate::state::State;
use crate::table::{self, tag};

impl State<'_> {
    pub(super) fn put_scaling(&mut self, policy: &ScalingPolicy) -> Answer {
        policy.validate()?;
        let place = table::scaling(tag::SCALING, &policy.agent_type);
        if !self.txn.contains(&place) {
            self.room_for(tag::SCALINGS, "scaling policies")?;
            self.count_row(tag::SCALINGS, true);
        }
        self.put(place, policy);
        Ok(Reply::Done)
    }

    /// What was learned of the type stays: its jobs come all the same.
    pub(super) fn delete_scaling(&mut self, agent_type: &Name) -> Answer {
        let place = table::scaling(tag::SCALING, agent_type);
        if !self.txn.contains(&place) {
            return Err(Refusal::new(Code::NotFound, format!("there is no scaling policy of {agent_type}")));
        }
        self.txn.delete(&place);
        self.count_row(tag::SCALINGS, false);
        Ok(Reply::Done)
    }

    pub(super) fn save_scaling(&mut self, agent_type: Name, bytes: Bytes) -> Answer {
        if bytes.len() > limits::SCALING_MEMORY_BYTES_MAX {
            return invalid(format!("at most {} bytes a type", limits::SCALING_MEMORY_BYTES_MAX));
        }
        let place = table::scaling(tag::SCALING_MEMORY, &agent_type);
        match (self.txn.contains(&place), bytes.is_empty()) {
            (false, true) => return Ok(Reply::Done),
            (true, true) => {
                self.txn.delete(&place);
                self.count_row(tag::SCALING_MEMORIES, false);
                return Ok(Reply::Done);
            }
            (false, false) => {
                self.room_for(tag::SCALING_MEMORIES, "agent types with a memory")?;
                self.count_row(tag::SCALING_MEMORIES, true);
            }
            (true, false) => {}
        }
        self.put(place, &ScalingMemory { agent_type, bytes });
        Ok(Reply::Done)
    }

    fn room_for(&self, counted: u8, what: &str) -> Result<(), Refusal> {
        let count: u64 = self.read(&table::key(counted, &[])).unwrap_or(0);
        if count >= limits::SCALING_TYPES_MAX {
            let detail = format!("there are {count} {what}, and no more may be made");
            return Err(Refusal::retry_after(Code::RateLimited, detail, 60_000));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use crate::command::Command;
    use crate::limits;
    use crate::scaling::{Behaviour, Block, Mode, ScalingMemory, ScalingPolicy};
    use crate::testing::{World, name, refusal};
    use crate::{Code, Reply, view};

    #[test]
    fn a_policy_is_there_as_it_was_put_last_until_it_is_deleted() {
        let mut world = World::new();
        let first = ScalingPolicy::of(name("coder"));
        let behaviour = Some(Behaviour::DEFAULT);
        let second = ScalingPolicy { mode: Mode::Act, max: 20, behaviour, ..first.clone() };
        for policy in [&first, &second] {
            assert_eq!(world.ask(Command::PutScaling(policy.clone())), Reply::Done);
        }
        assert_eq!(view::scalings(&world.rows), [second]);
        assert_eq!(world.ask(Command::DeleteScaling(name("coder"))), Reply::Done);
        assert_eq!(refusal(&world.ask(Command::DeleteScaling(name("coder")))), Some(Code::NotFound));
        assert!(view::scalings(&world.rows).is_empty());
    }

    #[test]
    fn a_policy_without_sense_is_refused() {
        let mut world = World::new();
        let good = ScalingPolicy::of(name("coder"));
        let upside_down = ScalingPolicy { min: 9, max: 8, ..good.clone() };
        let none = ScalingPolicy { min: 0, max: 0, ..good.clone() };
        let many = ScalingPolicy { max: limits::SCALING_AGENTS_MAX + 1, ..good.clone() };
        let at_once = ScalingPolicy { start_delay_p95_ms: 0, ..good.clone() };
        let stuck = Block { percent: 0, ..Behaviour::DEFAULT.down };
        let behaviour = Some(Behaviour { down: stuck, ..Behaviour::DEFAULT });
        let never = ScalingPolicy { behaviour, ..good };
        for bad in [upside_down, none, many, at_once, never] {
            assert_eq!(refusal(&world.ask(Command::PutScaling(bad))), Some(Code::InvalidArgument));
        }
    }

    #[test]
    fn policies_and_memories_are_bounded_and_what_is_there_may_still_change() {
        let mut world = World::new();
        world.check = false;
        let save = |n: u64, bytes| Command::SaveScaling { agent_type: name(&format!("t{n}")), bytes };
        for n in 0..limits::SCALING_TYPES_MAX {
            world.quick(Command::PutScaling(ScalingPolicy::of(name(&format!("t{n}")))));
            world.quick(save(n, Bytes::from_static(b"a")));
        }
        let next = limits::SCALING_TYPES_MAX;
        let refused = world.ask(Command::PutScaling(ScalingPolicy::of(name("one-more"))));
        assert_eq!(refusal(&refused), Some(Code::RateLimited));
        assert_eq!(refusal(&world.ask(save(next, Bytes::from_static(b"a")))), Some(Code::RateLimited));
        assert_eq!(world.ask(save(0, Bytes::from_static(b"b"))), Reply::Done);
        assert_eq!(world.ask(save(1, Bytes::new())), Reply::Done, "empty: forgotten, and there is room again");
        assert_eq!(world.ask(save(next, Bytes::from_static(b"a"))), Reply::Done);
        let kept = view::scaling_memory(&world.rows, &name("t0"));
        assert_eq!(kept, Some(ScalingMemory { agent_type: name("t0"), bytes: Bytes::from_static(b"b") }));
        let large = Bytes::from(vec![0; limits::SCALING_MEMORY_BYTES_MAX + 1]);
        assert_eq!(refusal(&world.ask(save(0, large))), Some(Code::InvalidArgument));
    }
}
