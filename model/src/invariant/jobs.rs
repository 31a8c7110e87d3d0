//! Invariants of jobs and the rows that follow from them.

use std::collections::{BTreeMap, BTreeSet};

use super::{Census, differences};
use crate::footprint::Footprint;
use crate::job::{JobState, Place};
use crate::row::{Flow, Stats};
use crate::table::{self, due, tag};
use crate::txn::Key;

/// Every job, queue and count decodes, and stands under its own key.
pub(super) fn rows_decode(census: &Census) -> Vec<String> {
    let mut wrong = Vec::new();
    if census.jobs.len() != census.keys(tag::JOB).len() {
        wrong.push("a job does not decode".to_owned());
    }
    if census.queues.len() != census.keys(tag::QUEUE).len() {
        wrong.push("a queue does not decode".to_owned());
    }
    let misplaced = census.jobs.iter().filter(|(seq, job)| **seq != job.seq || job.seq > census.meta.last_seq);
    wrong.extend(misplaced.map(|(seq, job)| format!("job {} stands under {seq}", job.seq)));
    wrong
}

/// A ready job is in exactly one place, and no other job is in any.
pub(super) fn one_place_per_job(census: &Census) -> Vec<String> {
    let stray = census.jobs.values().filter(|job| {
        let placed = job.keeping.place != Place::Nowhere;
        placed != (job.state == JobState::Ready)
    });
    stray.map(|job| format!("job {} is {:?} and {:?}", job.seq, job.state, job.keeping.place)).collect()
}

/// STATE, DUE, READY, PARKED and TURN hold what the jobs' records say, and nothing else.
pub(super) fn index_rows_follow_from_jobs(census: &Census) -> Vec<String> {
    let expected = |pick: fn(&Footprint) -> Option<Key>, tag: u8| -> BTreeSet<Key> {
        let keys = census.footprints.values().filter_map(pick);
        keys.filter(|key| key.as_slice().first() == Some(&tag)).collect()
    };
    let is_job = |key: &Key| table::split_due(key).is_some_and(|(_, kind, _)| kind == due::JOB);
    let due: BTreeSet<Key> = census.keys(tag::DUE).into_iter().filter(is_job).collect();
    [
        differences("STATE", &expected(|f| f.state, tag::STATE), &census.keys(tag::STATE)),
        differences("DUE", &expected(|f| f.due, tag::DUE), &due),
        differences("READY", &expected(|f| f.place, tag::READY), &census.keys(tag::READY)),
        differences("PARKED", &expected(|f| f.place, tag::PARKED), &census.keys(tag::PARKED)),
        differences("TURN", &expected(|f| f.turn, tag::TURN), &census.keys(tag::TURN)),
    ]
    .concat()
}

/// A leased job has a worker and an end, and no other job has an end.
pub(super) fn leased_have_due(census: &Census) -> Vec<String> {
    let wrong = census.jobs.values().filter(|job| {
        let leased = job.state == JobState::Leased;
        leased != job.lease_expires_at.is_some() || (leased && job.worker.is_none())
    });
    wrong.map(|job| format!("job {} is {:?} until {:?}", job.seq, job.state, job.lease_expires_at)).collect()
}

/// The fencing token grows with each attempt, and attempts stay within what was granted.
pub(super) fn tokens_grow(census: &Census) -> Vec<String> {
    let wrong = census.jobs.values().filter(|job| {
        let waits = !job.state.is_final() && job.state != JobState::Leased;
        job.lease_token != u64::from(job.attempt)
            || job.attempt > job.max_attempts
            || (waits && job.attempt >= job.max_attempts)
    });
    let say = |job: &crate::Job| format!("job {}: attempt {}/{}", job.seq, job.attempt, job.max_attempts);
    wrong.map(say).collect()
}

/// What queues count is what there is.
pub(super) fn counts_match_rows(census: &Census) -> Vec<String> {
    let mut recount: BTreeMap<u32, Stats> = census.queues.keys().map(|number| (*number, Stats::default())).collect();
    let mut wrong = Vec::new();
    for job in census.jobs.values() {
        let Some(stats) = recount.get_mut(&job.keeping.queue_number) else {
            wrong.push(format!("job {} is in no queue", job.seq));
            continue;
        };
        stats.add(job.state, true);
        if job.keeping.place.is_open() {
            stats.open.iter_mut().skip(usize::from(job.priority)).take(1).for_each(|open| *open += 1);
        }
    }
    let flows: BTreeMap<u32, Flow> = census.flows();
    for (number, (def, stats)) in &census.queues {
        let flow = flows.get(number).copied().unwrap_or_default();
        let jobs = census.jobs.values().filter(|job| job.keeping.queue_number == *number);
        let (attempts, came) = jobs.fold((0, 0), |(attempts, came), job| {
            let has_come = job.attempt > 0 || job.state == JobState::Ready;
            (attempts + u64::from(job.attempt), came + u64::from(has_come))
        });
        let leased = flow.started.saturating_sub(flow.ended) == stats.count(JobState::Leased);
        let grows = flow.served <= flow.ended && attempts <= flow.started && came <= flow.arrived;
        if !leased || !grows {
            wrong.push(format!("{}: {flow:?} and {} leased", def.name, stats.count(JobState::Leased)));
        }
        let found = recount.get(number).map(|stats| (stats.counts, stats.open)).unwrap_or_default();
        if found != (stats.counts, stats.open) {
            wrong.push(format!("{}: counted {:?} {:?}, found {found:?}", def.name, stats.counts, stats.open));
        }
    }
    if census.meta.queues != census.queues.len() as u64 || census.keys(tag::NUMBER).len() != census.queues.len() {
        wrong.push(format!("{} queues are counted, {} are there", census.meta.queues, census.queues.len()));
    }
    wrong
}

/// Each job has a payload; payloads and results have jobs; only what succeeded has a result.
pub(super) fn no_orphan_rows(census: &Census) -> Vec<String> {
    let seqs = |tag| census.keys(tag).iter().map(table::last_u64).collect::<BTreeSet<u64>>();
    let jobs: BTreeSet<u64> = census.jobs.keys().copied().collect();
    let mut wrong = Vec::new();
    for seq in seqs(tag::PAYLOAD).symmetric_difference(&jobs) {
        wrong.push(format!("job {seq} and its payload are not both there"));
    }
    for seq in seqs(tag::RESULT) {
        if census.jobs.get(&seq).is_none_or(|job| job.state != JobState::Succeeded) {
            wrong.push(format!("result {seq} has no job that succeeded"));
        }
    }
    wrong
}
