//! Who runs how many agents of a pool, where several nodes look after it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bravo_model::Name;
use bravo_model::scaling::Mode;

use crate::raft::types::NodeId;
use crate::transport::wire::{PoolHere, PoolSeen};

/// Polls that a node may miss before others run its share.
const POLLS_MISSED_MAX: u32 = 3;
/// Looks of a new leader before it tells shares: at the first one a node may be silent of which nothing is known yet.
const LOOKS_MIN: u32 = 2;

/// What nodes said lately of the pools that they look after.
#[derive(Debug)]
pub(super) struct Reports {
    age_max: Duration,
    /// Time in which all nodes ask, and the load is looked at twice.
    settles: Duration,
    /// Since when this node is asked: before the others had time to ask, nobody is told anything.
    since: Option<Instant>,
    of: BTreeMap<NodeId, (Instant, Vec<PoolHere>)>,
}

impl Reports {
    /// Of nodes that ask so often, while the load is looked at each tick.
    pub(super) fn new(poll_every: Duration, tick: Duration) -> Self {
        let age_max = poll_every * POLLS_MISSED_MAX;
        Self { age_max, settles: age_max.max(tick * LOOKS_MIN), since: None, of: BTreeMap::new() }
    }

    /// Forgets all, since another node leads.
    pub(super) fn clear(&mut self) {
        self.since = None;
        self.of.clear();
    }

    /// Notes what a node looks after. One entry a member, as many pools as its configuration may have.
    pub(super) fn take(&mut self, from: NodeId, pools: &[PoolHere], now: Instant) {
        self.since.get_or_insert(now);
        self.of.retain(|_, (heard, _)| now.duration_since(*heard) < self.age_max);
        self.of.insert(from, (now, pools.to_vec()));
    }

    /// How many agents a node is to run, or the whole pool is to have; none: it leaves them as they are.
    pub(super) fn share(&self, node: NodeId, pool: &PoolHere, seen: &PoolSeen, now: Instant) -> Option<u32> {
        let has_heard_all = self.since.is_some_and(|since| now.duration_since(since) >= self.settles);
        if seen.policy.mode != Mode::Act || !has_heard_all {
            return None;
        }
        let alike = |node: &NodeId| self.looks_after(*node, &pool.agent_type) == Some(pool.is_part);
        let nodes: Vec<NodeId> = self.of.keys().copied().filter(alike).collect();
        if pool.is_part {
            split(seen.recommended, &nodes, node)
        } else {
            // One is enough to tell; the next one takes over when it falls silent.
            (nodes.first() == Some(&node)).then_some(seen.recommended)
        }
    }

    fn looks_after(&self, node: NodeId, agent_type: &Name) -> Option<bool> {
        let (_, pools) = self.of.get(&node)?;
        pools.iter().find(|pool| pool.agent_type == *agent_type).map(|pool| pool.is_part)
    }
}

/// As evenly as can be; the nodes with the lowest numbers have one more.
fn split(agents: u32, nodes: &[NodeId], node: NodeId) -> Option<u32> {
    let place = u32::try_from(nodes.iter().position(|one| *one == node)?).ok()?;
    let count = u32::try_from(nodes.len()).ok()?;
    Some(agents / count + u32::from(place < agents % count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scaling::pool::smallest;
    use bravo_model::scaling::ScalingPolicy;

    const EVERY: Duration = Duration::from_secs(1);

    fn name() -> Name {
        Name::parse("name", "coder").unwrap()
    }

    fn here(is_part: bool) -> PoolHere {
        PoolHere { agent_type: name(), is_part, running: 0 }
    }

    fn seen(mode: Mode) -> PoolSeen {
        smallest(ScalingPolicy { mode, min: 7, ..ScalingPolicy::of(name()) }, 0)
    }

    /// Three nodes that have told all there is to tell.
    fn told(is_part: bool, start: Instant) -> Reports {
        let mut reports = Reports::new(EVERY, EVERY);
        for second in 0..=3 {
            for node in [1, 2, 3] {
                reports.take(node, &[here(is_part)], start + EVERY * second);
            }
        }
        reports
    }

    #[test]
    fn shares_are_even_and_add_up_to_what_is_recommended() {
        let start = Instant::now();
        let reports = told(true, start);
        let share = |node| reports.share(node, &here(true), &seen(Mode::Act), start + EVERY * 3);
        assert_eq!([share(1), share(2), share(3), share(4)], [Some(3), Some(2), Some(2), None]);
    }

    #[test]
    fn a_node_that_falls_silent_leaves_its_share_to_the_others() {
        let start = Instant::now();
        let mut reports = told(true, start);
        let later = start + EVERY * 6;
        for node in [1, 3] {
            reports.take(node, &[here(true)], later);
        }
        let share = |node| reports.share(node, &here(true), &seen(Mode::Act), later);
        assert_eq!([share(1), share(2), share(3)], [Some(4), None, Some(3)]);
    }

    #[test]
    fn nobody_is_told_anything_before_all_had_time_to_ask_or_unless_the_pool_acts() {
        let start = Instant::now();
        let mut young = Reports::new(EVERY, EVERY * 5);
        young.take(1, &[here(true)], start);
        let share = |seconds| young.share(1, &here(true), &seen(Mode::Act), start + EVERY * seconds);
        assert_eq!([1, 3, 9, 10].map(share), [None, None, None, Some(7)], "two looks of five seconds");
        for mode in [Mode::Advise, Mode::Off] {
            assert_eq!(told(true, start).share(1, &here(true), &seen(mode), start + EVERY * 3), None);
        }
    }

    #[test]
    fn a_pool_that_is_seen_to_as_a_whole_is_seen_to_by_one_node() {
        let start = Instant::now();
        let reports = told(false, start);
        let share = |node| reports.share(node, &here(false), &seen(Mode::Act), start + EVERY * 3);
        assert_eq!([share(1), share(2), share(3)], [Some(7), None, None]);
    }
}
