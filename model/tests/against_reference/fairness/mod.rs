//! Fairness by measured work time: lanes that always have work get their weight's share of it.
//!
//! A few workers take one job at a time and hold it for as long as the lane's jobs take, so that
//! a lane of long jobs would take everything if jobs were counted rather than time. What must hold,
//! of any lanes, weights and work times: each lane's share of the whole work time is its share of
//! the weights, up to [`JOBS_OFF`] of the longest jobs per worker; within a lane, jobs leave in the
//! order they came.

use bravo_model::Time;
use bravo_model::command::{Ack, Command, Envelope, Lease, NewJob, QueueDefinition};
use bravo_model::job::Payload;
use bravo_model::queue::QueueConfig;
use bravo_model::reply::{LeasedJob, Reply};

use crate::history::{Rng, name};
use crate::judge::Machine;

/// How many of its longest jobs per worker a lane may be ahead of or behind its share.
const JOBS_OFF: f64 = 2.0;

struct Lane {
    key: Option<String>,
    weight: u32,
    shortest_ms: u64,
    longest_ms: u64,
    worked_ms: u64,
    last_seq: u64,
}

struct Working {
    until: Time,
    seq: u64,
    token: u64,
    lane: usize,
    took: u64,
}

/// One long run of random lanes.
pub(crate) fn shares_follow_weights<M: Machine>(seed: u64, mut machine: M) {
    let mut rng = Rng(seed);
    let mut lanes = random_lanes(&mut rng);
    let workers = 1 + rng.below(4) as usize;
    let mut now = 1_000_000;
    define(&mut machine, now, &lanes);
    let mut lane_of = Vec::new();
    for _ in 0..400 {
        let jobs: Vec<NewJob> = lanes.iter().map(|lane| new_job(lane.key.clone())).collect();
        lane_of.extend(0..lanes.len());
        reply(&mut machine, now, Command::Enqueue(jobs));
    }
    let mut working: Vec<Working> = Vec::new();
    let mut left = vec![400; lanes.len()];
    while left.iter().all(|&left| left > 0) {
        while working.len() < workers {
            let job = lease(&mut machine, now);
            let lane = lane_of[job.seq as usize - 1];
            assert!(
                job.seq > lanes[lane].last_seq,
                "seed {seed}: job {} left before an older one of its lane",
                job.seq
            );
            lanes[lane].last_seq = job.seq;
            left[lane] -= 1;
            let took = lanes[lane].shortest_ms + rng.below(lanes[lane].longest_ms - lanes[lane].shortest_ms + 1);
            working.push(Working { until: now + took, seq: job.seq, token: job.token, lane, took });
        }
        let (first, _) = working.iter().enumerate().min_by_key(|(_, work)| work.until).expect("workers work");
        let done = working.swap_remove(first);
        now = now.max(done.until);
        lanes[done.lane].worked_ms += done.took;
        reply(&mut machine, now, Command::Ack(vec![Ack { seq: done.seq, token: done.token, result: None }]));
    }
    judge(seed, &lanes, workers);
}

fn judge(seed: u64, lanes: &[Lane], workers: usize) {
    let all_ms: u64 = lanes.iter().map(|lane| lane.worked_ms).sum();
    let weights: u32 = lanes.iter().map(|lane| lane.weight).sum();
    let longest = lanes.iter().map(|lane| lane.longest_ms).max().unwrap_or(0) as f64;
    let bound = JOBS_OFF * longest * (workers as f64 + 1.0);
    for lane in lanes {
        let fair_ms = all_ms as f64 * f64::from(lane.weight) / f64::from(weights);
        let off_ms = lane.worked_ms as f64 - fair_ms;
        assert!(
            off_ms.abs() <= bound,
            "seed {seed}: lane {:?} (weight {} of {weights}, jobs of {} to {} ms) worked {} ms of {all_ms}, {off_ms:.0} \
             off its share; {bound:.0} allowed with {workers} workers",
            lane.key,
            lane.weight,
            lane.shortest_ms,
            lane.longest_ms,
            lane.worked_ms,
        );
    }
}

fn random_lanes(rng: &mut Rng) -> Vec<Lane> {
    let count = 2 + rng.below(3);
    let lane = |number: u64| {
        let weight = if number == 0 { 1 } else { 1 + rng.below(4) as u32 };
        let shortest_ms = rng.pick(&[1, 10, 50]);
        Lane {
            // The first lane is that of the jobs without a key.
            key: (number > 0).then(|| format!("lane-{number}")),
            weight,
            shortest_ms,
            longest_ms: shortest_ms * (1 + rng.below(4)),
            worked_ms: 0,
            last_seq: 0,
        }
    };
    (0..count).map(lane).collect()
}

fn define(machine: &mut impl Machine, now: Time, lanes: &[Lane]) {
    let weights = lanes.iter().filter_map(|lane| Some((lane.key.clone()?, lane.weight))).collect();
    let config = QueueConfig { fairness_weights: weights, ..QueueConfig::default() };
    let definition =
        QueueDefinition { name: name("fair"), version: 1, config, paused: false, draining: false, home: true };
    reply(machine, now, Command::SetQueue(definition));
}

fn new_job(fairness_key: Option<String>) -> NewJob {
    let payload = Payload { json: true, bytes: "1".into() };
    NewJob { fairness_key, ..NewJob::new(name("fair"), name("p"), payload) }
}

fn lease(machine: &mut impl Machine, now: Time) -> LeasedJob {
    let lease = Lease::new(name("fair"), name("w"), 1);
    match reply(machine, now, Command::Lease(lease)) {
        Reply::Leased(mut leased) if leased.jobs.len() == 1 => leased.jobs.remove(0),
        other => panic!("one job was asked for, {other:?} came"),
    }
}

fn reply(machine: &mut impl Machine, now: Time, command: Command) -> Reply {
    machine.apply(now, vec![Envelope::plain(command).encode()]).pop().expect("one outcome").reply
}
