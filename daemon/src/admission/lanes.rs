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
        for lane in self.lanes.get_mut(&id).into_iter().chain([&mut self.all]) {
            lane.since.iter_mut().skip(priority).take(1).for_each(|since| *since += 1.0);
        }
    }

    /// The part of what waits with a job's priority or above that is before it; `scale` jobs of all nodes for each that
    /// this one let in.
    pub(crate) fn share(&self, job: &NewJob, priority: usize, scale: f64) -> f64 {
        let own = id_of(job);
        let (mine, weight) = match self.lanes.get(&own) {
            // The usual queue has one lane.
            Some(_) if self.lanes.len() == 1 => return 1.0,
            Some(lane) => (lane.waits(priority, scale), lane.weight),
            None => (0.0, self.weight(job.project.as_str(), job.fairness_key.as_deref())),
        };
        let turn = (mine + 1.0) / weight.max(1.0);
        let others = self.lanes.iter().filter(|(id, _)| **id != own);
        let turns: f64 = others.map(|(_, lane)| lane.waits(priority, scale).min(turn * lane.weight)).sum();
        let urgent: f64 = (priority + 1..PRIORITIES).map(|priority| self.all.waits(priority, scale)).sum();
        let all = urgent + self.all.waits(priority, scale);
        if all > 0.0 { ((urgent + mine + turns) / all).min(1.0) } else { 1.0 }
    }
}

impl Lane {
    fn new(weight: f64) -> Self {
        Self { weight, ..Self::default() }
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
    fn a_lane_with_more_weight_has_more_turns() {
        let lanes = lanes(vec![lane("a", 4, 1_000)], &[("a", 3), ("b", 6)]);
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
