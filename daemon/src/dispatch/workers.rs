//! Workers that were seen at this node lately, and the card of each: what delivery goes by.
//!
//! A worker is known by its name and the project that it is bound to: what another project's worker of the same name
//! says of itself is not said of this one.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bravo_model::{Name, Time};
use parking_lot::{Mutex, RwLock};

use super::choice::Load;
use super::quota::Quota;
use super::rendezvous::{Slots, stable};
use crate::raft::clock::wall;
use crate::transport::wire::{RosterEntry, WorkerSeen};

/// A worker that was not heard of for this long is gone.
const AGE: Duration = Duration::from_secs(60);
/// One whose call ended within this time may be counted on to ask again. Short: on its account others may be kept from work,
/// which would wait for nobody if it does not come back.
const FRESH: Duration = Duration::from_secs(2);
/// Workers remembered at a time; further ones work unseen.
const WORKERS_MAX: usize = 10_000;
/// Queues remembered of one worker.
const QUEUES_MAX: usize = 100;

/// What a worker says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Described {
    /// The type that it says it is.
    pub agent_type: Option<Name>,
    /// Jobs that it works on at once; if it does not say, the most that it asked for.
    pub capacity: Option<u32>,
    /// Its weight beside others of its capacity.
    pub weight: Option<u32>,
    /// What it is.
    pub labels: BTreeMap<String, String>,
    /// The project whose jobs alone it gets.
    pub project: Option<Name>,
}

/// What delivery goes by, shared by the lines in which the worker stands.
#[derive(Debug)]
pub struct Card {
    /// The worker.
    pub worker: Name,
    in_flight: AtomicU32,
    capacity: AtomicU32,
    weight: AtomicU32,
    joined: Mutex<Instant>,
    /// Lease calls of it that wait in line.
    waiting: AtomicU32,
    /// Its stream takes jobs, or holds some and will take others.
    takes: AtomicBool,
    /// Jobs that it may be given, by how its leases ended.
    pub quota: Quota,
    /// The slots of sticky keys that look for it, by queue; those of a queue of which nothing is known yet all do.
    slots: RwLock<HashMap<Name, Slots>>,
}

impl Card {
    /// The card of a worker that has just come.
    pub fn new(worker: Name) -> Arc<Self> {
        Arc::new(Self {
            worker,
            in_flight: AtomicU32::new(0),
            capacity: AtomicU32::new(1),
            weight: AtomicU32::new(1),
            joined: Mutex::new(Instant::now()),
            waiting: AtomicU32::new(0),
            takes: AtomicBool::new(false),
            quota: Quota::default(),
            slots: RwLock::default(),
        })
    }

    /// What it has to do; `asked` jobs are on their way to it.
    pub fn load(&self, asked: u32) -> Load {
        Load {
            jobs: self.in_flight.load(Ordering::Relaxed).saturating_add(asked),
            capacity: self.capacity.load(Ordering::Relaxed),
            weight: self.weight.load(Ordering::Relaxed),
            age: self.joined.lock().elapsed(),
        }
    }

    /// The slots that look for it in a queue.
    pub fn slots(&self, queue: &Name) -> Slots {
        self.slots.read().get(queue).copied().unwrap_or(Slots { any: u64::MAX, alike: u64::MAX })
    }

    fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Forgets the slots of queues that it does not serve any more.
    pub(super) fn keep_slots(&self, queues: &[Name]) {
        if self.slots.read().len() > queues.len() {
            self.slots.write().retain(|queue, _| queues.contains(queue));
        }
    }

    pub(super) fn set_slots(&self, queue: &Name, slots: Slots) {
        if self.slots(queue) != slots || !self.slots.read().contains_key(queue) {
            self.slots.write().insert(queue.clone(), slots);
        }
    }
}

/// A lease call that waits in line: as long as it does, its worker can be counted on.
pub struct Waiting<'a> {
    workers: &'a Workers,
    card: Arc<Card>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.card.waiting.fetch_sub(1, Ordering::Relaxed);
        self.workers.heard(&self.card);
    }
}

