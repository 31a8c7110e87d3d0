//! Whose jobs wait in a queue: for those who want to know what is before a job, where lanes take turns.

use std::collections::BTreeMap;

use crate::command::QueueDefinition;
use crate::id::Name;
use crate::row::{self, Lane, PRIORITIES, Stats};
use crate::table::{self, tag};
use crate::txn::Read;

/// The lanes of a queue in one partition that have jobs in the ready order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QueueLanes {
    /// The lanes.
    pub lanes: Vec<LaneLoad>,
    /// Weights of fairness keys, and of projects whose jobs have none; others' is 1.
    pub weights: BTreeMap<String, u32>,
    /// Rows that were read.
    pub looks: usize,
}

/// Jobs of one project, fairness key and set of requirements.
#[derive(Clone, Debug, PartialEq)]
pub struct LaneLoad {
    /// The project.
    pub project: String,
    /// Their fairness key, if they have one.
    pub key: Option<String>,
    /// What they ask of their workers.
    pub requirements: BTreeMap<String, String>,
    /// Jobs in the ready order, by priority.
    pub open: [u64; PRIORITIES],
}

impl From<Lane> for LaneLoad {
    fn from(lane: Lane) -> Self {
        Self { project: lane.project, key: lane.key, requirements: lane.requirements, open: lane.open }
    }
}

/// The lanes of a queue that is known here; none if there are more than `max`, or the queue is not known.
pub fn lanes(rows: &impl Read, name: &Name, max: usize) -> Option<QueueLanes> {
    let number = row::queue_number(rows, name)?;
    let stats: Stats = row::read(rows, &table::by_queue(tag::STATS, number))?;
    if stats.lanes >= max as u64 {
        return None;
    }
    let def: QueueDefinition = row::read(rows, &table::by_queue(tag::QUEUE, number))?;
    let mut found = vec![stats.lane0];
    if stats.lanes > 0 {
        let prefix = table::by_queue(tag::LANE, number);
        row::walk(rows, &prefix, &prefix, &mut |_, value| {
            found.extend(row::decode::<Lane>(value));
            found.len() < max
        });
    }
    let looks = found.len();
    let lanes = found.into_iter().filter(Lane::is_active).map(LaneLoad::from).collect();
    Some(QueueLanes { lanes, weights: def.config.fairness_weights, looks })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::QueueConfig;
    use crate::testing::{World, name};

    #[test]
    fn lanes_say_whose_jobs_wait_and_add_up_to_the_queue() {
        let mut world = World::new();
        let weights = BTreeMap::from([("other".to_owned(), 3)]);
        world.set(QueueConfig { fairness_weights: weights.clone(), ..QueueConfig::default() });
        let none = lanes(&world.rows, &name("q"), 9).unwrap();
        assert_eq!((none.lanes, none.weights), (vec![], weights));
        world.add(|_| {});
        let one = lanes(&world.rows, &name("q"), 9).unwrap();
        assert_eq!((one.lanes.len(), one.lanes[0].project.as_str(), one.lanes[0].open[4]), (1, "p", 1));
        world.add(|job| job.priority = 9);
        world.add(|job| job.project = name("other"));
        world.add(|job| job.fairness_key = Some("k".into()));
        world.add(|job| job.requirements = BTreeMap::from([("gpu".into(), "yes".into())]));
        let all = lanes(&world.rows, &name("q"), 9).unwrap();
        let sum = |priority: usize| all.lanes.iter().map(|lane| lane.open[priority]).sum::<u64>();
        assert_eq!((all.lanes.len(), sum(4), sum(9)), (4, 4, 1));
        assert_eq!(all.lanes.iter().filter(|lane| lane.requirements.contains_key("gpu")).count(), 1);
        assert_eq!(all.lanes.iter().filter(|lane| lane.key.as_deref() == Some("k")).count(), 1);
        assert_eq!(lanes(&world.rows, &name("q"), 3), None, "there are too many");
        assert_eq!(lanes(&world.rows, &name("nothing"), 9), None);
    }
}
