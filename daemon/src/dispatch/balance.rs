//! What nodes tell each other for the sake of delivery, and what follows from it.
//!
//! ```text
//!   leaders ── how leases ended ──► all nodes ──► health ──► quotas of workers and of types of agents
//!   nodes ──── who works here ────► all nodes ──► roster ──► slots of sticky keys, share that may be kept out
//! ```
//!
//! Neither is part of the state: a node that knows too little gives work to all alike.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bravo_model::reply::LeasesEnded;
use bravo_model::{Name, Time};
use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::time::{Instant, MissedTickBehavior};

use super::breaker::State;
use super::health::Health;
use super::quota::Quota;
use super::rendezvous::{Candidate, slots};
use super::workers::{self, Workers};
use crate::cluster::Cluster;
use crate::config::Balancing;
use crate::raft::clock::wall;
use crate::raft::types::NodeId;
use crate::transport::wire::{Request, Response, RosterEntry};

/// How often is looked at what time alone changes, and others are told how leases ended.
const ROUND: Duration = Duration::from_millis(100);
/// Rounds between two looks at who works at other nodes.
const ROSTER_ROUNDS: u64 = 10;
/// Workers and queues whose leases' ends wait to be told. Further ones are not told of.
const OUTBOX_MAX: usize = 10_000;
/// Longest call.
const CALL_MAX: Duration = Duration::from_millis(500);
/// Workers of a node up to which the slots of a newcomer are found at once; with more, in the next round.
const AT_ONCE_MAX: usize = 64;

/// One node's side of it.
pub struct Balance {
    /// Thresholds.
    pub config: Balancing,
    health: Mutex<Health>,
    /// Quotas of types whose breaker is not closed.
    gates: Mutex<HashMap<Name, Arc<Quota>>>,
    has_gates: AtomicBool,
    outbox: Mutex<BTreeMap<(Name, Name), [u32; 3]>>,
    others: Mutex<BTreeMap<NodeId, (u64, Vec<RosterEntry>)>>,
    /// Changes of workers here and elsewhere of which slots were made.
    slots_of: AtomicU64,
    others_changed: AtomicU64,
    began: Instant,
}

