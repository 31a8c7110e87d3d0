//! Which job a lease is given next: the front of the lanes, as far as it is the asker's.
//!
//! ```text
//!   priority ──► class of requirements ──► lane, by virtual time ──► slot ──► first in
//!                skipped unless the         (of one project:          skipped while its
//!                asker has the labels        by OWN instead)          worker may still come
//! ```
//!
//! Only fronts are looked at, a bounded number of them a lease, so that what others wait for is passed by
//! however much there is of it. No priority uses up what the lower ones need to be seen. Where there are more
//! classes than one lease looks at, each begins elsewhere, by the clock, and none is out of sight for good. A lease
//! that has used up its looks ends: it never gives what is only next among what it has still seen.

use std::collections::BTreeMap;

use crate::Time;
use crate::command::{Lease, Sticky};
use crate::limits;
use crate::row::{self, Lane, PRIORITIES, Stats};
use crate::table::{self, tag};
use crate::txn::{Key, Read};

/// Where the next job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Front {
    /// Its priority.
    pub(crate) priority: u8,
    /// Its lane.
    pub(crate) lane: u64,
    /// Its slot in the lane.
    pub(crate) slot: u8,
    /// Jobs of its slot from this place on come after another slot's front.
    pub(crate) before: u64,
}

/// Jobs that would be the asker's, were they not kept for the workers that they look for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    /// When the first of them may go to anybody.
    pub(crate) until: Option<Time>,
    /// The slots of those that require nothing.
    pub(crate) slots: u64,
    /// The slots of those that require something.
    pub(crate) alike: u64,
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The next job.
    Front(Front),
    /// A lane that counts jobs of a priority and has none: damage.
    Empty(u8, u64),
    /// Nothing for this asker.
    Nothing(Kept),
}

/// What one command has seen of a queue for one asker.
pub(crate) struct Sight {
    /// Rows that may still be looked at.
    looks: u32,
    /// Classes whose jobs the asker may have, by priority, as far as they were found; found out once a command.
    classes: [Option<Vec<u64>>; PRIORITIES],
    /// Priorities of which there is more than a whole lease sees, and nothing for the asker in what it saw.
    passed: [bool; PRIORITIES],
    /// Whether a job was given.
    has_given: bool,
}

impl Sight {
    /// For so many jobs.
    pub(crate) fn new(jobs: u64) -> Self {
        let jobs = u32::try_from(jobs.min(limits::LEASE_JOBS_MAX.into())).unwrap_or(0);
        let looks = limits::LOOKS_MAX + limits::LOOKS_PER_JOB * jobs;
        Self { looks, classes: Default::default(), passed: [false; PRIORITIES], has_given: false }
    }

    /// A job was given.
    pub(crate) fn gave(&mut self) {
        self.has_given = true;
    }

    /// Jobs became ready meanwhile, perhaps of classes that were not there.
    pub(crate) fn forget(&mut self) {
        self.classes = Default::default();
    }
}

/// A look at one queue for one asker.
pub(crate) struct Picker<'a, R: Read + ?Sized> {
    rows: &'a R,
    queue: u32,
    stats: &'a Stats,
    /// Lanes that were changed and are not written yet.
    lanes: Option<&'a BTreeMap<(u32, u64), Option<Lane>>>,
    lease: &'a Lease,
    now: Time,
    sight: &'a mut Sight,
    /// Looks that lower priorities are left.
    reserve: u32,
    /// What is left of the priority was not looked at for want of looks.
    is_short: bool,
    kept: Kept,
}

