//! The rows that follow from a job's record. All index rows do, so that a change of a job is: take
//! the rows of the record as it was, put those of the record as it is. The invariants check the same.

use crate::Time;
use crate::fair::sticky_slot;
use crate::job::{Job, JobState, Place};
use crate::table::{self, H16, tag};
use crate::txn::Key;

/// The hashes that stand for a job's keys; they never change.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Hashes {
    pub(crate) order: Option<H16>,
    pub(crate) concurrency: Option<H16>,
}

impl Hashes {
    pub(crate) fn of(job: &Job) -> Self {
        let hash = |key: &Option<String>| key.as_ref().map(|key| table::h16(&[job.project.as_str(), key]));
        Self { order: hash(&job.order_key), concurrency: hash(&job.concurrency_key) }
    }
}

/// The index rows of one job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Footprint {
    /// STATE.
    pub(crate) state: Option<Key>,
    /// DUE.
    pub(crate) due: Option<Key>,
    /// READY or PARKED.
    pub(crate) place: Option<Key>,
    /// TURN.
    pub(crate) turn: Option<Key>,
}

impl Footprint {
    pub(crate) fn of(job: &Job, hashes: &Hashes) -> Self {
        let keeping = &job.keeping;
        let queue = keeping.queue_number;
        Self {
            state: Some(table::state(queue, job.state, job.seq)),
            due: due_at(job).map(|at| table::due_job(at, job.seq)),
            place: match keeping.place {
                Place::Open | Place::Returned => {
                    Some(table::ready(queue, job.priority, keeping.lane, slot_of(job), job.ready_seq))
                }
                Place::Parked => {
                    hashes.concurrency.map(|hash| table::parked(queue, &hash, job.priority, job.ready_seq))
                }
                Place::Behind | Place::Nowhere => None,
            },
            turn: match hashes.order {
                Some(hash) if !job.state.is_final() => Some(table::turn(queue, &hash, job.seq)),
                _ => None,
            },
        }
    }
}

/// The slot of its lane that a job stands in: 0, or that of its sticky key from 1.
pub(crate) fn slot_of(job: &Job) -> u8 {
    job.sticky_key.as_ref().map_or(0, |key| sticky_slot(&job.project, key).saturating_add(1))
}

/// When time alone will next change the job.
pub(crate) fn due_at(job: &Job) -> Option<Time> {
    match job.state {
        JobState::Scheduled => Some(job.deadline.map_or(job.run_at, |deadline| deadline.min(job.run_at))),
        JobState::Ready | JobState::Blocked => job.deadline,
        JobState::Leased => job.lease_expires_at,
        JobState::Succeeded | JobState::Dead | JobState::Cancelled => job.keeping.keep_until,
    }
}

/// The SLOT key that the job counts in.
pub(crate) fn slot_key(job: &Job, hashes: &Hashes) -> Option<Key> {
    hashes.concurrency.map(|hash| table::by_key(tag::SLOT, job.keeping.queue_number, &hash))
}
