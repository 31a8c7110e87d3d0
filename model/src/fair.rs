//! Fairness: which lane of a queue is served next, by measured work.
//!
//! Start-time fair queueing (Goyal, Vin and Cheng 1996): each lane has a virtual time, the lane whose is
//! lowest is served next, and being served moves it on by work over weight. Work is known only when a lease
//! ends, so a lease is charged the lane's running mean and corrected by what it measured. A lane that comes
//! back starts no lower than the lowest active one: nobody saves up a claim by staying away, and nobody is
//! punished for having been alone.
//!
//! The jobs of a lane have one project, one fairness key or none, and one set of requirements, so that a
//! lease looks at lanes and never searches them: all of a lane's jobs are for the asker or none is. Without
//! keys, projects take turns. Lanes with the same requirements are one class; a class for which there is no
//! worker stands still and holds nobody back.
//!
//! Lane 0 lives in the queue's stats. It is that of the project that came first and neither asks for a key nor
//! requires anything: a queue of one project has no other, and no row in NEXT until a second lane is there.

use std::collections::BTreeMap;

use crate::Time;
use crate::id::Name;
use crate::job::Job;
use crate::limits;
use crate::pick;
use crate::row::{self, Lane, PRIORITIES};
use crate::state::State;
use crate::table;

/// Virtual time of a millisecond of work at weight 1; the highest weight still counts one.
const UNIT: u64 = 10_000;
/// Idle lanes looked at beside one lease: more than become idle by it, so that they go away.
const SWEEP: usize = 4;

/// The slot of a sticky key: 0 to [`limits::STICKY_SLOTS`] - 1.
pub fn sticky_slot(project: &Name, key: &str) -> u8 {
    table::h16(&[project.as_str(), key])[0] % limits::STICKY_SLOTS
}

/// What of a lane is seen in NEXT, OWN and IDLE.
#[derive(PartialEq, Eq)]
struct Shape {
    class: u64,
    whose: u64,
    vtime: u64,
    active: [bool; PRIORITIES],
    idle: bool,
}

impl Shape {
    fn of(lane: &Lane) -> Self {
        let Lane { class, whose, vtime, .. } = *lane;
        Self { class, whose, vtime, active: lane.open.map(|open| open > 0), idle: lane.is_idle() }
    }
}

/// A set of requirements as it stands in keys.
fn class_of(requirements: &BTreeMap<String, String>) -> u64 {
    if requirements.is_empty() {
        return 0;
    }
    let parts: Vec<&str> = requirements.iter().flat_map(|(label, value)| [label.as_str(), value.as_str()]).collect();
    table::half(&parts)
}

