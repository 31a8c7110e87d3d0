//! One look at the load of the whole cluster, by agent type.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use bravo_model::row::Flow;
use bravo_model::view::Known;
use bravo_model::{Name, limits, webhook};
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};

use super::HORIZON_MS;
use super::told::Told;
use super::uses::{self, Uses};
use crate::cluster::Cluster;
use crate::dispatch::overview;
use crate::dispatch::rendezvous::stable;
use crate::query;
use crate::raft::types::{META_GROUP, partition_group};
use crate::transport::wire::{AgentUse, Answer, Query, QueueCounts, WorkerSeen};

/// What was seen of one agent type.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Load {
    /// Workers that were heard of lately, but for those who take no more jobs.
    pub(super) workers: u32,
    /// Jobs that one of them does at once, on average.
    pub(super) capacity: u32,
    /// Jobs that wait.
    pub(super) ready: u64,
    /// Jobs that are worked on.
    pub(super) leased: u64,
    /// What went through since the last look.
    pub(super) flow: Flow,
    /// Jobs that are known to come, and in how many seconds.
    pub(super) coming: Vec<(f64, u32)>,
    /// Of the jobs that are worked on, those whose leases nobody extends.
    pub(super) lost: u64,
    /// And those that workers hold who take no more.
    pub(super) leaving: u64,
    /// Workflows that have a task under way with them.
    pub(super) workflows: u32,
    /// What one of them uses, where it is measured, in agents fully used.
    pub(super) cpu_each: f64,
    /// The same of memory.
    pub(super) memory_each: f64,
}

/// All that ever went through the queues of a type, in those partitions that were seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Totals {
    flow: Flow,
    /// A hash of which queues of which partitions these are.
    of: u64,
}

impl Totals {
    fn add(&mut self, partition: u16, queue: &Name, flow: Flow) {
        self.flow = self.flow.plus(flow);
        self.of = self.of.wrapping_add(stable(&format!("{partition} {queue}")));
    }

    /// What went through since an earlier look. Of other queues or partitions nobody knows when it came.
    pub(super) fn since(&self, earlier: &Self) -> Flow {
        if self.of == earlier.of { self.flow.since(earlier.flow) } else { Flow::default() }
    }
}

/// What was seen of one partition: its queues' counts, and what is known of the work to come.
type Part = (Vec<QueueCounts>, Known);

/// What is remembered from one look to the next.
#[derive(Default)]
pub(super) struct Look {
    /// By partition: one that cannot be read is taken to be as it was.
    parts: BTreeMap<u16, Part>,
    flows: HashMap<(u16, Name), Flow>,
    workers: Told<Vec<WorkerSeen>>,
    uses: Told<Vec<AgentUse>>,
}

impl Look {
    /// Looks at all partitions and workers until `deadline`. Each type comes with all that ever went through it.
    pub(super) async fn take(
        &mut self,
        cluster: &Arc<Cluster>,
        set: &[Name],
        deadline: Instant,
    ) -> BTreeMap<Name, (Load, Totals)> {
        let slot_ms = u64::try_from(cluster.scaling.tick().as_millis()).unwrap_or(u64::MAX).max(1);
        let slots = u32::try_from(HORIZON_MS / slot_ms).unwrap_or(u32::MAX);
        let reads = (0..cluster.partitions()).map(|partition| async move {
            let group = partition_group(partition);
            let counts = cluster.read(group, Query::Queues, deadline).await;
            let known = cluster.read(group, Query::Known(slot_ms, slots), deadline).await;
            match (counts, known) {
                (Ok(Answer::Queues(counts)), Ok(Answer::Known(known))) => Some((partition, (counts, *known))),
                // A node of an older version leads it: what there is is known, what will come is not.
                (Ok(Answer::Queues(counts)), _) => Some((partition, (counts, Known::default()))),
                _ => None,
            }
        });
        let (parts, workers, uses) = tokio::join!(join_all(reads), overview::ask(cluster), uses::ask(cluster));
        self.workers.take(workers);
        self.uses.take(uses);
        let fresh: BTreeMap<u16, Part> = parts.into_iter().flatten().collect();
        let types = types_of_queues(cluster);
        let workers = overview::latest(self.workers.all().map(|(node, workers)| (node, workers.clone())));
        let workers: Vec<WorkerSeen> = workers.into_iter().map(|(_, worker)| worker).collect();
        let mut loads = self.sum_up(fresh, &workers, set, slot_ms, |queue| types.get(queue).unwrap_or(queue).clone());
        let uses: Uses = uses::sum(self.uses.all().flat_map(|(_, uses)| uses));
        for (name, (load, _)) in &mut loads {
            (load.cpu_each, load.memory_each) = uses.each(name);
        }
        loads
    }

    /// Workflows under way in the whole cluster.
    pub(super) fn workflows(&self) -> u64 {
        self.parts.values().map(|(_, known)| u64::from(known.running)).sum()
    }

