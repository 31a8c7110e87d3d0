//! Machines that are broken on purpose: the judge must notice each of them.

use std::collections::BTreeMap;

use bravo_model::command::{Command, Envelope, Extend, ListFilter, NewJob, When};
use bravo_model::job::JobState;
use bravo_model::reply::{Enqueued, ItemResult, Outcome, Reply};
use bravo_model::{Name, Time};
use bytes::Bytes;

use super::machine::{Machine, Shown};
use crate::history::all_labels;
use crate::reference::{Counts, Reason};

/// What is broken. The damage is done to commands on their way in and to answers on their way out,
/// and hidden from a mere look at the job's fields where that is possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Damage {
    /// Nothing: the wrapper alone must go unnoticed.
    None,
    DropAcks,
    ReuseTokens,
    AcceptOldTokens,
    DeliverEarly,
    ForgetDeadlines,
    ForgetUniqueKeys,
    ForgetUniqueWindows,
    ForgetIdempotencyKeys,
    ForgetIdempotencyBodies,
    IgnoreOrderKeys,
    IgnoreConcurrencyKeys,
    IgnorePriorities,
    IgnoreRequirements,
    IgnoreProjects,
    IgnoreStickyKeys,
    IgnorePause,
    IgnoreDrain,
    IgnoreMaxInFlight,
    IgnoreRateLimits,
    IgnoreMaxReady,
    IgnoreRetention,
    IgnoreBackoff,
    IgnoreVersions,
    DropDeadLetters,
    DropCancelRequests,
    DropExtensions,
    DropTicks,
    DropPurges,
    LoseJobs,
    LeaseTwoForOne,
    NackKills,
    LastInFirstOut,
    TimeGoesBack,
    DependOnBatching,
    WakeNobody,
}

impl Damage {
    pub(crate) const ALL: [Self; 35] = [
        Self::DropAcks,
        Self::ReuseTokens,
        Self::AcceptOldTokens,
        Self::DeliverEarly,
        Self::ForgetDeadlines,
        Self::ForgetUniqueKeys,
        Self::ForgetUniqueWindows,
        Self::ForgetIdempotencyKeys,
        Self::ForgetIdempotencyBodies,
        Self::IgnoreOrderKeys,
        Self::IgnoreConcurrencyKeys,
        Self::IgnorePriorities,
        Self::IgnoreRequirements,
        Self::IgnoreProjects,
        Self::IgnoreStickyKeys,
        Self::IgnorePause,
        Self::IgnoreDrain,
        Self::IgnoreMaxInFlight,
        Self::IgnoreRateLimits,
        Self::IgnoreMaxReady,
        Self::IgnoreRetention,
        Self::IgnoreBackoff,
        Self::IgnoreVersions,
        Self::DropDeadLetters,
        Self::DropCancelRequests,
        Self::DropExtensions,
        Self::DropTicks,
        Self::DropPurges,
        Self::LoseJobs,
        Self::LeaseTwoForOne,
        Self::NackKills,
        Self::LastInFirstOut,
        Self::TimeGoesBack,
        Self::DependOnBatching,
        Self::WakeNobody,
    ];
}

/// A machine behind damage.
pub(crate) struct Mutant<M> {
    inner: M,
    damage: Damage,
    /// What was asked, so that a job looks as if nothing had been stripped from it.
    asked: BTreeMap<u64, NewJob>,
    entries: u64,
    versions: u64,
}

impl<M: Machine> Mutant<M> {
    pub(crate) fn new(inner: M, damage: Damage) -> Self {
        Self { inner, damage, asked: BTreeMap::new(), entries: 0, versions: 0 }
    }

