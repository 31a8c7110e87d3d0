//! The independent judge's state machine: what the contract says, written as plainly as it can be.
//!
//! Nothing here is fast. There are no indexes: every question ("what may be delivered?", "who
//! holds this unique key?", "how many wait?") is answered by looking at every job. It shares the
//! alphabet (commands, replies, configuration) with the real model and not one line of its rules.
//!
//! Where the contract leaves a choice open, the reference looks at what the real model did
//! ([`Seen`]), accepts it if it lies within what is promised, and goes on from there:
//!
//! - the pause after a failed attempt: anywhere between the backoff and the backoff less its jitter;
//! - the lease token: any number greater than the job's last one;
//! - which fairness lane is served next: the first job of any lane, among those of the highest priority. The
//!   jobs of a lane have one project, fairness key and set of requirements;
//! - whether a free slot of a concurrency key is kept for the job that goes first, though the asker cannot have it.

mod admin;
mod due;
mod enqueue;
mod explain;
mod queue;
mod worker;

use std::collections::BTreeMap;

use bravo_model::command::{Command, Envelope, Idempotency};
use bravo_model::job::{JobState, Payload};
use bravo_model::reply::Reply;
use bravo_model::{Code, Name, Refusal, Time};
use bytes::Bytes;

pub(crate) use explain::Reason;
pub(crate) use queue::{Counts, RefQueue};

/// A job as the reference keeps it.
#[derive(Clone, Debug)]
pub(crate) struct RefJob {
    pub(crate) seq: u64,
    pub(crate) queue: Name,
    pub(crate) project: Name,
    pub(crate) state: JobState,
    pub(crate) priority: u8,
    pub(crate) attempt: u32,
    pub(crate) max_attempts: u32,
    /// Attempts that it was given at first, and is given again by each retry.
    pub(crate) attempts_granted: u32,
    pub(crate) enqueued_at: Time,
    pub(crate) run_at: Time,
    pub(crate) deadline: Option<Time>,
    pub(crate) started_at: Option<Time>,
    pub(crate) finished_at: Option<Time>,
    /// When it is removed: by the retention of its queue as it was when the job became final.
    pub(crate) keep_until: Option<Time>,
    /// Whether it is a dead-letter copy: there is no copy of a copy.
    pub(crate) is_copy: bool,
    pub(crate) token: u64,
    pub(crate) lease_expires_at: Option<Time>,
    pub(crate) lease_ms: u64,
    pub(crate) worker: Option<Name>,
    pub(crate) cancel_requested: bool,
    pub(crate) acked_token: Option<u64>,
    pub(crate) progress: Option<Bytes>,
    pub(crate) error: Option<String>,
    pub(crate) metadata: Bytes,
    pub(crate) workflow: Option<Name>,
    pub(crate) order_key: Option<String>,
    pub(crate) concurrency_key: Option<String>,
    pub(crate) fairness_key: Option<String>,
    pub(crate) unique_key: Option<String>,
    pub(crate) requirements: BTreeMap<String, String>,
    pub(crate) sticky_key: Option<String>,
    pub(crate) payload: Payload,
    pub(crate) result: Option<Payload>,
    /// Its place among the ready jobs: counts upwards as jobs become ready.
    pub(crate) place: u64,
    /// When it got that place.
    pub(crate) ready_at: Time,
    /// Between two attempts, not before the first: why = backoff rather than scheduled.
    pub(crate) failed_before: bool,
}

impl RefJob {
    /// What jobs that take turns by time of work have in common.
    pub(crate) fn lane(&self) -> (&Name, &Option<String>, &BTreeMap<String, String>) {
        (&self.project, &self.fairness_key, &self.requirements)
    }

    /// Ready, scheduled or blocked.
    pub(crate) fn waits(&self) -> bool {
        matches!(self.state, JobState::Ready | JobState::Scheduled | JobState::Blocked)
    }
}

/// A unique key that is held.
#[derive(Clone, Debug)]
struct Unique {
    project: Name,
    queue: Name,
    key: String,
    seq: u64,
    /// End of its window; until the job is final if there is none.
    until: Option<Time>,
    /// How the job ended, should it be removed within the window.
    ended: JobState,
}

/// An answer that is kept for its idempotency key.
#[derive(Clone, Debug)]
struct Remembered {
    asked: Idempotency,
    until: Time,
    reply: Reply,
}

