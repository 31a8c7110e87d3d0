//! Brings ready jobs and waiting workers together.
//!
//! ```text
//!  worker ── credit ──► gateway's QueueDispatch ── ask(max) ──► leader of a partition
//!                            ▲   │                                 │ nothing ready: remembers who asked
//!                            │   └── jobs ──► worker               │
//!                            └────────── ready(n) ◄────────────────┘ when something becomes ready
//! ```
//!
//! Partitions are not polled: a leader that has nothing remembers which nodes asked ([`hungry`]). When it
//! has, it tells as many as there are jobs, once, and the others soon after if jobs are left. A slow safety
//! round covers what a broken connection lost. Cancels of leased jobs go the other way round: the leader
//! tells every node, and the one that has the worker's stream passes it on ([`streams`]).

pub mod credit;
pub mod hungry;
pub mod queue;
pub mod streams;
pub mod workers;

use std::collections::HashMap;
use std::sync::Arc;

use bravo_model::Name;
use parking_lot::Mutex;

pub use credit::Credit;
pub use queue::{QueueDispatch, Waiter};

use crate::cluster::Cluster;
use crate::raft::types::GroupId;

/// All queues that somebody at this node waits for.
#[derive(Default)]
pub struct Dispatcher {
    queues: Mutex<HashMap<Name, Arc<QueueDispatch>>>,
    /// Workers that were seen at this node lately.
    pub workers: workers::Workers,
    /// Workers' streams that are open at this node.
    pub streams: streams::Streams,
}

impl Dispatcher {
    /// Adds a waiting worker to its queue.
    pub fn wait(&self, cluster: &Arc<Cluster>, queue: &Name, waiter: Waiter) {
        let mut queues = self.queues.lock();
        let dispatch = match queues.get(queue) {
            Some(dispatch) if !dispatch.is_finished() => dispatch.clone(),
            _ => {
                let dispatch = QueueDispatch::start(cluster.clone(), queue.clone());
                queues.insert(queue.clone(), dispatch.clone());
                dispatch
            }
        };
        dispatch.push(waiter);
    }

    /// A leader says that its partition has `ready` jobs of the queue; answers whether a worker waits for
    /// them here.
    pub fn ready(&self, queue: &Name, group: GroupId, ready: u64) -> bool {
        self.queues.lock().get(queue).is_some_and(|dispatch| dispatch.ready(group, ready))
    }

    /// A group has another leader: what the last one remembered is gone.
    pub fn leader_changed(&self, group: GroupId) {
        for dispatch in self.queues.lock().values() {
            dispatch.forget(group);
        }
    }

    /// Forgets a queue whose last worker left, if nobody came meanwhile.
    fn retire(&self, queue: &Name, dispatch: &QueueDispatch) -> bool {
        let mut queues = self.queues.lock();
        if !dispatch.try_finish() {
            return false;
        }
        queues.remove(queue);
        true
    }
}
