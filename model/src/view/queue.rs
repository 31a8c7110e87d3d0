//! What a queue is and holds here, and the meta group's definitions.

use crate::Time;
use crate::bucket;
use crate::command::{Lease, QueueDefinition};
use crate::id::Name;
use crate::job::JobState;
use crate::pick;
pub use crate::pick::Offer;
use crate::queue::QueueConfig;
use crate::row::{self, Flow, PRIORITIES, Stats};
use crate::state::free_in_flight;
use crate::table::{self, tag};
use crate::txn::{Key, Read};

/// Ready jobs looked at for the one that has waited longest.
const OLDEST_OF: usize = 16;

/// A queue in one partition.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueView {
    /// The queue.
    pub name: Name,
    /// Jobs by state, in the order of [`JobState::ALL`].
    pub counts: [u64; JobState::ALL.len()],
    /// Since when the job is ready that was enqueued first of those ready.
    pub oldest_ready_at: Option<Time>,
    /// Ready jobs that a lease would be given now, but for rate and in-flight limits.
    pub open: u64,
    /// Nothing is delivered.
    pub paused: bool,
    /// Nothing is taken in.
    pub draining: bool,
    /// What it is configured to do, as this partition was told.
    pub config: QueueConfig,
    /// The definition's version; 0 if nobody ever defined it.
    pub version: u64,
    /// What has gone through it here.
    pub flow: Flow,
    /// Jobs in the ready order, by priority.
    pub open_by_priority: [u64; PRIORITIES],
}

impl QueueView {
    /// Jobs in this state.
    pub fn count(&self, state: JobState) -> u64 {
        self.counts.get(state as usize).copied().unwrap_or(0)
    }
}

/// What an estimate of waits needs of a queue in one partition: a few rows, however much is in it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QueueLoad {
    /// Jobs in the ready order, by priority.
    pub open: [u64; PRIORITIES],
    /// Jobs that workers hold.
    pub leased: u64,
    /// Nothing is delivered.
    pub paused: bool,
    /// Its rate limit: leases a second, and those that it would grant now.
    pub rate: Option<(f64, u64)>,
    /// Leases that there may be at a time.
    pub in_flight_max: Option<u32>,
    /// What has gone through it here.
    pub flow: Flow,
}

impl QueueLoad {
    /// Whether any job waits.
    pub fn waits(&self) -> bool {
        self.open.iter().any(|open| *open > 0)
    }
}

/// The load of a queue that is known here.
pub fn load(rows: &impl Read, name: &Name) -> Option<QueueLoad> {
    let number = row::queue_number(rows, name)?;
    let def: QueueDefinition = row::read(rows, &table::by_queue(tag::QUEUE, number))?;
    let stats: Stats = row::read(rows, &table::by_queue(tag::STATS, number)).unwrap_or_default();
    let now = super::now(rows);
    let rate = def.config.rate_limit.as_ref().map(|rate| (rate.per_second, bucket::tokens(&stats, rate, now)));
    Some(QueueLoad {
        open: stats.open,
        leased: stats.count(JobState::Leased),
        paused: def.paused,
        rate,
        in_flight_max: def.config.max_in_flight,
        flow: row::read(rows, &table::by_queue(tag::FLOW, number)).unwrap_or_default(),
    })
}

/// A queue that is known here.
pub fn queue(rows: &impl Read, name: &Name) -> Option<QueueView> {
    let number = row::queue_number(rows, name)?;
    let def = row::read(rows, &table::by_queue(tag::QUEUE, number))?;
    Some(view(rows, number, def))
}

/// All queues that are known here, by name.
pub fn queues(rows: &impl Read) -> Vec<QueueView> {
    let prefix = table::key(tag::QUEUE, &[]);
    let mut found: Vec<(u32, QueueDefinition)> = Vec::new();
    row::walk(rows, &prefix, &prefix, &mut |key, value| {
        let number = key.as_slice().last_chunk().map(|bytes| u32::from_be_bytes(*bytes));
        found.extend(number.zip(row::decode(value)));
        true
    });
    found.sort_by(|(_, a), (_, b)| a.name.cmp(&b.name));
    found.into_iter().map(|(number, def)| view(rows, number, def)).collect()
}

