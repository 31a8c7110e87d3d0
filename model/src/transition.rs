//! The one door through which a job's record changes: index rows, counts, lanes and slots follow
//! the record, and then the jobs that this one held back move up.

use crate::Time;
use crate::footprint::{Footprint, Hashes, slot_key};
use crate::happened::{Happened, JobEvent};
use crate::job::{Job, JobState, Place};
use crate::limits;
use crate::row::{self, Slot, step};
use crate::state::State;
use crate::table::{self, H16, tag};
use crate::txn::Key;

impl State<'_> {
    /// Replaces a job's record (absent: it is new, or gone) and lets those it held back move up.
    pub(crate) fn transition(&mut self, old: Option<&Job>, new: Option<&Job>) {
        let Some(hashes) = new.or(old).map(Hashes::of) else { return };
        let slot = self.write(old, new, &hashes);
        self.count_delivery(old, new);
        if self.is_followed()
            && let Some(event) = JobEvent::of(old, new, self.now())
        {
            self.note(Happened::Job(event));
        }
        let Some(old) = old else { return };
        let queue = old.keeping.queue_number;
        if let Some(hash) = hashes.order
            && new.is_none_or(|new| new.state.is_final())
            && !old.state.is_final()
        {
            self.pass_turn(queue, &hash, old.seq);
        }
        if let Some(hash) = hashes.concurrency
            && slot.parked > 0
        {
            self.unpark(queue, &hash, leaves_room(old, new).into());
        }
    }

    /// Makes a job ready and finds its place; the caller passes it on to [`State::transition`].
    pub(crate) fn make_ready(&mut self, job: &mut Job) {
        let stats = self.stats(job.keeping.queue_number);
        stats.ready_seq = stats.ready_seq.saturating_add(1);
        job.ready_seq = stats.ready_seq;
        job.keeping.ready_at = self.now();
        job.state = JobState::Ready;
        let hashes = Hashes::of(job);
        self.find_place(job, &hashes);
    }

    /// Lets a waiting job wait on, from `run_at`: scheduled, or ready at once.
    pub(crate) fn wait_until(&mut self, job: &mut Job, run_at: Time) {
        job.run_at = run_at;
        if run_at > self.now() {
            job.state = JobState::Scheduled;
            job.keeping.place = Place::Nowhere;
            if let Some(hash) = Hashes::of(job).order {
                self.take_turn(job, &hash);
            }
        } else {
            self.make_ready(job);
        }
    }

    /// Takes a saturated job out of the ready order; it comes back to its old place.
    pub(crate) fn park(&mut self, job: &Job) {
        let mut parked = job.clone();
        parked.keeping.place = Place::Parked;
        self.write(Some(job), Some(&parked), &Hashes::of(job));
    }

    /// Whether as many jobs of the job's concurrency key are leased as may be.
    pub(crate) fn is_saturated(&mut self, job: &Job, hashes: &Hashes) -> bool {
        let Some(key) = slot_key(job, hashes) else { return false };
        let limit = self.queue(job.keeping.queue_number).def.config.concurrency_per_key;
        self.read::<Slot>(&key).unwrap_or_default().leased >= u64::from(limit)
    }

    /// Makes the job with an order key the one whose turn it is, if it is nobody's or a later job's
    /// that is not leased. The order is by enqueue, so that a job put back goes before those that
    /// were enqueued after it; a leased one keeps its turn until it is final.
    pub(crate) fn take_turn(&mut self, job: &Job, hash: &H16) -> bool {
        let queue = job.keeping.queue_number;
        let key = table::by_key(tag::HEAD, queue, hash);
        match self.read::<u64>(&key) {
            Some(head) if head == job.seq => return true,
            Some(head) if head < job.seq => return false,
            Some(head) => match self.job(head) {
                Some(later) if later.state == JobState::Leased => return false,
                Some(later) if later.state == JobState::Ready => {
                    let mut behind = later.clone();
                    behind.keeping.place = Place::Behind;
                    let hashes = Hashes::of(&later);
                    self.write(Some(&later), Some(&behind), &hashes);
                    if let Some(hash) = hashes.concurrency {
                        self.unpark(queue, &hash, 1);
                    }
                }
                _ => {}
            },
            None => {}
        }
        self.put(key, &job.seq);
        true
    }

    fn find_place(&mut self, job: &mut Job, hashes: &Hashes) {
        let turn = hashes.order.is_none_or(|hash| self.take_turn(job, &hash));
        job.keeping.place = if !turn {
            Place::Behind
        } else if self.is_saturated(job, hashes) {
            Place::Parked
        } else {
            job.keeping.lane = self.lane_for(job);
            Place::Open
        };
    }

    /// Gives the turn of an order key on, if it was the job's.
    fn pass_turn(&mut self, queue: u32, hash: &H16, seq: u64) {
        let key = table::by_key(tag::HEAD, queue, hash);
        if self.read::<u64>(&key) != Some(seq) {
            return;
        }
        let next = row::front(self.rows(), &table::by_key(tag::TURN, queue, hash));
        let Some(next) = next.map(|(key, _)| table::last_u64(&key)) else {
            self.txn.delete(&key);
            return;
        };
        self.put(key, &next);
        if let Some(old) = self.job(next)
            && old.keeping.place == Place::Behind
        {
            let (mut new, hashes) = (old.clone(), Hashes::of(&old));
            self.find_place(&mut new, &hashes);
            self.write(Some(&old), Some(&new), &hashes);
        }
    }

    /// Lets parked jobs back to their old places: as many as slots came free, since they may go before
    /// those that came back earlier, and more until the free slots have somebody.
    pub(crate) fn unpark(&mut self, queue: u32, hash: &H16, mut came_free: u64) {
        let limit = u64::from(self.queue(queue).def.config.concurrency_per_key);
        for returned in 0..u64::from(limits::SWEEP_MAX) {
            let slot: Slot = self.read(&table::by_key(tag::SLOT, queue, hash)).unwrap_or_default();
            let free = limit.saturating_sub(slot.leased);
            came_free = came_free.min(free);
            if slot.parked == 0 || free == 0 || (slot.returned >= free && returned >= came_free) {
                return;
            }
            let front = row::front(self.rows(), &table::by_key(tag::PARKED, queue, hash));
            let Some(old) = front.and_then(|(_, seq)| self.job(row::decode(&seq)?)) else { return };
            let mut new = old.clone();
            new.keeping.place = Place::Returned;
            new.keeping.lane = self.lane_for(&old);
            self.write(Some(&old), Some(&new), &Hashes::of(&old));
        }
    }

    /// Writes the record and what follows from it. What comes is counted before what goes, so that
    /// a lane or slot that both need is not dropped between.
    fn write(&mut self, old: Option<&Job>, new: Option<&Job>, hashes: &Hashes) -> Slot {
        let was = old.map(|job| Footprint::of(job, hashes)).unwrap_or_default();
        let is = new.map(|job| Footprint::of(job, hashes)).unwrap_or_default();
        let seq = new.or(old).map_or(0, |job| job.seq);
        self.swap(was.state, is.state, None);
        self.swap(was.due, is.due, None);
        self.swap(was.place, is.place, Some(seq));
        self.swap(was.turn, is.turn, None);
        let record = table::by_seq(tag::JOB, seq);
        match new {
            Some(job) => self.put(record, job),
            None => self.txn.delete(&record),
        }
        self.count(old, new);
        self.count_flow(old, new);
        self.count_slot(old, new, hashes)
    }

    fn swap(&mut self, was: Option<Key>, is: Option<Key>, seq: Option<u64>) {
        if was == is {
            return;
        }
        if let Some(key) = was {
            self.txn.delete(&key);
        }
        match (is, seq) {
            (Some(key), Some(seq)) => self.put(key, &seq),
            (Some(key), None) => self.mark(key),
            (None, _) => {}
        }
    }

    fn count(&mut self, old: Option<&Job>, new: Option<&Job>) {
        let leased = |job: Option<&Job>| job.is_some_and(|job| job.state == JobState::Leased);
        let open = |job: Option<&Job>| job.is_some_and(|job| job.keeping.place.is_open());
        if let Some(job) = new {
            let queue = job.keeping.queue_number;
            self.stats(queue).add(job.state, true);
            if open(new) && !open(old) {
                self.lane_open(queue, job.keeping.lane, job.priority, true);
                self.wake(queue);
            }
        }
        if let Some(job) = old {
            let queue = job.keeping.queue_number;
            self.stats(queue).add(job.state, false);
            if leased(new) && !leased(old) {
                new.into_iter().for_each(|new| self.lane_leased(new));
            }
            if open(old) && !open(new) {
                self.lane_open(queue, job.keeping.lane, job.priority, false);
            }
            if leased(old) && !leased(new) {
                let now = self.now();
                self.lane_ended(job, now);
                if let Some(new) = new {
                    self.lease_ended(job, new.state);
                }
                if self.queue(queue).def.config.max_in_flight.is_some() {
                    self.wake(queue);
                }
            }
        }
    }

    /// Counts what goes through the queue. A lease that ran out says nothing of how long the work takes.
    fn count_flow(&mut self, old: Option<&Job>, new: Option<&Job>) {
        let state = |job: Option<&Job>| job.map(|job| job.state);
        let (was, is) = (state(old), state(new));
        let Some(job) = new.or(old).filter(|_| was != is) else { return };
        let now = self.now();
        let flow = &mut self.queue(job.keeping.queue_number).flow;
        flow.arrived += u64::from(is == Some(JobState::Ready));
        flow.started += u64::from(is == Some(JobState::Leased));
        let Some(old) = old.filter(|old| old.state == JobState::Leased) else { return };
        flow.ended += 1;
        flow.succeeded += u64::from(is == Some(JobState::Succeeded));
        if old.lease_expires_at.is_some_and(|end| now < end) {
            let took = now.saturating_sub(old.started_at.unwrap_or(now));
            flow.served += 1;
            flow.service_ms = flow.service_ms.saturating_add(took);
            flow.service_ms2 = flow.service_ms2.saturating_add(u128::from(took) * u128::from(took));
        }
    }

    /// Counts the job in its concurrency key, and answers how the key stands then.
    fn count_slot(&mut self, old: Option<&Job>, new: Option<&Job>, hashes: &Hashes) -> Slot {
        let Some(key) = new.or(old).and_then(|job| slot_key(job, hashes)) else { return Slot::default() };
        let before: Slot = self.read(&key).unwrap_or_default();
        let mut slot = before;
        for (job, up) in [(new, true), (old, false)] {
            let Some(job) = job else { continue };
            match (job.state, job.keeping.place) {
                (JobState::Leased, _) => step(&mut slot.leased, up),
                (_, Place::Returned) => step(&mut slot.returned, up),
                (_, Place::Parked) => step(&mut slot.parked, up),
                _ => {}
            }
        }
        if slot == Slot::default() {
            if before != slot {
                self.txn.delete(&key);
            }
        } else if before != slot {
            self.put(key, &slot);
        }
        slot
    }
}

/// Whether a job gives up a slot, or its claim to one, that the first parked job may now take.
fn leaves_room(old: &Job, new: Option<&Job>) -> bool {
    let leased = |job: &Job| job.state == JobState::Leased;
    let claims = |job: &Job| leased(job) || job.keeping.place.is_open();
    (leased(old) && !new.is_some_and(leased)) || (claims(old) && !new.is_some_and(claims))
}
