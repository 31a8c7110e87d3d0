//! What each project may have taken in a second, and what it owes: one node's exact part of a rate of all nodes.
//!
//! A batch is never cut: one that is larger than a second's worth passes when nothing is owed, and the project then
//! waits until all of it is paid. So a rate holds however jobs are packed into calls. Crates for rates refuse such
//! batches for ever instead, which is why this one is ours: a time per project, up to which it has used its rate.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::time::Duration;

use bravo_model::{Name, limits};
use parking_lot::Mutex;

/// What may come at once of a rate: a second's worth, or one job where that is less.
const BURST: Duration = Duration::from_secs(1);

/// A rate that all nodes keep together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SharedRate {
    /// Of the quota that says so. With another one, nothing is owed.
    pub(crate) version: u64,
    /// What all nodes take in a second.
    pub(crate) per_second: NonZeroU32,
    /// How many nodes that are.
    pub(crate) nodes: u32,
}

/// One project's jobs in a call.
pub(crate) struct Charge<'a> {
    pub(crate) project: &'a Name,
    pub(crate) rate: SharedRate,
    pub(crate) jobs: u64,
}

/// Jobs that a call was charged for, so that they can be given back.
#[derive(Debug, Default)]
pub(crate) struct Charged(Vec<(Name, SharedRate, u64)>);

impl Charged {
    /// Whether no project was charged.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Which charge may not be made yet, and after how long it may.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooSoon {
    pub(crate) charge: usize,
    pub(crate) wait: Duration,
}

/// The rates of projects that owe something; as many as have quotas at most.
#[derive(Default)]
pub(crate) struct Projects(Mutex<HashMap<Name, Paid>>);

/// Until when a project has used its rate.
struct Paid {
    version: u64,
    until: Duration,
}

