//! How workers and types of agents fare, by how leases ended, and whom that keeps from work.
//!
//! Each node has a view of its own, of the same facts: every leader tells all nodes how leases ended. Only those
//! whose leases failed lately are remembered; where there are too many of them, those of whom that was heard longest
//! ago are forgotten, so that names that nobody will use again keep nobody from being watched.

use std::collections::{HashMap, HashSet};

use bravo_model::Name;
use bravo_model::reply::LeasesEnded;

use super::breaker::{Breaker, Rules, State};
use super::rendezvous::stable;
use crate::config::Balancing;
use crate::telemetry::events::BreakerChanged;

/// Workers, and types, remembered at a time.
const REMEMBERED_MAX: usize = 10_000;
/// How many of them are forgotten at once when there are too many: a look at all is worth more than one.
const FORGOTTEN: usize = REMEMBERED_MAX / 10;

/// A breaker, and the state that was told last.
struct Told {
    breaker: Breaker,
    told: &'static str,
    /// When a failure was heard of last.
    failed: u64,
}

impl Told {
    fn new(rules: Rules) -> Self {
        Self { breaker: Breaker::new(rules), told: State::Closed.as_str(), failed: 0 }
    }

    fn record(&mut self, ended: &LeasesEnded, now: u64) {
        if ended.done > 0 {
            self.breaker.record_success(ended.done, now);
        }
        if ended.failed > 0 {
            self.failed = now;
            self.breaker.record_failure(stable(ended.worker.as_str()), ended.failed, now);
        }
    }

    /// Tells of a change, if there was one; whether there was.
    fn tell(&mut self, of: &'static str, name: &Name, now: u64) -> bool {
        let state = self.breaker.state(now).as_str();
        let changed = state != self.told;
        if changed {
            self.told = state;
            BreakerChanged { of, name: name.as_str(), state }.emit();
        }
        changed
    }
}

struct Standing {
    aside: Told,
    breaker: Told,
}

/// Makes room for one more where there are too many: those whose last failure is longest ago go.
fn make_room<T>(all: &mut HashMap<Name, T>, failed: impl Fn(&T) -> u64) {
    if all.len() < REMEMBERED_MAX {
        return;
    }
    let mut ages: Vec<u64> = all.values().map(&failed).collect();
    let (_, latest, _) = ages.select_nth_unstable(FORGOTTEN - 1);
    let (latest, mut left) = (*latest, FORGOTTEN);
    all.retain(|_, of| {
        let goes = left > 0 && failed(of) <= latest;
        left -= usize::from(goes);
        !goes
    });
}

/// What a node knows of how all fare.
pub struct Health {
    aside: Rules,
    of_worker: Rules,
    of_type: Rules,
    out_percent_max: usize,
    workers: HashMap<Name, Standing>,
    types: HashMap<Name, Told>,
}

impl Health {
    /// Nothing is known yet.
    pub fn new(config: &Balancing) -> Self {
        let of_worker = Rules {
            failures: config.breaker_failures,
            workers: 1,
            window_ms: config.breaker_window_ms,
            open_ms: config.breaker_open_ms,
            probes: config.breaker_probes,
        };
        Self {
            aside: Rules {
                failures: config.aside_failures,
                window_ms: config.aside_window_ms,
                open_ms: config.aside_ms,
                probes: 0,
                ..of_worker
            },
            of_worker,
            of_type: Rules { workers: config.breaker_workers_min as usize, ..of_worker },
            out_percent_max: config.aside_percent_max as usize,
            workers: HashMap::new(),
            types: HashMap::new(),
        }
    }

    /// Leases ended; their queue's jobs are for agents of that type. Whether that changed how anybody stands.
    pub fn ended(&mut self, ended: &LeasesEnded, agent_type: &Name, now: u64) -> bool {
        let is_news = ended.failed > 0;
        if is_news && !self.workers.contains_key(&ended.worker) {
            make_room(&mut self.workers, |of| of.breaker.failed);
            let standing = Standing { aside: Told::new(self.aside), breaker: Told::new(self.of_worker) };
            self.workers.insert(ended.worker.clone(), standing);
        }
        let mut changed = false;
        if let Some(standing) = self.workers.get_mut(&ended.worker) {
            standing.aside.record(ended, now);
            standing.breaker.record(ended, now);
            changed |= standing.aside.tell("worker_aside", &ended.worker, now);
            changed |= standing.breaker.tell("worker", &ended.worker, now);
        }
        if is_news && !self.types.contains_key(agent_type) {
            make_room(&mut self.types, |of| of.failed);
            self.types.insert(agent_type.clone(), Told::new(self.of_type));
        }
        if let Some(told) = self.types.get_mut(agent_type) {
            told.record(ended, now);
            changed |= told.tell("agent_type", agent_type, now);
        }
        changed
    }