impl State<'_> {
    /// The lane that the job waits in, made if it is not there. Beyond the limit, the keys of a project
    /// share the lane of its jobs without one.
    pub(crate) fn lane_for(&mut self, job: &Job) -> u64 {
        let queue = job.keeping.queue_number;
        let class = class_of(&job.requirements);
        let mut key = job.fairness_key.as_deref();
        let mut id = match self.find_lane(queue, job, key, class) {
            Ok(id) => return id,
            Err(free) => free,
        };
        if self.stats(queue).lanes >= limits::FAIRNESS_KEYS_MAX {
            // So many claims of those who stay away are given up, that there is room.
            let idle = self.idle_class(queue);
            self.drop_below(queue, idle, u64::MAX);
            if key.is_some() && self.stats(queue).lanes >= limits::FAIRNESS_KEYS_MAX {
                key = None;
                id = match self.find_lane(queue, job, key, class) {
                    Ok(id) => return id,
                    Err(free) => free,
                };
            }
        }
        let stats = self.stats(queue);
        stats.lanes = stats.lanes.saturating_add(1);
        if stats.lanes == 1 {
            let shape = Shape::of(&stats.lane0);
            self.show(queue, 0, &shape, true);
        }
        let lane = Lane {
            project: job.project.as_str().to_owned(),
            key: key.map(str::to_owned),
            requirements: job.requirements.clone(),
            class,
            whose: table::half(&[job.project.as_str()]),
            ..Lane::default()
        };
        self.show(queue, id, &Shape::of(&lane), true);
        self.lanes.insert((queue, id), Some(lane));
        id
    }

    /// The lane of such jobs, or the number that it would have.
    fn find_lane(&mut self, queue: u32, job: &Job, key: Option<&str>, class: u64) -> Result<u64, u64> {
        let project = job.project.as_str();
        if key.is_none() && class == 0 {
            let stats = self.stats(queue);
            if stats.lane0.project == project {
                return Ok(0);
            }
            if stats.lanes == 0 && stats.lane0.is_idle() {
                stats.lane0.project = project.to_owned();
                stats.lane0.whose = table::half(&[project]);
                return Ok(0);
            }
        }
        // No name is empty or has a zero byte, so that no two lanes are written alike.
        let mut parts = vec![project, key.map_or("", |_| "key"), key.unwrap_or("")];
        parts.extend(job.requirements.iter().flat_map(|(label, value)| [label.as_str(), value.as_str()]));
        let mut id = table::half(&parts);
        while let Some(lane) = self.lane(queue, id) {
            if lane.project == project && lane.key.as_deref() == key && lane.requirements == job.requirements {
                return Ok(id);
            }
            id = id.wrapping_add(1).max(1);
        }
        Err(id)
    }

    /// Counts a job into or out of the ready order of its lane.
    pub(crate) fn lane_open(&mut self, queue: u32, id: u64, priority: u8, up: bool) {
        let comes_back =
            if up { self.lane(queue, id).filter(|lane| !lane.is_active()).map(|lane| lane.class) } else { None };
        let floor = comes_back.map_or(0, |class| self.floor(queue, class));
        self.change(queue, id, |lane| {
            lane.vtime = lane.vtime.max(floor);
            if let Some(open) = lane.open.get_mut(usize::from(priority)) {
                row::step(open, up);
            }
        });
        if let Some(open) = self.stats(queue).open.get_mut(usize::from(priority)) {
            row::step(open, up);
        }
        if !up {
            self.drop_if_spent(queue, id);
        }
    }

    /// What a lease of this lane is charged before its length is known.
    pub(crate) fn estimate(&mut self, queue: u32, id: u64) -> u64 {
        let common = self.stats(queue).lane0.mean_ms16;
        let mean = self.lane(queue, id).map_or(0, |lane| lane.mean_ms16);
        let ms16 = if mean > 0 { mean } else { common };
        self.cost(queue, id, ms16 / 16)
    }

    /// Counts a lease, and charges it.
    pub(crate) fn lane_leased(&mut self, job: &Job) {
        let (queue, id, charged) = (job.keeping.queue_number, job.keeping.lane, job.keeping.charged);
        let start = self.lane(queue, id).map_or(0, |lane| lane.vtime);
        let stats = self.stats(queue);
        stats.vtime = stats.vtime.max(start);
        self.change(queue, id, |lane| {
            lane.leased = lane.leased.saturating_add(1);
            lane.vtime = lane.vtime.saturating_add(charged);
        });
        if self.stats(queue).lanes > 0 {
            let class = self.lane(queue, id).map_or(0, |lane| lane.class);
            self.drop_idle(queue, class);
            let class = self.idle_class(queue);
            self.drop_idle(queue, class);
        }
    }

    /// Counts the end of a lease, and corrects what it was charged by what it took.
    pub(crate) fn lane_ended(&mut self, job: &Job, now: Time) {
        let (queue, id, charged) = (job.keeping.queue_number, job.keeping.lane, job.keeping.charged);
        let until = job.lease_expires_at.map_or(now, |end| end.min(now));
        let took_ms = until.saturating_sub(job.started_at.unwrap_or(until));
        let cost = self.cost(queue, id, took_ms);
        self.change(queue, id, |lane| {
            lane.leased = lane.leased.saturating_sub(1);
            lane.vtime = lane.vtime.saturating_sub(charged).saturating_add(cost);
            learn(&mut lane.mean_ms16, took_ms);
        });
        if id != 0 {
            learn(&mut self.stats(queue).lane0.mean_ms16, took_ms);
        }
        if self.stats(queue).open_all() == 0 {
            // Nobody waits: who comes next need not be behind anybody who was served.
            let reached = self.lane(queue, id).map_or(0, |lane| lane.vtime);
            let stats = self.stats(queue);
            stats.vtime = stats.vtime.max(reached);
        }
        self.drop_if_spent(queue, id);
    }

    fn lane(&mut self, queue: u32, id: u64) -> Option<&Lane> {
        if id == 0 {
            return Some(&self.stats(queue).lane0);
        }
        let txn = &*self.txn;
        let entry = self.lanes.entry((queue, id));
        entry.or_insert_with(|| row::read(txn, &table::lane(queue, id))).as_ref()
    }

    /// Changes a lane and the rows in NEXT, OWN and IDLE that show it.
    fn change(&mut self, queue: u32, id: u64, change: impl FnOnce(&mut Lane)) {
        if id == 0 {
            let stats = self.stats(queue);
            if stats.lanes == 0 {
                return change(&mut stats.lane0);
            }
        } else if self.lane(queue, id).is_none() {
            return;
        }
        let lane = match self.lanes.get_mut(&(queue, id)) {
            Some(Some(lane)) => lane,
            _ => &mut self.stats(queue).lane0,
        };
        let before = Shape::of(lane);
        change(lane);
        let after = Shape::of(lane);
        if before != after {
            self.show(queue, id, &before, false);
            self.show(queue, id, &after, true);
        }
    }

    /// Writes or deletes the rows in NEXT, OWN and IDLE for a lane of this shape.
    fn show(&mut self, queue: u32, id: u64, shape: &Shape, up: bool) {
        let mut row = |key| if up { self.txn.put(key, crate::txn::Value::new()) } else { self.txn.delete(&key) };
        for (priority, _) in (0..).zip(shape.active).filter(|(_, active)| *active) {
            row(table::next(queue, priority, shape.class, shape.vtime, id));
            row(table::own(queue, priority, (shape.whose, shape.class), shape.vtime, id));
        }
        if shape.idle && id != 0 {
            row(table::idle(queue, shape.class, shape.vtime, id));
        }
    }

    /// The lowest virtual time of the active lanes of a class; while there are none, where service last began.
    fn floor(&mut self, queue: u32, class: u64) -> u64 {
        self.lowest(queue, class).unwrap_or_else(|| self.stats(queue).vtime)
    }

    fn lowest(&mut self, queue: u32, class: u64) -> Option<u64> {
        let stats = self.stats(queue);
        if stats.lanes == 0 {
            return stats.lane0.is_active().then_some(stats.lane0.vtime);
        }
        let open = stats.open;
        (0..).zip(open).filter(|(_, open)| *open > 0).fold(None, |lowest, (priority, _)| {
            let front = row::front(self.rows(), &table::next_class(queue, priority, class));
            lowest.into_iter().chain(front.map(|(key, _)| table::vtime_of(&key))).min()
        })
    }

    /// Virtual time up to which an idle lane is not ahead of anybody of its class.
    fn not_ahead(&mut self, queue: u32, class: u64) -> u64 {
        self.lowest(queue, class).unwrap_or_else(|| {
            let stats = self.stats(queue);
            if stats.count(crate::JobState::Leased) == 0 { u64::MAX } else { stats.vtime }
        })
    }

    fn drop_if_spent(&mut self, queue: u32, id: u64) {
        if id != 0
            && let Some(class) = self.lane(queue, id).filter(|lane| lane.is_idle()).map(|lane| lane.class)
        {
            self.drop_idle(queue, class);
        }
    }

    /// A class with idle lanes, another one each time: classes whose jobs come once are swept with the others.
    fn idle_class(&mut self, queue: u32) -> u64 {
        let (all, from) = (table::idle_queue(queue), table::idle_class(queue, pick::begin(self.now())));
        let rows = self.rows();
        let found = rows.first(&from, &table::after(&all)).or_else(|| row::front(rows, &all));
        found.map_or(0, |(key, _)| table::class_of(&key))
    }

    /// Drops idle lanes of a class that are not ahead, a few at a time, those furthest behind first.
    fn drop_idle(&mut self, queue: u32, class: u64) {
        if row::front(self.rows(), &table::idle_class(queue, class)).is_some() {
            let limit = self.not_ahead(queue, class);
            self.drop_below(queue, class, limit);
        }
    }

    fn drop_below(&mut self, queue: u32, class: u64, limit: u64) {
        let prefix = table::idle_class(queue, class);
        let mut spent = Vec::new();
        row::walk(self.rows(), &prefix, &prefix, &mut |key, _| {
            if table::vtime_of(key) <= limit {
                spent.push(*key);
            }
            spent.len() < SWEEP && table::vtime_of(key) <= limit
        });
        for key in spent {
            self.txn.delete(&key);
            self.lanes.insert((queue, table::last_u64(&key)), None);
            let stats = self.stats(queue);
            stats.lanes = stats.lanes.saturating_sub(1);
            if stats.lanes == 0 {
                let shape = Shape::of(&stats.lane0);
                self.show(queue, 0, &shape, false);
            }
        }
    }

    /// What work costs the lane. A project's jobs without a key have the weight that bears the project's name.
    fn cost(&mut self, queue: u32, id: u64, ms: u64) -> u64 {
        let weight = if self.queue(queue).def.config.fairness_weights.is_empty() {
            1
        } else {
            let key = self.lane(queue, id).map(|lane| lane.key.clone().unwrap_or_else(|| lane.project.clone()));
            let weights = &self.queue(queue).def.config.fairness_weights;
            key.and_then(|key| weights.get(&key).copied()).unwrap_or(1)
        };
        (ms.max(1).saturating_mul(UNIT) / u64::from(weight.max(1))).max(1)
    }
}

