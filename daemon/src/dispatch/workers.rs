//! Workers that were seen at this node lately.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bravo_model::{Name, Time};
use parking_lot::Mutex;

use crate::raft::clock::wall;
use crate::transport::wire::WorkerSeen;

/// A worker that was not heard of for this long is gone.
const AGE: Duration = Duration::from_secs(60);
/// Workers remembered at a time; further ones work unseen.
const WORKERS_MAX: usize = 10_000;
/// Queues remembered of one worker.
const QUEUES_MAX: usize = 100;

struct Entry {
    agent_type: Option<Name>,
    queues: Vec<Name>,
    capacity: u32,
    in_flight: u32,
    heard: Instant,
    heard_at: Time,
}

/// The registry.
#[derive(Default)]
pub struct Workers {
    seen: Mutex<HashMap<Name, Entry>>,
}

impl Workers {
    /// A worker asked for up to `capacity` jobs of a queue.
    pub fn asked(&self, worker: &Name, queue: &Name, capacity: u32) {
        self.entry(worker, |entry| {
            entry.capacity = entry.capacity.max(capacity);
            if !entry.queues.contains(queue) && entry.queues.len() < QUEUES_MAX {
                entry.queues.push(queue.clone());
            }
        });
    }

    /// A worker opened its stream.
    pub fn hello(&self, worker: &Name, queues: &[Name], agent_type: Option<&Name>, capacity: u32, in_flight: u32) {
        self.entry(worker, |entry| {
            entry.agent_type = agent_type.cloned();
            entry.queues = queues.iter().take(QUEUES_MAX).cloned().collect();
            entry.capacity = capacity;
            entry.in_flight = in_flight;
        });
    }

    /// A worker that is known got jobs, or ended some.
    pub fn holds(&self, worker: &Name, in_flight: u32) {
        self.entry(worker, |entry| entry.in_flight = in_flight);
    }

    fn entry(&self, worker: &Name, change: impl FnOnce(&mut Entry)) {
        let mut seen = self.seen.lock();
        if seen.len() >= WORKERS_MAX && !seen.contains_key(worker) {
            seen.retain(|_, entry| entry.heard.elapsed() < AGE);
            if seen.len() >= WORKERS_MAX {
                return;
            }
        }
        let now = Instant::now();
        let entry = seen.entry(worker.clone()).or_insert_with(|| Entry {
            agent_type: None,
            queues: Vec::new(),
            capacity: 0,
            in_flight: 0,
            heard: now,
            heard_at: 0,
        });
        if now.duration_since(entry.heard) > AGE {
            entry.queues.clear();
            entry.in_flight = 0;
        }
        entry.heard = now;
        entry.heard_at = wall();
        change(entry);
    }

    /// Those that were heard of lately, by name.
    pub fn list(&self) -> Vec<WorkerSeen> {
        let mut seen = self.seen.lock();
        seen.retain(|_, entry| entry.heard.elapsed() < AGE);
        let mut list: Vec<WorkerSeen> = seen
            .iter()
            .map(|(worker, entry)| WorkerSeen {
                worker: worker.clone(),
                agent_type: entry.agent_type.clone(),
                queues: entry.queues.clone(),
                capacity: entry.capacity,
                in_flight: entry.in_flight,
                last_heartbeat: entry.heard_at,
            })
            .collect();
        list.sort_unstable_by(|a, b| a.worker.cmp(&b.worker));
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_remembered_with_its_queues() {
        let name = |text: &str| Name::parse("name", text).unwrap();
        let workers = Workers::default();
        workers.asked(&name("w"), &name("mail"), 5);
        workers.asked(&name("w"), &name("bills"), 3);
        workers.asked(&name("w"), &name("mail"), 1);
        let list = workers.list();
        assert_eq!(list.len(), 1);
        assert_eq!((list[0].queues.as_slice(), list[0].capacity), (&[name("mail"), name("bills")][..], 5));
        workers.hello(&name("w"), &[name("other")], Some(&name("type")), 9, 2);
        assert_eq!((workers.list()[0].queues.len(), workers.list()[0].in_flight), (1, 2));
    }
}
