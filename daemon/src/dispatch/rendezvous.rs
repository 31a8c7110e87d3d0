//! Which worker a sticky key looks for: weighted rendezvous hashing.
//!
//! Each slot of keys draws a number for each worker, and the highest wins. A worker that leaves gives up the
//! slots that it had and no other moves; one that comes takes its share from all. The number grows with the
//! weight in such a way (Schindelhauer and Schomaker 2005) that a worker of twice the weight has twice the slots.

use std::hash::Hasher;

use bravo_model::limits::STICKY_SLOTS;

/// A worker as slots see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its name.
    pub worker: bravo_model::Name,
    /// Its weight.
    pub weight: u32,
    /// The same for workers with the same labels.
    pub labels: u64,
    /// The same for workers that get the jobs of the same project, or of all.
    pub project: u64,
}

/// The slots of one worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slots {
    /// Of all workers of its project.
    pub any: u64,
    /// Of those with its labels.
    pub alike: u64,
}

/// A hash that is the same on all nodes and in all builds.
pub fn stable(text: &str) -> u64 {
    let hash = blake3::hash(text.as_bytes());
    hash.as_bytes().first_chunk().map_or(0, |half| u64::from_be_bytes(*half))
}

/// The slots of each candidate, in the order of the candidates.
pub fn slots(queue: &str, candidates: &[Candidate]) -> Vec<Slots> {
    let queue = stable(queue);
    let hashes: Vec<u64> = candidates.iter().map(|candidate| stable(candidate.worker.as_str()) ^ queue).collect();
    let mut slots = vec![Slots::default(); candidates.len()];
    for slot in 0..STICKY_SLOTS {
        let draws: Vec<f64> =
            candidates.iter().zip(&hashes).map(|(candidate, hash)| draw(*hash, slot, candidate.weight)).collect();
        let mut best: std::collections::HashMap<(u64, Option<u64>), usize, Plain> = Default::default();
        for (index, candidate) in candidates.iter().enumerate() {
            for class in [None, Some(candidate.labels)] {
                let held = best.entry((candidate.project, class)).or_insert(index);
                let (drawn, holds) = (draws.get(index), draws.get(*held));
                if drawn > holds {
                    *held = index;
                }
            }
        }
        for ((_, class), index) in best {
            if let Some(of) = slots.get_mut(index) {
                *(if class.is_some() { &mut of.alike } else { &mut of.any }) |= 1 << slot;
            }
        }
    }
    slots
}

fn draw(hash: u64, slot: u8, weight: u32) -> f64 {
    // splitmix64's finish: near inputs give far outputs.
    let mut mixed = hash.wrapping_add(u64::from(slot).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    let unit = ((mixed >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    f64::from(weight.max(1)) / -unit.ln()
}

/// Hashes that are hashes already.
type Plain = std::hash::BuildHasherDefault<Sum>;

#[derive(Default)]
struct Sum(u64);

impl Hasher for Sum {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64((*byte).into()));
    }

    fn write_u64(&mut self, part: u64) {
        self.0 = self.0.rotate_left(5) ^ part.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

#[cfg(test)]
mod tests {
    use bravo_model::Name;

    use super::*;

    fn workers(count: u32) -> Vec<Candidate> {
        let one = |n| Candidate {
            worker: Name::parse("worker", &format!("w-{n}")).unwrap(),
            weight: 1,
            labels: u64::from(n % 2),
            project: 0,
        };
        (0..count).map(one).collect()
    }

    #[test]
    fn each_slot_looks_for_one_worker_and_one_of_each_set_of_labels() {
        let all = slots("q", &workers(7));
        let (mut any, mut alike) = (0u64, 0u32);
        for slots in &all {
            assert_eq!(any & slots.any, 0, "no slot looks for two");
            any |= slots.any;
            alike += slots.alike.count_ones();
        }
        assert_eq!((any, alike), (u64::MAX, 128));
        assert_eq!(slots("q", &workers(1))[0], Slots { any: u64::MAX, alike: u64::MAX });
    }

    #[test]
    fn only_the_slots_of_the_worker_that_left_move() {
        let (before, mut fewer) = (slots("q", &workers(8)), workers(8));
        fewer.remove(3);
        let mut after = slots("q", &fewer);
        after.insert(3, Slots::default());
        for (worker, (before, after)) in before.iter().zip(&after).enumerate().filter(|(worker, _)| *worker != 3) {
            assert_eq!(before.any & after.any, before.any, "worker {worker} keeps what it had");
            assert_eq!(after.any & !before.any & !before_of(3, &before_all()), 0, "and takes only what was free");
        }
        fn before_all() -> Vec<Slots> {
            slots("q", &workers(8))
        }
        fn before_of(worker: usize, all: &[Slots]) -> u64 {
            all[worker].any
        }
    }

    #[test]
    fn twice_the_weight_has_about_twice_the_slots() {
        let mut heavy = 0;
        for queue in 0..100 {
            let mut all = workers(4);
            all[0].weight = 2;
            heavy += slots(&format!("q-{queue}"), &all)[0].any.count_ones();
        }
        let share = f64::from(heavy) / 6_400.0;
        assert!((0.36..0.44).contains(&share), "{share} of the slots, two fifths are its due");
    }

    #[test]
    fn workers_of_other_projects_take_nothing_away() {
        let mut all = workers(4);
        all[0].project = 9;
        assert_eq!(slots("q", &all)[0].any, u64::MAX);
    }
}