/// Moves a running mean a sixteenth of the way.
fn learn(mean_ms16: &mut u64, ms: u64) {
    *mean_ms16 = match *mean_ms16 {
        0 => ms.saturating_mul(16),
        mean => (mean - mean / 16).saturating_add(ms),
    };
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::command::{Command, Lease, NewJob};
    use crate::testing::{World, name, new_job};
    use crate::{Entry, Envelope, Key, Reply, Value, apply, invariant, limits, row, table};

    #[test]
    fn keys_beyond_the_limit_share_a_lane_and_idle_lanes_go() {
        let mut rows: BTreeMap<Key, Value> = BTreeMap::new();
        let mut at = 1;
        let mut run = |command: Command| {
            at += 1;
            apply(&mut rows, 1, &Entry { at, commands: vec![Envelope::plain(command).encode()] }).remove(0).reply
        };
        let jobs = limits::FAIRNESS_KEYS_MAX + 500;
        for from in (0..jobs).step_by(500) {
            let new = |n: u64| NewJob { fairness_key: Some(n.to_string()), ..new_job() };
            run(Command::Enqueue((from..from + 500).map(new).collect()));
        }
        let mut leased = Vec::new();
        loop {
            let lease = Lease::new(name("q"), name("w"), 1_000);
            let Reply::Leased(answer) = run(Command::Lease(lease)) else { panic!("a lease is answered with jobs") };
            if answer.jobs.is_empty() {
                break;
            }
            leased.extend(answer.jobs.iter().map(|job| crate::command::Ack { seq: job.seq, token: 1, result: None }));
        }
        assert_eq!(leased.len() as u64, jobs);
        for acks in leased.chunks(1_000) {
            run(Command::Ack(acks.to_vec()));
        }
        assert_eq!(invariant::check(&rows), []);
        let stats: row::Stats = row::read(&rows, &table::by_queue(table::tag::STATS, 1)).expect("the queue is there");
        assert_eq!(stats.lanes, 0, "nothing is left to be fair about");
    }

    #[test]
    fn a_job_with_requirements_that_shares_a_lane_beyond_the_limit_goes_to_no_worker_without_its_labels() {
        let mut world = World::new();
        world.check = false;
        for n in 0..=limits::FAIRNESS_KEYS_MAX {
            let fairness_key = (n > 0).then(|| n.to_string());
            world.quick(Command::Enqueue(vec![NewJob { fairness_key, ..new_job() }]));
        }
        let gpu = BTreeMap::from([("gpu".to_owned(), "yes".to_owned())]);
        let seq = world.add(|job| (job.fairness_key, job.requirements) = (Some("late".into()), gpu.clone()));
        let mut given = 0;
        while given <= limits::FAIRNESS_KEYS_MAX {
            let leased = world.lease(1_000);
            assert!(!leased.is_empty() && !leased.contains(&seq), "after {given} jobs");
            given += leased.len() as u64;
        }
        assert!(world.lease(1).is_empty());
        assert_eq!(world.lease_as(1, |lease| lease.labels = gpu), [seq]);
    }

    #[test]
    fn lanes_of_requirements_that_come_once_go_while_others_work() {
        let mut world = World::new();
        let long = world.add(|_| {});
        assert_eq!(world.lease(1), [long], "there is always work under way");
        for n in 0..200 {
            let once = BTreeMap::from([("host".to_owned(), n.to_string())]);
            let seq = world.add(|job| job.requirements = once.clone());
            assert_eq!(world.lease_as(1, |lease| lease.labels = once), [seq]);
            world.at += 5;
            world.ack(seq).expect("acked");
        }
        let stats: row::Stats = row::read(&world.rows, &table::by_queue(table::tag::STATS, 1)).expect("it is there");
        assert!(stats.lanes <= 1, "{} lanes are kept", stats.lanes);
    }

    #[test]
    fn idle_lanes_are_given_up_before_there_are_too_many() {
        let mut world = World::new();
        world.check = false;
        // One that waits for a worker who never comes holds all that were served since.
        world.add(|job| job.requirements = BTreeMap::from([("gpu".to_owned(), "yes".to_owned())]));
        for n in 0..limits::FAIRNESS_KEYS_MAX + 100 {
            let once = BTreeMap::from([("host".to_owned(), n.to_string())]);
            let seq = world.add(|job| job.requirements = once.clone());
            assert_eq!(world.lease_as(1, |lease| lease.labels = once), [seq]);
            world.ack(seq).expect("acked");
        }
        let stats: row::Stats = row::read(&world.rows, &table::by_queue(table::tag::STATS, 1)).expect("it is there");
        assert!(stats.lanes <= limits::FAIRNESS_KEYS_MAX, "{} lanes are kept", stats.lanes);
    }
}
