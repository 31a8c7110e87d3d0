//! Draws commands from small worlds of keys, so that they meet.

use std::collections::BTreeMap;

use bravo_model::command::{
    Ack, Command, Envelope, Extend, Idempotency, Lease, Nack, NewJob, QueueDefinition, Sticky, When,
};
use bravo_model::queue::{Backoff, RateLimit};
use bravo_model::view::QueueView;
use bravo_model::{Name, Outcome, Payload, QueueConfig, Reply, Time};
use bytes::Bytes;

const QUEUES: [&str; 3] = ["a", "b", "c"];

pub(crate) struct History {
    seed: u64,
    now: Time,
    version: u64,
    seqs: u64,
    leases: Vec<(u64, u64)>,
}

pub(crate) fn name(text: &str) -> Name {
    Name::parse("name", text).expect("a good name")
}

impl History {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, now: 1_000_000, version: 0, seqs: 0, leases: vec![] }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        (self.seed.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound.max(1)
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize].clone()
    }

    fn key(&mut self, percent: u64) -> Option<String> {
        self.chance(percent).then(|| self.pick(&["x", "y", "z"]).to_owned())
    }

    pub(crate) fn next_entry(&mut self) -> (Time, Vec<Envelope>) {
        let step = self.pick(&[0, 1, 7, 50, 500, 3_000, 40_000]);
        self.now += step;
        // Leaders' stamps may go back a little; the state's clock does not.
        let at = if self.chance(5) { self.now.saturating_sub(10_000) } else { self.now };
        let commands = (0..self.below(5)).map(|_| self.envelope()).collect();
        (at, commands)
    }

    fn envelope(&mut self) -> Envelope {
        let idempotency = self.chance(10).then(|| Idempotency {
            key: [self.below(6) as u8; 16],
            body: [self.below(2) as u8; 16],
            kept_ms: self.pick(&[0, 1_000, 100_000]),
        });
        Envelope::new(idempotency, self.command())
    }

    fn command(&mut self) -> Command {
        let queue = name(self.pick(&QUEUES));
        match self.below(100) {
            0..30 => Command::Enqueue((0..=self.below(4)).map(|_| self.new_job()).collect()),
            30..50 => self.lease(queue),
            50..60 => Command::Ack(self.tokens().into_iter().map(|(seq, token)| self.an_ack(seq, token)).collect()),
            60..68 => Command::Nack(self.tokens().into_iter().map(|(seq, token)| self.a_nack(seq, token)).collect()),
            68..72 => {
                Command::Extend(self.tokens().into_iter().map(|(seq, token)| self.an_extend(seq, token)).collect())
            }
            72..77 => Command::Cancel(self.seq()),
            77..81 => Command::Retry(self.seq()),
            81..86 => self.set_queue(queue),
            86 => Command::ForgetQueue { name: queue, version: self.version },
            87 => Command::Purge(queue),
            88 => Command::Redrive(queue),
            89 => Command::Reserve,
            _ => Command::Tick,
        }
    }

    fn new_job(&mut self) -> NewJob {
        let order_key = self.key(25);
        let (queue, project) = (name(self.pick(&QUEUES)), name(self.pick(&["p", "q"])));
        NewJob {
            priority: self.pick(&[4, 4, 4, 0, 9, 10]).min(if self.chance(98) { 9 } else { 10 }),
            run_at: self.chance(20).then(|| When::In(self.below(5_000))),
            deadline: self.chance(10).then(|| When::In(self.below(60_000))),
            max_attempts: self.chance(30).then(|| self.below(3) as u32 + 1),
            unique_key: self.key(15),
            unique_for_ms: self.chance(50).then(|| self.below(50_000)),
            order_key,
            concurrency_key: self.key(25),
            fairness_key: self.key(30),
            requirements: self.labels(20),
            sticky_key: self.key(20),
            ..NewJob::new(queue, project, Payload { json: true, bytes: Bytes::from_static(b"{}") })
        }
    }

    fn lease(&mut self, queue: Name) -> Command {
        let lease_ms = self.chance(50).then(|| self.pick(&[100, 5_000]));
        Command::Lease(Lease {
            queue,
            worker: name("w"),
            max: self.below(6) as u32,
            bytes_max: self.pick(&[3, 1000]),
            lease_ms,
            project: self.chance(20).then(|| name(self.pick(&["p", "q"]))),
            labels: self.labels(70),
            sticky: self.chance(30).then(|| Sticky { slots: self.pick(&[0, !0]), alike: 0, wait_ms: 500 }),
        })
    }

    fn labels(&mut self, percent: u64) -> BTreeMap<String, String> {
        let label = |label: &str| (label.to_owned(), "yes".to_owned());
        let labels = ["gpu", "fast"].map(|of| self.chance(percent).then(|| label(of)));
        labels.into_iter().flatten().collect()
    }

    fn tokens(&mut self) -> Vec<(u64, u64)> {
        let mut tokens = Vec::new();
        for _ in 0..=self.below(3) {
            if !self.leases.is_empty() {
                tokens.push(self.pick(&self.leases.clone()));
            }
        }
        if self.chance(5) {
            tokens.push((self.seq(), self.below(3)));
        }
        tokens
    }

    fn an_ack(&mut self, seq: u64, token: u64) -> Ack {
        let result = self.chance(30).then(|| Payload { json: true, bytes: Bytes::from_static(b"1") });
        Ack { seq, token, result }
    }

    fn a_nack(&mut self, seq: u64, token: u64) -> Nack {
        let retry_in_ms = self.chance(30).then(|| self.below(3_000));
        Nack { seq, token, error: Some("no".into()), retry_in_ms, dead: self.chance(20), unseen: self.chance(20) }
    }

    fn an_extend(&mut self, seq: u64, token: u64) -> Extend {
        let lease_ms = self.chance(50).then(|| self.below(9_000));
        Extend { seq, token, lease_ms, progress: self.chance(50).then(|| Bytes::from_static(b"1")) }
    }

    fn seq(&mut self) -> u64 {
        let seqs = self.seqs;
        self.below(seqs + 1) + 1
    }

    fn set_queue(&mut self, queue: Name) -> Command {
        let version = self.version + self.below(2);
        self.version = version;
        let config = QueueConfig {
            max_attempts: self.below(4) as u32 + 1,
            backoff: Backoff { initial_ms: self.pick(&[0, 1_000]), ..Backoff::default() },
            lease_ms: self.pick(&[1_000, 30_000]),
            rate_limit: self.chance(20).then(|| RateLimit { per_second: self.pick(&[0.5, 100.0]), burst: 3 }),
            max_in_flight: self.chance(20).then(|| self.below(4) as u32 + 1),
            concurrency_per_key: self.pick(&[1, 1, 2, 5]),
            fairness_weights: [("x".to_owned(), self.pick(&[1, 10]))].into(),
            retention_ms: self.pick(&[0, 1_000, 100_000]),
            dead_letter: self.chance(40).then(|| name(self.pick(&QUEUES))),
            max_ready: self.pick(&[10, 1_000_000]),
            agent_type: None,
        };
        let (paused, draining) = (self.chance(10), self.chance(5));
        Command::SetQueue(QueueDefinition { name: queue, version, config, paused, draining, home: true })
    }

    pub(crate) fn learn(&mut self, outcomes: &[Outcome]) {
        for outcome in outcomes {
            match &outcome.reply {
                Reply::Enqueued(jobs) => self.seqs = jobs.iter().map(|job| job.seq).max().unwrap_or(0).max(self.seqs),
                Reply::Leased(leased) => self.leases.extend(leased.jobs.iter().map(|job| (job.seq, job.token))),
                _ => {}
            }
        }
        let old = self.leases.len().saturating_sub(40);
        self.leases.drain(..old);
    }
}

/// What lets everything come to an end: queues are resumed, and time passes.
pub(crate) fn work_off(round: u64, queues: Vec<QueueView>) -> Vec<Envelope> {
    let open = |queue: QueueView| {
        let config = QueueConfig { dead_letter: None, retention_ms: 0, ..QueueConfig::default() };
        let definition = QueueDefinition {
            name: queue.name,
            version: 1_000_000,
            config,
            paused: false,
            draining: false,
            home: true,
        };
        Envelope::plain(Command::SetQueue(definition))
    };
    let lease = |queue: &QueueView| {
        let (queue, worker) = (queue.name.clone(), name("w"));
        Envelope::plain(Command::Lease(Lease {
            bytes_max: 1_000,
            lease_ms: Some(100),
            labels: ["gpu", "fast"].map(|label| (label.to_owned(), "yes".to_owned())).into(),
            ..Lease::new(queue, worker, 1_000)
        }))
    };
    let leases: Vec<Envelope> = queues.iter().map(lease).collect();
    let first = if round == 0 { queues.into_iter().map(open).collect() } else { Vec::new() };
    first.into_iter().chain(leases).chain([Envelope::plain(Command::Tick)]).collect()
}