struct Entry {
    card: Arc<Card>,
    described: Described,
    /// Hashes of its labels and its project, for the roster.
    alike: (u64, u64),
    queues: Vec<Name>,
    /// Streams that it has open here.
    streams: u32,
    /// Its last stream was closed, and it has not asked since.
    left: bool,
    /// It said that it takes no more jobs, and has not asked since.
    leaves: bool,
    heard: Instant,
    heard_at: Time,
}

/// The registry.
#[derive(Default)]
pub struct Workers {
    seen: Mutex<Seen>,
    /// Grows when somebody comes, goes or becomes another.
    changes: AtomicU64,
}

/// All that were seen.
#[derive(Default)]
struct Seen {
    /// By name: one for each project that has a worker of that name.
    by_name: HashMap<Name, Vec<Entry>>,
    count: usize,
}

impl Seen {
    fn of(&mut self, worker: &Name) -> &mut [Entry] {
        self.by_name.get_mut(worker).map_or(&mut [], Vec::as_mut_slice)
    }

    fn of_card(&mut self, card: &Card) -> Option<&mut Entry> {
        self.of(&card.worker).iter_mut().find(|entry| std::ptr::eq(&*entry.card, card))
    }

    fn find(&self, worker: &Name, project: Option<&Name>) -> Option<usize> {
        self.by_name.get(worker)?.iter().position(|entry| entry.described.project.as_ref() == project)
    }

    fn all(&self) -> impl Iterator<Item = &Entry> {
        self.by_name.values().flatten()
    }

    /// Forgets those who are gone; whether there were any.
    fn sweep(&mut self, now: Instant) -> bool {
        let before = self.count;
        self.by_name.retain(|_, entries| {
            entries.retain(|entry| entry.is_there(now));
            !entries.is_empty()
        });
        self.count = self.by_name.values().map(Vec::len).sum();
        self.count != before
    }
}

impl Workers {
    /// A worker asked for up to `max` jobs of a queue; answers whether that was news.
    pub fn asked(&self, worker: &Name, queue: &Name, max: u32, described: Described) -> (Arc<Card>, bool) {
        self.entry(worker, described, |entry| {
            (entry.left, entry.leaves) = (false, false);
            let capacity = entry.described.capacity.unwrap_or(max.max(entry.card.capacity.load(Ordering::Relaxed)));
            entry.card.capacity.store(capacity, Ordering::Relaxed);
            let is_new = !entry.queues.contains(queue) && entry.queues.len() < QUEUES_MAX;
            if is_new {
                entry.queues.push(queue.clone());
            }
            is_new
        })
    }

    /// A worker opened its stream.
    pub fn hello(&self, worker: &Name, queues: &[Name], in_flight: u32, described: Described) -> Arc<Card> {
        let (card, _) = self.entry(worker, described, |entry| {
            entry.queues = queues.iter().take(QUEUES_MAX).cloned().collect();
            entry.card.capacity.store(entry.described.capacity.unwrap_or(1), Ordering::Relaxed);
            entry.card.in_flight.store(in_flight, Ordering::Relaxed);
            // It has given no credit yet.
            entry.card.takes.store(false, Ordering::Relaxed);
            entry.streams += 1;
            (entry.left, entry.leaves) = (false, false);
            true
        });
        card
    }

