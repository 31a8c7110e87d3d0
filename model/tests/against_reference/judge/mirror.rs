//! The reference in the place of the machine: shows that judge and histories are sound by themselves.

use bravo_model::command::{Envelope, ListFilter};
use bravo_model::reply::{Effect, Outcome};
use bravo_model::{Name, Time};
use bytes::Bytes;

use super::compare::QUEUES;
use super::machine::{Machine, Shown};
use super::trial::PARTITION;
use crate::history::name;
use crate::reference::{Counts, Reason, Reference, Seen};

pub(crate) struct Mirror(Reference);

impl Mirror {
    pub(crate) fn new() -> Self {
        Self(Reference::new(PARTITION))
    }
}

impl Machine for Mirror {
    fn apply(&mut self, at: Time, commands: Vec<Bytes>) -> Vec<Outcome> {
        let seen = Seen { reply: None, job: &|_| None };
        let mut apply = |bytes: &Bytes| {
            let reply = self.0.apply(at, &Envelope::decode(bytes).expect("a known command"), &seen);
            // Everybody is woken by everything.
            Outcome { reply, effects: QUEUES.map(|queue| Effect::QueueReady(name(queue))).into() }
        };
        commands.iter().map(&mut apply).collect()
    }

    fn now(&self) -> Time {
        self.0.now
    }

    fn job(&self, seq: u64) -> Option<Shown> {
        self.0.jobs.get(&seq).map(Shown::from)
    }

    fn counts(&self, queue: &Name) -> Counts {
        self.0.counts(queue)
    }

    fn list(&self, filter: &ListFilter) -> Vec<u64> {
        self.0
            .jobs
            .values()
            .filter(|job| filter.state.is_none_or(|state| job.state == state))
            .map(|job| job.seq)
            .collect()
    }

    fn why(&self, seq: u64) -> Option<Reason> {
        self.0.reasons(seq).first().copied()
    }

    fn deliverable(&self, queue: &Name) -> bool {
        !self.0.is_idle(queue)
    }

    fn next_due(&self) -> Option<Time> {
        self.0.next_due()
    }

    fn digest(&self) -> Vec<u8> {
        Vec::new()
    }

    fn violations(&self) -> Vec<String> {
        Vec::new()
    }

    fn rows(&self) -> usize {
        self.0.jobs.len()
    }
}