impl<'a, R: Read + ?Sized> Picker<'a, R> {
    pub(crate) fn new(
        rows: &'a R,
        (queue, stats): (u32, &'a Stats),
        lanes: Option<&'a BTreeMap<(u32, u64), Option<Lane>>>,
        (lease, sight): (&'a Lease, &'a mut Sight),
        now: Time,
    ) -> Self {
        Self { rows, queue, stats, lanes, lease, now, sight, reserve: 0, is_short: false, kept: Kept::default() }
    }

    /// The next job of the highest priority that has one for the asker.
    pub(crate) fn find(mut self) -> Found {
        let open = |priority: &u8| self.stats.open.get(usize::from(*priority)).is_some_and(|open| *open > 0);
        let passed = self.sight.passed;
        let passed = |priority: &u8| passed.get(usize::from(*priority)).is_some_and(|passed| *passed);
        let open: Vec<u8> = (0..PRIORITIES as u8).filter(|priority| open(priority) && !passed(priority)).collect();
        for (lower, priority) in open.iter().enumerate().rev() {
            // Each priority may use an equal part of what is left.
            self.reserve = self.sight.looks - self.sight.looks / (lower as u32 + 1);
            let found = match self.stats.lanes {
                0 => self.only_lane(*priority),
                _ => self.classes(*priority),
            };
            if let Some(found) = found {
                return found;
            }
            if self.is_short {
                // Looks that were spent on what was given are no reason to give what comes after the rest of it.
                if self.sight.has_given {
                    break;
                }
                self.sight.passed.iter_mut().skip(usize::from(*priority)).take(1).for_each(|passed| *passed = true);
                self.is_short = false;
            }
        }
        Found::Nothing(self.kept)
    }

    fn only_lane(&mut self, priority: u8) -> Option<Found> {
        self.is_for_asker(&self.stats.lane0).then(|| self.front(priority, 0, false)).flatten()
    }

    /// Of the classes that are the asker's, the lane whose virtual time is lowest.
    fn classes(&mut self, priority: u8) -> Option<Found> {
        // The class without requirements has the number 0: it is always met, wherever the round began.
        let mut best = self.lanes(priority, 0);
        let known = self.sight.classes.get_mut(usize::from(priority)).and_then(Option::take);
        let classes = known.unwrap_or_else(|| self.survey(priority));
        for class in &classes {
            best = match (best, self.lanes(priority, *class)) {
                (Some(best), Some(found)) if found.0 < best.0 => Some(found),
                (None, found) => found,
                (best, _) => best,
            };
        }
        if let Some(known) = self.sight.classes.get_mut(usize::from(priority)) {
            *known = Some(classes);
        }
        best.map(|(_, found)| found)
    }

    /// Goes round the classes: those with requirements whose jobs the asker may have. Takes half of the looks that
    /// there are.
    fn survey(&mut self, priority: u8) -> Vec<u64> {
        let (reserve, is_short) = (self.reserve, self.is_short);
        self.reserve += self.sight.looks.saturating_sub(reserve) / 2;
        let begin = begin(self.now);
        let mut classes = Vec::new();
        for (mut from, to) in [(begin, u64::MAX), (1, begin.saturating_sub(1))] {
            let end = table::after(&self.class(priority, to));
            while from <= to
                && let Some((key, _)) = self.look(&self.class(priority, from), &end)
            {
                let (class, next) = if self.lease.project.is_some() {
                    // The classes of a shelf are looked at one by one.
                    let shelf = u64::from(table::shelf_in(&key)) << 56;
                    (Some(shelf), shelf.checked_add(1 << 56))
                } else {
                    let class = table::class_of(&key);
                    let judged = self.is_lane_for_asker(table::last_u64(&key));
                    (judged.is_none_or(|(is_for_asker, _)| is_for_asker).then_some(class), class.checked_add(1))
                };
                classes.extend(class);
                let Some(next) = next else { break };
                from = next;
            }
        }
        // Not to have gone all the way round is usual.
        (self.reserve, self.is_short) = (reserve, is_short);
        classes
    }

    /// The prefix of the lanes of a class; for an asker who is for one project alone, of the shelf that it is on.
    fn class(&self, priority: u8, class: u64) -> Key {
        match &self.lease.project {
            Some(project) => {
                let whose = table::half(&[project.as_str()]);
                table::own_shelf(self.queue, priority, whose, table::shelf_of(class))
            }
            None => table::next_class(self.queue, priority, class),
        }
    }

    /// The first lane of a class, by virtual time, that has a job for the asker. Its lanes require the same: if
    /// one is not for the asker, none is, unless they are those of a shelf.
    fn lanes(&mut self, priority: u8, class: u64) -> Option<((u64, u64), Found)> {
        let prefix = self.class(priority, class);
        let end = table::after(&prefix);
        let mut from = prefix;
        loop {
            let (key, _) = self.look(&from, &end)?;
            let place = (table::vtime_of(&key), table::last_u64(&key));
            match self.is_lane_for_asker(place.1) {
                None => return Some((place, Found::Empty(priority, place.1))),
                Some((true, requires)) => {
                    if let Some(found) = self.front(priority, place.1, requires) {
                        return Some((place, found));
                    }
                }
                Some((false, _)) if self.lease.project.is_none() => return None,
                Some((false, _)) => {}
            }
            from = table::after(&key);
        }
    }

    /// Whether the asker may have the lane's jobs, and whether they require anything; none: it is not there.
    fn is_lane_for_asker(&mut self, lane: u64) -> Option<(bool, bool)> {
        if lane == 0 {
            return Some((self.is_for_asker(&self.stats.lane0), false));
        }
        let judge = |lane: &Lane| (self.is_for_asker(lane), lane.class != 0);
        match self.lanes.and_then(|lanes| lanes.get(&(self.queue, lane))) {
            Some(lane) => lane.as_ref().map(judge),
            None => row::read::<Lane>(self.rows, &table::lane(self.queue, lane)).as_ref().map(judge),
        }
    }

    fn is_for_asker(&self, lane: &Lane) -> bool {
        let Lease { project, labels, .. } = self.lease;
        project.as_ref().is_none_or(|project| project.as_str() == lane.project)
            && lane.requirements.iter().all(|(label, value)| labels.get(label) == Some(value))
    }

    /// The first job of a lane, over its slots.
    fn front(&mut self, priority: u8, lane: u64, requires: bool) -> Option<Found> {
        let prefix = table::ready_lane(self.queue, priority, lane);
        let end = table::after(&prefix);
        let mut from = prefix;
        let (mut first, mut before): (Option<(u64, u8)>, u64) = (None, u64::MAX);
        let mut is_empty = true;
        while let Some((key, seq)) = self.look(&from, &end) {
            is_empty = false;
            let (slot, place) = (table::slot_of(&key), table::last_u64(&key));
            if slot == 0 || self.is_free(slot - 1, requires, row::decode(&seq)) {
                match first {
                    Some((best, _)) if best < place => before = before.min(place),
                    _ => {
                        before = first.map_or(before, |(best, _)| before.min(best));
                        first = Some((place, slot));
                    }
                }
            }
            let Some(next) = slot.checked_add(1) else { break };
            from = table::ready_slot(self.queue, priority, lane, next);
        }
        match first {
            // What is first is known when all slots were looked at.
            _ if self.is_short => None,
            Some((_, slot)) => Some(Found::Front(Front { priority, lane, slot, before })),
            None => is_empty.then_some(Found::Empty(priority, lane)),
        }
    }

    /// Whether the asker may have the front of a slot now. Jobs of a slot became ready in its order, so that
    /// where the front is kept, all behind it are.
    fn is_free(&mut self, slot: u8, requires: bool, seq: Option<u64>) -> bool {
        let Some(Sticky { slots, alike, wait_ms }) = self.lease.sticky else { return true };
        let bit = 1u64.checked_shl(slot.into()).unwrap_or(0);
        if (if requires { alike } else { slots }) & bit != 0 {
            return true;
        }
        // Without its record nothing is given for it anyway: the lease finds that out.
        let Some(job) = seq.and_then(|seq| row::job(self.rows, seq)) else { return true };
        let until = job.keeping.ready_at.saturating_add(wait_ms.min(limits::STICKY_WAIT_MS_MAX));
        if until <= self.now {
            return true;
        }
        self.kept.until = Some(self.kept.until.map_or(until, |first| first.min(until)));
        *(if requires { &mut self.kept.alike } else { &mut self.kept.slots }) |= bit;
        false
    }

    fn look(&mut self, from: &Key, end: &Key) -> Option<(Key, crate::txn::Value)> {
        if self.sight.looks <= self.reserve {
            self.is_short = true;
            return None;
        }
        self.sight.looks -= 1;
        self.rows.first(from, end)
    }
}

/// The class at which a round begins now, never that without requirements: elsewhere each millisecond, and the same on
/// all replicas.
pub(crate) fn begin(now: Time) -> u64 {
    let hash = blake3::hash(&now.to_be_bytes());
    hash.as_bytes().first_chunk().map_or(1, |bytes| u64::from_be_bytes(*bytes)).max(1)
}

/// What a queue has for an asker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// Ready jobs, those of others included; 0: none of them is the asker's now.
    pub ready: u64,
    /// When a job that is kept for another worker may be the asker's.
    pub until: Option<Time>,
    /// The slots of such jobs that require nothing.
    pub slots: u64,
    /// The slots of such jobs that require something.
    pub alike: u64,
}

