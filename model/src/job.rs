//! What a job is.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::Time;
use crate::id::Name;

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum JobState {
    /// Waits for other tasks of its workflow.
    Blocked = 0,
    /// Waits for its `run_at` (also between attempts).
    Scheduled = 1,
    /// May be delivered, or waits behind a limit or an order key.
    Ready = 2,
    /// A worker holds it.
    Leased = 3,
    /// Acknowledged.
    Succeeded = 4,
    /// Attempts used up, or deadline missed; waits for redrive.
    Dead = 5,
    /// Cancelled by a caller.
    Cancelled = 6,
}

impl JobState {
    /// Every state, in the order of its number.
    pub const ALL: [Self; 7] =
        [Self::Blocked, Self::Scheduled, Self::Ready, Self::Leased, Self::Succeeded, Self::Dead, Self::Cancelled];

    /// The state's name in the public contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Blocked => "blocked",
            Self::Scheduled => "scheduled",
            Self::Ready => "ready",
            Self::Leased => "leased",
            Self::Succeeded => "succeeded",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
        }
    }

    /// The state with this name, if there is one.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }

    /// Whether nothing happens to the job any more unless a caller asks for it.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Dead | Self::Cancelled)
    }
}

/// A payload or result: JSON text or plain bytes, kept as it was sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload {
    /// Whether `bytes` is JSON text (checked by the gateway that took it).
    pub json: bool,
    /// The content.
    pub bytes: Bytes,
}

/// A job's record. Its payload and its result are rows of their own and never rewritten with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Sequence within the partition.
    pub seq: u64,
    /// The queue it is in.
    pub queue: Name,
    /// The project it belongs to.
    pub project: Name,
    /// Where it stands.
    pub state: JobState,
    /// 0 (lowest) to 9.
    pub priority: u8,
    /// Leases so far; 1 while it is leased for the first time.
    pub attempt: u32,
    /// It dies when `attempt` has reached this and fails.
    pub max_attempts: u32,
    /// When it was enqueued.
    pub enqueued_at: Time,
    /// Not delivered before.
    pub run_at: Time,
    /// Dies when this passes while it waits.
    pub deadline: Option<Time>,
    /// First lease of the latest attempt.
    pub started_at: Option<Time>,
    /// When it became final.
    pub finished_at: Option<Time>,
    /// The fencing token of its latest lease; grows with every lease of this job; 0 before the first.
    pub lease_token: u64,
    /// When the present lease ends.
    pub lease_expires_at: Option<Time>,
    /// How long an extension lasts unless it says otherwise.
    pub lease_ms: u64,
    /// Who holds or last held it.
    pub worker: Option<Name>,
    /// A caller wants it cancelled; the worker is told when it next extends.
    pub cancel_requested: bool,
    /// The token of an accepted ack, so that repeating it is answered with ok.
    pub acked_token: Option<u64>,
    /// What the worker last said about how far it is: JSON text.
    pub progress: Option<Bytes>,
    /// The last failure.
    pub error: Option<String>,
    /// JSON object text, returned as it was sent; empty if none was given.
    pub metadata: Bytes,
    /// The workflow it is a step of.
    pub workflow: Option<Name>,
    /// Jobs of one key run one after the other, in enqueue order.
    pub order_key: Option<String>,
    /// At most `concurrency_per_key` jobs of one key run at once.
    pub concurrency_key: Option<String>,
    /// Shares the queue fairly between keys, by measured work time.
    pub fairness_key: Option<String>,
    /// At most one job of one key and project is in the queue.
    pub unique_key: Option<String>,
    /// Labels that a worker must have, with their values, to get the job.
    pub requirements: BTreeMap<String, String>,
    /// Jobs of one key go to one worker, if it is there and takes them soon.
    pub sticky_key: Option<String>,
    /// Its place among the ready jobs: grows as jobs become ready; 0 before the first time.
    pub ready_seq: u64,
    /// What the model notes for itself; not for users.
    pub keeping: Keeping,
}

impl Job {
    /// A job of which nothing is known yet but whose it is.
    pub(crate) fn new(project: Name, priority: u8) -> Self {
        Self {
            seq: 0,
            queue: project.clone(),
            project,
            state: JobState::Ready,
            priority,
            attempt: 0,
            max_attempts: 1,
            enqueued_at: 0,
            run_at: 0,
            deadline: None,
            started_at: None,
            finished_at: None,
            lease_token: 0,
            lease_expires_at: None,
            lease_ms: 0,
            worker: None,
            cancel_requested: false,
            acked_token: None,
            progress: None,
            error: None,
            metadata: Bytes::new(),
            workflow: None,
            order_key: None,
            concurrency_key: None,
            fairness_key: None,
            unique_key: None,
            requirements: BTreeMap::new(),
            sticky_key: None,
            ready_seq: 0,
            keeping: Keeping::default(),
        }
    }
}

/// The model's own notes on a job: with them every index row follows from the record alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keeping {
    /// The queue's number in this partition.
    pub queue_number: u32,
    /// Where a ready job waits.
    pub place: Place,
    /// The fairness lane it was ready in last (see `fair`).
    pub lane: u64,
    /// When it got its place among the ready jobs.
    pub ready_at: Time,
    /// Virtual time charged to the lane when it was leased, corrected when the lease ends.
    pub charged: u64,
    /// Attempts it was enqueued with: a retry grants as many again.
    pub attempts_granted: u32,
    /// Size of its payload, so that a lease need not read it.
    pub payload_bytes: u32,
    /// When a final job is removed.
    pub keep_until: Option<Time>,
    /// The dead job of which this is the dead-letter copy. A copy is never copied again.
    pub dead_letter_of: Option<u64>,
}

/// Where a ready job waits. Jobs in other states are nowhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// Not among the ready jobs.
    #[default]
    Nowhere,
    /// In the ready order.
    Open,
    /// In the ready order, come back from being parked.
    Returned,
    /// Beside the ready order until its concurrency key has a free slot.
    Parked,
    /// Behind another job of its order key.
    Behind,
}

impl Place {
    /// Whether the job is in the ready order, where a lease meets it.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Open | Self::Returned)
    }
}
