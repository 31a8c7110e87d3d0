//! The look at queues, workers and the node itself, once a tick.
//!
//! Queues are read off this node's own replicas: every node holds every partition, and under load a replica is
//! milliseconds behind its leader. So no look waits for another node, and none is missing when one is down. Workers
//! are known to the node that they talk to, and change less: they are asked for once a second.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bravo_model::row::Flow;
use bravo_model::{Name, view};
use parking_lot::Mutex;

use super::coming::{Growing, OnTheWay};
use super::door::{Admission, Queue};
use super::estimate::Coming;
use super::memory;
use super::overload::{Limit, Overload, Signals};
use super::queue::Look;
use super::sample::Seen;
use crate::cluster::Cluster;
use crate::raft::group::Group;
use crate::raft::types::{META_GROUP, partition_group};
use crate::telemetry::ProcessSample;
use crate::telemetry::events::EtaChecked;
use crate::telemetry::samples::AdmissionSample;
use crate::transport::wire::PoolSeen;

/// How often workers and memory are asked for while jobs come.
const SELDOM: Duration = Duration::from_secs(1);
/// And how often otherwise: an idle cluster costs nearly nothing.
const SELDOM_IDLE: Duration = Duration::from_secs(10);

/// What the task remembers from tick to tick.
pub(crate) struct Watch {
    cluster: Arc<Cluster>,
    admission: Arc<Admission>,
    overload: Overload,
    slots: HashMap<Name, f64>,
    memory_used: f64,
    memory_bound: Option<f64>,
    asked: Option<Instant>,
    way: OnTheWay,
}

impl Watch {
    /// Over the node's groups.
    pub(crate) fn new(cluster: Arc<Cluster>, admission: Arc<Admission>) -> Self {
        let memory_bound = memory::bound(admission.options.memory_bytes_max);
        let (overload, slots) = (Overload::default(), HashMap::new());
        Self {
            cluster,
            admission,
            overload,
            slots,
            memory_used: 0.0,
            memory_bound,
            asked: None,
            way: OnTheWay::default(),
        }
    }

    /// Whether workers are to be asked for.
    pub(crate) fn is_due(&self) -> bool {
        let every = if self.admission.is_used() { SELDOM } else { SELDOM_IDLE };
        self.asked.is_none_or(|asked| asked.elapsed() >= every)
    }

    /// Takes over which queues live workers serve, and how many jobs each works on at once.
    pub(crate) fn workers(&mut self, workers: impl Iterator<Item = (Vec<Name>, u32)>) {
        self.asked = Some(Instant::now());
        self.admission.rest();
        self.memory_used = ProcessSample::resident().unwrap_or(0.0);
        self.slots.clear();
        let now = Instant::now();
        for (queues, capacity) in workers {
            for queue in queues {
                self.admission.serve(&queue, now);
                *self.slots.entry(queue).or_default() += f64::from(capacity);
            }
        }
    }

    /// Takes over which pools grow. `type_of` tells a queue's agents where it is configured; else they have its name.
    pub(crate) fn pools(&mut self, pools: Vec<PoolSeen>, type_of: impl Fn(&Name) -> Option<Name>) {
        let now = Instant::now();
        let there: HashMap<Name, u32> =
            pools.iter().map(|pool| (pool.policy.agent_type.clone(), pool.current)).collect();
        let growing = |pool: PoolSeen| Growing {
            missing: pool.recommended.saturating_sub(pool.current),
            boot: Duration::from_millis(pool.boot_ms),
            agent_type: pool.policy.agent_type,
        };
        let expected = self.way.look(pools.into_iter().map(growing).collect(), now);
        for (queue, _) in self.admission.watched(now) {
            let agent_type = type_of(&queue).unwrap_or_else(|| queue.clone());
            let coming = expected.get(&agent_type).map(|(agents, in_ms)| {
                // As many jobs at a time as those do that are there.
                let agents_there = there.get(&agent_type).copied().unwrap_or(0).max(1);
                let slots = self.slots.get(&queue).copied().unwrap_or(1.0).max(1.0) / f64::from(agents_there);
                Coming { slots: slots * f64::from(*agents), in_ms: *in_ms }
            });
            self.admission.expect(&queue, coming.as_slice());
        }
    }

    /// One tick.
    pub(crate) fn tick(&mut self) {
        let time = self.partitions().map(|group| group.shared.clock.now()).max();
        if let Some(time) = time.filter(|time| *time > 0) {
            self.admission.is_now(time, Instant::now());
        }
        let mut shut: f64 = 0.0;
        for (name, queue) in self.admission.watched(Instant::now()) {
            shut = shut.max(self.look(&name, &queue));
        }
        self.compare();
        let node = self.node();
        AdmissionSample { node, queues: shut }.emit();
    }