    fn sum_up(
        &mut self,
        fresh: BTreeMap<u16, Part>,
        workers: &[WorkerSeen],
        set: &[Name],
        slot_ms: u64,
        type_of: impl Fn(&Name) -> Name,
    ) -> BTreeMap<Name, (Load, Totals)> {
        let mut loads: BTreeMap<Name, (Load, Totals)> =
            set.iter().map(|name| (name.clone(), Default::default())).collect();
        let seen_before: BTreeSet<u16> = self.parts.keys().copied().collect();
        self.parts.extend(fresh);
        let mut flows = HashMap::new();
        for (partition, (counts, known)) in &self.parts {
            for queue in counts.iter().filter(|queue| !webhook::is_queue(&queue.name)) {
                let Some((load, totals)) = entry(&mut loads, type_of(&queue.name)) else { continue };
                // A queue that is paused gives nothing out, however many agents there are.
                load.ready += if queue.paused { 0 } else { queue.ready };
                load.leased += queue.leased;
                let place = (*partition, queue.name.clone());
                let before = self.flows.get(&place).copied().unwrap_or_default();
                // What was in a partition before the first look came nobody knows when.
                if seen_before.contains(partition) {
                    load.flow = load.flow.plus(queue.flow.since(before));
                }
                totals.add(*partition, &queue.name, queue.flow);
                flows.insert(place, queue.flow);
            }
            for ((queue, slot), jobs) in &known.coming {
                if let Some((load, _)) = loads.get_mut(&type_of(queue)) {
                    load.coming.push((f64::from(*slot) * slot_ms as f64 / 1000.0, *jobs));
                }
            }
            for (queue, lost) in &known.lost {
                if let Some((load, _)) = loads.get_mut(&type_of(queue)) {
                    load.lost += u64::from(*lost);
                }
            }
            for (queue, workflows) in &known.workflows {
                if let Some((load, _)) = loads.get_mut(&type_of(queue)) {
                    load.workflows = load.workflows.saturating_add(*workflows);
                }
            }
        }
        self.flows = flows;
        count_workers(&mut loads, workers, type_of);
        loads
    }
}

/// The row of a type, as long as there is room.
fn entry(loads: &mut BTreeMap<Name, (Load, Totals)>, name: Name) -> Option<&mut (Load, Totals)> {
    if loads.len() as u64 >= limits::SCALING_TYPES_MAX && !loads.contains_key(&name) {
        return None;
    }
    Some(loads.entry(name).or_default())
}

/// A worker counts for the type that it says it is, and for the types of the queues that it works for. One that takes no
/// more jobs counts for none, and what it holds is no work of the others.
fn count_workers(loads: &mut BTreeMap<Name, (Load, Totals)>, workers: &[WorkerSeen], type_of: impl Fn(&Name) -> Name) {
    let mut capacities: BTreeMap<Name, u64> = BTreeMap::new();
    for worker in workers {
        let mut types: BTreeSet<Name> = worker.queues.iter().map(&type_of).collect();
        if worker.leaves {
            // Of which queues its jobs are is not known; most serve those of one type.
            let each = u64::from(worker.in_flight) / types.len().max(1) as u64;
            for name in types {
                if let Some((load, _)) = loads.get_mut(&name) {
                    load.leaving += each;
                }
            }
            continue;
        }
        types.extend(worker.agent_type.clone());
        for name in types {
            if let Some((load, _)) = loads.get_mut(&name) {
                load.workers += 1;
                *capacities.entry(name).or_default() += u64::from(worker.capacity.max(1));
            }
        }
    }
    for (name, capacity) in capacities {
        if let Some((load, _)) = loads.get_mut(&name) {
            load.capacity = u32::try_from(capacity / u64::from(load.workers.max(1))).unwrap_or(u32::MAX).max(1);
        }
    }
}

