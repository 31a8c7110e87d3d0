//! What happens to jobs and workflows on this node's replicas, for those who watch.
//!
//! Every replica applies the same entries, so that an event's place (partition, entry, place in the
//! entry) means the same on every node: a watcher that comes back to another node goes on where it
//! was. While nobody watches, nothing is noted.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bravo_model::happened::Happened;
use parking_lot::Mutex;
use tokio::sync::watch;

/// Events that are kept for watchers that are slow, or come back.
const KEPT_MAX: usize = 20_000;
/// How long events are noted after the last watcher left.
const LINGER: Duration = Duration::from_secs(300);

/// An event's place in one partition: the entry, and its place in it from 1. All of an entry that is
/// passed over has the place `u32::MAX`.
pub type Place = (u64, u32);

/// One event.
#[derive(Clone, Debug)]
pub struct Noted {
    /// The partition.
    pub partition: u16,
    /// Where in it.
    pub place: Place,
    /// What.
    pub happened: Happened,
}

/// The events of one node.
pub struct Feed {
    kept: Mutex<Kept>,
    grew: watch::Sender<u64>,
}

struct Kept {
    /// The number of the first event that is kept; numbers are this node's own.
    first: u64,
    events: VecDeque<Noted>,
    /// By partition: the last place that was not noted, or is not kept any more.
    lost: Vec<Place>,
    /// By partition: the last place that there was.
    last: Vec<Place>,
    watchers: usize,
    wanted_until: Option<Instant>,
}

impl Feed {
    /// A feed of so many partitions.
    pub fn new(partitions: u16) -> Self {
        let kept = Kept {
            first: 0,
            events: VecDeque::new(),
            lost: vec![(0, 0); partitions.into()],
            last: vec![(0, 0); partitions.into()],
            watchers: 0,
            wanted_until: None,
        };
        Self { kept: Mutex::new(kept), grew: watch::channel(0).0 }
    }

    /// Whether events are to be noted now. Asked before an entry is applied.
    pub(crate) fn is_wanted(&self) -> bool {
        let kept = self.kept.lock();
        kept.watchers > 0 || kept.wanted_until.is_some_and(|until| until > Instant::now())
    }

    /// An entry was applied of which nothing was noted.
    pub(crate) fn pass_over(&self, partition: u16, index: u64) {
        let kept = &mut *self.kept.lock();
        for places in [&mut kept.lost, &mut kept.last] {
            places.iter_mut().skip(usize::from(partition)).take(1).for_each(|place| *place = (index, u32::MAX));
        }
    }

    /// Notes what an entry did.
    pub(crate) fn note(&self, partition: u16, index: u64, happened: Vec<Happened>) {
        if happened.is_empty() {
            return;
        }
        let mut kept = self.kept.lock();
        for (place, happened) in (1..).zip(happened) {
            if let Some(last) = kept.last.get_mut(usize::from(partition)) {
                *last = (index, place);
            }
            kept.events.push_back(Noted { partition, place: (index, place), happened });
        }
        while kept.events.len() > KEPT_MAX {
            let Some(gone) = kept.events.pop_front() else { break };
            kept.first += 1;
            if let Some(lost) = kept.lost.get_mut(usize::from(gone.partition)) {
                *lost = gone.place;
            }
        }
        let end = kept.first + kept.events.len() as u64;
        drop(kept);
        self.grew.send_replace(end);
    }

    /// Begins to watch: from now on, or after these places, one for each partition.
    pub fn watch(self: &std::sync::Arc<Self>, after: Option<Vec<Place>>) -> Watcher {
        let mut kept = self.kept.lock();
        kept.watchers += 1;
        let next = if after.is_some() { kept.first } else { kept.first + kept.events.len() as u64 };
        let missed = after.as_ref().is_some_and(|after| after.iter().zip(&kept.lost).any(|(after, lost)| lost > after));
        let places = after.clone().unwrap_or_else(|| kept.last.clone());
        drop(kept);
        Watcher { feed: self.clone(), grew: self.grew.subscribe(), next, after, places, missed }
    }
}

