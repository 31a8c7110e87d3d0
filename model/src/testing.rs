//! A small world for unit tests: one partition, a clock, and every invariant checked after every command.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::command::{Ack, Command, Entry, Envelope, Idempotency, Lease, Nack, NewJob, QueueDefinition};
use crate::invariant;
use crate::reply::{ItemResult, Leased};
use crate::{Code, Effect, Job, JobState, Key, Name, Outcome, Payload, QueueConfig, Reply, Time, Value, apply, view};

pub(crate) struct World {
    pub(crate) rows: BTreeMap<Key, Value>,
    pub(crate) at: Time,
    /// Whether every command is followed by every invariant.
    pub(crate) check: bool,
    version: u64,
}

pub(crate) fn name(text: &str) -> Name {
    Name::parse("name", text).expect("a good name")
}

pub(crate) fn new_job() -> NewJob {
    NewJob::new(name("q"), name("p"), Payload { json: true, bytes: Bytes::from_static(b"{}") })
}

impl World {
    pub(crate) fn new() -> Self {
        Self { rows: BTreeMap::new(), at: 1_000_000, check: true, version: 0 }
    }

    pub(crate) fn run(&mut self, envelope: &Envelope) -> Outcome {
        let entry = Entry { at: self.at, commands: vec![envelope.encode()] };
        let outcome = apply(&mut self.rows, 1, &entry).remove(0);
        if self.check {
            assert_eq!(invariant::check(&self.rows), [], "after {envelope:?}");
        }
        outcome
    }

    /// Without a look at all rows, where there are many.
    pub(crate) fn quick(&mut self, command: Command) {
        let entry = Entry { at: self.at, commands: vec![Envelope::plain(command).encode()] };
        apply(&mut self.rows, 1, &entry);
    }

    pub(crate) fn ask(&mut self, command: Command) -> Reply {
        self.run(&Envelope::plain(command)).reply
    }

    pub(crate) fn keyed(&mut self, key: u8, body: u8, command: Command) -> Reply {
        let idempotency = Some(Idempotency { key: [key; 16], body: [body; 16], kept_ms: 10_000 });
        self.run(&Envelope::new(idempotency, command)).reply
    }

    pub(crate) fn wakes(&mut self, command: Command) -> bool {
        self.run(&Envelope::plain(command)).effects.contains(&Effect::QueueReady(name("q")))
    }

    pub(crate) fn set(&mut self, config: QueueConfig) {
        self.switch(config, false, false);
    }

    pub(crate) fn switch(&mut self, config: QueueConfig, paused: bool, draining: bool) {
        self.version += 1;
        let (name, version) = (name("q"), self.version);
        let definition = QueueDefinition { name, version, config, paused, draining, home: true };
        assert_eq!(self.ask(Command::SetQueue(definition)), Reply::Done);
    }

    pub(crate) fn add(&mut self, with: impl FnOnce(&mut NewJob)) -> u64 {
        let mut job = new_job();
        with(&mut job);
        match self.ask(Command::Enqueue(vec![job])) {
            Reply::Enqueued(jobs) => jobs[0].seq,
            reply => panic!("{reply:?}"),
        }
    }

    pub(crate) fn leases(&mut self, max: u32) -> Leased {
        self.leases_as(max, |_| {})
    }

    pub(crate) fn leases_as(&mut self, max: u32, with: impl FnOnce(&mut Lease)) -> Leased {
        let mut lease = Lease::new(name("q"), name("w"), max);
        with(&mut lease);
        match self.ask(Command::Lease(lease)) {
            Reply::Leased(leased) => leased,
            reply => panic!("{reply:?}"),
        }
    }

    pub(crate) fn lease_as(&mut self, max: u32, with: impl FnOnce(&mut Lease)) -> Vec<u64> {
        self.leases_as(max, with).jobs.iter().map(|job| job.seq).collect()
    }

    pub(crate) fn lease(&mut self, max: u32) -> Vec<u64> {
        self.leases(max).jobs.iter().map(|job| job.seq).collect()
    }

    pub(crate) fn item(&mut self, command: Command) -> Result<ItemResult, Code> {
        match self.ask(command) {
            Reply::Items(items) => items[0].code.map_or(Ok(items[0]), Err),
            reply => panic!("{reply:?}"),
        }
    }

    /// How leases ended by a command, for each worker and queue: with success, with failure, otherwise.
    pub(crate) fn ended(&mut self, command: Command) -> Vec<[u32; 3]> {
        let effects = self.run(&Envelope::plain(command)).effects.into_iter();
        let ends = effects.filter_map(|effect| match effect {
            Effect::LeasesEnded(ended) => Some([ended.done, ended.failed, ended.other]),
            _ => None,
        });
        ends.collect()
    }

    /// Acks with the token of the latest lease.
    pub(crate) fn ack(&mut self, seq: u64) -> Result<ItemResult, Code> {
        let token = self.job(seq).lease_token;
        self.item(Command::Ack(vec![Ack { seq, token, result: None }]))
    }

    pub(crate) fn nack(&mut self, seq: u64, retry_in_ms: Option<u64>, dead: bool) -> Result<ItemResult, Code> {
        let (token, error) = (self.job(seq).lease_token, Some("no".to_owned()));
        self.item(Command::Nack(vec![Nack { seq, token, error, retry_in_ms, dead, unseen: false }]))
    }

    pub(crate) fn tick(&mut self, ms: u64) {
        self.at += ms;
        while matches!(self.ask(Command::Tick), Reply::Swept { more: true, .. }) {}
    }

    pub(crate) fn job(&self, seq: u64) -> Job {
        view::job(&self.rows, seq).expect("the job is there")
    }

    pub(crate) fn state(&self, seq: u64) -> Option<JobState> {
        view::job(&self.rows, seq).map(|job| job.state)
    }

    pub(crate) fn why(&self, seq: u64) -> &'static str {
        view::why(&self.rows, seq).map_or("unknown", |why| why.reason)
    }
}

pub(crate) fn refusal(reply: &Reply) -> Option<Code> {
    match reply {
        Reply::Refused(refusal) => Some(refusal.code),
        _ => None,
    }
}

/// A task for the queue `q`.
pub(crate) fn task(id: &str, depends_on: &[&str]) -> crate::workflow::NewTask {
    crate::workflow::NewTask {
        id: name(id),
        depends_on: depends_on.iter().map(|id| name(id)).collect(),
        action: crate::workflow::Action::Job { queue: name("q"), max_attempts: None, priority: 4 },
        input: Bytes::from_static(b"null"),
        when: None,
        foreach: None,
        max_parallel: None,
        timeout_ms: None,
        compensate: None,
    }
}