    /// A worker's stream was closed.
    pub fn bye(&self, card: &Card) {
        if let Some(entry) = self.seen.lock().of_card(card) {
            entry.streams = entry.streams.saturating_sub(1);
            entry.left = entry.streams == 0;
            self.changes.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A worker takes no more jobs; it ends those that it has.
    pub fn leaves(&self, card: &Card) {
        if let Some(entry) = self.seen.lock().of_card(card) {
            entry.leaves = true;
        }
    }

    /// A worker with a stream got jobs, or ended some; whether it takes jobs, now or when it has ended these.
    pub fn holds(&self, card: &Card, in_flight: u32, takes: bool) {
        card.in_flight.store(in_flight, Ordering::Relaxed);
        card.takes.store(takes, Ordering::Relaxed);
        self.heard(card);
    }

    /// A worker without a stream got jobs.
    pub fn took(&self, card: &Card, jobs: u32) {
        card.in_flight.fetch_add(jobs, Ordering::Relaxed);
        self.heard(card);
    }

    /// A worker without a stream stands in line until that is dropped.
    pub fn waits(&self, card: &Arc<Card>) -> Waiting<'_> {
        card.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting { workers: self, card: card.clone() }
    }

    /// Leases of a worker ended, as their partition's leader says: what those without a stream have in flight. Whose
    /// they were is not said: where projects have workers of one name, it counts for each.
    pub fn ended(&self, worker: &Name, jobs: u32) {
        for entry in self.seen.lock().of(worker).iter().filter(|entry| entry.streams == 0) {
            let less = |held: u32| Some(held.saturating_sub(jobs));
            let _ = entry.card.in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        }
    }

    fn heard(&self, card: &Card) {
        if let Some(entry) = self.seen.lock().of_card(card) {
            entry.heard = Instant::now();
            entry.heard_at = wall();
        }
    }

    fn entry(&self, worker: &Name, described: Described, change: impl FnOnce(&mut Entry) -> bool) -> (Arc<Card>, bool) {
        let now = Instant::now();
        let mut seen = self.seen.lock();
        let seen = &mut *seen;
        let mut place = seen.find(worker, described.project.as_ref());
        if place.is_none() && seen.count >= WORKERS_MAX {
            seen.sweep(now);
            if seen.count >= WORKERS_MAX {
                return (Card::new(worker.clone()), false);
            }
        }
        let is_new = place.is_none();
        let entries = seen.by_name.entry(worker.clone()).or_default();
        let place = *place.get_or_insert(entries.len());
        if is_new {
            seen.count += 1;
            let described = Described { project: described.project.clone(), ..Described::default() };
            entries.push(Entry {
                card: Card::new(worker.clone()),
                alike: alike(&described),
                described,
                queues: Vec::new(),
                streams: 0,
                left: false,
                leaves: false,
                heard: now,
                heard_at: 0,
            });
        }
        let entry = &mut entries[place];
        if !entry.is_there(now) {
            entry.queues.clear();
            entry.card.in_flight.store(0, Ordering::Relaxed);
            *entry.card.joined.lock() = now;
        }
        entry.heard = now;
        entry.heard_at = wall();
        entry.card.weight.store(described.weight.unwrap_or(1), Ordering::Relaxed);
        let is_other = entry.described != described;
        if is_other {
            entry.alike = alike(&described);
            entry.described = described;
        }
        let came_back = entry.left;
        let changed = change(entry) || is_new || is_other || came_back;
        if changed {
            self.changes.fetch_add(1, Ordering::Relaxed);
        }
        (entry.card.clone(), changed)
    }

    /// How often somebody came, went or became another.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    pub(super) fn len(&self) -> usize {
        self.seen.lock().count
    }

    /// The card of a worker of a project, whose hash is that of the roster.
    pub(super) fn card(&self, worker: &Name, project: u64) -> Option<Arc<Card>> {
        let mut seen = self.seen.lock();
        seen.of(worker).iter().find(|entry| entry.alike.1 == project).map(|entry| entry.card.clone())
    }

    /// What other nodes are told of those that are here, by name.
    pub fn roster(&self) -> Vec<RosterEntry> {
        self.roster_at(Instant::now())
    }

    fn roster_at(&self, now: Instant) -> Vec<RosterEntry> {
        let mut seen = self.seen.lock();
        if seen.sweep(now) {
            self.changes.fetch_add(1, Ordering::Relaxed);
        }
        let mut roster: Vec<RosterEntry> = seen
            .all()
            .filter(|entry| !entry.left)
            .map(|entry| RosterEntry {
                worker: entry.card.worker.clone(),
                queues: entry.queues.clone(),
                weight: entry.card.weight.load(Ordering::Relaxed),
                labels: entry.alike.0,
                project: entry.alike.1,
                is_fresh: entry.is_fresh(now),
            })
            .collect();
        roster.sort_unstable_by(|a, b| (&a.worker, a.project).cmp(&(&b.worker, b.project)));
        roster
    }