/// One who watches.
pub struct Watcher {
    feed: std::sync::Arc<Feed>,
    grew: watch::Receiver<u64>,
    next: u64,
    /// Events up to these places were seen before.
    after: Option<Vec<Place>>,
    /// The place of the last event by partition.
    places: Vec<Place>,
    missed: bool,
}

impl Watcher {
    /// Whether events were missed since the last call, or the places that it was to begin after.
    pub fn has_missed(&mut self) -> bool {
        std::mem::take(&mut self.missed)
    }

    /// Where it is, by partition.
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// The next events, at least one; none when the node ends.
    pub async fn next(&mut self, max: usize) -> Option<Vec<Noted>> {
        loop {
            self.grew.borrow_and_update();
            let found = self.take(max);
            if !found.is_empty() || self.missed {
                return Some(found);
            }
            self.grew.changed().await.ok()?;
        }
    }

    /// An event was handed on: it is the place to go on after.
    pub fn at(&mut self, noted: &Noted) {
        if let Some(place) = self.places.get_mut(usize::from(noted.partition)) {
            *place = noted.place;
        }
    }

    fn take(&mut self, max: usize) -> Vec<Noted> {
        let kept = self.feed.kept.lock();
        if self.next < kept.first {
            self.next = kept.first;
            self.missed = true;
        }
        let from = usize::try_from(self.next - kept.first).unwrap_or(usize::MAX);
        let taken: Vec<Noted> = kept.events.iter().skip(from).take(max).cloned().collect();
        self.next += taken.len() as u64;
        let Some(after) = &self.after else { return taken };
        let is_new = |noted: &Noted| after.get(usize::from(noted.partition)).is_none_or(|after| noted.place > *after);
        taken.into_iter().filter(is_new).collect()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let mut kept = self.feed.kept.lock();
        kept.watchers = kept.watchers.saturating_sub(1);
        kept.wanted_until = Some(Instant::now() + LINGER);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bravo_model::happened::JobEvent;
    use bravo_model::{JobState, Name};

    use super::*;

    fn event(seq: u64) -> Happened {
        let name = Name::parse("name", "x").unwrap();
        Happened::Job(JobEvent {
            seq,
            kind: bravo_model::happened::JobEventKind::Enqueued,
            at: 0,
            queue: name.clone(),
            project: name,
            state: JobState::Ready,
            attempt: 0,
            worker: None,
            error: None,
            workflow: None,
        })
    }

    #[tokio::test]
    async fn a_watcher_that_comes_back_goes_on_after_the_places_it_had() {
        let feed = Arc::new(Feed::new(2));
        assert!(!feed.is_wanted());
        feed.pass_over(0, 7);
        let mut first = feed.watch(None);
        assert!(feed.is_wanted());
        feed.note(0, 8, vec![event(1), event(2)]);
        feed.note(1, 3, vec![event(3)]);
        let seen = first.next(2).await.unwrap();
        seen.iter().for_each(|noted| first.at(noted));
        assert_eq!(first.places(), [(8, 2), (0, 0)]);
        let now = feed.watch(None).places().to_vec();
        assert!(!feed.watch(Some(now)).has_missed(), "who begins now has missed nothing");
        let places = first.places().to_vec();
        drop(first);
        assert!(feed.is_wanted(), "for a while");
        let mut back = feed.watch(Some(places));
        assert!(!back.has_missed());
        let rest = back.next(10).await.unwrap();
        assert_eq!(rest.len(), 1);
        assert_eq!((rest[0].partition, rest[0].place), (1, (3, 1)));
        assert!(feed.watch(Some(vec![(5, 1), (0, 0)])).has_missed(), "entries 6 and 7 were not noted");
    }

    #[tokio::test]
    async fn a_slow_watcher_is_told_that_it_missed_something() {
        let feed = Arc::new(Feed::new(1));
        let mut slow = feed.watch(None);
        for index in 0..KEPT_MAX as u64 + 10 {
            feed.note(0, index, vec![event(index)]);
        }
        let seen = slow.next(1).await.unwrap();
        assert_eq!((seen[0].place, slow.has_missed()), ((10, 1), true));
    }
}
