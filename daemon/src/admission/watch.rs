//! The look at queues, workers and the node itself, once a tick.
//!
//! Queues are read off this node's own replicas: every node holds every partition, and under load a replica is
//! milliseconds behind its leader. So no look waits for another node, and none is missing when one is down. Workers
//! are known to the node that they talk to, and change less: they are asked for once a second.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bravo_model::row::Flow;
use bravo_model::view::{LaneLoad, QueueLanes, QueueLoad};
use bravo_model::{Name, view};
use parking_lot::Mutex;

use super::PRIORITIES;
use super::coming::{Growing, OnTheWay};
use super::door::{Admission, Queue};
use super::estimate::Coming;
use super::lanes::{LANES_MAX, Lanes, Served};
use super::memory;
use super::overload::{Limit, Overload, Signals};
use super::queue::Look;
use super::sample::Seen;
use crate::cluster::Cluster;
use crate::dispatch::Profile;
use crate::raft::group::Group;
use crate::raft::types::{META_GROUP, partition_group};
use crate::telemetry::ProcessSample;
use crate::telemetry::events::EtaChecked;
use crate::telemetry::samples::AdmissionSample;
use crate::transport::wire::{PoolSeen, WorkerSeen};

/// How often workers and memory are asked for while jobs come.
const SELDOM: Duration = Duration::from_secs(1);
/// And how often otherwise: an idle cluster costs nearly nothing.
const SELDOM_IDLE: Duration = Duration::from_secs(10);
/// Lanes that are read in one tick, of all queues: some milliseconds. Those of further queues are not told apart.
const LANE_LOOKS: usize = 4_096;

/// What the task remembers from tick to tick.
pub(crate) struct Watch {
    cluster: Arc<Cluster>,
    admission: Arc<Admission>,
    overload: Overload,
    slots: HashMap<Name, f64>,
    served: HashMap<Name, Served>,
    memory_used: f64,
    memory_bound: Option<f64>,
    asked: Option<Instant>,
    way: OnTheWay,
}