impl SharedRate {
    /// How long this node's part of the rate takes for so many jobs.
    fn time_for(self, jobs: u64) -> Duration {
        let node_seconds = u128::from(jobs) * u128::from(self.nodes.max(1));
        let nanos = (node_seconds * 1_000_000_000).div_ceil(u128::from(self.per_second.get()));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

impl Projects {
    /// Charges all of a call, or nothing. `now` is the time since any fixed moment. No project comes twice.
    pub(crate) fn take(&self, charges: &[Charge<'_>], now: Duration) -> Result<Charged, TooSoon> {
        let mut all = self.0.lock();
        let mut charged = Vec::with_capacity(charges.len());
        for (place, Charge { project, rate, jobs }) in charges.iter().enumerate().filter(|(_, one)| one.jobs > 0) {
            let known = all.get(*project).filter(|paid| paid.version == rate.version);
            let from = known.map_or(now, |paid| paid.until.max(now));
            let (cost, burst) = (rate.time_for(*jobs), BURST.max(rate.time_for(1)));
            // What is larger than the burst passes when nothing is owed.
            let latest = now.saturating_add(burst.saturating_sub(cost));
            if from > latest {
                return Err(TooSoon { charge: place, wait: from - latest });
            }
            charged.push(((*project).clone(), *rate, *jobs, from.saturating_add(cost)));
        }
        if all.len().saturating_add(charged.len()) as u64 > limits::QUOTAS_MAX {
            // Who owes nothing is as one who never came.
            all.retain(|_, paid| paid.until > now);
        }
        let mut taken = Vec::with_capacity(charged.len());
        for (project, rate, jobs, until) in charged {
            if all.len() as u64 >= limits::QUOTAS_MAX && !all.contains_key(&project) {
                // Rates of quotas that were deleted while something was owed.
                all.clear();
            }
            all.insert(project.clone(), Paid { version: rate.version, until });
            taken.push((project, rate, jobs));
        }
        Ok(Charged(taken))
    }

    /// Gives back what a call was charged that was refused after all.
    pub(crate) fn give_back(&self, charged: Charged) {
        self.give_back_some(charged, |_| u64::MAX);
    }

    /// Gives back what a call was charged for so many jobs of each project, if it was charged for any.
    pub(crate) fn give_back_some(&self, Charged(charged): Charged, back: impl Fn(&Name) -> u64) {
        let mut all = self.0.lock();
        for (project, rate, jobs) in charged {
            if let Some(paid) = all.get_mut(&project).filter(|paid| paid.version == rate.version) {
                let kept = jobs.saturating_sub(back(&project));
                paid.until = paid.until.saturating_sub(rate.time_for(jobs) - rate.time_for(kept));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse("project_id", text).unwrap()
    }

    fn rate(per_second: u32, nodes: u32) -> SharedRate {
        SharedRate { version: 1, per_second: per_second.try_into().unwrap(), nodes }
    }

    fn take(projects: &Projects, rate: SharedRate, jobs: u64, at_ms: u64) -> Result<(), u128> {
        let charge = Charge { project: &name("p"), rate, jobs };
        projects
            .take(&[charge], Duration::from_millis(at_ms))
            .map(drop)
            .map_err(|TooSoon { wait, .. }| wait.as_millis())
    }

    #[test]
    fn a_batch_larger_than_the_burst_passes_when_nothing_is_owed_and_then_blocks_for_all_its_cost() {
        let projects = Projects::default();
        assert_eq!(take(&projects, rate(10, 1), 1_000, 0), Ok(()));
        assert_eq!(take(&projects, rate(10, 1), 1, 0), Err(99_100));
        assert_eq!(take(&projects, rate(10, 1), 1, 99_099), Err(1));
        assert_eq!(take(&projects, rate(10, 1), 1, 99_100), Ok(()));
        assert_eq!(take(&projects, rate(10, 1), 1_000, 99_100), Err(1_000), "a large one waits until nothing is owed");
        assert_eq!(take(&projects, rate(10, 1), 1_000, 100_100), Ok(()));
    }

    #[test]
    fn a_rate_is_the_same_however_jobs_are_packed() {
        for batch in [1, 3, 10, 100] {
            let (projects, mut taken) = (Projects::default(), 0);
            for at_ms in 0..100_000 {
                while take(&projects, rate(10, 1), batch, at_ms).is_ok() {
                    taken += batch;
                }
            }
            assert!((1_000..=1_000 + batch.max(10)).contains(&taken), "{taken} in batches of {batch}");
        }
    }

    #[test]
    fn nodes_share_a_small_rate_exactly() {
        for (per_second, nodes) in [(1, 3), (2, 3), (4, 3), (7, 5), (10, 3)] {
            let mut taken = 0;
            for _ in 0..nodes {
                let projects = Projects::default();
                taken += (0..300_000).filter(|at| take(&projects, rate(per_second, nodes), 1, *at).is_ok()).count();
            }
            let (fair, burst) = (per_second as usize * 300, (per_second + nodes) as usize);
            assert!((fair..=fair + burst).contains(&taken), "{per_second}/s on {nodes} nodes: {taken} of {fair}");
        }
    }

    #[test]
    fn a_call_of_many_projects_is_charged_whole_or_not_at_all() {
        let projects = Projects::default();
        let (first, second) = (name("a"), name("b"));
        let of = |jobs: [u64; 2]| {
            [(&first, jobs[0]), (&second, jobs[1])].map(|(project, jobs)| Charge { project, rate: rate(10, 1), jobs })
        };
        let now = Duration::ZERO;
        projects.take(&of([0, 10]), now).unwrap();
        let refused = projects.take(&of([10, 1]), now).unwrap_err();
        assert_eq!(refused, TooSoon { charge: 1, wait: Duration::from_millis(100) });
        let charged = projects.take(&of([10, 0]), now).unwrap();
        assert!(projects.take(&of([1, 0]), now).is_err());
        projects.give_back(charged);
        let charged = projects.take(&of([10, 0]), now).expect("what was given back may be taken again");
        projects.give_back_some(charged, |_| 4);
        assert!(projects.take(&of([5, 0]), now).is_err());
        assert!(projects.take(&of([4, 0]), now).is_ok(), "so much of it was given back");
    }

    #[test]
    fn another_quota_starts_anew_and_those_who_owe_nothing_are_forgotten() {
        let projects = Projects::default();
        assert_eq!(take(&projects, rate(1, 1), 100, 0), Ok(()));
        assert_eq!(take(&projects, SharedRate { version: 2, ..rate(1, 1) }, 1, 0), Ok(()));
        for number in 0..2 * limits::QUOTAS_MAX {
            let charge = Charge { project: &name(&format!("p{number}")), rate: rate(1, 1), jobs: 1 };
            projects.take(&[charge], Duration::from_millis(number)).unwrap();
        }
        assert!(projects.0.lock().len() as u64 <= limits::QUOTAS_MAX);
        let last = Charge { project: &name(&format!("p{}", 2 * limits::QUOTAS_MAX - 1)), rate: rate(1, 1), jobs: 1 };
        assert!(projects.take(&[last], Duration::from_millis(2 * limits::QUOTAS_MAX)).is_err(), "who owes is kept");
    }
}