impl Balance {
    pub(super) fn new(config: Balancing) -> Self {
        Self {
            health: Mutex::new(Health::new(&config)),
            config,
            gates: Mutex::default(),
            has_gates: AtomicBool::new(false),
            outbox: Mutex::default(),
            others: Mutex::default(),
            slots_of: AtomicU64::new(0),
            others_changed: AtomicU64::new(0),
            began: Instant::now(),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// A moment of this node's own clock by the wall clock.
    fn at(&self, moment: u64) -> Time {
        wall().saturating_add(moment.saturating_sub(self.now()))
    }

    /// Leases ended, in a partition that this node or another one leads.
    pub(crate) fn ended(&self, cluster: &Cluster, ended: &[LeasesEnded]) {
        let now = self.now();
        let workers = &cluster.dispatcher.workers;
        let mut health = self.health.lock();
        let mut is_news = false;
        for one in ended {
            workers.ended(&one.worker, one.done.saturating_add(one.failed).saturating_add(one.other));
            if one.failed > 0 || !health.is_clean() {
                is_news |= health.ended(one, &cluster.agent_type(&one.queue), now);
            }
        }
        // What else there is to it, a probe that went out, waits for the next round.
        if is_news {
            self.settle(cluster, &mut health, now);
        }
    }

    /// Notes what the other nodes are to be told of.
    pub(crate) fn to_tell(&self, ended: &[LeasesEnded]) {
        let mut outbox = self.outbox.lock();
        for LeasesEnded { worker, queue, done, failed, other } in ended {
            let key = (worker.clone(), queue.clone());
            if outbox.len() >= OUTBOX_MAX && !outbox.contains_key(&key) {
                continue;
            }
            let sum = outbox.entry(key).or_default();
            for (sum, more) in sum.iter_mut().zip([done, failed, other]) {
                *sum = sum.saturating_add(*more);
            }
        }
    }

    /// A worker's breaker as the public contract has it, and until when it is set aside.
    pub(crate) fn standing(&self, worker: &Name) -> (String, Option<Time>) {
        let (state, aside) = self.health.lock().of_worker(worker, self.now());
        (state.as_str().to_owned(), aside.map(|until| self.at(until)))
    }

    /// The breaker of a queue's type of agent, and when it ends to be open.
    pub(crate) fn breaker_of(&self, cluster: &Cluster, queue: &Name) -> (&'static str, Option<Time>) {
        let state = self.health.lock().of_type(&cluster.agent_type(queue), self.now());
        let until = match state {
            State::Open(until) => Some(self.at(until)),
            _ => None,
        };
        (state.as_str(), until)
    }

    /// Milliseconds until jobs of a queue are given again, if the breaker of its type of agent is not closed.
    pub(crate) fn held_ms(&self, cluster: &Cluster, queue: &Name) -> Option<u64> {
        let now = self.now();
        match self.health.lock().of_type(&cluster.agent_type(queue), now) {
            State::Closed => None,
            State::Open(until) => Some(until.saturating_sub(now)),
            State::HalfOpen(_) => Some(0),
        }
    }

    /// Jobs that may be given of a queue, if its type of agent has a bound at present.
    pub(crate) fn gate(&self, cluster: &Cluster, queue: &Name) -> Option<Arc<Quota>> {
        if !self.has_gates.load(Ordering::Acquire) {
            return None;
        }
        self.gates.lock().get(&cluster.agent_type(queue)).cloned()
    }

    /// A worker came to a queue, or to all of its queues: where there are few, their slots are found at once.
    pub(crate) fn came(&self, workers: &Workers, queue: Option<&Name>) {
        if workers.len() <= AT_ONCE_MAX {
            self.find_slots(workers, &workers.roster(), queue);
        }
    }

    /// Brings quotas in line with how all fare.
    fn settle(&self, cluster: &Cluster, health: &mut Health, now: u64) {
        health.tell(now);
        let workers = &cluster.dispatcher.workers;
        let roster = workers.roster();
        let others = self.others.lock();
        let elsewhere = others.values().flat_map(|(_, roster)| roster);
        let kept_out = kept_out(&roster, roster.iter().chain(elsewhere), health, now);
        for (entry, is_out) in roster.iter().zip(kept_out) {
            let Some(card) = workers.card(&entry.worker, entry.project) else { continue };
            let opened = card.quota.renew(|used| {
                health.passed(&entry.worker, used, now);
                if is_out { health.allows(&entry.worker, now) } else { u32::MAX }
            });
            if opened {
                cluster.dispatcher.look_again(&entry.queues);
            }
        }
        drop(others);
        self.settle_types(cluster, health, now);
    }

    fn settle_types(&self, cluster: &Cluster, health: &mut Health, now: u64) {
        let queues = cluster.dispatcher.queues();
        let mut gates = self.gates.lock();
        for agent_type in health.types_held(now) {
            if !gates.contains_key(agent_type) {
                gates.insert(agent_type.clone(), Arc::default());
            }
        }
        let mut opened = Vec::new();
        gates.retain(|agent_type, quota| {
            let was_shut = quota.renew(|used| {
                health.type_passed(agent_type, used, now);
                health.type_allows(agent_type, now)
            });
            if was_shut {
                opened.push(agent_type.clone());
            }
            health.type_allows(agent_type, now) < u32::MAX || was_shut
        });
        self.has_gates.store(!gates.is_empty(), Ordering::Release);
        drop(gates);
        if !opened.is_empty() {
            let freed: Vec<Name> =
                queues.into_iter().filter(|queue| opened.contains(&cluster.agent_type(queue))).collect();
            cluster.dispatcher.look_again(&freed);
        }
    }

    fn find_slots(&self, workers: &Workers, roster: &[RosterEntry], only: Option<&Name>) {
        let mut queues: BTreeMap<&Name, Vec<Candidate>> = BTreeMap::new();
        for queue in
            roster.iter().flat_map(|entry| &entry.queues).filter(|queue| only.is_none_or(|only| only == *queue))
        {
            queues.entry(queue).or_default();
        }
        let others = self.others.lock();
        let mut known = std::collections::BTreeSet::new();
        for entry in roster.iter().chain(others.values().flat_map(|(_, roster)| roster)) {
            // One that moved from node to node is known to both for a while.
            if !known.insert((&entry.worker, entry.project)) {
                continue;
            }
            for queue in &entry.queues {
                if let Some(candidates) = queues.get_mut(queue) {
                    let RosterEntry { worker, weight, labels, project, .. } = entry.clone();
                    candidates.push(Candidate { worker, weight, labels, project });
                }
            }
        }
        for (queue, candidates) in &queues {
            for (candidate, slots) in candidates.iter().zip(slots(queue.as_str(), candidates)) {
                if let Some(card) = workers.card(&candidate.worker, candidate.project) {
                    card.set_slots(queue, slots);
                }
            }
        }
        for entry in roster.iter().filter(|_| only.is_none()) {
            if let Some(card) = workers.card(&entry.worker, entry.project) {
                card.keep_slots(&entry.queues);
            }
        }
    }

    /// What time alone changes, and what came from elsewhere.
    fn round(&self, cluster: &Cluster) {
        let mut health = self.health.lock();
        if !health.is_clean() || self.has_gates.load(Ordering::Acquire) {
            self.settle(cluster, &mut health, self.now());
        }
        drop(health);
        let workers = &cluster.dispatcher.workers;
        let changes = workers.changes().wrapping_add(self.others_changed.load(Ordering::Relaxed));
        if self.slots_of.swap(changes, Ordering::Relaxed) != changes {
            self.find_slots(workers, &workers.roster(), None);
        }
    }

    async fn tell(&self, cluster: &Arc<Cluster>) {
        let outbox = std::mem::take(&mut *self.outbox.lock());
        if outbox.is_empty() {
            return;
        }
        type Sum = ((Name, Name), [u32; 3]);
        let of = |((worker, queue), [done, failed, other]): Sum| LeasesEnded { worker, queue, done, failed, other };
        let ended: Vec<LeasesEnded> = outbox.into_iter().map(of).collect();
        let others = cluster.members().into_keys().filter(|node| *node != cluster.node);
        let calls = others.map(|node| {
            let call = cluster.call(node, Request::Ended(ended.clone()));
            async move { tokio::time::timeout(CALL_MAX, call).await.is_ok() }
        });
        join_all(calls).await;
    }

    /// Asks the other nodes who works there. One that does not answer has nobody: its workers go elsewhere.
    async fn ask_round(&self, cluster: &Arc<Cluster>) {
        let others: Vec<NodeId> = cluster.members().into_keys().filter(|node| *node != cluster.node).collect();
        let known: BTreeMap<NodeId, u64> = self.others.lock().iter().map(|(node, (hash, _))| (*node, *hash)).collect();
        let calls = others.iter().map(|node| {
            let call = cluster.call(*node, Request::Roster(known.get(node).copied().unwrap_or(0)));
            async move { (*node, tokio::time::timeout(CALL_MAX, call).await) }
        });
        for (node, answer) in join_all(calls).await {
            let mut kept = self.others.lock();
            match answer {
                Ok(Ok(Response::Roster(_, None))) => {}
                Ok(Ok(Response::Roster(hash, Some(roster)))) => {
                    kept.insert(node, (hash, roster));
                    self.others_changed.fetch_add(1, Ordering::Relaxed);
                }
                _ => {
                    if kept.remove(&node).is_some() {
                        self.others_changed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        }
        self.others.lock().retain(|node, _| others.contains(node));
    }
}

/// Which of the workers here get little or nothing now: those that fare badly, where every queue that they work for has
/// others that may have all that they may.
fn kept_out<'a>(
    here: &'a [RosterEntry],
    all: impl Iterator<Item = &'a RosterEntry>,
    health: &Health,
    now: u64,
) -> Vec<bool> {
    let is_bad = |entry: &RosterEntry| health.allows(&entry.worker, now) < u32::MAX;
    let no_labels = workers::no_labels();
    let watched: HashSet<&Name> = here.iter().filter(|entry| is_bad(entry)).flat_map(|entry| &entry.queues).collect();
    if watched.is_empty() {
        return vec![false; here.len()];
    }
    // By queue and project, and by labels; also whatever the labels, for those that have none.
    let mut groups: HashMap<(&Name, u64, Option<u64>), Vec<&Name>> = HashMap::new();
    for entry in all.filter(|entry| entry.is_fresh) {
        for queue in entry.queues.iter().filter(|queue| watched.contains(queue)) {
            for labels in [Some(entry.labels), None] {
                groups.entry((queue, entry.project, labels)).or_default().push(&entry.worker);
            }
        }
    }
    let mut out: HashMap<(&Name, u64, u64), HashSet<&Name>> = HashMap::new();
    let mut is_out = |entry: &'a RosterEntry, queue: &'a Name| {
        let RosterEntry { worker, labels, project, .. } = entry;
        let out = out.entry((queue, *project, *labels)).or_insert_with(|| {
            // Who has no labels has no job that the others may not have; who is bound to no project, all of them.
            let labels = (*labels != no_labels).then_some(*labels);
            let own = groups.get(&(queue, *project, labels)).into_iter().flatten();
            let of_any = groups.get(&(queue, 0, labels)).filter(|_| *project != 0).into_iter().flatten();
            health.out(own.chain(of_any).copied(), now)
        });
        out.contains(worker)
    };
    here.iter().map(|entry| is_bad(entry) && entry.queues.iter().all(|queue| is_out(entry, queue))).collect()
}

/// The roster of this node for another one that knows the one with this hash.
pub(crate) fn roster(workers: &Workers, known: u64) -> Response {
    let roster = workers.roster();
    let hash = crate::transport::wire::pack(&roster)
        .map_or(0, |bytes| blake3::hash(&bytes).as_bytes().first_chunk().map_or(1, |half| u64::from_be_bytes(*half)));
    Response::Roster(hash, (hash != known).then_some(roster))
}

/// Works until it is dropped.
pub(crate) async fn run(cluster: Arc<Cluster>) {
    let balance = &cluster.dispatcher.balance;
    let interval = || {
        let mut rounds = tokio::time::interval(ROUND);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        rounds
    };
    let look = async {
        let mut rounds = interval();
        loop {
            rounds.tick().await;
            balance.round(&cluster);
        }
    };
    // A node that does not answer keeps nobody waiting but those who talk to it.
    let talk = async {
        let mut rounds = interval();
        for round in 0u64.. {
            rounds.tick().await;
            balance.tell(&cluster).await;
            if round.is_multiple_of(ROSTER_ROUNDS) && cluster.dispatcher.workers.len() > 0 {
                balance.ask_round(&cluster).await;
            }
        }
    };
    tokio::join!(look, talk);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse("name", text).unwrap()
    }

    fn entry(worker: &str, labels: u64, project: u64) -> RosterEntry {
        let queues = vec![name("q")];
        RosterEntry { worker: name(worker), queues, weight: 1, labels, project, is_fresh: true }
    }

    /// Health after these failures of workers.
    fn after(failures: &[(&str, u32)]) -> Health {
        let mut health = Health::new(&Balancing::default());
        for (worker, failed) in failures {
            let ended = LeasesEnded { worker: name(worker), queue: name("q"), done: 0, failed: *failed, other: 0 };
            health.ended(&ended, &name("type"), 0);
        }
        health
    }

    fn out(health: &Health, here: &[RosterEntry], there: &[RosterEntry]) -> Vec<String> {
        let kept_out = kept_out(here, here.iter().chain(there), health, 1);
        here.iter().zip(kept_out).filter(|(_, is_out)| *is_out).map(|(entry, _)| entry.worker.to_string()).collect()
    }

    const GPU: u64 = 7;

    #[test]
    fn the_only_one_with_its_labels_or_its_project_gets_its_work_however_it_fares() {
        let plain = workers::no_labels();
        let health = after(&[("bad", 9)]);
        let nobody: [&str; 0] = [];
        assert_eq!(out(&health, &[entry("bad", GPU, 0), entry("other", plain, 0)], &[]), nobody);
        assert_eq!(out(&health, &[entry("bad", GPU, 0)], &[entry("other", GPU, 0)]), ["bad"]);
        assert_eq!(out(&health, &[entry("bad", plain, 0)], &[entry("other", plain, 5)]), nobody);
        assert_eq!(out(&health, &[entry("bad", plain, 5)], &[entry("other", plain, 0)]), ["bad"]);
    }

    #[test]
    fn who_has_no_labels_may_be_kept_out_for_anybody_of_its_project() {
        let plain = workers::no_labels();
        let health = after(&[("bad", 9), ("worse", 12)]);
        assert_eq!(out(&health, &[entry("bad", plain, 0)], &[entry("gpu", GPU, 0)]), ["bad"]);
        let both = [entry("bad", plain, 0), entry("worse", GPU, 0)];
        assert_eq!(out(&health, &both, &[]), [""; 0], "of the two it does better, and the other is alone");
    }

    #[test]
    fn a_worker_that_two_nodes_know_of_or_that_takes_nothing_stands_in_for_nobody() {
        let health = after(&[("bad", 9)]);
        let bad = [entry("bad", GPU, 0)];
        assert_eq!(out(&health, &bad, &bad.clone()), [""; 0]);
        let stopped = RosterEntry { is_fresh: false, ..entry("other", GPU, 0) };
        assert_eq!(out(&health, &bad, &[stopped]), [""; 0]);
    }
}
