//! Makes commands that hit what is there: it looks at the reference to know jobs and tokens.

use std::collections::BTreeMap;

use bravo_model::command::{
    Ack, Command, Envelope, Extend, Idempotency, Lease, Nack, NewJob, QueueDefinition, Sticky, When,
};
use bravo_model::job::{JobState, Payload};
use bravo_model::limits;
use bravo_model::queue::{Backoff, QueueConfig, RateLimit};
use bravo_model::{Name, Time};
use bytes::Bytes;

use super::{Rng, labels, name};
use crate::reference::Reference;

/// What one history makes use of: each leaves some things out, so that the rest goes deeper.
#[derive(Clone, Copy, Debug)]
struct Profile {
    priorities: bool,
    delays: bool,
    deadlines: bool,
    unique: bool,
    order: bool,
    concurrency: bool,
    lanes: bool,
    labels: bool,
    projects: bool,
    sticky: bool,
    limits: bool,
    switches: bool,
    dead_letters: bool,
    short_retention: bool,
    idempotency: bool,
    nonsense: bool,
    /// Ticks come at once when something is due, as the leader sends them.
    diligent: bool,
    /// So many jobs with so many sticky keys that a lease has not enough looks for all that it may give.
    crowded: bool,
}

/// One history of so many is crowded: they take long.
const CROWDED: u64 = 100;

/// Makes one history, command by command.
pub(crate) struct Generator {
    pub(crate) rng: Rng,
    profile: Profile,
    at: Time,
    version: u64,
}

const QUEUES: [&str; 3] = ["a", "b", "graves"];