/// Ready jobs that leases may get now, all limits counted.
pub fn deliverable(rows: &impl Read, name: &Name) -> u64 {
    let Some(number) = row::queue_number(rows, name) else { return 0 };
    let Some(stats) = row::read::<Stats>(rows, &table::by_queue(tag::STATS, number)) else { return 0 };
    let Some(def) = row::read::<QueueDefinition>(rows, &table::by_queue(tag::QUEUE, number)) else { return 0 };
    if def.paused {
        return 0;
    }
    let now = super::now(rows);
    let tokens = def.config.rate_limit.as_ref().map_or(u64::MAX, |rate| bucket::tokens(&stats, rate, now));
    stats.open_all().min(free_in_flight(&def, &stats)).min(tokens)
}

/// What the queue has for an asker at a time, which is not before the state's.
pub fn offer(rows: &impl Read, lease: &Lease, now: Time) -> Offer {
    pick::offer(rows, lease, deliverable(rows, &lease.queue), now.max(super::now(rows)))
}

/// All definitions of queues, by name (meta group).
pub fn definitions(rows: &impl Read) -> Vec<QueueDefinition> {
    let prefix = table::key(tag::DEFINITION, &[]);
    let mut found: Vec<QueueDefinition> = Vec::new();
    row::walk(rows, &prefix, &prefix, &mut |_, value| {
        found.extend(row::decode::<QueueDefinition>(value));
        true
    });
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// The definition of one queue (meta group).
pub fn definition(rows: &impl Read, name: &Name) -> Option<QueueDefinition> {
    row::read(rows, &table::by_hash(tag::DEFINITION, &table::h16(&[name.as_str()])))
}

fn view(rows: &impl Read, number: u32, def: QueueDefinition) -> QueueView {
    let stats: Stats = row::read(rows, &table::by_queue(tag::STATS, number)).unwrap_or_default();
    QueueView {
        oldest_ready_at: oldest_ready_at(rows, number),
        open: stats.open_all(),
        counts: stats.counts,
        name: def.name,
        paused: def.paused,
        draining: def.draining,
        config: def.config,
        version: def.version,
        flow: row::read(rows, &table::by_queue(tag::FLOW, number)).unwrap_or_default(),
        open_by_priority: stats.open,
    }
}

/// `run_at` is when a job became ready, also after a retry or a lost lease.
fn oldest_ready_at(rows: &impl Read, number: u32) -> Option<Time> {
    let mut seqs = Vec::new();
    let (from, to): (Key, Key) = (table::state(number, JobState::Ready, 0), table::state(number, JobState::Leased, 0));
    rows.scan(&from, &to, &mut |key, _| {
        seqs.push(table::last_u64(key));
        seqs.len() < OLDEST_OF
    });
    seqs.into_iter().filter_map(|seq| row::job(rows, seq)).map(|job| job.run_at).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::RateLimit;
    use crate::testing::World;

    #[test]
    fn a_load_says_what_the_view_of_the_queue_says() {
        let mut world = World::new();
        let rate_limit = Some(RateLimit { per_second: 5.0, burst: 3 });
        world.set(QueueConfig { rate_limit, max_in_flight: Some(7), ..QueueConfig::default() });
        world.add(|job| job.priority = 9);
        world.add(|_| {});
        assert_eq!(world.lease(1).len(), 1);
        let name = Name::parse("queue", "q").unwrap();
        let (load, view) = (load(&world.rows, &name).unwrap(), queue(&world.rows, &name).unwrap());
        assert_eq!((load.open, load.flow, load.paused), (view.open_by_priority, view.flow, view.paused));
        assert_eq!((load.leased, load.open.iter().sum::<u64>()), (1, 1));
        assert_eq!((load.rate, load.in_flight_max), (Some((5.0, 2)), Some(7)), "a token is gone");
        assert_eq!(super::load(&world.rows, &Name::parse("queue", "other").unwrap()), None);
    }
}
