//! One history, command by command, against machine and reference.
//!
//! The history is given to the machine twice: once with each command as an entry of its own (that
//! is what the reference follows), once in the entries it came in. Replies and digests of both must
//! agree, so that determinism and the independence from batching are checked all along.

use std::fmt;

use bravo_model::command::{Command, Envelope, QueueDefinition};
use bravo_model::job::JobState;
use bravo_model::queue::QueueConfig;
use bravo_model::reply::{Effect, Reply};
use bravo_model::{JobId, Time};

use super::Machine;
use super::compare;
use super::coverage::Coverage;
use crate::history::{Generator, History, Step, all_labels, name};
use crate::reference::{Reference, Seen};

/// The partition that the histories play in.
pub(crate) const PARTITION: u16 = 3;

/// What the judge objects to.
#[derive(Clone, Debug)]
pub(crate) struct Complaint {
    /// Which comparison failed: stays the same while a history is shrunk.
    pub(crate) kind: &'static str,
    pub(crate) detail: String,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.detail)
    }
}

pub(crate) type Verdict = Result<(), Complaint>;

pub(crate) fn complain<T>(kind: &'static str, detail: String) -> Result<T, Complaint> {
    Err(Complaint { kind, detail })
}

/// A history in progress.
pub(crate) struct Trial<M> {
    pub(crate) reference: Reference,
    /// Gets each command as an entry of its own.
    single: M,
    /// Gets whole entries.
    batched: M,
    coverage: Coverage,
    entries: u64,
}

/// Judges the history of a seed; the history itself comes back with the complaint.
pub(crate) fn judge_seed<M: Machine>(
    seed: u64,
    new: &dyn Fn() -> M,
) -> Result<(History, Coverage), (Box<History>, Complaint)> {
    let mut generator = Generator::new(seed);
    let mut trial = Trial::new(new);
    let mut history = History::default();
    for _ in 0..generator.entries() {
        let at = generator.stamp(&trial.reference);
        let mut step = Step { at, commands: Vec::new() };
        if generator.wants_tick(&trial.reference, at) {
            step.commands.push(Envelope::plain(Command::Tick));
        }
        for _ in 0..generator.entry_commands() {
            step.commands.push(Envelope::plain(Command::Marker(0))); // Replaced as the entry is played.
        }
        let (done, verdict) = trial.play(at, step.commands.len(), |number, reference| match &step.commands[number] {
            ticked if ticked.command == Command::Tick => ticked.clone(),
            _ => generator.envelope(reference),
        });
        history.steps.push(Step { at, commands: done });
        if let Err(complaint) = verdict {
            return Err((Box::new(history), complaint));
        }
    }
    match trial.wind_down() {
        Ok(()) => Ok((history, trial.coverage)),
        Err(complaint) => Err((Box::new(history), complaint)),
    }
}

/// Judges a history that is known.
pub(crate) fn judge_history<M: Machine>(history: &History, new: &dyn Fn() -> M) -> Verdict {
    let mut trial = Trial::new(new);
    for step in &history.steps {
        trial.play(step.at, step.commands.len(), |number, _| step.commands[number].clone()).1?;
    }
    trial.wind_down()
}

impl<M: Machine> Trial<M> {
    pub(crate) fn new(new: &dyn Fn() -> M) -> Self {
        Self {
            reference: Reference::new(PARTITION),
            single: new(),
            batched: new(),
            coverage: Coverage::default(),
            entries: 0,
        }
    }

    /// Plays one entry; what was asked in it comes back.
    fn play(
        &mut self,
        at: Time,
        count: usize,
        mut next: impl FnMut(usize, &Reference) -> Envelope,
    ) -> (Vec<Envelope>, Verdict) {
        let mut asked = Vec::new();
        let mut replies = Vec::new();
        for number in 0..count {
            let envelope = next(number, &self.reference);
            asked.push(envelope.clone());
            match self.command(at, &envelope) {
                Ok(reply) => replies.push(reply),
                Err(complaint) => return (asked, Err(complaint)),
            }
        }
        let verdict = self.after_entry(at, &asked, &replies);
        (asked, verdict)
    }

