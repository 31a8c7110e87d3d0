//! Whose jobs are before a job, in a queue where lanes take turns.
//!
//! Of one priority, a job waits for those of its own lane, and for as many of each other lane as that is served
//! meanwhile by its weight: not for the whole backlog of whoever has most. What is more urgent goes first, whosever
//! it is.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use bravo_model::command::NewJob;
use bravo_model::view::{LaneLoad, QueueLanes};

use super::PRIORITIES;
use crate::dispatch::Profile;

/// Lanes of a queue, over all partitions, that are told apart; where there are more, none is.
pub(crate) const LANES_MAX: usize = 512;
/// What live workers of one queue can be that is told apart; where there is more, anything is taken to be done.
const PROFILES_MAX: usize = 64;

/// Which jobs the live workers of a queue may have.
#[derive(Clone, Debug, Default)]
pub(crate) struct Served {
    profiles: Vec<Profile>,
    is_more: bool,
}

impl Served {
    /// A worker serves the queue.
    pub(crate) fn add(&mut self, profile: Profile) {
        if self.profiles.contains(&profile) {
            return;
        }
        self.is_more |= self.profiles.len() >= PROFILES_MAX;
        if !self.is_more {
            self.profiles.push(profile);
        }
    }

    /// Whether any worker may have jobs of a project that require this. Where there is no worker at all nothing is
    /// known of those to come.
    pub(crate) fn may_have<'a>(
        &self,
        project: &str,
        requirements: impl Iterator<Item = (&'a String, &'a String)> + Clone,
    ) -> bool {
        let fits = |profile: &Profile| {
            profile.project.as_ref().is_none_or(|own| own.as_str() == project)
                && requirements.clone().all(|(label, value)| profile.labels.get(label) == Some(value))
        };
        self.is_more || self.profiles.is_empty() || self.profiles.iter().any(fits)
    }
}

/// Lanes that may have changed since their turns were summed; beyond it, these are summed anew.
const CHANGED_MAX: usize = 32;

#[derive(Clone, Debug, Default)]
struct Lane {
    weight: f64,
    open: [f64; PRIORITIES],
    /// Let in by this node since the look.
    since: [f64; PRIORITIES],
}

/// The lanes of a queue that live workers serve.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lanes {
    lanes: HashMap<u64, Lane>,
    weights: HashMap<String, f64>,
    /// What they add up to.
    all: Lane,
    /// What is before a job on account of turns, by its priority, as far as jobs asked since the look.
    turns: [Option<Turns>; PRIORITIES],
}

/// For how many jobs the lanes are served until each had so many turns: sums over the lanes, those with the fewest turns
/// to take first, so that nobody walks all lanes for each job.
#[derive(Clone, Debug, Default)]
struct Turns {
    scale: f64,
    sums: Vec<Sum>,
    /// Lanes that changed since, and as they are in the sums.
    changed: Vec<(u64, Waiting)>,
}

/// Up to a lane; the first is before them all.
#[derive(Clone, Copy, Debug)]
struct Sum {
    /// Turns that the lane takes until its jobs are done.
    turns: f64,
    /// Jobs of it and those before it.
    jobs: f64,
    /// The weights of those behind it.
    weight_behind: f64,
}

/// What waits in a lane with one priority, and its weight.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    jobs: f64,
    weight: f64,
}

impl Waiting {
    /// Jobs that are served in so many turns.
    fn served(self, turns: f64) -> f64 {
        self.jobs.min(turns * self.weight)
    }
}

impl Turns {
    fn of(lanes: impl Iterator<Item = Waiting>, scale: f64) -> Self {
        let mut lanes: Vec<Waiting> = lanes.filter(|lane| lane.jobs > 0.0).collect();
        lanes.sort_unstable_by(|a, b| (a.jobs / a.weight).total_cmp(&(b.jobs / b.weight)));
        let none = Sum { turns: 0.0, jobs: 0.0, weight_behind: lanes.iter().map(|lane| lane.weight).sum() };
        let sums = lanes.iter().scan(none, |sum, lane| {
            *sum = Sum {
                turns: lane.jobs / lane.weight,
                jobs: sum.jobs + lane.jobs,
                weight_behind: sum.weight_behind - lane.weight,
            };
            Some(*sum)
        });
        Self { scale, sums: std::iter::once(none).chain(sums).collect(), changed: Vec::new() }
    }

    /// Jobs of all lanes that were served in so many turns when they were summed.
    fn served(&self, turns: f64) -> f64 {
        let done = self.sums.partition_point(|sum| sum.turns <= turns);
        self.sums.get(done.saturating_sub(1)).map_or(0.0, |sum| sum.jobs + turns * sum.weight_behind)
    }
}

