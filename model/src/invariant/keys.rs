//! Invariants of what jobs share: order, concurrency, fairness, unique and idempotency keys.

use std::collections::{BTreeMap, BTreeSet};

use super::{Census, differences};
use crate::footprint::{Hashes, slot_key};
use crate::job::{Job, JobState, Place};
use crate::row::{self, Kept, Lane, Slot, Unique, step};
use crate::table::{self, due, tag};
use crate::txn::Key;

/// Of one order key, only the job whose turn it is is deliverable or leased, and it is not behind.
pub(super) fn order_heads_only_move(census: &Census) -> Vec<String> {
    let heads = census.table(tag::HEAD);
    let mut keys = BTreeSet::new();
    let mut wrong = Vec::new();
    for job in census.jobs.values().filter(|job| !job.state.is_final()) {
        let Some(hash) = Hashes::of(job).order else { continue };
        let key = table::by_key(tag::HEAD, job.keeping.queue_number, &hash);
        keys.insert(key);
        let has_turn = heads.get(&key).and_then(row::decode) == Some(job.seq);
        let moves = job.state == JobState::Leased || job.keeping.place.is_open() || job.keeping.place == Place::Parked;
        if moves && !has_turn || has_turn && job.keeping.place == Place::Behind {
            let place = job.keeping.place;
            wrong.push(format!("job {} is {:?} {place:?}, has the turn: {has_turn}", job.seq, job.state));
        }
    }
    wrong.extend(differences("HEAD", &keys, &census.keys(tag::HEAD)));
    for (key, seq) in &heads {
        if row::decode(seq).is_none_or(|seq: u64| census.jobs.get(&seq).is_none_or(|job| job.state.is_final())) {
            wrong.push(format!("HEAD {key:?} names a job that is over"));
        }
    }
    wrong
}

/// What a concurrency key counts is what there is, and parked jobs have somebody to wait for.
pub(super) fn slots_match(census: &Census) -> Vec<String> {
    let mut recount: BTreeMap<Key, Slot> = BTreeMap::new();
    for job in census.jobs.values() {
        let Some(key) = slot_key(job, &Hashes::of(job)) else { continue };
        let slot = recount.entry(key).or_default();
        match (job.state, job.keeping.place) {
            (JobState::Leased, _) => slot.leased += 1,
            (_, Place::Returned) => slot.returned += 1,
            (_, Place::Parked) => slot.parked += 1,
            _ => {}
        }
    }
    recount.retain(|_, slot| *slot != Slot::default());
    let stored: BTreeMap<Key, Slot> =
        census.table(tag::SLOT).iter().filter_map(|(key, value)| Some((*key, row::decode(value)?))).collect();
    let mut wrong = Vec::new();
    if recount != stored {
        wrong.push(format!("counted {stored:?}, found {recount:?}"));
    }
    let stuck = stored.iter().filter(|(_, slot)| slot.parked > 0 && slot.leased + slot.returned == 0);
    wrong.extend(stuck.map(|(key, slot)| format!("{key:?} waits for nobody: {slot:?}")));
    wrong.extend(overtaken(census, &stored));
    wrong
}

/// Parked jobs that would go first into a free slot of their key, and so belong in the ready order.
fn overtaken(census: &Census, slots: &BTreeMap<Key, Slot>) -> Vec<String> {
    let mut waiting: BTreeMap<Key, Vec<(u8, u64, &Job)>> = BTreeMap::new();
    for job in census.jobs.values() {
        let place = job.keeping.place;
        if let Some(key) = slot_key(job, &Hashes::of(job))
            && (place.is_open() || place == Place::Parked)
        {
            waiting.entry(key).or_default().push((table::rank(job.priority), job.ready_seq, job));
        }
    }
    let mut wrong = Vec::new();
    for (key, mut jobs) in waiting {
        jobs.sort_by_key(|(rank, ready_seq, _)| (*rank, *ready_seq));
        let leased = slots.get(&key).map_or(0, |slot| slot.leased);
        let number = jobs.first().map_or(0, |(_, _, job)| job.keeping.queue_number);
        let limit = census.queues.get(&number).map_or(0, |(def, _)| def.config.concurrency_per_key);
        let free = u64::from(limit).saturating_sub(leased) as usize;
        let first = jobs.iter().take(free).filter(|(_, _, job)| job.keeping.place == Place::Parked);
        wrong.extend(first.map(|(_, _, job)| format!("job {} is parked beside a free slot that is its own", job.seq)));
    }
    wrong
}