fn types_of_queues(cluster: &Cluster) -> HashMap<Name, Name> {
    let Some(meta) = cluster.group(META_GROUP) else { return HashMap::new() };
    let named = query::definitions(&meta.shared).into_iter();
    named.filter_map(|definition| Some((definition.name, definition.config.agent_type?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bravo_model::row::PRIORITIES;

    fn name(text: &str) -> Name {
        Name::parse("name", text).unwrap()
    }

    fn queue(of: &str, ready: u64, arrived: u64) -> QueueCounts {
        QueueCounts {
            name: name(of),
            ready,
            scheduled: 0,
            blocked: 0,
            leased: 1,
            dead: 0,
            finished: 0,
            oldest_ready_at: None,
            version: 0,
            now: 0,
            flow: Flow { arrived, ..Flow::default() },
            open: [0; PRIORITIES],
            paused: false,
        }
    }

    fn parts(of: &[(u16, Vec<QueueCounts>)]) -> BTreeMap<u16, Part> {
        of.iter().map(|(partition, counts)| (*partition, (counts.clone(), Known::default()))).collect()
    }

    fn worker(agent_type: Option<&str>, queues: &[&str], capacity: u32) -> WorkerSeen {
        WorkerSeen {
            worker: name("w"),
            agent_type: agent_type.map(name),
            queues: queues.iter().map(|queue| name(queue)).collect(),
            capacity,
            in_flight: 0,
            last_heartbeat: 0,
            labels: BTreeMap::new(),
            weight: 1,
            project: None,
            breaker: String::new(),
            set_aside_until: None,
            leaves: false,
        }
    }

    #[test]
    fn queues_of_one_type_add_up_and_only_what_came_since_the_last_look_has_arrived() {
        let mut look = Look::default();
        let type_of = |queue: &Name| if queue.as_str() == "tests" { name("builds") } else { queue.clone() };
        let mut take = |parts| look.sum_up(parts, &[], &[], 15_000, type_of).remove(&name("builds")).unwrap();
        let (first, totals) = take(parts(&[(0, vec![queue("builds", 1, 40), queue("tests", 2, 2)])]));
        assert_eq!((first.ready, first.leased, first.flow.arrived, totals.flow.arrived), (3, 2, 0, 42));
        let (second, _) = take(parts(&[(0, vec![queue("builds", 0, 45)]), (1, vec![queue("tests", 0, 99)])]));
        assert_eq!(second.flow.arrived, 5, "what was in a partition that was not seen before came nobody knows when");
        let (third, _) = take(parts(&[(1, vec![queue("tests", 7, 100), queue("builds", 0, 3)])]));
        assert_eq!((third.ready, third.flow.arrived), (7, 4), "the one that is silent is as it was");
    }

    #[test]
    fn what_is_known_of_queues_of_one_type_adds_up_over_partitions() {
        let known = |queue: &str| {
            let coming = [((name(queue), 2), 3)].into();
            Known { coming, lost: [(name(queue), 1)].into(), workflows: [(name(queue), 4)].into(), running: 9 }
        };
        let parts = [(0, (vec![queue("builds", 1, 1)], known("builds"))), (1, (vec![], known("tests")))];
        let mut look = Look::default();
        let type_of = |queue: &Name| if queue.as_str() == "tests" { name("builds") } else { queue.clone() };
        let loads = look.sum_up(parts.into(), &[], &[], 15_000, type_of);
        let (load, _) = &loads[&name("builds")];
        assert_eq!((load.lost, load.workflows, look.workflows()), (2, 8, 18));
        assert_eq!(load.coming, [(30.0, 3), (30.0, 3)]);
    }

    #[test]
    fn workers_count_for_what_they_say_and_for_what_they_work_on() {
        let mut look = Look::default();
        let workers = [worker(Some("coder"), &["builds"], 3), worker(None, &["builds"], 5), worker(None, &["x"], 1)];
        let set = [name("coder"), name("builds")];
        let loads = look.sum_up(BTreeMap::new(), &workers, &set, 15_000, Name::clone);
        let of = |text| loads.get(&name(text)).map(|(load, _)| (load.workers, load.capacity));
        assert_eq!((of("coder"), of("builds"), of("x")), (Some((1, 3)), Some((2, 4)), None));
    }

    #[test]
    fn who_takes_no_more_jobs_counts_for_nothing_and_its_jobs_are_no_work_of_the_others() {
        let leaving = WorkerSeen { leaves: true, in_flight: 3, ..worker(Some("coder"), &["builds"], 3) };
        let workers = [leaving, worker(Some("coder"), &["builds"], 1)];
        let set = [name("coder"), name("builds")];
        let loads = Look::default().sum_up(BTreeMap::new(), &workers, &set, 15_000, Name::clone);
        let of = |text| loads.get(&name(text)).map(|(load, _)| (load.workers, load.capacity, load.leaving));
        assert_eq!((of("coder"), of("builds")), (Some((1, 1, 0)), Some((1, 1, 3))));
    }

    #[test]
    fn totals_of_other_queues_or_partitions_are_no_arrivals() {
        let totals = |of: &[(u16, Vec<QueueCounts>)]| {
            let loads = Look::default().sum_up(parts(of), &[], &[], 15_000, |_| name("builds"));
            loads.get(&name("builds")).unwrap().1
        };
        let before = totals(&[(0, vec![queue("builds", 0, 40)]), (1, vec![queue("builds", 0, 7)])]);
        let later = totals(&[(0, vec![queue("builds", 0, 44)]), (1, vec![queue("builds", 0, 7)])]);
        assert_eq!(later.since(&before).arrived, 4);
        let half = totals(&[(0, vec![queue("builds", 0, 44)])]);
        assert_eq!((later.since(&half).arrived, half.since(&later).arrived), (0, 0), "a partition was silent");
        let more =
            totals(&[(0, vec![queue("builds", 0, 44), queue("tests", 0, 900)]), (1, vec![queue("builds", 0, 7)])]);
        assert_eq!(more.since(&before).arrived, 0, "a queue came to be of this type");
        assert_eq!(later.since(&Totals::default()), Flow::default(), "of a past from elsewhere");
    }

    #[test]
    fn types_are_bounded_and_those_with_a_policy_come_first() {
        let counts = (0..500).map(|n| queue(&format!("a{n}"), 1, 1)).collect();
        let loads = Look::default().sum_up(parts(&[(0, counts)]), &[], &[name("z")], 15_000, Name::clone);
        assert_eq!(loads.len() as u64, limits::SCALING_TYPES_MAX);
        assert!(loads.contains_key(&name("z")));
    }
}