/// What a queue has for an asker, its limits counted; see [`crate::view::deliverable`].
pub(crate) fn offer(rows: &(impl Read + ?Sized), lease: &Lease, ready: u64, now: Time) -> Offer {
    if ready == 0 {
        return Offer::default();
    }
    let stats = row::queue_number(rows, &lease.queue)
        .and_then(|number| Some((number, row::read::<Stats>(rows, &table::by_queue(tag::STATS, number))?)));
    let Some((number, stats)) = stats else { return Offer::default() };
    match Picker::new(rows, (number, &stats), None, (lease, &mut Sight::new(1)), now).find() {
        Found::Front(_) | Found::Empty(..) => Offer { ready, ..Offer::default() },
        Found::Nothing(Kept { until, slots, alike }) => Offer { ready: 0, until, slots, alike },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::command::{Command, Lease, NewJob, Sticky};
    use crate::testing::{World, name, new_job, refusal};
    use crate::{Code, QueueConfig, limits, sticky_slot, view};

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned())).collect()
    }

    fn bit(key: &str) -> u64 {
        1 << sticky_slot(&name("p"), key)
    }

    #[test]
    fn a_job_goes_to_a_worker_that_has_all_it_requires_and_holds_nobody_back() {
        let mut world = World::new();
        let both = world.add(|job| job.requirements = labels(&[("gpu", "yes"), ("zone", "a")]));
        let gpu = world.add(|job| job.requirements = labels(&[("gpu", "yes")]));
        let plain = world.add(|_| {});
        assert_eq!(world.lease(9), [plain]);
        assert!(!world.leases(9).more, "what is left is not for it");
        assert_eq!(world.lease_as(9, |lease| lease.labels = labels(&[("gpu", "yes"), ("zone", "b")])), [gpu]);
        assert_eq!(
            world.lease_as(9, |lease| lease.labels = labels(&[("gpu", "yes"), ("zone", "a"), ("x", "y")])),
            [both]
        );
    }

    #[test]
    fn a_thousand_jobs_for_others_are_not_looked_at() {
        let mut world = World::new();
        world.check = false;
        for n in 0..2_000u32 {
            let requirements = labels(&[("host", &format!("h{n}"))]);
            world.quick(Command::Enqueue(vec![NewJob { requirements, ..new_job() }; 2]));
        }
        world.check = true;
        let plain = world.add(|_| {});
        assert_eq!(world.lease(1), [plain]);
        // More sets of requirements than one lease looks at: by and by each is met.
        let mut met = Vec::new();
        for _ in 0..100 {
            world.at += 1;
            met.extend(world.lease_as(9, |lease| lease.labels = labels(&[("host", "h1234")])));
        }
        assert_eq!(met.len(), 2);
    }

    #[test]
    fn jobs_for_others_at_a_high_priority_do_not_hide_those_of_lower_ones() {
        let mut world = World::new();
        world.check = false;
        for n in 0..2_000u32 {
            let requirements = labels(&[("host", &format!("h{n}"))]);
            world.quick(Command::Enqueue(vec![NewJob { requirements, priority: 9, ..new_job() }]));
        }
        world.check = true;
        let low = world.add(|job| job.priority = 0);
        let lower = world.add(|job| (job.priority, job.requirements) = (0, labels(&[("zone", "a")])));
        assert_eq!(world.lease_as(9, |lease| lease.labels = labels(&[("zone", "a")])), [low, lower]);
    }

    #[test]
    fn a_projects_jobs_for_others_do_not_hide_its_own_workers_jobs() {
        let mut world = World::new();
        world.check = false;
        for n in 0..3_000u32 {
            let requirements = labels(&[("host", &format!("h{n}"))]);
            world.quick(Command::Enqueue(vec![NewJob { requirements, ..new_job() }]));
        }
        world.check = true;
        let mine = [world.add(|job| job.requirements = labels(&[("zone", "a")])), world.add(|_| {})];
        let mut met = Vec::new();
        for _ in 0..200 {
            world.at += 1;
            met.extend(world.lease_as(9, |lease| {
                (lease.project, lease.labels) = (Some(name("p")), labels(&[("zone", "a")]));
            }));
        }
        met.sort_unstable();
        assert_eq!(met, mine);
    }

    #[test]
    fn a_lease_of_many_jobs_goes_round_the_classes_of_others_once() {
        let mut world = World::new();
        world.check = false;
        for n in 0..400u32 {
            let requirements = labels(&[("host", &format!("h{n}"))]);
            world.quick(Command::Enqueue(vec![NewJob { requirements, ..new_job() }]));
        }
        for _ in 0..900 {
            world.quick(Command::Enqueue(vec![new_job()]));
        }
        assert_eq!(world.lease(900).len(), 900, "the looks of one lease suffice for all of them");
    }

    #[test]
    fn a_lease_for_one_project_never_gives_anothers_job() {
        let mut world = World::new();
        let of = |world: &mut World, project: &str, key: Option<&str>| {
            world.add(|job| (job.project, job.fairness_key) = (name(project), key.map(str::to_owned)))
        };
        for n in 0..300 {
            of(&mut world, &format!("other-{n}"), None);
        }
        let mine = [of(&mut world, "mine", None), of(&mut world, "mine", Some("k")), of(&mut world, "mine", Some("l"))];
        of(&mut world, "other", Some("k"));
        let mut given = world.lease_as(9, |lease| lease.project = Some(name("mine")));
        given.sort_unstable();
        assert_eq!(given, mine);
        assert!(world.lease_as(9, |lease| lease.project = Some(name("nobody"))).is_empty());
        let mut alone = World::new();
        alone.add(|_| {});
        assert!(alone.lease_as(9, |lease| lease.project = Some(name("mine"))).is_empty());
        assert_eq!(alone.lease_as(9, |lease| lease.project = Some(name("p"))).len(), 1);
    }

    #[test]
    fn a_sticky_job_waits_for_its_worker_and_then_for_nobody() {
        let mut world = World::new();
        let sticky = world.add(|job| job.sticky_key = Some("k".into()));
        let other = |lease: &mut Lease| lease.sticky = Some(Sticky { slots: !bit("k"), alike: !0, wait_ms: 1_000 });
        let answer = world.leases_as(1, other);
        assert_eq!((answer.jobs.len(), answer.more, answer.next_at), (0, false, Some(world.at + 1_000)));
        let mut lease = Lease::new(name("q"), name("w"), 1);
        other(&mut lease);
        let offer = view::offer(&world.rows, &lease, world.at);
        assert_eq!((offer.ready, offer.slots, offer.alike), (0, bit("k"), 0));
        let plain = world.add(|_| {});
        assert_eq!(world.lease_as(9, other), [plain], "what looks for nobody goes on");
        world.at += 999;
        assert!(world.lease_as(1, other).is_empty());
        world.at += 1;
        assert_eq!(world.lease_as(1, other), [sticky]);
        let again = world.add(|job| job.sticky_key = Some("k".into()));
        let own = |lease: &mut Lease| lease.sticky = Some(Sticky { slots: bit("k"), alike: 0, wait_ms: 1_000 });
        assert_eq!(world.lease_as(1, own), [again]);
    }

    #[test]
    fn jobs_leave_in_order_across_sticky_keys() {
        let mut world = World::new();
        let keys = ["a", "b", "c", "a", "d", "b"];
        let seqs: Vec<u64> = keys.map(|key| world.add(|job| job.sticky_key = Some(key.into()))).to_vec();
        assert_eq!(world.lease(4), seqs[..4]);
        assert_eq!(world.lease(9), seqs[4..]);
    }

    #[test]
    fn a_lease_that_has_used_up_its_looks_ends_in_order_and_gives_nothing_of_a_lower_priority() {
        let mut world = World::new();
        let job = |priority, sticky_key| NewJob { priority, sticky_key, ..new_job() };
        world.quick(Command::Enqueue((0..200).map(|n| job(9, Some(format!("k{n}")))).collect()));
        world.quick(Command::Enqueue(vec![job(4, None); 100]));
        let mut given = Vec::new();
        while given.len() < 300 {
            let leased = world.leases(100);
            assert!(leased.jobs.len() >= 30.min(300 - given.len()), "{} jobs of 100", leased.jobs.len());
            given.extend(leased.jobs.iter().map(|job| job.seq));
            assert_eq!(leased.more, given.len() < 300);
        }
        assert_eq!(given, (1..=300).collect::<Vec<u64>>());
    }

    #[test]
    fn more_kept_jobs_than_one_lease_sees_hold_back_none_of_a_lower_priority() {
        let mut world = World::new();
        world.check = false;
        for lane in 0..100u32 {
            let job = |n| NewJob {
                priority: 9,
                fairness_key: Some(lane.to_string()),
                sticky_key: Some(format!("k{n}")),
                ..new_job()
            };
            world.quick(Command::Enqueue((0..200).map(job).collect()));
        }
        world.quick(Command::Enqueue(vec![new_job(); 20]));
        let others = |lease: &mut Lease| lease.sticky = Some(Sticky { slots: 0, alike: 0, wait_ms: 1_000 });
        assert_eq!(world.lease_as(20, others), (20_001..=20_020).collect::<Vec<u64>>());
    }

    #[test]
    fn a_job_that_asks_too_much_is_refused() {
        let mut world = World::new();
        let many: BTreeMap<String, String> =
            (0..=limits::REQUIREMENTS_MAX).map(|n| (n.to_string(), "x".to_owned())).collect();
        for requirements in [many, labels(&[("", "x")]), labels(&[("x", "")]), labels(&[("x", &"y".repeat(64))])] {
            let reply = world.ask(Command::Enqueue(vec![NewJob { requirements, ..new_job() }]));
            assert_eq!(refusal(&reply), Some(Code::InvalidArgument));
        }
    }

    /// Jain's index of shares: 1 where all are equal, 1/n where one has all.
    fn jain(shares: &[f64]) -> f64 {
        let sum: f64 = shares.iter().sum();
        sum * sum / (shares.len() as f64 * shares.iter().map(|share| share * share).sum::<f64>())
    }

    #[test]
    fn one_project_that_offers_a_hundred_times_the_others_gets_no_more_than_they() {
        let mut world = World::new();
        world.check = false;
        let mut left: BTreeMap<String, u32> = BTreeMap::new();
        let mut served: BTreeMap<String, f64> = BTreeMap::new();
        let projects: Vec<String> = (0..10).map(|n| format!("tenant-{n}")).collect();
        // All the while, each offers as much as one worker of ten does, and the first a hundred times that.
        for round in 0..400 {
            for (n, project) in projects.iter().enumerate() {
                let jobs = if n == 0 { 100 } else { 1 };
                let job = NewJob { project: name(project), ..new_job() };
                world.quick(Command::Enqueue(vec![job; jobs]));
                *left.entry(project.clone()).or_default() += jobs as u32;
            }
            let leased = world.leases(if round < 20 { 1 } else { 10 }).jobs;
            world.at += 10;
            for job in leased {
                *served.entry(job.project.to_string()).or_default() += 1.0;
                world.ack(job.seq).expect("acked");
            }
        }
        let shares: Vec<f64> = projects.iter().map(|project| served.get(project).copied().unwrap_or(0.0)).collect();
        let index = jain(&shares);
        println!("Jain's index {index:.4} of {shares:?}");
        assert!(index >= 0.95, "{index} of {shares:?}");
    }

    #[test]
    fn projects_without_keys_have_the_weight_of_their_name() {
        let mut world = World::new();
        world.set(QueueConfig { fairness_weights: [("heavy".to_owned(), 3)].into(), ..QueueConfig::default() });
        for _ in 0..100 {
            for project in ["light", "heavy"] {
                world.add(|job| job.project = name(project));
            }
        }
        let mut heavy = 0;
        for _ in 0..80 {
            let [seq] = world.lease(1)[..] else { panic!("a job") };
            heavy += u32::from(world.job(seq).project == name("heavy"));
            world.at += 10;
            world.ack(seq).expect("acked");
        }
        assert!(heavy.abs_diff(60) <= 2, "{heavy} of 80");
    }
}
