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
//!
//! Workers that may have the same jobs (the same labels, the same project or none) stand in one line of a queue;
//! a leader has something for all in a line or for none, but for jobs with a sticky key. Of a line, [`choice`]
//! says who is next. Who gets little or nothing for a while follows from [`health`]; which sticky keys look for
//! whom, from [`rendezvous`]; [`balance`] keeps both up to date.

pub mod balance;
pub mod breaker;
pub mod choice;
pub mod credit;
pub mod health;
pub mod hungry;
pub(crate) mod overview;
pub mod queue;
pub mod quota;
pub mod rendezvous;
pub mod streams;
pub mod workers;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bravo_model::Name;
use parking_lot::Mutex;

pub use credit::Credit;
pub use queue::{QueueDispatch, Waiter};

use crate::cluster::Cluster;
use crate::config::Balancing;
use crate::raft::types::{GroupId, NodeId};

/// Which jobs of a queue a worker may have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Profile {
    /// Those of this project alone.
    pub project: Option<Name>,
    /// Those whose requirements are among these.
    pub labels: BTreeMap<String, String>,
}

/// The lines of one queue.
type Lines = HashMap<Arc<Profile>, Arc<QueueDispatch>>;

/// All queues that somebody at this node waits for.
pub struct Dispatcher {
    queues: Mutex<HashMap<Name, Lines>>,
    /// Workers that were seen at this node lately.
    pub workers: workers::Workers,
    /// Workers' streams that are open at this node.
    pub streams: streams::Streams,
    /// How work is shared out.
    pub balance: balance::Balance,
    seed: u64,
}

impl Dispatcher {
    /// Nobody waits yet.
    pub fn new(config: Balancing, node: NodeId) -> Self {
        Self {
            queues: Mutex::default(),
            workers: workers::Workers::default(),
            streams: streams::Streams::default(),
            balance: balance::Balance::new(config),
            seed: node,
        }
    }

    /// Adds a waiting worker to its line.
    pub fn wait(&self, cluster: &Arc<Cluster>, queue: &Name, waiter: Waiter) {
        let mut queues = self.queues.lock();
        let lines = queues.entry(queue.clone()).or_default();
        let dispatch = match lines.get(&waiter.profile) {
            Some(dispatch) if !dispatch.is_finished() => dispatch.clone(),
            _ => {
                let (queue, profile) = (queue.clone(), waiter.profile.clone());
                let dispatch = QueueDispatch::start(cluster.clone(), queue, profile.clone(), self.seed);
                lines.insert(profile, dispatch.clone());
                dispatch
            }
        };
        dispatch.push(waiter);
    }

    /// A leader says that its partition has `ready` jobs of the queue; answers whether a worker waits for
    /// them here.
    pub fn ready(&self, queue: &Name, group: GroupId, ready: u64) -> bool {
        let queues = self.queues.lock();
        // Each line is told: whose jobs they are the leader says when it is asked.
        let lines = queues.get(queue).into_iter().flat_map(HashMap::values);
        let waiting = lines.filter(|line| line.ready(group, ready)).count();
        waiting > 0
    }

    /// A group has another leader: what the last one remembered is gone.
    pub fn leader_changed(&self, group: GroupId) {
        for dispatch in self.queues.lock().values().flat_map(HashMap::values) {
            dispatch.forget(group);
        }
    }

    /// The queues that somebody waits for.
    fn queues(&self) -> Vec<Name> {
        self.queues.lock().keys().cloned().collect()
    }

    /// Workers of these queues may be given jobs again that they might not.
    fn look_again(&self, queues: &[Name]) {
        let all = self.queues.lock();
        for dispatch in queues.iter().filter_map(|queue| all.get(queue)).flat_map(HashMap::values) {
            dispatch.look_again();
        }
    }

    /// Forgets a line whose last worker left, if nobody came meanwhile.
    fn retire(&self, queue: &Name, dispatch: &QueueDispatch) -> bool {
        let mut queues = self.queues.lock();
        if !dispatch.try_finish() {
            return false;
        }
        if let Some(lines) = queues.get_mut(queue) {
            lines.remove(dispatch.profile());
            if lines.is_empty() {
                queues.remove(queue);
            }
        }
        true
    }
}