/// Lanes count the open and leased jobs there are, and stand in NEXT and IDLE as they should.
pub(super) fn lanes_match(census: &Census) -> Vec<String> {
    let mut lanes: BTreeMap<(u32, u64), Lane> = BTreeMap::new();
    for (key, value) in census.table(tag::LANE) {
        let number = key.as_slice().get(1..5).and_then(|b| b.try_into().ok()).map_or(0, u32::from_be_bytes);
        lanes.extend(row::decode(&value).map(|lane| ((number, table::last_u64(&key)), lane)));
    }
    let mut wrong = Vec::new();
    for (number, (def, stats)) in &census.queues {
        let own = lanes.range((*number, 0)..=(*number, u64::MAX)).count() as u64;
        if own != stats.lanes {
            wrong.push(format!("{}: {} lanes are counted, {own} are there", def.name, stats.lanes));
        }
        lanes.insert((*number, 0), stats.lane0.clone());
    }
    let mut recount: BTreeMap<(u32, u64), Lane> = BTreeMap::new();
    for job in census.jobs.values() {
        let waits_in = lanes.get(&(job.keeping.queue_number, job.keeping.lane)).filter(|_| job.keeping.place.is_open());
        let is_for = |lane: &Lane| {
            lane.project == job.project.as_str()
                && lane.requirements == job.requirements
                && (lane.key == job.fairness_key || lane.key.is_none())
        };
        if waits_in.is_some_and(|lane| !is_for(lane)) {
            wrong.push(format!("job {} waits in the lane of others: {waits_in:?}", job.seq));
        }
        let lane = recount.entry((job.keeping.queue_number, job.keeping.lane)).or_default();
        if job.keeping.place.is_open() {
            lane.open.iter_mut().skip(usize::from(job.priority)).take(1).for_each(|open| *open += 1);
        }
        if job.state == JobState::Leased {
            step(&mut lane.leased, true);
        }
    }
    let (mut next, mut own, mut idle) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for (&(number, id), lane) in &lanes {
        let found = recount.remove(&(number, id)).unwrap_or_default();
        if (found.open, found.leased) != (lane.open, lane.leased) {
            wrong
                .push(format!("lane {id:x}: {:?}+{}, found {:?}+{}", lane.open, lane.leased, found.open, found.leased));
        }
        if census.queues.get(&number).is_none_or(|(_, stats)| stats.lanes == 0) {
            continue;
        }
        for (priority, _) in (0u8..).zip(lane.open).filter(|(_, open)| *open > 0) {
            next.insert(table::next(number, priority, lane.class, lane.vtime, id));
            own.insert(table::own(number, priority, (lane.whose, lane.class), lane.vtime, id));
        }
        if id != 0 && lane.is_idle() {
            idle.insert(table::idle(number, lane.class, lane.vtime, id));
        }
    }
    let lost = recount.iter().filter(|(_, lane)| !lane.is_idle());
    wrong.extend(lost.map(|((_, id), _)| format!("lane {id:x} has jobs and no row")));
    wrong.extend(differences("NEXT", &next, &census.keys(tag::NEXT)));
    wrong.extend(differences("OWN", &own, &census.keys(tag::OWN)));
    wrong.extend(differences("IDLE", &idle, &census.keys(tag::IDLE)));
    wrong
}

/// A unique key without a window is held by a job that is not final and names it; one with a
/// window has its end in DUE.
pub(super) fn unique_points_back(census: &Census) -> Vec<String> {
    let names = |job: &Job, key: &Key| {
        let hash = job.unique_key.as_ref().map(|unique| table::h16(&[job.project.as_str(), unique]));
        hash.is_some_and(|hash| table::by_key(tag::UNIQUE, job.keeping.queue_number, &hash) == *key)
    };
    let mut wrong = Vec::new();
    let mut ends = BTreeSet::new();
    for (key, value) in census.table(tag::UNIQUE) {
        let Some(unique) = row::decode::<Unique>(&value) else { continue };
        let job = census.jobs.get(&unique.seq);
        match unique.until {
            None if job.is_some_and(|job| names(job, &key) && !job.state.is_final()) => {}
            Some(until) if job.map_or(unique.ended.is_some(), |job| names(job, &key)) => {
                ends.extend(key.as_slice().get(1..).map(|what| table::due(until, due::UNIQUE, what)));
            }
            _ => wrong.push(format!("UNIQUE {key:?} is held by job {} no more", unique.seq)),
        }
    }
    let is_window = |key: &Key| table::split_due(key).is_some_and(|(_, kind, _)| kind == due::UNIQUE);
    let found = census.keys(tag::DUE).into_iter().filter(is_window).collect();
    wrong.extend(differences("DUE of UNIQUE", &ends, &found));
    wrong
}

/// Kept answers are counted and will be forgotten.
pub(super) fn kept_answers_are_counted(census: &Census) -> Vec<String> {
    let kept = census.table(tag::KEPT);
    let ends = kept.iter().filter_map(|(key, value)| {
        Some(table::due(row::decode::<Kept>(value)?.until, due::KEPT, key.as_slice().get(1..)?))
    });
    let is_kept = |key: &Key| table::split_due(key).is_some_and(|(_, kind, _)| kind == due::KEPT);
    let found = census.keys(tag::DUE).into_iter().filter(is_kept).collect();
    let mut wrong = differences("DUE of KEPT", &ends.collect(), &found);
    if kept.len() as u64 != census.meta.kept {
        wrong.push(format!("{} answers are counted, {} are kept", census.meta.kept, kept.len()));
    }
    wrong
}