    fn partitions(&self) -> impl Iterator<Item = &Group> {
        self.cluster.groups().iter().filter(|group| group.shared.group != META_GROUP)
    }

    /// Looks at a queue; how much of it is shut.
    fn look(&self, name: &Name, queue: &Mutex<Queue>) -> f64 {
        // Read before the queue is locked: a replica may be busy with an entry.
        let now = Instant::now();
        let loads: Vec<_> = self.partitions().map(|group| view::load(&*group.shared.state.read(), name)).collect();
        let queue = &mut *queue.lock();
        let slots = self.slots.get(name).copied().unwrap_or(0.0);
        let mut look = Look { slots, starts_per_ms_max: f64::INFINITY, tokens: f64::INFINITY, ..Look::default() };
        let is_first = queue.flows.is_empty();
        queue.flows.resize(loads.len(), Flow::default());
        let mut since = Flow::default();
        for (load, before) in loads.iter().zip(&mut queue.flows) {
            let Some(load) = load else { continue };
            look.open.iter_mut().zip(load.open).for_each(|(sum, open)| *sum += open as f64);
            look.leased += load.leased as f64;
            look.paused |= load.paused;
            if let Some((per_second, tokens)) = load.rate {
                look.starts_per_ms_max = per_second / 1e3;
                look.tokens = look.tokens.min(tokens as f64);
            }
            if let Some(max) = load.in_flight_max {
                look.slots = look.slots.min(f64::from(max));
            }
            since = since.plus(load.flow.since(*before));
            *before = load.flow;
        }
        look.elapsed_ms = queue.looked.map_or(0.0, |looked| now.duration_since(looked).as_secs_f64() * 1e3);
        look.served = (since.served as f64, since.service_ms as f64, since.service_ms2 as f64);
        if !is_first {
            (look.arrived, look.ended) = (since.arrived as f64, since.ended as f64);
        }
        queue.coming.retain(|(coming, said)| said.elapsed().as_secs_f64() * 1e3 < coming.in_ms);
        let left = |(coming, said): &(Coming, Instant)| Coming {
            in_ms: coming.in_ms - said.elapsed().as_secs_f64() * 1e3,
            ..*coming
        };
        look.coming = queue.coming.iter().map(left).collect();
        let counts = std::mem::take(&mut queue.counts);
        queue.since = [0.0; super::PRIORITIES];
        queue.looked = Some(now);
        let standing = queue.control.tick(&look, &counts);
        let shut = standing.gate.shut();
        queue.standing = Some(standing);
        shut
    }

    /// Compares predictions with what came of them.
    fn compare(&self) {
        let now = Instant::now();
        let due = self.admission.samples.lock().due(now);
        for sample in due {
            let Some(group) = self.cluster.group(partition_group(sample.job.partition)) else { continue };
            let job = view::job(&*group.shared.state.read(), sample.job.seq);
            match sample.seen(job.as_ref(), now) {
                Seen::Waits => self.admission.samples.lock().push(sample),
                Seen::Lost => {}
                Seen::Started(wait_ms) => {
                    EtaChecked {
                        held: sample.interval.holds(wait_ms),
                        below: wait_ms <= sample.interval.p95_ms.ceil(),
                    }
                    .emit();
                    if let Some(queue) = self.admission.known(&sample.queue) {
                        queue.lock().control.calibration.learn(sample.guess, wait_ms);
                    }
                }
            }
        }
    }

    /// Looks at the node itself; how much of it is shut.
    fn node(&mut self) -> f64 {
        let options = &self.admission.options;
        let backlog = |group: &Group| {
            let last = group.metrics().last_log_index.unwrap_or(0);
            last.saturating_sub(group.shared.applied())
        };
        let led = self.cluster.groups().iter().filter(|group| group.shared.is_leader());
        let backlog = led.map(backlog).max().unwrap_or(0) as f64 / options.log_backlog_entries_max.max(1) as f64;
        let memory = self.memory_bound.map_or(0.0, |bound| self.memory_used / bound);
        let node = &mut *self.admission.node.lock();
        let fastest_ms = node.fastest.take().map_or(0.0, |fastest| fastest.as_secs_f64() * 1e3);
        let queue_time = fastest_ms / options.queue_time_target_ms.max(1) as f64;
        let signals: Signals = [(Limit::QueueTime, queue_time), (Limit::Memory, memory), (Limit::Backlog, backlog)];
        let asked = std::mem::replace(&mut node.asked, [0.0; super::ladder::RUNGS]);
        let admitted = std::mem::take(&mut node.admitted);
        if !options.overload {
            return 0.0;
        }
        let (gate, limit) = self.overload.tick(&signals, &asked, admitted);
        node.gate = gate;
        node.limit = limit.or(node.limit);
        // What is queued now, and the ticks that it takes to let more in.
        node.drain_ms = fastest_ms + 2.0 * options.tick_ms as f64;
        gate.shut()
    }
}
