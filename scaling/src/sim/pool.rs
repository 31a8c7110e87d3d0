//! The pool of the backtest: a first-in-first-out queue before agents that take time to start.
//!
//! It follows the same rules as the evaluator that judges the controller from outside, job by job, so that a
//! figure of one can be read beside a figure of the other: an agent is paid from its request until it is gone,
//! finishes its job before it goes, and one that drains is taken back before a new one is started.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use crate::Observation;

/// The jobs of a backtest, in order of arrival.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Jobs {
    /// Arrival times in seconds.
    pub arrivals: Vec<f64>,
    /// Service times in seconds.
    pub services: Vec<f64>,
    /// The length of the trace in seconds.
    pub end_s: f64,
}

/// What an agent does until it is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Boot,
    Served,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Agent {
    free: f64,
    kind: Kind,
    born: f64,
    service: f64,
}

impl Eq for Agent {}

impl Ord for Agent {
    fn cmp(&self, other: &Self) -> Ordering {
        self.free
            .total_cmp(&other.free)
            .then(self.kind.cmp(&other.kind))
            .then(self.born.total_cmp(&other.born))
            .then(self.service.total_cmp(&other.service))
    }
}

impl PartialOrd for Agent {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// What had happened at the last observation.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    arrivals: usize,
    done: usize,
    done_s: f64,
    busy_s: f64,
}

/// The simulated pool.
#[derive(Debug)]
pub struct Pool<'a> {
    jobs: &'a Jobs,
    boot_s: f64,
    score_from_s: f64,
    agents: BinaryHeap<Reverse<Agent>>,
    draining: Vec<Agent>,
    /// The wait of each job that was started, in order.
    pub waits: Vec<f64>,
    seen: usize,
    cost_s: f64,
    started_s: f64,
    last: Seen,
}

impl<'a> Pool<'a> {
    /// An empty pool before `jobs`; cost counts from `score_from_s` on.
    pub fn new(jobs: &'a Jobs, boot_s: f64, score_from_s: f64) -> Self {
        Self {
            jobs,
            boot_s,
            score_from_s,
            agents: BinaryHeap::new(),
            draining: Vec::new(),
            waits: Vec::with_capacity(jobs.arrivals.len()),
            seen: 0,
            cost_s: 0.0,
            started_s: 0.0,
            last: Seen::default(),
        }
    }

    fn pay(&mut self, born: f64, gone: f64) {
        self.cost_s += (gone.min(self.jobs.end_s) - born.max(self.score_from_s)).max(0.0);
    }

    /// Brings the pool to `want` agents at `t`.
    pub fn scale(&mut self, t: f64, want: usize) {
        let (stays, gone): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.draining).into_iter().partition(|agent| agent.free > t);
        self.draining = stays;
        for agent in gone {
            self.pay(agent.born, agent.free);
        }
        while self.agents.len() < want {
            self.draining.sort();
            let back = self.draining.pop();
            let fresh = Agent { free: t + self.boot_s, kind: Kind::Boot, born: t, service: 0.0 };
            self.agents.push(Reverse(back.unwrap_or(fresh)));
        }
        if self.agents.len() > want {
            self.shrink(t, want);
        }
    }

    /// Booting agents go first, then idle ones; busy ones finish their job.
    fn shrink(&mut self, t: f64, want: usize) {
        let rank = |agent: &Agent| match agent.free > t {
            true if agent.kind == Kind::Boot => (0, -agent.born),
            true => (2, agent.free),
            false => (1, agent.free),
        };
        let mut pool: Vec<_> = std::mem::take(&mut self.agents).into_iter().map(|Reverse(agent)| agent).collect();
        pool.sort_by(|a, b| rank(a).0.cmp(&rank(b).0).then(rank(a).1.total_cmp(&rank(b).1)));
        let stays = pool.split_off(pool.len() - want);
        for agent in pool {
            if agent.free > t && agent.kind == Kind::Served {
                self.draining.push(agent);
            } else {
                self.pay(agent.born, t);
            }
        }
        self.agents = stays.into_iter().map(Reverse).collect();
    }

    /// Starts the jobs that start before `until`.
    pub fn run(&mut self, until: f64) {
        let arrivals = &self.jobs.arrivals;
        self.seen += arrivals[self.seen..].partition_point(|arrival| *arrival < until);
        while self.waits.len() < self.seen {
            let head = self.waits.len();
            let Some(mut first) = self.agents.peek_mut() else { break };
            let start = first.0.free.max(arrivals[head]);
            if start >= until {
                break;
            }
            let service = self.jobs.services[head];
            *first = Reverse(Agent { free: start + service, kind: Kind::Served, born: first.0.born, service });
            drop(first);
            self.waits.push(start - arrivals[head]);
            self.started_s += service;
        }
    }

    /// What a controller sees at `t`, and the agent-seconds that were busy since the last time.
    pub fn observe(&mut self, t: f64) -> (Observation, f64) {
        let at_work = |agent: &&Agent| agent.free > t && agent.kind == Kind::Served;
        let all = || self.agents.iter().map(|agent| &agent.0).chain(&self.draining);
        let busy = all().filter(at_work).count();
        let done = self.waits.len() - busy;
        let done_s = self.started_s - all().filter(at_work).map(|agent| agent.service).sum::<f64>();
        let busy_s = self.started_s - all().filter(at_work).map(|agent| agent.free - t).sum::<f64>();
        let ready = self.agents.iter().filter(|agent| agent.0.free <= t || agent.0.kind == Kind::Served).count();
        let count = |n: usize| n as u32;
        let observation = Observation {
            t,
            arrivals: count(self.seen - self.last.arrivals),
            completed: count(done.saturating_sub(self.last.done)),
            service_sum: (done_s - self.last.done_s).max(0.0),
            queue: count(self.seen - self.waits.len()),
            busy: count(busy),
            ready: count(ready),
            booting: count(self.agents.len() - ready),
            replicas: count(self.agents.len()),
            ..Observation::default()
        };
        let busy_since_s = busy_s - self.last.busy_s;
        self.last = Seen { arrivals: self.seen, done, done_s, busy_s };
        (observation, busy_since_s)
    }

    /// Ends the pool and returns its agent-seconds.
    pub fn finish(mut self) -> (Vec<f64>, f64) {
        let end = self.jobs.end_s;
        for Reverse(agent) in std::mem::take(&mut self.agents) {
            self.pay(agent.born, end);
        }
        for agent in std::mem::take(&mut self.draining) {
            self.pay(agent.born, agent.free);
        }
        (self.waits, self.cost_s)
    }
}