    /// Those that were heard of lately, by name; how they fare is for others to add.
    pub fn list(&self) -> Vec<WorkerSeen> {
        let now = Instant::now();
        let mut seen = self.seen.lock();
        seen.sweep(now);
        // Who has taken its leave is no agent that is there, however lately it was.
        let mut list: Vec<WorkerSeen> = seen
            .all()
            .filter(|entry| !entry.left)
            .map(|entry| WorkerSeen {
                worker: entry.card.worker.clone(),
                agent_type: entry.described.agent_type.clone(),
                queues: entry.queues.clone(),
                capacity: entry.card.capacity.load(Ordering::Relaxed),
                in_flight: entry.card.in_flight.load(Ordering::Relaxed),
                last_heartbeat: entry.heard_at,
                labels: entry.described.labels.clone(),
                weight: entry.card.weight.load(Ordering::Relaxed),
                project: entry.described.project.clone(),
                breaker: "closed".into(),
                set_aside_until: None,
                leaves: entry.leaves,
            })
            .collect();
        list.sort_unstable_by(|a, b| (&a.worker, &a.project).cmp(&(&b.worker, &b.project)));
        list
    }
}

impl Entry {
    fn is_there(&self, now: Instant) -> bool {
        self.streams > 0 || self.card.is_waiting() || now.duration_since(self.heard) < AGE
    }

    /// Whether it can be counted on to take jobs.
    fn is_fresh(&self, now: Instant) -> bool {
        let at_stream = self.streams > 0 && self.card.takes.load(Ordering::Relaxed);
        let asked_lately = self.streams == 0 && now.duration_since(self.heard) < FRESH;
        at_stream || self.card.is_waiting() || asked_lately
    }
}

/// The hash of no labels.
pub(super) fn no_labels() -> u64 {
    alike(&Described::default()).0
}

