//! The cluster's own size, by what its nodes use of the processors and the memory of their machines. It is advice:
//! nodes are added and removed by operators.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bravo_model::scaling::{Rule, ScalingPolicy};
use bravo_model::{Name, Time};
use futures_util::future::join_all;
use parking_lot::Mutex;

use super::HORIZON_MS;
use crate::cluster::Cluster;
use crate::telemetry::process::{ProcessSample, machine_bytes};
use crate::transport::wire::{NodeLoad, PoolSeen, Request, Response};

/// The name under which the nodes themselves are told.
pub(crate) const OWN: &str = "bravod";
const NODES_MIN: u32 = 3;
const NODES_MAX: u32 = 20;
/// The use of processors and memory that is aimed at.
const CPU_AIM: f64 = 0.6;
const MEMORY_AIM: f64 = 0.7;
/// What of the last value stays at each look when the load falls: half of it goes in eight minutes.
const STAYS: f64 = 0.98;
/// Longest wait for a node.
const PATIENCE: Duration = Duration::from_millis(500);

/// Measures this node from one question to the next.
#[derive(Debug, Default)]
pub(super) struct Meter {
    last: Mutex<Option<(Instant, f64)>>,
}

impl Meter {
    pub(super) fn take(&self) -> NodeLoad {
        let sample = ProcessSample::take();
        let (now, seconds) = (Instant::now(), sample.cpu_seconds.unwrap_or(0.0));
        let before = self.last.lock().replace((now, seconds));
        let processors = std::thread::available_parallelism().map_or(1.0, |count| count.get() as f64);
        let cpu = before.map_or(0.0, |(then, used)| {
            let passed = now.duration_since(then).as_secs_f64().max(0.001);
            (seconds - used) / passed / processors
        });
        let memory = sample.resident_bytes.zip(machine_bytes()).map_or(0.0, |(used, all)| used / all.max(1.0));
        NodeLoad { cpu: cpu.clamp(0.0, 1.0), memory: memory.clamp(0.0, 1.0) }
    }
}

/// What all nodes use, in nodes fully used.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Size {
    nodes: u32,
    cpu: f64,
    memory: f64,
}

impl Size {
    /// Asks all nodes.
    pub(super) async fn look(&mut self, cluster: &Arc<Cluster>) {
        let members = cluster.members();
        let asks = members.keys().map(|node| async move {
            match tokio::time::timeout(PATIENCE, cluster.call(*node, Request::NodeLoad)).await {
                Ok(Ok(Response::NodeLoad(load))) => Some(load),
                _ => None,
            }
        });
        let loads: Vec<NodeLoad> = join_all(asks).await.into_iter().flatten().collect();
        self.learn(u32::try_from(members.len()).unwrap_or(u32::MAX), &loads);
    }

    /// Rises at once and falls slowly.
    fn learn(&mut self, nodes: u32, loads: &[NodeLoad]) {
        let sum = |of: fn(&NodeLoad) -> f64| loads.iter().map(of).sum::<f64>();
        self.nodes = nodes;
        self.cpu = sum(|load| load.cpu).max(self.cpu * STAYS);
        self.memory = sum(|load| load.memory).max(self.memory * STAYS);
    }

    /// What is recommended; nothing before the first look.
    pub(super) fn told(&self, at: Time) -> Option<PoolSeen> {
        let name = Name::parse("agent_type", OWN).ok().filter(|_| self.nodes > 0)?;
        let by_cpu = (self.cpu / CPU_AIM).ceil() as u32;
        let by_memory = (self.memory / MEMORY_AIM).ceil() as u32;
        let recommended = by_cpu.max(by_memory).clamp(NODES_MIN, NODES_MAX);
        let why = format!(
            "{recommended} nodes: {:.2} processors' worth and {:.2} memories' worth of machines like these are used, at {:.0} % and {:.0} % of which a node is full; fewer than {NODES_MIN} outlive no failure",
            self.cpu,
            self.memory,
            CPU_AIM * 100.0,
            MEMORY_AIM * 100.0
        );
        let policy = ScalingPolicy { min: NODES_MIN, max: NODES_MAX, rule: Rule::Reactive, ..ScalingPolicy::of(name) };
        Some(PoolSeen {
            policy,
            is_set: false,
            current: self.nodes,
            recommended,
            why,
            boot_ms: 0,
            horizon_ms: HORIZON_MS,
            points: Vec::new(),
            at,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recommended(size: &Size) -> u32 {
        size.told(0).map_or(0, |told| told.recommended)
    }

    #[test]
    fn the_cluster_grows_with_the_scarcer_of_processors_and_memory_within_its_bounds() {
        let mut size = Size::default();
        assert_eq!(size.told(0), None);
        size.learn(3, &[NodeLoad { cpu: 0.1, memory: 0.1 }; 3]);
        assert_eq!(recommended(&size), 3);
        size.learn(3, &[NodeLoad { cpu: 0.9, memory: 0.1 }; 3]);
        assert_eq!(recommended(&size), 5, "2.7 of 0.6 each");
        size.learn(3, &[NodeLoad { cpu: 0.9, memory: 1.0 }; 9]);
        assert_eq!(recommended(&size), 14, "8.1 of 0.6 each are more than 9 of 0.7");
        size.learn(3, &[NodeLoad { cpu: 1.0, memory: 1.0 }; 60]);
        assert_eq!(recommended(&size), 20);
    }

    #[test]
    fn a_load_that_falls_is_believed_slowly() {
        let mut size = Size::default();
        size.learn(9, &[NodeLoad { cpu: 0.6, memory: 0.0 }; 9]);
        size.learn(9, &[NodeLoad::default(); 9]);
        assert_eq!(recommended(&size), 9);
        for _ in 0..200 {
            size.learn(9, &[NodeLoad::default(); 9]);
        }
        assert_eq!(recommended(&size), 3);
    }
}
