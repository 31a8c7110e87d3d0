//! The cluster's own size, by what its nodes use of the processors and the memory of their machines, and what they will
//! use. It is advice: nodes are added and removed by operators.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bravo_model::scaling::{Rule, ScalingPolicy};
use bravo_model::{Name, Time};
use bravo_scaling::{Expected, Gauge, History};
use futures_util::future::join_all;
use parking_lot::Mutex;

use super::HORIZON_MS;
use super::told::Told;
use crate::cluster::Cluster;
use crate::telemetry::machine::machine_bytes;
use crate::telemetry::process::ProcessSample;
use crate::transport::wire::{NodeLoad, Outlook, PointSeen, PoolSeen, Request, Response, UseSeen};

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

/// What all nodes use, in nodes fully used, and the workflows that run on them.
#[derive(Debug)]
pub(super) struct Size {
    nodes: u32,
    cpu: f64,
    memory: f64,
    /// Processors, memory and workflows, as they were measured.
    gauges: [Gauge; 3],
    told: Told<NodeLoad>,
    /// When they were looked at last, now or before this node led.
    looked: Option<Time>,
}

/// What is remembered of the nodes.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// When they were looked at last.
    pub(super) at: Option<Time>,
    /// Processors, memory and workflows.
    pub(super) gauges: [History; 3],
}

/// By how much values must differ to be told apart: a thousandth of a node, and a workflow.
const UNITS: [f64; 3] = [0.001, 0.001, 1.0];

impl Default for Size {
    fn default() -> Self {
        Self::resume(Memory::default())
    }
}

impl Size {
    /// Goes on with what is remembered.
    pub(super) fn resume(memory: Memory) -> Self {
        let Memory { at, gauges: [cpu, memory, workflows] } = memory;
        let gauges = [(UNITS[0], cpu), (UNITS[1], memory), (UNITS[2], workflows)];
        let gauges = gauges.map(|(unit, history)| Gauge::resume(unit, history));
        Self { nodes: 0, cpu: 0.0, memory: 0.0, gauges, told: Told::default(), looked: at }
    }

    /// What is to be remembered, and of when that is; none before the first look.
    pub(super) fn memory(&self) -> Option<(Time, [&History; 3])> {
        Some((self.looked?, [0, 1, 2].map(|place: usize| self.gauges[place].history())))
    }

    /// Fits one gauge anew whose model has grown old; whether there was one.
    pub(super) fn refit(&mut self) -> bool {
        let stale = self.gauges.iter_mut().find(|gauge| gauge.wants_refit());
        stale.map(Gauge::refit).is_some()
    }

    /// Asks all nodes; `workflows` are under way.
    pub(super) async fn look(&mut self, cluster: &Arc<Cluster>, workflows: u64, at: Time) {
        let members = cluster.members();
        let asks = members.keys().map(|node| async move {
            match tokio::time::timeout(PATIENCE, cluster.call(*node, Request::NodeLoad)).await {
                Ok(Ok(Response::NodeLoad(load))) => (*node, Some(load)),
                _ => (*node, None),
            }
        });
        self.told.take(join_all(asks).await);
        let loads: Vec<NodeLoad> = self.told.all().map(|(_, load)| *load).collect();
        let ticks = self.passed(at, cluster.scaling.tick());
        self.learn(u32::try_from(members.len()).unwrap_or(u32::MAX), &loads, workflows, ticks);
    }

    /// The ticks since the last look, which this one stands for.
    fn passed(&mut self, at: Time, tick: Duration) -> usize {
        let before = self.looked.replace(at);
        let passed_ms = before.map_or(0.0, |before| at.saturating_sub(before) as f64);
        ((passed_ms / tick.as_millis().max(1) as f64).round() as usize).max(1)
    }

    /// Rises at once and falls slowly.
    fn learn(&mut self, nodes: u32, loads: &[NodeLoad], workflows: u64, ticks: usize) {
        let sum = |of: fn(&NodeLoad) -> f64| loads.iter().map(of).sum::<f64>();
        let (cpu, memory) = (sum(|load| load.cpu), sum(|load| load.memory));
        self.nodes = nodes;
        self.cpu = cpu.max(self.cpu * STAYS);
        self.memory = memory.max(self.memory * STAYS);
        for (gauge, value) in self.gauges.iter_mut().zip([cpu, memory, workflows as f64]) {
            gauge.push(value, ticks);
        }
    }

    /// What is recommended; nothing before the first look.
    pub(super) fn told(&self, at: Time, tick_s: f64) -> Option<Outlook> {
        let name = Name::parse("agent_type", OWN).ok().filter(|_| self.nodes > 0)?;
        let recommended = required(self.cpu, self.memory);
        let why = format!(
            "{recommended} nodes: {:.2} processors' worth and {:.2} memories' worth of machines like these are used, at {:.0} % and {:.0} % of which a node is full; fewer than {NODES_MIN} outlive no failure",
            self.cpu,
            self.memory,
            CPU_AIM * 100.0,
            MEMORY_AIM * 100.0
        );
        let policy = ScalingPolicy { min: NODES_MIN, max: NODES_MAX, rule: Rule::Reactive, ..ScalingPolicy::of(name) };
        let (points, uses) = self.expected(at, tick_s);
        let seen = PoolSeen {
            policy,
            is_set: false,
            current: self.nodes,
            recommended,
            why,
            boot_ms: 0,
            horizon_ms: HORIZON_MS,
            points,
            at,
            is_seen: true,
        };
        Some(Outlook { seen, uses })
    }