fn alike(described: &Described) -> (u64, u64) {
    let labels: String = described.labels.iter().map(|(label, value)| format!("{label}={value}\n")).collect();
    (stable(&labels), described.project.as_ref().map_or(0, |project| stable(project.as_str())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse("name", text).unwrap()
    }

    #[test]
    fn a_worker_is_remembered_with_its_queues() {
        let workers = Workers::default();
        let asked = |queue: &str, max| workers.asked(&name("w"), &name(queue), max, Described::default());
        let news = [asked("mail", 5), asked("bills", 3), asked("mail", 1)].map(|(_, news)| news);
        assert_eq!(news, [true, true, false]);
        let list = workers.list();
        assert_eq!(list.len(), 1);
        assert_eq!((list[0].queues.as_slice(), list[0].capacity), (&[name("mail"), name("bills")][..], 5));
        let described = Described { capacity: Some(9), weight: Some(3), ..Described::default() };
        workers.hello(&name("w"), &[name("other")], 2, described);
        let seen = &workers.list().remove(0);
        assert_eq!((seen.queues.len(), seen.capacity, seen.weight, seen.in_flight), (1, 9, 3, 2));
    }

    #[test]
    fn an_open_stream_is_not_forgotten_and_a_closed_one_leaves_the_roster_at_once() {
        let workers = Workers::default();
        let card = workers.hello(&name("w"), &[name("q")], 0, Described::default());
        workers.holds(&card, 0, true);
        let later = Instant::now() + Duration::from_secs(600);
        assert!(workers.roster_at(later)[0].is_fresh);
        let changes = workers.changes();
        workers.bye(&card);
        assert_eq!(workers.roster(), []);
        assert!(workers.changes() > changes);
    }

    #[test]
    fn a_worker_that_waits_in_line_can_be_counted_on_for_as_long_as_it_waits() {
        let workers = Workers::default();
        let (card, _) = workers.asked(&name("w"), &name("q"), 1, Described::default());
        let after = |seconds| Instant::now() + Duration::from_secs(seconds);
        assert!(!workers.roster_at(after(30))[0].is_fresh, "it asked, and went");
        let (first, second) = (workers.waits(&card), workers.waits(&card));
        drop(first);
        assert!(workers.roster_at(after(30))[0].is_fresh);
        assert!(workers.roster_at(after(600))[0].is_fresh, "however long");
        let before = Instant::now();
        drop(second);
        assert!(workers.roster()[0].is_fresh, "it may ask again at once");
        assert!(workers.seen.lock().of(&name("w"))[0].heard >= before);
        assert!(!workers.roster_at(after(3))[0].is_fresh);
    }

    #[test]
    fn who_said_that_it_leaves_is_known_to_until_it_asks_again() {
        let workers = Workers::default();
        let leaves = || workers.list()[0].leaves;
        let card = workers.hello(&name("w"), &[name("q")], 3, Described::default());
        assert!(!leaves());
        workers.leaves(&card);
        workers.holds(&card, 2, false);
        assert!(leaves(), "it ends what it has");
        workers.hello(&name("w"), &[name("q")], 2, Described::default());
        assert!(!leaves());
        workers.leaves(&card);
        workers.asked(&name("w"), &name("q"), 1, Described::default());
        assert!(!leaves());
    }

    #[test]
    fn a_stream_that_takes_no_jobs_cannot_be_counted_on() {
        let workers = Workers::default();
        let card = workers.hello(&name("w"), &[name("q")], 0, Described::default());
        let is_fresh = || workers.roster()[0].is_fresh;
        assert!(!is_fresh(), "it has given no credit");
        workers.holds(&card, 0, true);
        assert!(is_fresh());
        workers.holds(&card, 3, false);
        assert!(!is_fresh(), "it ends what it has, and stops");
    }

    #[test]
    fn the_slots_of_queues_that_a_worker_serves_no_more_are_forgotten() {
        let card = Card::new(name("w"));
        for n in 0..1_000 {
            let queue = name(&format!("q-{n}"));
            card.set_slots(&queue, Slots { any: 1, alike: 1 });
            card.keep_slots(&[queue.clone(), name("q-0")]);
            assert!(card.slots.read().len() <= 2);
            assert_eq!(card.slots(&queue).any, 1);
        }
    }

    #[test]
    fn workers_of_different_projects_with_one_name_do_not_speak_for_each_other() {
        let workers = Workers::default();
        let of = |project: &str, label: &str| Described {
            project: Some(name(project)),
            labels: BTreeMap::from([("is".to_owned(), label.to_owned())]),
            capacity: Some(1),
            ..Described::default()
        };
        let first = workers.hello(&name("w1"), &[name("q")], 0, of("a", "mine"));
        let second = workers.hello(&name("w1"), &[name("other")], 5, of("b", "yours"));
        workers.asked(&name("w1"), &name("q"), 1, Described::default());
        let seen = |list: &[WorkerSeen]| -> Vec<(Option<String>, usize, u32)> {
            let of = |one: &WorkerSeen| (one.labels.get("is").cloned(), one.queues.len(), one.in_flight);
            list.iter().map(of).collect()
        };
        let all = [(None, 1, 0), (Some("mine".to_owned()), 1, 0), (Some("yours".to_owned()), 1, 5)];
        assert_eq!(seen(&workers.list()), all);
        assert_eq!(workers.len(), 3);
        let hash = |project: &str| stable(project);
        assert!(workers.card(&name("w1"), hash("a")).is_some_and(|card| Arc::ptr_eq(&card, &first)));
        assert!(workers.card(&name("w1"), hash("b")).is_some_and(|card| Arc::ptr_eq(&card, &second)));
        workers.bye(&second);
        assert_eq!(seen(&workers.list()), all[..2], "one left, and only that one");
    }

    #[test]
    fn what_a_worker_without_a_stream_holds_goes_up_and_down() {
        let workers = Workers::default();
        let (card, _) = workers.asked(&name("w"), &name("q"), 5, Described::default());
        workers.took(&card, 5);
        workers.ended(&name("w"), 2);
        assert_eq!((workers.list()[0].in_flight, card.load(1).jobs), (3, 4));
        workers.ended(&name("w"), 9);
        assert_eq!(card.load(0).jobs, 0);
        let after = |seconds| Instant::now() + Duration::from_secs(seconds);
        assert!(workers.roster()[0].is_fresh);
        assert!(!workers.roster_at(after(11))[0].is_fresh);
        assert_eq!(workers.roster_at(after(61)), []);
    }
}