    /// Gives one command to machine and reference.
    fn command(&mut self, at: Time, envelope: &Envelope) -> Result<Reply, Complaint> {
        self.reference.now = self.reference.now.max(at);
        let idle: Vec<_> = compare::QUEUES
            .map(name)
            .into_iter()
            .filter(|queue| self.reference.is_idle(queue) && !self.single.deliverable(queue))
            .collect();
        let mut outcomes = self.single.apply(at, vec![envelope.encode()]);
        let (Some(outcome), true) = (outcomes.pop(), outcomes.is_empty()) else {
            return complain("outcomes", "one command has one outcome".into());
        };
        let job = |seq| self.single.job(seq).map(|job| (job.state, job.run_at));
        let origin = |seq| origin_of(&self.single.job(seq)?.metadata);
        let seen = Seen { reply: Some(&outcome.reply), job: &job, origin: &origin };
        let expected = self.reference.apply(at, envelope, &seen);
        compare::replies(&self.reference, &envelope.command, &expected, &outcome.reply)?;
        for queue in idle {
            let told = outcome.effects.contains(&Effect::QueueReady(queue.clone()));
            if !told && !self.reference.is_idle(&queue) {
                return complain("effects", format!("queue {queue} can deliver now, nobody is told: {envelope:?}"));
            }
        }
        self.coverage.reply(&envelope.command, &outcome.reply);
        Ok(outcome.reply)
    }

    fn after_entry(&mut self, at: Time, asked: &[Envelope], replies: &[Reply]) -> Verdict {
        compare::states(&self.reference, &self.single)?;
        self.coverage.state(&self.reference);
        let outcomes = self.batched.apply(at, asked.iter().map(Envelope::encode).collect());
        let batched: Vec<Reply> = outcomes.into_iter().map(|outcome| outcome.reply).collect();
        if batched != replies {
            return complain("batching", format!("alone: {replies:?}\n   together: {batched:?}"));
        }
        // What reads every row is done at every fourth entry: damage to the tables stays.
        self.entries += 1;
        if !self.entries.is_multiple_of(4) {
            return Ok(());
        }
        self.thoroughly()
    }

    fn thoroughly(&self) -> Verdict {
        if let Some(violation) = self.single.violations().first() {
            return complain("invariant", violation.clone());
        }
        if self.single.digest() != self.batched.digest() {
            return complain("determinism", "commands alone and together left different digests".into());
        }
        Ok(())
    }

    /// Faults are over: switches off, limits off, and a worker that acks all. Everything must come
    /// to an end, and when retention has passed nothing but definitions may be left.
    fn wind_down(&mut self) -> Verdict {
        for queue in compare::QUEUES {
            let definition = QueueDefinition {
                name: name(queue),
                version: 1 << 40,
                config: QueueConfig { retention_ms: 1_000, ..QueueConfig::default() },
                paused: false,
                draining: false,
                home: true,
            };
            self.alone(self.reference.now, Command::SetQueue(definition))?;
        }
        let mut rounds = 0;
        while self.reference.jobs.values().any(|job| !job.state.is_final()) {
            rounds += 1;
            if rounds > 300 {
                return complain("progress", "jobs never end although workers ack all".into());
            }
            self.work_off()?;
        }
        self.thoroughly()?;
        self.forget_all()
    }

    /// Leases and acks all that is ready; then sleeps until something is due.
    fn work_off(&mut self) -> Verdict {
        let mut at = self.reference.now;
        self.alone(at, Command::Tick)?;
        for queue in compare::QUEUES {
            let mut lease = bravo_model::command::Lease::new(name(queue), name("closer"), 1_000);
            lease.labels = all_labels();
            self.alone(at, Command::Lease(lease))?;
        }
        let acks = self.reference.jobs.values().filter(|job| job.state == JobState::Leased);
        let acks: Vec<_> = acks
            .filter(|job| job.worker == Some(name("closer")))
            .map(|job| bravo_model::command::Ack { seq: job.seq, token: job.token, result: None })
            .collect();
        if acks.is_empty() {
            at = self.reference.next_due().unwrap_or(at);
            return self.alone(at, Command::Tick);
        }
        self.alone(at, Command::Ack(acks))
    }

    fn forget_all(&mut self) -> Verdict {
        // Past every retention, unique window and idempotency key.
        let mut at = self.reference.now;
        for _ in 0..3 {
            at += 11 * 366 * 86_400_000;
            self.alone(at, Command::Tick)?;
        }
        for queue in compare::QUEUES {
            self.alone(at, Command::ForgetQueue { name: name(queue), version: 1 << 41 })?;
        }
        self.thoroughly()?;
        compare::emptied(&self.single)
    }

    fn alone(&mut self, at: Time, command: Command) -> Verdict {
        self.play(at, 1, |_, _| Envelope::plain(command.clone())).1
    }
}

/// The seq in `"dead_letter_of":"j3-7"`.
fn origin_of(metadata: &[u8]) -> Option<u64> {
    let (_, id) = std::str::from_utf8(metadata).ok()?.split_once("\"dead_letter_of\":\"")?;
    id.split('"').next()?.parse::<JobId>().ok().map(|id| id.seq)
}