    /// The use that is expected, as a share of the nodes that it will require; loads are of whatever is scarcer.
    fn expected(&self, at: Time, tick_s: f64) -> (Vec<PointSeen>, Vec<UseSeen>) {
        let [cpu, memory, workflows] = [0, 1, 2].map(|place: usize| self.gauges[place].expected(tick_s));
        let each = cpu.into_iter().zip(memory).zip(workflows);
        let point = |((cpu, memory), workflows): ((Expected, Expected), Expected)| {
            let agents = required(cpu.p90, memory.p90);
            let (p50, p90) = if cpu.p90 / CPU_AIM >= memory.p90 / MEMORY_AIM {
                (cpu.p50, cpu.p90)
            } else {
                (memory.p50, memory.p90)
            };
            let share = |used: f64| (used / f64::from(agents)).min(1.0);
            let used = UseSeen { cpu: share(cpu.p50), memory: share(memory.p50), workflows: workflows.p50 };
            (PointSeen { at: at.saturating_add((cpu.in_s * 1000.0) as u64), p50, p90, agents }, used)
        };
        each.map(point).unzip()
    }
}

/// The nodes that are full with so much use.
fn required(cpu: f64, memory: f64) -> u32 {
    let (by_cpu, by_memory) = ((cpu / CPU_AIM).ceil() as u32, (memory / MEMORY_AIM).ceil() as u32);
    by_cpu.max(by_memory).clamp(NODES_MIN, NODES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recommended(size: &Size) -> u32 {
        size.told(0, 15.0).map_or(0, |told| told.seen.recommended)
    }

    #[test]
    fn the_cluster_grows_with_the_scarcer_of_processors_and_memory_within_its_bounds() {
        let mut size = Size::default();
        assert_eq!(size.told(0, 15.0), None);
        size.learn(3, &[NodeLoad { cpu: 0.1, memory: 0.1 }; 3], 0, 1);
        assert_eq!(recommended(&size), 3);
        size.learn(3, &[NodeLoad { cpu: 0.9, memory: 0.1 }; 3], 0, 1);
        assert_eq!(recommended(&size), 5, "2.7 of 0.6 each");
        size.learn(3, &[NodeLoad { cpu: 0.9, memory: 1.0 }; 9], 0, 1);
        assert_eq!(recommended(&size), 14, "8.1 of 0.6 each are more than 9 of 0.7");
        size.learn(3, &[NodeLoad { cpu: 1.0, memory: 1.0 }; 60], 0, 1);
        assert_eq!(recommended(&size), 20);
    }

    #[test]
    fn a_load_that_falls_is_believed_slowly() {
        let mut size = Size::default();
        size.learn(9, &[NodeLoad { cpu: 0.6, memory: 0.0 }; 9], 0, 1);
        size.learn(9, &[NodeLoad::default(); 9], 0, 1);
        assert_eq!(recommended(&size), 9);
        for _ in 0..200 {
            size.learn(9, &[NodeLoad::default(); 9], 0, 1);
        }
        assert_eq!(recommended(&size), 3);
    }

    #[test]
    fn what_the_nodes_will_use_is_forecast_and_goes_on_with_what_is_remembered() {
        let mut size = Size::default();
        for _ in 0..400 {
            size.learn(3, &[NodeLoad { cpu: 0.8, memory: 0.1 }; 3], 40, 1);
            while size.refit() {}
        }
        let near = |value: f64, of: f64| (value / of - 1.0).abs() < 0.2;
        let check = |told: Outlook| {
            assert_eq!((told.seen.points.len(), told.uses.len()), (5, 5));
            for (point, used) in told.seen.points.iter().zip(&told.uses) {
                assert!(near(point.p50, 2.4) && (4..=6).contains(&point.agents), "{point:?}");
                assert!(near(used.cpu * f64::from(point.agents), 2.4), "{used:?}");
                assert!(near(used.memory * f64::from(point.agents), 0.3) && near(used.workflows, 40.0), "{used:?}");
            }
            assert_eq!(told.seen.points.last().map(|point| point.at), Some(1_000 + HORIZON_MS));
        };
        check(size.told(1_000, 15.0).unwrap());
        assert!(size.memory().is_none(), "never looked at by the clock");
        assert_eq!(size.passed(7_000, Duration::from_secs(15)), 1, "the first look");
        let (at, gauges) = size.memory().unwrap();
        let mut next = Size::resume(Memory { at: Some(at), gauges: gauges.map(History::clone) });
        assert_eq!(next.passed(7_000 + 150_000, Duration::from_secs(15)), 10, "of which nobody looked at nine");
        next.learn(3, &[NodeLoad { cpu: 0.8, memory: 0.1 }; 3], 40, 1);
        check(next.told(1_000, 15.0).unwrap());
    }
}