impl Lanes {
    /// The lanes at a look, summed over partitions; none if they are too many.
    pub(crate) fn of(partitions: Vec<QueueLanes>) -> Option<Self> {
        let mut this = Self::default();
        for QueueLanes { lanes, weights, .. } in partitions {
            this.weights.extend(weights.into_iter().map(|(key, weight)| (key, f64::from(weight))));
            for LaneLoad { project, key, requirements, open } in lanes {
                let id = id(&project, key.as_deref(), &requirements);
                let weight = this.weight(&project, key.as_deref());
                let lane = this.lanes.entry(id).or_insert_with(|| Lane::new(weight));
                for ((sum, all), open) in lane.open.iter_mut().zip(&mut this.all.open).zip(open) {
                    *sum += open as f64;
                    *all += open as f64;
                }
            }
        }
        (this.lanes.len() <= LANES_MAX).then_some(this)
    }

    fn weight(&self, project: &str, key: Option<&str>) -> f64 {
        self.weights.get(key.unwrap_or(project)).copied().unwrap_or(1.0)
    }

    /// A job was let in. What is taken back of that is forgotten with the next look.
    pub(crate) fn add(&mut self, job: &NewJob, priority: usize) {
        let id = id_of(job);
        if !self.lanes.contains_key(&id) {
            if self.lanes.len() >= LANES_MAX {
                return;
            }
            let weight = self.weight(job.project.as_str(), job.fairness_key.as_deref());
            self.lanes.insert(id, Lane::new(weight));
        }
        self.note(id, priority);
        for lane in self.lanes.get_mut(&id).into_iter().chain([&mut self.all]) {
            lane.since.iter_mut().skip(priority).take(1).for_each(|since| *since += 1.0);
        }
    }

    /// A lane is about to change.
    fn note(&mut self, id: u64, priority: usize) {
        let Some(slot) = self.turns.get_mut(priority) else { return };
        let Some(turns) = slot.as_mut().filter(|turns| turns.changed.iter().all(|(changed, _)| *changed != id)) else {
            return;
        };
        match self.lanes.get(&id).filter(|_| turns.changed.len() < CHANGED_MAX) {
            Some(lane) => turns.changed.push((id, lane.waiting(priority, turns.scale))),
            None => *slot = None,
        }
    }

    /// Jobs of lanes but this one that are served in so many turns.
    fn others(&mut self, own: u64, priority: usize, scale: f64, turns: f64) -> f64 {
        let Some(slot) = self.turns.get_mut(priority) else { return 0.0 };
        let known = slot.take().filter(|known| known.scale == scale);
        let known =
            known.unwrap_or_else(|| Turns::of(self.lanes.values().map(|lane| lane.waiting(priority, scale)), scale));
        let now = |id: &u64| self.lanes.get(id).map_or(0.0, |lane| lane.waiting(priority, scale).served(turns));
        let mut served = known.served(turns);
        for (id, was) in &known.changed {
            served += if *id == own { 0.0 } else { now(id) } - was.served(turns);
        }
        if known.changed.iter().all(|(id, _)| *id != own) {
            served -= now(&own);
        }
        *slot = Some(known);
        served.max(0.0)
    }

    /// The part of what waits with a job's priority or above that is before it; `scale` jobs of all nodes for each that
    /// this one let in.
    pub(crate) fn share(&mut self, job: &NewJob, priority: usize, scale: f64) -> f64 {
        let own = id_of(job);
        let (mine, weight) = match self.lanes.get(&own) {
            // The usual queue has one lane.
            Some(_) if self.lanes.len() == 1 => return 1.0,
            Some(lane) => (lane.waits(priority, scale), lane.weight),
            None => (0.0, self.weight(job.project.as_str(), job.fairness_key.as_deref())),
        };
        let turn = (mine + 1.0) / weight.max(1.0);
        let turns = self.others(own, priority, scale, turn);
        let urgent: f64 = (priority + 1..PRIORITIES).map(|priority| self.all.waits(priority, scale)).sum();
        let all = urgent + self.all.waits(priority, scale);
        if all > 0.0 { ((urgent + mine + turns) / all).min(1.0) } else { 1.0 }
    }
}

impl Lane {
    fn new(weight: f64) -> Self {
        Self { weight, ..Self::default() }
    }

    fn waiting(&self, priority: usize, scale: f64) -> Waiting {
        Waiting { jobs: self.waits(priority, scale), weight: self.weight }
    }

    fn waits(&self, priority: usize, scale: f64) -> f64 {
        self.open.get(priority).zip(self.since.get(priority)).map_or(0.0, |(open, since)| open + since * scale)
    }
}

fn id_of(job: &NewJob) -> u64 {
    id(job.project.as_str(), job.fairness_key.as_deref(), &job.requirements)
}

