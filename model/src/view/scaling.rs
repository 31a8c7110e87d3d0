//! Scaling policies and memories (meta group); what is known to become ready (partitions).

use std::collections::BTreeMap;

use crate::Time;
use crate::id::Name;
use crate::job::JobState;
use crate::row;
use crate::scaling::{ScalingMemory, ScalingPolicy};
use crate::schedule::{Schedule, Target};
use crate::table::{self, due, tag};
use crate::txn::Read;

/// All policies, by agent type.
pub fn scalings(rows: &impl Read) -> Vec<ScalingPolicy> {
    let prefix = table::key(tag::SCALING, &[]);
    let mut found: Vec<ScalingPolicy> = Vec::new();
    row::walk(rows, &prefix, &prefix, &mut |_, value| {
        found.extend(row::decode::<ScalingPolicy>(value));
        true
    });
    found.sort_by(|a, b| a.agent_type.cmp(&b.agent_type));
    found
}

/// What the controller of an agent type had learned.
pub fn scaling_memory(rows: &impl Read, agent_type: &Name) -> Option<ScalingMemory> {
    row::read(rows, &table::scaling(tag::SCALING_MEMORY, agent_type))
}

/// The agent types of which something is remembered.
pub fn scaling_memories(rows: &impl Read) -> Vec<Name> {
    let prefix = table::key(tag::SCALING_MEMORY, &[]);
    let mut found = Vec::new();
    row::walk(rows, &prefix, &prefix, &mut |_, value| {
        found.extend(row::decode::<ScalingMemory>(value).map(|memory| memory.agent_type));
        true
    });
    found
}

/// Jobs of a queue that will be ready within a slot of time, counted in slots from now.
pub type Coming = BTreeMap<(Name, u32), u32>;

/// What will become ready within `slots` slots of `slot_ms` from `now`, as far as it is certain: jobs that wait for
/// their time, and ticks of schedules that start a job. At most `looks` rows of the due table are looked at, the
/// nearest first.
pub fn coming(rows: &impl Read, now: Time, (slot_ms, slots): (u64, u32), looks: usize) -> Coming {
    let slot_ms = slot_ms.max(1);
    let end = now.saturating_add(slot_ms.saturating_mul(slots.into()));
    let (mut left, mut rest) = (looks, Vec::new());
    let prefix = table::key(tag::DUE, &[]);
    row::walk(rows, &prefix, &prefix, &mut |key, _| {
        let Some((at, kind, what)) = table::split_due(key) else { return true };
        left = left.saturating_sub(1);
        match kind {
            due::JOB | due::SCHEDULE if at < end => rest.push((at, kind, what.to_vec())),
            _ => {}
        }
        at < end && left > 0
    });
    let mut coming = Coming::new();
    for (at, kind, what) in rest {
        let queue = match kind {
            due::JOB => job_of(rows, &what),
            _ => queue_of_tick(rows, &what),
        };
        let Some(queue) = queue else { continue };
        let slot = u32::try_from(at.saturating_sub(now) / slot_ms).unwrap_or(u32::MAX);
        let count = coming.entry((queue, slot)).or_default();
        *count = count.saturating_add(1);
    }
    coming
}

/// The queue of a job that waits for its time: other due rows of jobs are of leases and deadlines.
fn job_of(rows: &impl Read, what: &[u8]) -> Option<Name> {
    let seq = u64::from_be_bytes(*what.last_chunk()?);
    row::job(rows, seq).filter(|job| job.state == JobState::Scheduled).map(|job| job.queue)
}

/// The queue of the job that a schedule's next tick starts.
fn queue_of_tick(rows: &impl Read, what: &[u8]) -> Option<Name> {
    let hash = what.try_into().ok()?;
    let schedule: Schedule = row::read(rows, &table::by_hash(tag::SCHEDULE, hash))?;
    let (target, _) = row::read::<(Target, bytes::Bytes)>(rows, &table::by_hash(tag::SCHEDULE_TARGET, hash))?;
    match target {
        Target::Job(job) if !schedule.paused => Some(job.queue),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::When;
    use crate::testing::{World, name};

    #[test]
    fn delayed_jobs_are_counted_in_the_slots_in_which_they_will_be_ready() {
        let mut world = World::new();
        for delay_ms in [1_000, 14_999, 15_000, 40_000, 1_000_000] {
            world.add(|job| job.run_at = Some(When::In(delay_ms)));
        }
        world.add(|_| {});
        let found = coming(&world.rows, world.at, (15_000, 60), 100);
        let of = |slot| found.get(&(name("q"), slot)).copied();
        assert_eq!((of(0), of(1), of(2)), (Some(2), Some(1), Some(1)));
        assert_eq!(found.values().sum::<u32>(), 4, "the one after the horizon and the one that is ready do not count");
        assert_eq!(coming(&world.rows, world.at, (15_000, 60), 2).values().sum::<u32>(), 2, "the nearest ones");
    }
}