impl Watch {
    /// Over the node's groups.
    pub(crate) fn new(cluster: Arc<Cluster>, admission: Arc<Admission>) -> Self {
        let memory_bound = memory::bound(admission.options.memory_bytes_max);
        let (overload, slots, served) = (Overload::default(), HashMap::new(), HashMap::new());
        Self {
            cluster,
            admission,
            overload,
            slots,
            served,
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

    /// Takes over which queues live workers serve, how many jobs each works on at once, and which it may have.
    pub(crate) fn workers(&mut self, workers: impl Iterator<Item = WorkerSeen>) {
        self.asked = Some(Instant::now());
        self.admission.rest();
        self.memory_used = ProcessSample::resident().unwrap_or(0.0);
        self.slots.clear();
        self.served.clear();
        let now = Instant::now();
        for WorkerSeen { queues, capacity, labels, project, .. } in workers.filter(|worker| !worker.leaves) {
            let profile = Profile { project, labels };
            for queue in queues {
                self.admission.serve(&queue, now);
                self.served.entry(queue.clone()).or_default().add(profile.clone());
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
        let (mut shut, mut looks) = (0.0_f64, LANE_LOOKS);
        for (name, queue) in self.admission.watched(Instant::now()) {
            shut = shut.max(self.look(&name, &queue, &mut looks));
        }
        self.compare();
        let node = self.node();
        AdmissionSample { node, queues: shut }.emit();
    }

    fn partitions(&self) -> impl Iterator<Item = &Group> {
        self.cluster.groups().iter().filter(|group| group.shared.group != META_GROUP)
    }

    /// The lanes of a queue, all partitions', as long as so many may still be looked at.
    fn lanes(&self, name: &Name, loads: &[Option<QueueLoad>], looks: &mut usize) -> Option<Vec<QueueLanes>> {
        let mut all = Vec::new();
        for (group, _) in self.partitions().zip(loads).filter(|(_, load)| load.is_some_and(|load| load.waits())) {
            let lanes = view::lanes(&*group.shared.state.read(), name, (*looks).min(LANES_MAX))?;
            *looks = looks.saturating_sub(lanes.looks);
            all.push(lanes);
        }
        Some(all)
    }

    /// Looks at a queue; how much of it is shut. Of all queues together, so many lanes may be looked at.
    fn look(&self, name: &Name, queue: &Mutex<Queue>, looks: &mut usize) -> f64 {
        // Read before the queue is locked: a replica may be busy with an entry.
        let now = Instant::now();
        let loads: Vec<_> = self.partitions().map(|group| view::load(&*group.shared.state.read(), name)).collect();
        let mut lanes = self.lanes(name, &loads, looks);
        let served = self.served.get(name).cloned().unwrap_or_default();
        let held_ms = self.cluster.dispatcher.balance.held_ms(&self.cluster, name).map(|ms| ms as f64);
        let queue = &mut *queue.lock();
        let slots = self.slots.get(name).copied().unwrap_or(0.0);
        let mut look = Look { slots, starts_per_ms_max: f64::INFINITY, tokens: f64::INFINITY, ..Look::default() };
        look.held_ms = held_ms;
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
        let unmet = lanes.iter_mut().flatten().fold(0.0, |sum, lanes| sum + leave_out(lanes, &served, &mut look.open));
        let unmet_before = std::mem::replace(&mut queue.unmet, unmet);
        (queue.lanes, queue.served) = (lanes.and_then(Lanes::of), served);
        look.elapsed_ms = queue.looked.map_or(0.0, |looked| now.duration_since(looked).as_secs_f64() * 1e3);
        look.served = (since.served as f64, since.service_ms as f64, since.service_ms2 as f64);
        if !is_first {
            look.arrived = (since.arrived as f64 - (unmet - unmet_before).max(0.0)).max(0.0);
            look.ended = since.ended as f64;
        }
        queue.coming.retain(|(coming, said)| said.elapsed().as_secs_f64() * 1e3 < coming.in_ms);
        let left = |(coming, said): &(Coming, Instant)| Coming {
            in_ms: coming.in_ms - said.elapsed().as_secs_f64() * 1e3,
            ..*coming
        };
        look.coming = queue.coming.iter().map(left).collect();
        let counts = std::mem::take(&mut queue.counts);
        queue.since = [0.0; PRIORITIES];
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

/// Leaves the lanes out whose jobs no live worker may have; how many jobs these are.
fn leave_out(lanes: &mut QueueLanes, served: &Served, open: &mut [f64; PRIORITIES]) -> f64 {
    let mut unmet = 0.0;
    lanes.lanes.retain(|LaneLoad { project, requirements, open: waits, .. }| {
        let is_met = served.may_have(project, requirements.iter());
        if !is_met {
            for (open, waits) in open.iter_mut().zip(waits) {
                *open = (*open - *waits as f64).max(0.0);
                unmet += *waits as f64;
            }
        }
        is_met
    });
    unmet
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::queue::{Ask, Control, Counts, Verdict};
    use super::*;

    fn lane(project: &str, gpu: bool, jobs: u64) -> LaneLoad {
        let requirements = gpu.then(|| ("gpu".to_owned(), "yes".to_owned())).into_iter().collect();
        let mut open = [0; PRIORITIES];
        open[4] = jobs;
        LaneLoad { project: project.into(), key: None, requirements, open }
    }

    /// What is said of a job with two seconds of time after a minute in which jobs waited that nobody may have.
    fn judged(is_left_out: bool) -> Verdict {
        let mut served = Served::default();
        served.add(Profile::default());
        let mut control = Control::default();
        let mut standing = None;
        for _ in 0..240 {
            let mut look = Look {
                elapsed_ms: 250.0,
                slots: 10.0,
                leased: 1.0,
                arrived: 2.0,
                ended: 2.0,
                served: (2.0, 200.0, 20_000.0),
                starts_per_ms_max: f64::INFINITY,
                tokens: f64::INFINITY,
                ..Look::default()
            };
            look.open[4] = 10_003.0;
            let lanes = vec![lane("a", true, 10_000), lane("a", false, 3)];
            let mut lanes = QueueLanes { lanes, weights: BTreeMap::new(), looks: 2 };
            if is_left_out {
                assert_eq!(leave_out(&mut lanes, &served, &mut look.open), 10_000.0);
                assert_eq!((lanes.lanes.len(), look.open[4]), (1, 3.0));
            }
            standing = Some(control.tick(&look, &Counts::default()));
        }
        let ask = Ask { priority: 4, rung: 0, share: 1.0, ttl_ms: Some(2_000.0) };
        standing.unwrap().judge(ask, &[0.0; PRIORITIES], 0.0, 0).0
    }

    #[test]
    fn jobs_that_no_live_worker_may_have_make_nobody_wait_and_no_worker_look_slow() {
        assert!(matches!(judged(true), Verdict::Admitted(Some((guess, _))) if guess.is_at_once()));
        assert!(matches!(judged(false), Verdict::Missed(_)), "as if they were before it");
    }
}