    /// Says what changed since it was said last, and forgets those who are as good as new.
    pub fn tell(&mut self, now: u64) {
        for (worker, standing) in &mut self.workers {
            standing.aside.tell("worker_aside", worker, now);
            standing.breaker.tell("worker", worker, now);
        }
        for (agent_type, told) in &mut self.types {
            told.tell("agent_type", agent_type, now);
        }
        self.workers.retain(|_, of| !(of.aside.breaker.is_clean(now) && of.breaker.breaker.is_clean(now)));
        self.types.retain(|_, told| !told.breaker.is_clean(now));
    }

    /// Whether there is anybody to be watched.
    pub fn is_clean(&self) -> bool {
        self.workers.is_empty() && self.types.is_empty()
    }

    /// A worker's breaker, and until when it is set aside.
    pub fn of_worker(&self, worker: &Name, now: u64) -> (State, Option<u64>) {
        let Some(standing) = self.workers.get(worker) else { return (State::Closed, None) };
        let aside = match standing.aside.breaker.state(now) {
            State::Open(until) => Some(until),
            _ => None,
        };
        (standing.breaker.breaker.state(now), aside)
    }

    /// The breaker of a type of agent.
    pub fn of_type(&self, agent_type: &Name, now: u64) -> State {
        self.types.get(agent_type).map_or(State::Closed, |told| told.breaker.state(now))
    }

    /// Jobs that a worker may be given by its own standing.
    pub fn allows(&self, worker: &Name, now: u64) -> u32 {
        let Some(standing) = self.workers.get(worker) else { return u32::MAX };
        standing.aside.breaker.allows(now).min(standing.breaker.breaker.allows(now))
    }

    /// Types whose queues' jobs may not all be given now.
    pub fn types_held(&self, now: u64) -> impl Iterator<Item = &Name> {
        self.types.iter().filter(move |(_, told)| told.breaker.allows(now) < u32::MAX).map(|(agent_type, _)| agent_type)
    }

    /// Jobs that may be given of a type's queues.
    pub fn type_allows(&self, agent_type: &Name, now: u64) -> u32 {
        self.types.get(agent_type).map_or(u32::MAX, |told| told.breaker.allows(now))
    }

    /// A worker was given jobs.
    pub fn passed(&mut self, worker: &Name, jobs: u32, now: u64) {
        if let Some(standing) = self.workers.get_mut(worker) {
            standing.breaker.breaker.passed(jobs, now);
        }
    }

    /// Jobs of a type's queues were given.
    pub fn type_passed(&mut self, agent_type: &Name, jobs: u32, now: u64) {
        if let Some(told) = self.types.get_mut(agent_type) {
            told.breaker.passed(jobs, now);
        }
    }

