//! What the histories reached: a run in which too little happened proves nothing.

use std::collections::BTreeMap;

use bravo_model::command::Command;
use bravo_model::reply::{ItemResult, Reply};

use crate::reference::Reference;

/// How often each thing happened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Coverage(pub(crate) BTreeMap<String, u64>);

/// What must have happened, often, in a run that counts.
const WANTED: [&str; 46] = [
    "enqueue: taken",
    "enqueue: duplicate",
    "enqueue: Scheduled",
    "enqueue: refused InvalidArgument",
    "enqueue: refused QueueFull",
    "lease: one",
    "lease: several",
    "lease: more",
    "lease: next_at",
    "lease: second attempt",
    "lease: refused InvalidArgument",
    "ack: ok",
    "ack: LeaseLost",
    "ack: NotFound",
    "nack: ok",
    "nack: LeaseLost",
    "extend: ok",
    "extend: LeaseLost",
    "extend: cancel_requested",
    "cancel: Cancelled",
    "cancel: Leased",
    "cancel: refused NotFound",
    "cancel: refused Conflict",
    "retry: Ready",
    "retry: refused Conflict",
    "tick: done",
    "purge: done",
    "redrive: done",
    "forget_queue: done",
    "forget_queue: refused Conflict",
    "any: refused IdempotencyKeyReuse",
    "state: Scheduled",
    "state: Ready",
    "state: Leased",
    "state: Succeeded",
    "state: Dead",
    "state: Cancelled",
    "why: Scheduled",
    "why: Backoff",
    "why: Paused",
    "why: BehindOrderKey",
    "why: ConcurrencyLimited",
    "why: InFlightLimited",
    "why: RateLimited",
    "why: Behind",
    "state: dead letter",
];

impl Coverage {
    fn note(&mut self, what: impl Into<String>) {
        *self.0.entry(what.into()).or_default() += 1;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (what, count) in &other.0 {
            *self.0.entry(what.clone()).or_default() += count;
        }
    }

    /// Panics if something that matters happened fewer than `times` times.
    pub(crate) fn demand(&self, times: u64) {
        let rare = |what: &&&str| self.0.get(**what).copied().unwrap_or(0) < times;
        let missing: Vec<_> = WANTED.iter().filter(rare).collect();
        assert!(missing.is_empty(), "the histories hardly reached {missing:?}\n{:#?}", self.0);
    }

    pub(crate) fn reply(&mut self, command: &Command, reply: &Reply) {
        let verb = match command {
            Command::Enqueue(_) => "enqueue",
            Command::Lease(_) => "lease",
            Command::Ack(_) => "ack",
            Command::Nack(_) => "nack",
            Command::Extend(_) => "extend",
            Command::Cancel(_) => "cancel",
            Command::Retry(_) => "retry",
            Command::ForgetQueue { .. } => "forget_queue",
            Command::Purge(_) => "purge",
            Command::Redrive(_) => "redrive",
            Command::Tick => "tick",
            _ => "other",
        };
        match reply {
            Reply::Refused(refusal) => {
                self.note(format!("{verb}: refused {:?}", refusal.code));
                self.note(format!("any: refused {:?}", refusal.code));
            }
            Reply::Enqueued(taken) => {
                for job in taken {
                    self.note(if job.duplicate { "enqueue: duplicate" } else { "enqueue: taken" });
                    self.note(format!("enqueue: {:?}", job.state));
                }
            }
            Reply::Leased(leased) => {
                let several = leased.jobs.len() > 1;
                self.note(if several { "lease: several" } else { "lease: one" });
                leased.more.then(|| self.note("lease: more"));
                if leased.next_at.is_some() {
                    self.note("lease: next_at");
                }
                leased.jobs.iter().filter(|job| job.attempt > 1).for_each(|_| self.note("lease: second attempt"));
            }
            Reply::Items(items) => items.iter().for_each(|item| self.item(verb, item)),
            Reply::State(state) => self.note(format!("{verb}: {state:?}")),
            Reply::Swept { done, .. } if *done > 0 => self.note(format!("{verb}: done")),
            Reply::Done => self.note(format!("{verb}: done")),
            _ => {}
        }
    }

    fn item(&mut self, verb: &str, item: &ItemResult) {
        match item.code {
            None => self.note(format!("{verb}: ok")),
            Some(code) => self.note(format!("{verb}: {code:?}")),
        }
        if item.cancel_requested {
            self.note(format!("{verb}: cancel_requested"));
        }
    }

    pub(crate) fn state(&mut self, reference: &Reference) {
        for job in reference.jobs.values() {
            self.note(format!("state: {:?}", job.state));
            for reason in reference.reasons(job.seq) {
                self.note(format!("why: {reason:?}"));
            }
            if job.metadata.windows(14).any(|part| part == b"dead_letter_of") {
                self.note("state: dead letter");
            }
        }
    }
}