    fn apply_one(&mut self, at: Time, mut envelope: Envelope) -> Outcome {
        match (self.damage, &mut envelope.idempotency) {
            (Damage::ForgetIdempotencyKeys, asked) => *asked = None,
            (Damage::ForgetIdempotencyBodies, Some(asked)) => asked.body = [0; 16],
            _ => {}
        }
        let wanted = match &envelope.command {
            Command::Enqueue(jobs) => jobs.clone(),
            _ => Vec::new(),
        };
        if let Some(reply) = self.forge(at, &envelope.command) {
            return Outcome { reply, effects: Vec::new() };
        }
        self.damage_command(&mut envelope.command);
        let mut outcomes = self.inner.apply(at, vec![envelope.encode()]);
        let mut outcome = outcomes.pop().expect("one outcome");
        if let Reply::Enqueued(taken) = &mut outcome.reply {
            for (Enqueued { seq, duplicate, .. }, job) in taken.iter().zip(wanted) {
                if !duplicate {
                    // A repeated idempotency key answers for the first body, whatever this one is.
                    self.asked.entry(*seq).or_insert(job);
                }
            }
        }
        self.damage_reply(&mut outcome.reply);
        if self.damage == Damage::WakeNobody {
            outcome.effects.clear();
        }
        outcome
    }

    /// Says that it was done, and does not do it.
    fn forge(&self, at: Time, command: &Command) -> Option<Reply> {
        match (self.damage, command) {
            (Damage::DropAcks, Command::Ack(acks)) if acks.iter().all(|ack| self.holds(ack.seq, ack.token)) => {
                Some(Reply::Items(acks.iter().map(|_| ItemResult::default()).collect()))
            }
            (Damage::DropExtensions, Command::Extend(leases)) => {
                leases.iter().all(|lease| self.holds(lease.seq, lease.token) && lease.lease_ms.is_some()).then(|| {
                    let until = |ms: Option<u64>| ms.map(|ms| self.inner.now().max(at) + ms);
                    let done = |lease: &Extend| ItemResult {
                        code: None,
                        cancel_requested: self.inner.job(lease.seq).is_some_and(|job| job.cancel_requested),
                        expires_at: until(lease.lease_ms),
                    };
                    Reply::Items(leases.iter().map(done).collect())
                })
            }
            (Damage::DropCancelRequests, Command::Cancel(seq)) => {
                self.inner.job(*seq).filter(|job| job.state == JobState::Leased).map(|_| Reply::State(JobState::Leased))
            }
            (Damage::DropTicks, Command::Tick) | (Damage::DropPurges, Command::Purge(_)) => {
                Some(Reply::Swept { done: 0, more: false })
            }
            _ => None,
        }
    }

    fn holds(&self, seq: u64, token: u64) -> bool {
        self.inner.job(seq).is_some_and(|job| job.state == JobState::Leased && job.token == token)
    }

    fn damage_command(&mut self, command: &mut Command) {
        let damage = self.damage;
        match command {
            Command::Enqueue(jobs) => {
                for job in jobs.iter_mut() {
                    match damage {
                        Damage::DeliverEarly => job.run_at = job.run_at.map(earlier),
                        Damage::ForgetDeadlines => job.deadline = None,
                        Damage::ForgetUniqueKeys => job.unique_key = None,
                        Damage::ForgetUniqueWindows => job.unique_for_ms = None,
                        Damage::IgnoreOrderKeys => job.order_key = None,
                        Damage::IgnoreConcurrencyKeys => job.concurrency_key = None,
                        Damage::IgnorePriorities if job.priority <= 9 => job.priority = 4,
                        _ => {}
                    }
                }
                if damage == Damage::LoseJobs && jobs.len() > 1 {
                    jobs.pop();
                }
                if damage == Damage::LastInFirstOut {
                    jobs.reverse();
                }
            }
            Command::SetQueue(definition) => {
                self.versions += 1;
                let config = &mut definition.config;
                match damage {
                    Damage::IgnorePause => definition.paused = false,
                    Damage::IgnoreDrain => definition.draining = false,
                    Damage::IgnoreMaxInFlight => config.max_in_flight = None,
                    Damage::IgnoreRateLimits => config.rate_limit = None,
                    Damage::IgnoreMaxReady => config.max_ready = 1_000_000,
                    Damage::IgnoreRetention => config.retention_ms *= 2,
                    Damage::IgnoreBackoff => config.backoff.initial_ms = 0,
                    Damage::IgnoreVersions => definition.version += self.versions * 1_000,
                    Damage::DropDeadLetters => config.dead_letter = None,
                    _ => {}
                }
            }
            Command::Lease(lease) if damage == Damage::IgnoreRequirements => lease.labels = all_labels(),
            Command::Lease(lease) if damage == Damage::IgnoreProjects => lease.project = None,
            Command::Lease(lease) if damage == Damage::IgnoreStickyKeys => lease.sticky = None,
            Command::Lease(lease) if damage == Damage::LeaseTwoForOne && lease.max == 1 => lease.max = 2,
            Command::Ack(acks) => {
                for ack in acks {
                    ack.token = self.token(ack.seq, ack.token);
                }
            }
            Command::Nack(nacks) => {
                for nack in nacks {
                    nack.token = self.token(nack.seq, nack.token);
                    nack.dead |= damage == Damage::NackKills;
                }
            }
            Command::Extend(leases) => {
                for lease in leases {
                    lease.token = self.token(lease.seq, lease.token);
                }
            }
            _ => {}
        }
    }

