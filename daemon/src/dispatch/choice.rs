//! Which of the waiting workers gets the next jobs: of two drawn at random, the one with less to do.
//!
//! What a worker has to do is its jobs, with one more, over its capacity times its weight. A worker that has
//! just come counts with a tenth of that, and with more as time goes by, so that it is not given everything
//! while it is the emptiest of all; but never with less than one job. Where it is the only one, it gets all.

use std::time::Duration;

/// Share of its capacity that a worker counts with when it comes, in thousandths.
const FIRST_SHARE: u64 = 100;

/// What a worker has to do, and how much that is for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Jobs that it holds, or is being asked for.
    pub jobs: u32,
    /// Jobs that it works on at once.
    pub capacity: u32,
    /// Its weight.
    pub weight: u32,
    /// How long it has been there.
    pub age: Duration,
}

impl Load {
    /// Whether this worker has less to do than another.
    pub fn is_less_than(&self, other: &Self, slow_start: Duration) -> bool {
        let share = |of: &Self| u128::from(of.jobs.saturating_add(1));
        share(self) * other.room(slow_start) < share(other) * self.room(slow_start)
    }

    /// Capacity times weight, in thousandths, as far as its start has come.
    fn room(&self, slow_start: Duration) -> u128 {
        let whole = slow_start.as_millis();
        let share = match whole {
            0 => 1_000,
            _ => {
                let grown = self.age.as_millis().min(whole) * u128::from(1_000 - FIRST_SHARE) / whole;
                u128::from(FIRST_SHARE) + grown
            }
        };
        (u128::from(self.capacity.max(1)) * share).max(1_000) * u128::from(self.weight.max(1))
    }
}

/// A small generator of numbers (splitmix64), seeded so that tests see the same draws.
#[derive(Clone, Debug)]
pub struct Draws(u64);

impl Draws {
    /// The draws of a seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound.max(1) as u64) as usize
    }
}

/// The better of two, drawn from those that `load` knows and that may be given something now; none if there
/// is none such.
pub fn choose(
    count: usize,
    draws: &mut Draws,
    slow_start: Duration,
    mut load: impl FnMut(usize) -> Option<Load>,
) -> Option<usize> {
    const TRIES: usize = 8;
    let mut first: Option<(usize, Load)> = None;
    for _ in 0..TRIES {
        let index = draws.below(count);
        let Some(drawn) = load(index).filter(|_| first.is_none_or(|(known, _)| known != index)) else { continue };
        match first {
            None => first = Some((index, drawn)),
            Some((known, of_known)) => {
                let is_better = drawn.is_less_than(&of_known, slow_start);
                return Some(if is_better { index } else { known });
            }
        }
    }
    if let Some((index, _)) = first {
        return Some(index);
    }
    let from = draws.below(count);
    (0..count).map(|step| (from + step) % count).find(|index| load(*index).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOW: Duration = Duration::from_secs(30);

    fn load(jobs: u32, capacity: u32, age_s: u64) -> Load {
        Load { jobs, capacity, weight: 1, age: Duration::from_secs(age_s) }
    }

    /// Gives jobs one by one, none of which ends; how many each got.
    fn given(mut workers: Vec<Load>, jobs: u32) -> Vec<u32> {
        let mut draws = Draws::new(7);
        for _ in 0..jobs {
            let chosen = choose(workers.len(), &mut draws, SLOW, |index| workers.get(index).copied());
            workers[chosen.unwrap()].jobs += 1;
        }
        workers.iter().map(|worker| worker.jobs).collect()
    }

    #[test]
    fn jobs_go_where_there_is_least_to_do_for_the_capacity() {
        let jobs = given(vec![load(0, 10, 99), load(0, 20, 99), load(0, 10, 99), load(0, 40, 99)], 400);
        for (jobs, share) in jobs.iter().zip([50, 100, 50, 200]) {
            assert!(jobs.abs_diff(share) <= share / 4, "{jobs} of {share}");
        }
    }

    #[test]
    fn weight_counts_as_capacity_does() {
        let heavy = Load { weight: 3, ..load(0, 10, 99) };
        let jobs = given(vec![heavy, load(0, 10, 99)], 400);
        assert!(jobs[0].abs_diff(300) <= 4, "{jobs:?}");
    }

    #[test]
    fn a_new_worker_starts_with_a_tenth_and_has_its_share_in_the_end() {
        for (age, share) in [(0, 18), (15, 71), (30, 100), (300, 100)] {
            let jobs = given(vec![load(0, 100, 300), load(0, 100, age)], 200);
            assert!(jobs[1].abs_diff(share) <= 3, "after {age} s: {jobs:?}");
        }
    }

    #[test]
    fn a_new_worker_of_capacity_one_still_gets_a_job() {
        assert!(load(0, 1, 0).is_less_than(&load(1, 1, 300), SLOW));
        assert!(!load(1, 1, 0).is_less_than(&load(0, 1, 300), SLOW));
    }

    #[test]
    fn who_is_alone_gets_all_and_nobody_gets_nothing() {
        assert_eq!(given(vec![load(0, 1, 0)], 10), [10]);
        let mut draws = Draws::new(1);
        assert_eq!(choose(0, &mut draws, SLOW, |_| None), None);
        assert_eq!(choose(1_000, &mut draws, SLOW, |index| (index == 777).then(|| load(0, 1, 0))), Some(777));
    }
}
