//! The leader's side: which nodes asked for jobs of a queue when there were none.

use std::collections::{HashMap, HashSet, VecDeque};

use bravo_model::Name;
use parking_lot::Mutex;

use crate::raft::types::{GroupId, NodeId};

/// Queues remembered at a time. Beyond it a node is not told and finds out in its safety round.
const ENTRIES_MAX: usize = 100_000;

/// Nodes to tell when a queue has something, longest waiting first.
#[derive(Default)]
pub struct Hungry {
    nodes: Mutex<HashMap<(GroupId, Name), VecDeque<NodeId>>>,
    /// Queues that are looked at again soon.
    watched: Mutex<HashSet<(GroupId, Name)>>,
}

impl Hungry {
    /// Remembers that `node` wants to be told.
    pub fn register(&self, group: GroupId, queue: &Name, node: NodeId) {
        let mut all = self.nodes.lock();
        if all.len() < ENTRIES_MAX || all.contains_key(&(group, queue.clone())) {
            let nodes = all.entry((group, queue.clone())).or_default();
            if !nodes.contains(&node) {
                nodes.push_back(node);
            }
        }
    }

    /// Takes out up to `count` nodes that are to be told now; they ask again when they are hungry again.
    pub fn take(&self, group: GroupId, queue: &Name, count: u64) -> Vec<NodeId> {
        let mut all = self.nodes.lock();
        let key = (group, queue.clone());
        let Some(nodes) = all.get_mut(&key) else { return Vec::new() };
        let count = nodes.len().min(usize::try_from(count).unwrap_or(usize::MAX));
        let taken = nodes.drain(..count).collect();
        if nodes.is_empty() {
            all.remove(&key);
        }
        taken
    }

    /// Whether anybody is left to be told, and nobody looks at it again yet: the caller shall.
    pub fn watch(&self, group: GroupId, queue: &Name) -> bool {
        let key = (group, queue.clone());
        self.nodes.lock().contains_key(&key) && self.watched.lock().insert(key)
    }

    /// The queue is looked at again now.
    pub fn looked(&self, group: GroupId, queue: &Name) {
        self.watched.lock().remove(&(group, queue.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_waiting_are_told_first_and_as_many_as_are_needed() {
        let queue = Name::parse("queue", "mail").unwrap();
        let hungry = Hungry::default();
        for node in [3, 1, 2, 1] {
            hungry.register(7, &queue, node);
        }
        assert_eq!(hungry.take(7, &queue, 1), [3]);
        hungry.register(7, &queue, 3);
        assert!(hungry.watch(7, &queue) && !hungry.watch(7, &queue), "one looks");
        hungry.looked(7, &queue);
        assert_eq!(hungry.take(7, &queue, 9), [1, 2, 3]);
        assert!(hungry.take(7, &queue, 9).is_empty());
        assert!(!hungry.watch(7, &queue), "nobody is left to be told");
    }
}