impl Generator {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = Rng(seed);
        let mut flag = |percent| rng.chance(percent);
        let mut profile = Profile {
            priorities: flag(50),
            delays: flag(50),
            deadlines: flag(40),
            unique: flag(40),
            order: flag(45),
            concurrency: flag(40) && std::env::var("BRAVO_WITHOUT").is_err(),
            lanes: flag(25),
            labels: flag(25),
            projects: flag(25),
            sticky: flag(25),
            limits: flag(45),
            switches: flag(40),
            dead_letters: flag(30),
            short_retention: flag(30),
            idempotency: flag(40),
            nonsense: flag(30),
            diligent: flag(60),
            crowded: seed % CROWDED == 7,
        };
        if profile.crowded {
            // What would keep jobs from being ready, or few.
            (profile.sticky, profile.delays, profile.deadlines, profile.unique) = (true, false, false, false);
            (profile.order, profile.concurrency, profile.limits, profile.labels) = (false, false, false, false);
        }
        Self { rng, profile, at: 1_000_000, version: 0 }
    }

    /// Entries of this history.
    pub(crate) fn entries(&mut self) -> u64 {
        if self.rng.chance(1) { 150 } else { 10 + self.rng.below(40) }
    }

    /// Commands of the next entry.
    pub(crate) fn entry_commands(&mut self) -> u64 {
        if self.rng.chance(40) { 1 } else { 1 + self.rng.below(5) }
    }

    /// The next entry's stamp: mostly a little later, at times much later, or (a leader whose clock
    /// is behind) earlier; often exactly when something is due, one before, or one after.
    pub(crate) fn stamp(&mut self, reference: &Reference) -> Time {
        let rng = &mut self.rng;
        let now = reference.now.max(self.at);
        if let Some(due) = reference.next_due().filter(|due| *due > now && *due < now + 600_000)
            && rng.chance(25)
        {
            self.at = due - 1 + rng.below(3);
            return self.at;
        }
        match rng.below(100) {
            0..30 => self.at = now,
            30..65 => self.at = now + rng.below(50),
            65..85 => self.at = now + rng.below(2_000),
            85..94 => self.at = now + rng.below(60_000),
            94..96 => self.at = now + rng.below(3_600_000),
            96..97 => self.at = now + rng.below(9 * 86_400_000),
            _ => return now.saturating_sub(rng.below(100_000)),
        }
        self.at
    }

    /// The leader's habit: a tick when something is due.
    pub(crate) fn wants_tick(&mut self, reference: &Reference, at: Time) -> bool {
        self.profile.diligent && reference.next_due().is_some_and(|due| due <= at.max(reference.now))
    }

    pub(crate) fn envelope(&mut self, reference: &Reference) -> Envelope {
        let command = self.command(reference);
        let keyed = self.profile.idempotency && !matches!(command, Command::Tick) && self.rng.chance(30);
        let idempotency = keyed.then(|| Idempotency {
            key: [self.rng.below(4) as u8; 16],
            body: [self.rng.below(2) as u8; 16],
            kept_ms: self.rng.pick(&[50, 5_000, limits::IDEMPOTENCY_KEPT_MS]),
        });
        Envelope::new(idempotency, command)
    }

    fn command(&mut self, reference: &Reference) -> Command {
        match self.rng.below(100) {
            0..28 => self.enqueue(),
            28..50 => self.lease(),
            50..62 => self.ack(reference),
            62..72 => self.nack(reference),
            72..77 => self.extend(reference),
            77..82 => Command::Cancel(self.some_seq(reference)),
            82..85 => Command::Retry(self.some_seq(reference)),
            85..91 => Command::Tick,
            91..96 => self.set_queue(),
            96 => Command::Purge(self.queue()),
            97 => Command::Redrive(self.queue()),
            98 => Command::ForgetQueue { name: self.queue(), version: self.rng.below(self.version + 2) },
            _ if self.rng.chance(50) => Command::Reserve,
            _ => Command::Marker(self.rng.next()),
        }
    }

    fn queue(&mut self) -> Name {
        if self.rng.chance(70) { name(QUEUES[0]) } else { name(self.rng.pick(&QUEUES)) }
    }

    fn enqueue(&mut self) -> Command {
        let count = if self.rng.chance(60) { 1 } else { self.rng.below(5) };
        let count = if self.profile.crowded && self.rng.chance(25) { 40 + self.rng.below(60) } else { count };
        let count = if count == 0 && !self.profile.nonsense { 1 } else { count };
        Command::Enqueue((0..count).map(|_| self.new_job()).collect())
    }

    fn new_job(&mut self) -> NewJob {
        let Profile { priorities, delays, deadlines, unique, order, concurrency, lanes, sticky, nonsense, .. } =
            self.profile;
        let queue = self.queue();
        let rng = &mut self.rng;
        let odd = nonsense && rng.chance(5);
        let mut maybe =
            |on: bool, percent, from: &[&str]| (on && rng.chance(percent)).then(|| rng.pick(from).to_owned());
        let unique_key = maybe(unique, 60, &["u1", "u2"]);
        let order_key = maybe(order, 70, &["o1", "o2"]);
        let concurrency_key = maybe(concurrency, 70, &["c1", "c2"]);
        let fairness_key = maybe(lanes, 70, &["f1", "f2"]);
        let mut sticky_key = maybe(sticky, 60, &["s1", "s2", "s3"]);
        let workflow = maybe(true, 5, &["w-1"]).map(|text| name(&text));
        let run_at = (delays && rng.chance(50)).then(|| self.when(2_000));
        let deadline = (deadlines && self.rng.chance(50)).then(|| self.when(4_000));
        let rng = &mut self.rng;
        if self.profile.crowded && rng.chance(90) {
            sticky_key = Some(format!("s{}", rng.below(200)));
        }
        let text = format!("{}", rng.below(1_000));
        let size = if rng.chance(20) { rng.below(300) as usize } else { 0 };
        NewJob {
            queue,
            project: name(rng.pick(&["p", "p", "q"])),
            payload: Payload { json: size == 0, bytes: if size == 0 { text.into() } else { vec![7; size].into() } },
            priority: match (odd, priorities) {
                (true, _) => 10,
                (_, true) => rng.pick(&[0, 3, 4, 9]),
                _ => limits::PRIORITY_DEFAULT,
            },
            run_at,
            deadline,
            max_attempts: rng.chance(40).then(|| if odd { 0 } else { 1 + rng.below(3) as u32 }),
            unique_for_ms: (unique_key.is_some() && rng.chance(50)).then(|| rng.pick(&[1, 500, 5_000, 10_000_000])),
            unique_key,
            order_key,
            concurrency_key,
            fairness_key,
            requirements: if self.profile.labels && rng.chance(60) { some_labels(rng) } else { BTreeMap::new() },
            sticky_key,
            metadata: rng.pick(&[&b""[..], b"", b"{}", b"{\"k\":1}", b"{ \"a\": \"}\" }"]).into(),
            workflow,
        }
    }

    /// A moment around now: mostly soon, sometimes past.
    fn when(&mut self, span: u64) -> When {
        let rng = &mut self.rng;
        match rng.below(10) {
            0 => When::At(self.at.saturating_sub(rng.below(500))),
            1 => When::In(0),
            2..4 => When::At(self.at + rng.below(span)),
            4 if self.profile.nonsense => When::In(limits::HORIZON_MS_MAX + rng.below(2)),
            _ => When::In(rng.below(span)),
        }
    }

    fn lease(&mut self) -> Command {
        let queue = self.queue();
        let rng = &mut self.rng;
        let odd = self.profile.nonsense && rng.chance(5);
        let many = self.profile.crowded && rng.chance(50);
        Command::Lease(Lease {
            queue,
            worker: name(rng.pick(&["w1", "w2", "w3"])),
            max: if odd {
                rng.pick(&[0, 1_001])
            } else if many {
                rng.pick(&[30, 100, 200])
            } else {
                rng.pick(&[1, 1, 1, 2, 3, 10, 1_000])
            },
            bytes_max: rng.pick(&[1, 100, 500, 1 << 20, 1 << 20, 1 << 20]),
            lease_ms: rng.chance(50).then(|| if odd { 99 } else { rng.pick(&[100, 500, 5_000, 60_000]) }),
            project: (self.profile.projects && rng.chance(50)).then(|| name(rng.pick(&["p", "q"]))),
            labels: if self.profile.labels { some_labels(rng) } else { BTreeMap::new() },
            sticky: (self.profile.sticky && rng.chance(70)).then(|| Sticky {
                slots: rng.pick(&[0, u64::MAX, 0x5555_5555_5555_5555, 0x0000_ffff_0000_ffff]),
                alike: rng.pick(&[0, u64::MAX, 0x3333_3333_3333_3333]),
                wait_ms: rng.pick(&[0, 20, 500, 5_000]),
            }),
        })
    }

    /// A job: mostly one that is there; most often one that is leased.
    fn some_seq(&mut self, reference: &Reference) -> u64 {
        let pool: Vec<u64> = reference.jobs.keys().copied().collect();
        if pool.is_empty() || self.rng.chance(4) { self.rng.below(60) } else { self.rng.pick(&pool) }
    }

    /// A job and a token: right, old, or invented.
    fn grip(&mut self, reference: &Reference) -> (u64, u64) {
        let held: Vec<u64> =
            reference.jobs.values().filter(|job| job.state == JobState::Leased).map(|job| job.seq).collect();
        let seq = if held.is_empty() || self.rng.chance(15) { self.some_seq(reference) } else { self.rng.pick(&held) };
        let token = reference.jobs.get(&seq).map_or(1, |job| job.token);
        let token = match self.rng.below(20) {
            0 => token.saturating_sub(1),
            1 => token + 1,
            2 => self.rng.below(1 << 40),
            _ => token,
        };
        (seq, token)
    }

    /// One item mostly, sometimes several, the same job twice among them.
    fn items<T>(&mut self, mut item: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let count = if self.rng.chance(60) { 1 } else { self.rng.below(5) };
        (0..count).map(|_| item(self)).collect()
    }

    fn ack(&mut self, reference: &Reference) -> Command {
        Command::Ack(self.items(|this| {
            let (seq, token) = this.grip(reference);
            let result = this.rng.chance(50).then(|| Payload { json: true, bytes: format!("{}", this.at).into() });
            Ack { seq, token, result }
        }))
    }

    fn nack(&mut self, reference: &Reference) -> Command {
        Command::Nack(self.items(|this| {
            let (seq, token) = this.grip(reference);
            let rng = &mut this.rng;
            Nack {
                seq,
                token,
                error: rng.chance(50).then(|| format!("broke {}", rng.below(10))),
                retry_in_ms: rng.chance(50).then(|| rng.pick(&[0, 0, 1, 100, 3_000])),
                dead: rng.chance(15),
                unseen: rng.chance(10),
            }
        }))
    }

    fn extend(&mut self, reference: &Reference) -> Command {
        Command::Extend(self.items(|this| {
            let (seq, token) = this.grip(reference);
            let odd = this.profile.nonsense && this.rng.chance(10);
            let rng = &mut this.rng;
            Extend {
                seq,
                token,
                lease_ms: rng.chance(60).then(|| if odd { 99 } else { rng.pick(&[100, 1_000, 20_000]) }),
                progress: rng.chance(30).then(|| Bytes::from(format!("{}", rng.below(100)))),
            }
        }))
    }

    fn set_queue(&mut self) -> Command {
        // A version that was seen before comes now and then, and must change nothing.
        self.version = if self.rng.chance(85) { self.version + 1 } else { self.version.saturating_sub(1).max(1) };
        let config = self.config();
        let name = self.queue();
        let (paused, draining) =
            if self.profile.switches { (self.rng.chance(30), self.rng.chance(30)) } else { (false, false) };
        let home = config.is_homed() || self.rng.chance(50);
        Command::SetQueue(QueueDefinition { name, version: self.version, config, paused, draining, home })
    }

    fn config(&mut self) -> QueueConfig {
        let Profile { limits: limited, dead_letters, short_retention, .. } = self.profile;
        let rng = &mut self.rng;
        let defaults = QueueConfig::default();
        QueueConfig {
            max_attempts: 1 + rng.below(4) as u32,
            backoff: Backoff {
                initial_ms: rng.pick(&[0, 1, 100, 1_000]),
                factor: rng.pick(&[1.0, 2.0, 3.5]),
                max_ms: rng.pick(&[1_000, 5_000]),
                jitter: rng.pick(&[0.0, 0.2, 1.0]),
            },
            lease_ms: rng.pick(&[100, 1_000, 30_000]),
            rate_limit: (limited && rng.chance(40))
                .then(|| RateLimit { per_second: rng.pick(&[0.5, 1.0, 10.0, 1_000.0]), burst: rng.pick(&[1, 2, 5]) }),
            max_in_flight: (limited && rng.chance(40)).then(|| 1 + rng.below(3) as u32),
            concurrency_per_key: if limited { 1 + rng.below(2) as u32 } else { 1 },
            fairness_weights: if rng.chance(30) { BTreeMap::from([("f1".to_owned(), 3)]) } else { BTreeMap::new() },
            retention_ms: if short_retention { rng.pick(&[0, 100, 5_000]) } else { defaults.retention_ms },
            dead_letter: (dead_letters && rng.chance(60)).then(|| name(rng.pick(&["graves", "graves", "a"]))),
            max_ready: if limited && rng.chance(40) { 1 + rng.below(6) } else { defaults.max_ready },
            agent_type: None,
        }
    }
}

/// Any of the labels of the histories, as requirements or as what a worker has.
fn some_labels(rng: &mut Rng) -> BTreeMap<String, String> {
    let sets: [&[(&str, &str)]; 5] =
        [&[], &[("gpu", "yes")], &[("zone", "a")], &[("gpu", "yes"), ("zone", "a")], &[("gpu", "yes"), ("zone", "a")]];
    labels(rng.pick(&sets))
}
