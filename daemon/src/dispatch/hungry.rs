//! The leader's side: which nodes asked for jobs of a queue when there were none.

use std::collections::{BTreeSet, HashMap};

use bravo_model::Name;
use parking_lot::Mutex;

use crate::raft::types::{GroupId, NodeId};

/// Queues remembered at a time. Beyond it a node is not told and finds out in its safety round.
const ENTRIES_MAX: usize = 100_000;

/// Nodes to tell when a queue has something.
#[derive(Default)]
pub struct Hungry {
    nodes: Mutex<HashMap<(GroupId, Name), BTreeSet<NodeId>>>,
}

impl Hungry {
    /// Remembers that `node` wants to be told.
    pub fn register(&self, group: GroupId, queue: &Name, node: NodeId) {
        let mut nodes = self.nodes.lock();
        if nodes.len() < ENTRIES_MAX || nodes.contains_key(&(group, queue.clone())) {
            nodes.entry((group, queue.clone())).or_default().insert(node);
        }
    }

    /// Takes out who is to be told now; they ask again when they are hungry again.
    pub fn take(&self, group: GroupId, queue: &Name) -> BTreeSet<NodeId> {
        self.nodes.lock().remove(&(group, queue.clone())).unwrap_or_default()
    }
}