    /// Of a queue's workers that can be counted on, those that get nothing, or little, now: the worst, and never
    /// more than a share of all, so that what is kept from some is done by others.
    pub fn out<'a>(&self, workers: impl Iterator<Item = &'a Name>, now: u64) -> HashSet<&'a Name> {
        let mut bad = Vec::new();
        // One that moved from node to node is known to both for a while, and is one all the same.
        let workers: HashSet<&Name> = workers.collect();
        let all = workers.len();
        for worker in workers {
            if self.allows(worker, now) < u32::MAX {
                let failures = self.workers.get(worker).map_or(0, |of| of.breaker.breaker.failures(now));
                let is_shut = self.allows(worker, now) == 0;
                bad.push((is_shut, failures, worker));
            }
        }
        bad.sort_unstable_by(|a, b| b.cmp(a));
        let out_max = all * self.out_percent_max / 100;
        bad.into_iter().take(out_max.min(all.saturating_sub(1))).map(|(_, _, worker)| worker).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse("name", text).unwrap()
    }

    fn ended(worker: &str, done: u32, failed: u32) -> LeasesEnded {
        LeasesEnded { worker: name(worker), queue: name("q"), done, failed, other: 0 }
    }

    fn fail(health: &mut Health, worker: &str, times: u64, from: u64, step: u64) {
        for n in 0..times {
            health.ended(&ended(worker, 0, 1), &name("type"), from + n * step);
        }
    }

    fn out<'a>(health: &Health, workers: &'a [Name], now: u64) -> Vec<&'a str> {
        let mut out: Vec<&str> = health.out(workers.iter(), now).into_iter().map(Name::as_str).collect();
        out.sort_unstable();
        out
    }

    #[test]
    fn three_failures_in_thirty_seconds_set_a_worker_aside_for_thirty() {
        let workers = ["a", "b", "c"].map(name);
        let mut health = Health::new(&Balancing::default());
        fail(&mut health, "a", 2, 0, 10_000);
        assert!(out(&health, &workers, 10_000).is_empty());
        fail(&mut health, "a", 1, 20_000, 0);
        assert_eq!(health.of_worker(&name("a"), 20_000), (State::Closed, Some(50_000)));
        assert_eq!((out(&health, &workers, 49_999), out(&health, &workers, 50_000)), (vec!["a"], vec![]));
    }

    #[test]
    fn no_more_than_half_are_kept_from_work_and_never_the_only_one() {
        let workers = ["a", "b", "c", "d"].map(name);
        let mut health = Health::new(&Balancing::default());
        for (worker, failures) in [("a", 9), ("b", 4), ("c", 7), ("d", 3)] {
            fail(&mut health, worker, failures, 0, 1);
        }
        assert_eq!(out(&health, &workers, 100).len(), 2);
        assert!(out(&health, &workers[..1], 100).is_empty(), "a single worker gets its work");
        assert_eq!(out(&health, &workers[..3], 100).len(), 1);
    }

    #[test]
    fn a_type_is_stopped_by_the_failures_of_several_and_opens_again_for_a_few() {
        let agents = name("type");
        let mut health = Health::new(&Balancing::default());
        fail(&mut health, "a", 20, 0, 10);
        assert_eq!(health.type_allows(&agents, 200), u32::MAX, "one worker alone is its own fault");
        fail(&mut health, "b", 1, 300, 0);
        assert_eq!((health.of_type(&agents, 300), health.type_allows(&agents, 300)), (State::Open(30_300), 0));
        assert_eq!(health.of_type(&name("other"), 300), State::Closed);
        assert_eq!(health.type_allows(&agents, 30_300), 3);
        health.type_passed(&agents, 3, 30_300);
        assert_eq!(health.type_allows(&agents, 30_301), 0);
        health.ended(&ended("b", 1, 0), &agents, 30_400);
        assert_eq!(health.of_type(&agents, 30_400), State::Closed);
    }

    #[test]
    fn a_workers_own_breaker_lets_a_few_jobs_through_and_closes_when_one_goes_well() {
        let mut health = Health::new(&Balancing { aside_failures: 0, ..Balancing::default() });
        let state = |health: &Health, now| health.of_worker(&name("a"), now).0;
        fail(&mut health, "a", 5, 0, 0);
        assert_eq!((state(&health, 0), health.allows(&name("a"), 29_999)), (State::Open(30_000), 0));
        health.passed(&name("a"), 2, 30_000);
        assert_eq!((state(&health, 30_001), health.allows(&name("a"), 30_001)), (State::HalfOpen(1), 1));
        fail(&mut health, "a", 1, 30_002, 0);
        assert_eq!(state(&health, 30_002), State::Open(60_002), "it is as bad as it was");
        health.passed(&name("a"), 1, 60_002);
        assert!(health.ended(&ended("a", 1, 0), &name("type"), 60_003));
        assert_eq!((state(&health, 60_003), health.allows(&name("a"), 60_003)), (State::Closed, u32::MAX));
    }

    #[test]
    fn a_queue_that_mostly_does_well_is_never_stopped() {
        let mut health = Health::new(&Balancing::default());
        for n in 0..1_000 {
            let worker = format!("w-{}", n % 4);
            health.ended(&ended(&worker, 9, 1), &name("type"), n * 10);
            assert_eq!(
                (health.type_allows(&name("type"), n * 10), health.allows(&name(&worker), n * 10)),
                (u32::MAX, u32::MAX)
            );
        }
    }

    #[test]
    fn who_does_well_is_forgotten() {
        let mut health = Health::new(&Balancing::default());
        fail(&mut health, "a", 2, 0, 1);
        assert!(!health.is_clean());
        health.tell(100_000);
        assert!(health.is_clean());
    }

    #[test]
    fn workers_that_died_and_never_come_back_keep_nobody_from_being_watched_and_are_forgotten() {
        let mut health = Health::new(&Balancing::default());
        for n in 0..25_000 {
            let (worker, agent_type) = (format!("w-{n}"), format!("type-{n}"));
            health.ended(&ended(&worker, 0, 5), &name(&agent_type), 1_000 + n);
            health.ended(&ended("other", 0, 1), &name(&agent_type), 1_000 + n);
            assert!(health.workers.len() <= REMEMBERED_MAX && health.types.len() <= REMEMBERED_MAX);
        }
        fail(&mut health, "new", 5, 30_000, 0);
        assert_eq!(health.of_worker(&name("new"), 30_000).0, State::Open(60_000));
        assert_eq!(health.of_worker(&name("w-24999"), 30_000).0, State::Open(55_999), "the oldest went");
        assert_ne!(health.of_type(&name("type-24999"), 30_000), State::Closed);
        health.tell(1_000_000);
        assert!(health.is_clean(), "{} workers, {} types", health.workers.len(), health.types.len());
    }
}
