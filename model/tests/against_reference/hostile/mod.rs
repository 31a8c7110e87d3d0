//! Bytes that are no command, and commands with numbers that nobody would send: refused or
//! bounded, never a panic, never a change by something that was refused.

use bravo_model::command::{Ack, Command, Envelope, Extend, Idempotency, Lease, Nack, When};
use bravo_model::reply::Reply;
use bravo_model::{Code, limits};
use bytes::Bytes;

use crate::history::{Generator, Rng, name};
use crate::judge::Machine;
use crate::reference::Reference;

const EXTREMES: [u64; 8] =
    [0, 1, limits::HORIZON_MS_MAX, limits::HORIZON_MS_MAX + 1, 1 << 53, u64::MAX / 2, u64::MAX - 1, u64::MAX];

/// Damaged envelopes among good ones.
pub(crate) fn damaged_commands_are_refused<M: Machine>(seed: u64, mut machine: M) {
    let mut rng = Rng(seed);
    let mut generator = Generator::new(seed);
    let reference = Reference::new(0);
    for at in 0..60 {
        let mut bytes = generator.envelope(&reference).encode().to_vec();
        match rng.below(4) {
            0 => bytes.truncate(rng.below(bytes.len() as u64) as usize),
            1 => bytes[0] = rng.next() as u8,
            2 => {
                let place = rng.below(bytes.len() as u64) as usize;
                bytes[place] ^= 1 << rng.below(8);
            }
            _ => {}
        }
        machine.apply(at, Vec::new());
        let known = Envelope::decode(&bytes).is_ok();
        let before = machine.digest();
        let outcomes = machine.apply(at, vec![Bytes::from(bytes)]);
        assert_eq!(outcomes.len(), 1, "seed {seed}: each command has an outcome");
        match &outcomes[0].reply {
            Reply::Refused(refusal) => {
                assert_eq!(machine.digest(), before, "seed {seed}: a refusal changes nothing, {refusal:?}");
                assert!(known || refusal.code == Code::InvalidArgument, "seed {seed}: {refusal:?}");
            }
            reply => assert!(known, "seed {seed}: no command, and {reply:?}"),
        }
        assert!(machine.violations().is_empty(), "seed {seed}: {:?}", machine.violations());
    }
}

/// Numbers at the ends of their types.
pub(crate) fn extreme_numbers_are_bounded<M: Machine>(seed: u64, mut machine: M) {
    let mut rng = Rng(seed);
    let mut generator = Generator::new(seed);
    let reference = Reference::new(0);
    let mut at = 1_000_000;
    for _ in 0..80 {
        at += rng.below(5_000);
        let mut envelope = generator.envelope(&reference);
        inflate(&mut rng, &mut envelope.command);
        envelope.idempotency = rng.chance(20).then(|| Idempotency {
            key: [rng.below(200) as u8; 16],
            body: [1; 16],
            kept_ms: rng.pick(&EXTREMES),
        });
        let outcome = machine.apply(at, vec![envelope.encode()]).pop().expect("one outcome");
        // What was leased is handed back in odd ways.
        if let Reply::Leased(leased) = outcome.reply {
            for job in leased.jobs {
                let command = hand_back(&mut rng, job.seq, job.token);
                machine.apply(at, vec![Envelope::plain(command).encode()]);
            }
        }
        assert!(machine.violations().is_empty(), "seed {seed}: {:?}\nafter {envelope:?}", machine.violations());
    }
}

fn inflate(rng: &mut Rng, command: &mut Command) {
    match command {
        Command::Enqueue(jobs) => {
            for job in jobs {
                let when = |rng: &mut Rng| {
                    let number = rng.pick(&EXTREMES);
                    Some(if rng.chance(50) { When::At(number) } else { When::In(number) })
                };
                if rng.chance(30) {
                    job.run_at = when(rng);
                }
                if rng.chance(30) {
                    job.deadline = when(rng);
                }
                if rng.chance(30) {
                    job.unique_for_ms = Some(rng.pick(&EXTREMES));
                    job.unique_key = Some("u".into());
                }
                if rng.chance(30) {
                    job.max_attempts = Some(rng.pick(&[0, limits::ATTEMPTS_MAX, u32::MAX]));
                }
                job.priority = rng.pick(&[0, 4, 9, 10, u8::MAX]);
            }
        }
        Command::Lease(lease) => {
            lease.lease_ms = Some(rng.pick(&EXTREMES)).filter(|_| rng.chance(20));
            lease.max = rng.pick(&[1, 5, u32::MAX]);
            lease.bytes_max = rng.pick(&[0, 1, u32::MAX]);
        }
        Command::SetQueue(definition) => {
            definition.config.lease_ms = rng.pick(&[limits::LEASE_MS_MIN, limits::LEASE_MS_MAX]);
            definition.config.retention_ms = rng.pick(&[0, limits::HORIZON_MS_MAX]);
            definition.config.backoff.initial_ms = rng.pick(&[0, 1, limits::HORIZON_MS_MAX]);
            definition.config.backoff.max_ms = limits::HORIZON_MS_MAX;
            definition.config.backoff.factor = 100.0;
            definition.config.max_attempts = limits::ATTEMPTS_MAX;
            if let Some(rate) = &mut definition.config.rate_limit {
                rate.per_second = rng.pick(&[f64::MIN_POSITIVE, 1e-9, 1e9]);
                rate.burst = rng.pick(&[1, u32::MAX]);
            }
        }
        Command::Cancel(seq) | Command::Retry(seq) if rng.chance(30) => *seq = rng.pick(&EXTREMES),
        Command::ForgetQueue { version, .. } => *version = rng.pick(&EXTREMES),
        _ => {}
    }
}