    /// The token that the inner machine knows.
    fn token(&self, seq: u64, token: u64) -> u64 {
        let forgiving = match self.damage {
            Damage::AcceptOldTokens => true,
            Damage::ReuseTokens => token == 1,
            _ => false,
        };
        self.inner.job(seq).filter(|_| forgiving).map_or(token, |job| job.token)
    }

    fn damage_reply(&self, reply: &mut Reply) {
        if let (Damage::ReuseTokens, Reply::Leased(leased)) = (self.damage, reply) {
            leased.jobs.iter_mut().for_each(|job| job.token = 1);
        }
    }
}

impl<M: Machine> Machine for Mutant<M> {
    fn apply(&mut self, at: Time, commands: Vec<Bytes>) -> Vec<Outcome> {
        self.entries += 1;
        let at = if self.damage == Damage::TimeGoesBack && at < self.inner.now() { self.inner.now() + 1 } else { at };
        commands
            .iter()
            .map(|bytes| self.apply_one(at, Envelope::decode(bytes).expect("a command that was encoded")))
            .collect()
    }

    fn now(&self) -> Time {
        self.inner.now()
    }

    fn job(&self, seq: u64) -> Option<Shown> {
        let mut job = self.inner.job(seq)?;
        if let Some(asked) = self.asked.get(&seq) {
            job.order_key.clone_from(&asked.order_key);
            job.concurrency_key.clone_from(&asked.concurrency_key);
            job.priority = asked.priority;
            if self.damage == Damage::ForgetDeadlines {
                job.deadline = asked.deadline.map(|when| moment(job.enqueued_at, when));
            }
            if job.state == JobState::Scheduled && job.attempt == 0 && self.damage == Damage::DeliverEarly {
                job.run_at = asked.run_at.map_or(job.run_at, |when| moment(job.enqueued_at, when));
            }
        }
        if self.damage == Damage::ReuseTokens {
            job.token = job.token.min(1);
        }
        Some(job)
    }

    fn counts(&self, queue: &Name) -> Counts {
        self.inner.counts(queue)
    }

    fn list(&self, filter: &ListFilter) -> Vec<u64> {
        self.inner.list(filter)
    }

    fn why(&self, seq: u64) -> Option<Reason> {
        self.inner.why(seq)
    }

    fn deliverable(&self, queue: &Name) -> bool {
        self.inner.deliverable(queue)
    }

    fn next_due(&self) -> Option<Time> {
        self.inner.next_due()
    }

    fn digest(&self) -> Vec<u8> {
        let mut digest = self.inner.digest();
        if self.damage == Damage::DependOnBatching {
            digest.extend(self.entries.to_be_bytes());
        }
        digest
    }

    fn violations(&self) -> Vec<String> {
        self.inner.violations()
    }

    fn rows(&self) -> usize {
        self.inner.rows()
    }
}

fn earlier(when: When) -> When {
    match when {
        When::At(at) => When::At(at.saturating_sub(1)),
        When::In(ms) => When::In(ms.saturating_sub(1)),
    }
}

fn moment(now: Time, when: When) -> Time {
    match when {
        When::At(at) => at,
        When::In(ms) => now + ms,
    }
}