/// What tells a lane apart at this node; two that were alike would count as one.
fn id(project: &str, key: Option<&str>, requirements: &BTreeMap<String, String>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (project, key, requirements).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use bravo_model::{Name, Payload};

    use super::*;

    fn job(project: &str) -> NewJob {
        let name = |text: &str| Name::parse("name", text).unwrap();
        NewJob::new(name("q"), name(project), Payload { json: true, bytes: "1".into() })
    }

    fn lane(project: &str, priority: usize, jobs: u64) -> LaneLoad {
        let mut open = [0; PRIORITIES];
        open[priority] = jobs;
        LaneLoad { project: project.into(), key: None, requirements: BTreeMap::new(), open }
    }

    fn lanes(lanes: Vec<LaneLoad>, weights: &[(&str, u32)]) -> Lanes {
        let weights = weights.iter().map(|(key, weight)| ((*key).to_owned(), *weight)).collect();
        Lanes::of(vec![QueueLanes { lanes, weights, looks: 0 }]).unwrap()
    }

    #[test]
    fn a_job_waits_for_its_own_lane_and_for_the_turns_of_others() {
        let mut lanes = lanes(vec![lane("a", 4, 960), lane("b", 4, 19), lane("c", 4, 1), lane("c", 9, 20)], &[]);
        assert_eq!(lanes.share(&job("a"), 4, 1.0), 1.0, "all of the others are before its last job");
        assert_eq!(lanes.share(&job("b"), 4, 1.0), f64::from(20 + 20 + 19 + 1) / 1_000.0);
        assert_eq!(lanes.share(&job("new"), 4, 1.0), f64::from(20 + 3) / 1_000.0, "it is the next but three");
        assert_eq!(lanes.share(&job("b"), 9, 1.0), f64::from(1) / 20.0);
        (0..10).for_each(|_| lanes.add(&job("new"), 4));
        assert_eq!(lanes.share(&job("new"), 4, 2.0), f64::from(20 + 20 + 21 + 19 + 1) / 1_020.0);
    }

    #[test]
    fn the_turns_of_others_are_those_of_a_walk_over_all_lanes_whoever_was_let_in_since() {
        let walk = |lanes: &Lanes, job: &NewJob, scale: f64| {
            let own = lanes.lanes.get(&id_of(job));
            let (mine, weight) = own.map_or((0.0, 1.0), |own| (own.waits(4, scale), own.weight));
            let turn = (mine + 1.0) / weight.max(1.0);
            let of = |lane: &Lane| lane.waits(4, scale).min(turn * lane.weight);
            lanes.lanes.iter().filter(|(id, _)| **id != id_of(job)).map(|(_, lane)| of(lane)).sum::<f64>()
        };
        let some = (0..60).map(|n| lane(&format!("p-{n}"), 4, n * n % 97)).collect();
        let mut lanes = lanes(some, &[("p-3", 5), ("p-40", 2), ("p-41", 7)]);
        for n in 0..2_000_usize {
            // Runs of one lane, and then all of them, some of which are new.
            let job = job(&format!("p-{}", if n < 500 { n / 100 } else { n * 7 % 90 }));
            let scale = if n < 1_500 { 1.0 } else { 3.0 };
            let (expected, turn) = (walk(&lanes, &job, scale), {
                let own = lanes.lanes.get(&id_of(&job));
                own.map_or(1.0, |own| (own.waits(4, scale) + 1.0) / own.weight.max(1.0))
            });
            let found = lanes.others(id_of(&job), 4, scale, turn);
            assert!((found - expected).abs() < 1e-6, "{n}: {found} is not {expected}");
            lanes.add(&job, 4);
            assert!(n >= 500 || lanes.turns[4].as_ref().is_some_and(|turns| turns.changed.len() == n / 100 + 1));
        }
    }

    #[test]
    fn a_lane_with_more_weight_has_more_turns() {
        let mut lanes = lanes(vec![lane("a", 4, 1_000)], &[("a", 3), ("b", 6)]);
        assert_eq!(lanes.share(&job("other"), 4, 1.0), 0.003);
        assert_eq!(lanes.share(&job("b"), 4, 1.0), 0.000_5);
    }

    #[test]
    fn too_many_lanes_are_not_told_apart() {
        let many = |count: usize| (0..count).map(|n| lane(&format!("p-{n}"), 4, 1)).collect();
        let of = |count| Lanes::of(vec![QueueLanes { lanes: many(count), ..QueueLanes::default() }]);
        assert!(of(LANES_MAX).is_some() && of(LANES_MAX + 1).is_none());
    }

    #[test]
    fn what_no_live_worker_may_have_is_known_and_nothing_is_where_there_is_none() {
        let gpu = BTreeMap::from([("gpu".to_owned(), "yes".to_owned())]);
        let mut served = Served::default();
        assert!(served.may_have("p", gpu.iter()), "some may come");
        served.add(Profile::default());
        assert!(!served.may_have("p", gpu.iter()) && served.may_have("p", BTreeMap::new().iter()));
        served.add(Profile { project: Some(job("q").project), labels: gpu.clone() });
        assert!(!served.may_have("p", gpu.iter()) && served.may_have("q", gpu.iter()));
        for n in 0..PROFILES_MAX {
            served.add(Profile { project: None, labels: BTreeMap::from([("host".to_owned(), n.to_string())]) });
        }
        assert!(served.may_have("p", gpu.iter()), "who knows");
    }
}