fn hand_back(rng: &mut Rng, seq: u64, token: u64) -> Command {
    let odd = Some(rng.pick(&EXTREMES));
    match rng.below(4) {
        0 => Command::Nack(vec![Nack { seq, token, error: None, retry_in_ms: odd, dead: false, unseen: false }]),
        1 => Command::Nack(vec![Nack {
            seq,
            token,
            error: Some("ä".repeat(5_000)),
            retry_in_ms: None,
            dead: false,
            unseen: false,
        }]),
        2 => Command::Extend(vec![Extend { seq, token, lease_ms: odd, progress: None }]),
        _ => Command::Ack(vec![Ack { seq, token, result: None }]),
    }
}

/// More than one command may sweep: it yields, says so, and goes on where it was.
pub(crate) fn sweeps_yield<M: Machine>(mut machine: M) {
    let total = u64::from(limits::SWEEP_MAX) * 2 + 500;
    let ask = |machine: &mut M, at: u64, command: Command| -> Reply {
        machine.apply(at, vec![Envelope::plain(command).encode()]).pop().expect("one outcome").reply
    };
    let mut generator = Generator::new(1);
    let mut fill = |machine: &mut M, at: u64, run_at: Option<When>, deadline: Option<When>| {
        for _ in 0..total / 500 {
            let mut jobs = Vec::new();
            while jobs.len() < 500 {
                if let Command::Enqueue(some) = generator.envelope(&Reference::new(0)).command {
                    jobs.extend(some);
                }
            }
            jobs.truncate(500);
            for job in &mut jobs {
                (job.queue, job.priority, job.run_at, job.deadline) = (name("a"), 4, run_at, deadline);
                (job.unique_key, job.unique_for_ms, job.max_attempts, job.workflow) = (None, None, None, None);
            }
            let reply = machine.apply(at, vec![Envelope::plain(Command::Enqueue(jobs)).encode()]).pop();
            assert!(matches!(reply.expect("one outcome").reply, Reply::Enqueued(_)));
        }
    };
    let sweep = |machine: &mut M, at: u64, command: Command| {
        let mut swept = 0;
        loop {
            let Reply::Swept { done, more } = ask(machine, at, command.clone()) else { panic!("a sweep") };
            assert!(done <= u64::from(limits::SWEEP_MAX), "{done} things by one {command:?}");
            swept += done;
            assert!(machine.violations().is_empty(), "{:?}", machine.violations());
            if !more {
                return swept;
            }
            assert!(done > 0, "{command:?} has more to do and does nothing");
        }
    };
    fill(&mut machine, 1_000, None, Some(When::In(10_000)));
    assert_eq!(sweep(&mut machine, 2_000, Command::Purge(name("a"))), total);
    fill(&mut machine, 3_000, Some(When::In(100)), Some(When::In(10_000)));
    assert_eq!(machine.counts(&name("a")).scheduled, total);
    assert!(sweep(&mut machine, 4_000, Command::Tick) >= total);
    assert_eq!(machine.counts(&name("a")).ready, total);
    assert!(sweep(&mut machine, 14_000, Command::Tick) >= total);
    assert_eq!(machine.counts(&name("a")).dead, total);
    assert_eq!(sweep(&mut machine, 15_000, Command::Redrive(name("a"))), total);
    assert_eq!(machine.counts(&name("a")).ready, total);
    let lease = Lease { lease_ms: Some(1_000), ..Lease::new(name("a"), name("w"), 1_000) };
    let Reply::Leased(leased) = ask(&mut machine, 15_000, Command::Lease(lease)) else { panic!("a lease") };
    assert!(leased.jobs.len() <= 1_000);
    assert!(sweep(&mut machine, 17_000, Command::Tick) >= leased.jobs.len() as u64);
}