/// What the real model did with the command, for the choices that the contract leaves to it.
pub(crate) struct Seen<'a> {
    /// Nothing, if nobody looked.
    pub(crate) reply: Option<&'a Reply>,
    /// A job's state and `run_at` after it.
    pub(crate) job: &'a dyn Fn(u64) -> Option<(JobState, Time)>,
    /// Of which dead job a job is the copy.
    pub(crate) origin: &'a dyn Fn(u64) -> Option<u64>,
}

/// The whole partition.
#[derive(Clone, Debug)]
pub(crate) struct Reference {
    partition: u16,
    pub(crate) now: Time,
    next_seq: u64,
    next_place: u64,
    pub(crate) jobs: BTreeMap<u64, RefJob>,
    pub(crate) queues: BTreeMap<Name, RefQueue>,
    uniques: Vec<Unique>,
    /// Whose turn it is, of the jobs of one queue, project and order key.
    turns: BTreeMap<(Name, Name, String), u64>,
    remembered: Vec<Remembered>,
}

impl Reference {
    pub(crate) fn new(partition: u16) -> Self {
        Self {
            partition,
            now: 0,
            next_seq: 1,
            next_place: 1,
            jobs: BTreeMap::new(),
            queues: BTreeMap::new(),
            uniques: Vec::new(),
            turns: BTreeMap::new(),
            remembered: Vec::new(),
        }
    }

    /// Applies one command; what it must answer.
    pub(crate) fn apply(&mut self, at: Time, envelope: &Envelope, seen: &Seen<'_>) -> Reply {
        self.now = self.now.max(at);
        let now = self.now;
        self.remembered.retain(|kept| kept.until > now);
        let Some(asked) = envelope.idempotency else {
            return self.command(&envelope.command, seen);
        };
        if let Some(kept) = self.remembered.iter().find(|kept| kept.asked.key == asked.key) {
            if kept.asked.body == asked.body {
                return kept.reply.clone();
            }
            return refuse(Code::IdempotencyKeyReuse);
        }
        let reply = self.command(&envelope.command, seen);
        if !matches!(reply, Reply::Refused(_)) {
            let until = now.saturating_add(asked.kept_ms.min(bravo_model::limits::IDEMPOTENCY_KEPT_MS));
            // The answer as it was given: the judge has seen to it that it is one that may be given.
            let given = seen.reply.unwrap_or(&reply).clone();
            self.remembered.push(Remembered { asked, until, reply: given });
        }
        reply
    }

    fn command(&mut self, command: &Command, seen: &Seen<'_>) -> Reply {
        match command {
            Command::Enqueue(jobs) => self.enqueue(jobs, seen),
            Command::Lease(lease) => self.lease(lease, seen),
            Command::Ack(acks) => self.ack(acks),
            Command::Nack(nacks) => self.nack(nacks, seen),
            Command::Extend(leases) => self.extend(leases),
            Command::Cancel(seq) => self.cancel(*seq),
            Command::Retry(seq) => self.retry(*seq),
            Command::SetQueue(definition) => self.set_queue(definition),
            Command::ForgetQueue { name, version } => self.forget_queue(name, *version),
            Command::Purge(queue) => self.purge(queue),
            Command::Redrive(queue) => self.redrive(queue),
            Command::Tick => self.tick(seen),
            Command::Reserve | Command::Marker(_) => Reply::Done,
            other => unreachable!("the reference knows job partitions only, not {other:?}"),
        }
    }

    fn take_place(&mut self) -> u64 {
        self.next_place += 1;
        self.next_place - 1
    }

    /// Makes a job ready, behind all that are.
    fn make_ready(&mut self, seq: u64) {
        let (place, now) = (self.take_place(), self.now);
        let job = self.jobs.get_mut(&seq).expect("a job that is there");
        job.state = JobState::Ready;
        job.place = place;
        job.ready_at = now;
    }

    /// Ends a job, frees its unique key unless that has a window, copies the dead.
    fn finish(&mut self, seq: u64, state: JobState) {
        let now = self.now;
        let retention_ms = self.queue_or_default(&self.jobs[&seq].queue).config.retention_ms;
        let job = self.jobs.get_mut(&seq).expect("a job that is there");
        job.state = state;
        job.finished_at = Some(now);
        job.keep_until = Some(now + retention_ms);
        job.lease_expires_at = None;
        self.uniques.retain(|held| held.seq != seq || held.until.is_some());
        self.uniques.iter_mut().filter(|held| held.seq == seq).for_each(|held| held.ended = state);
        self.pass_turns();
        if state == JobState::Dead {
            self.copy_to_dead_letters(seq);
        }
    }
}

/// A refusal; details are for people and not compared.
pub(crate) fn refuse(code: Code) -> Reply {
    Reply::Refused(Refusal::new(code, String::new()))
}
