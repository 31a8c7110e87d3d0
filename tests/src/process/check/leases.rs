//! Leases: tokens grow, one at a time, not too early.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Found;
use crate::process::history::{Call, End, Leased, Op, Said};

/// The state's clock may run this much faster than the test's.
const CLOCK_SHARE: u32 = 100;
/// Milliseconds are cut, on both sides.
const ROUNDING: Duration = Duration::from_millis(2);

/// Every lease that was handed out, with its call.
fn leases(ops: &[Op]) -> impl Iterator<Item = (&Op, u64, &Leased)> {
    ops.iter().flat_map(|op| {
        let jobs = match (&op.call, &op.end) {
            (Call::Lease { lease_ms }, End::Ok(Said::Leased(jobs))) => {
                Some(jobs.iter().map(move |job| (op, *lease_ms, job)))
            }
            _ => None,
        };
        jobs.into_iter().flatten()
    })
}

fn by_job(ops: &[Op]) -> BTreeMap<&str, Vec<(&Op, u64, &Leased)>> {
    let mut jobs: BTreeMap<&str, Vec<_>> = BTreeMap::new();
    for lease in leases(ops) {
        jobs.entry(&lease.2.id).or_default().push(lease);
    }
    jobs
}

/// No token twice, and a later lease has a greater token and attempt.
pub(super) fn tokens_grow(ops: &[Op], found: &mut Found) {
    for (id, mut leases) in by_job(ops) {
        leases.sort_by_key(|(.., job)| job.token);
        for pair in leases.windows(2) {
            let [(first, _, a), (second, _, b)] = pair else { continue };
            if a.token == b.token {
                found.add("token twice", format!("{id}: token {} was given to two workers", a.token));
            } else if second.ended < first.began {
                found.add("token shrank", format!("{id}: token {} after {}", a.token, b.token));
            }
            if a.token < b.token && a.attempt >= b.attempt {
                found.add(
                    "attempt shrank",
                    format!(
                        "{id}: token {} is attempt {}, token {} is attempt {}",
                        a.token, a.attempt, b.token, b.attempt
                    ),
                );
            }
        }
    }
}

/// When each lease was certainly live, no other of its job was.
pub(super) fn one_live_lease(ops: &[Op], found: &mut Found) {
    // What ends a lease, ends it from its sending on; what prolongs one, counts from its sending too.
    let mut ended: BTreeMap<(&str, u64), Duration> = BTreeMap::new();
    let mut extended: BTreeMap<(&str, u64), Duration> = BTreeMap::new();
    for op in ops {
        match &op.call {
            Call::Ack { id, token, .. } | Call::Nack { id, token } => {
                let first = ended.entry((id, *token)).or_insert(op.began);
                *first = op.began.min(*first);
            }
            Call::Extend { id, token, lease_ms } => match op.end {
                End::Ok(_) => {
                    let last = extended.entry((id, *token)).or_default();
                    *last = sure(op.began, *lease_ms).max(*last);
                }
                // A shorter lease may have been set, or not.
                _ => {
                    ended.entry((id, *token)).or_insert(op.began);
                }
            },
            _ => {}
        }
    }
    for (id, leases) in by_job(ops) {
        let mut live: Vec<(Duration, Duration, u64)> = Vec::new();
        for (op, lease_ms, job) in leases {
            let key = (id, job.token);
            let until = extended.get(&key).copied().unwrap_or_default().max(sure(op.began, lease_ms));
            let until = ended.get(&key).map_or(until, |ended| until.min(*ended));
            if op.ended < until {
                live.push((op.ended, until, job.token));
            }
        }
        live.sort_unstable();
        for pair in live.windows(2) {
            if pair[1].0 < pair[0].1 {
                found.add("two live leases", format!("{id}: {pair:?}"));
            }
        }
    }
}

/// The least that a lease lasts which was asked for at `began`.
fn sure(began: Duration, lease_ms: u64) -> Duration {
    let length = Duration::from_millis(lease_ms);
    (began + length - length / CLOCK_SHARE).saturating_sub(ROUNDING)
}

/// A delayed job is not delivered before its time.
pub(super) fn not_before_run_at(ops: &[Op], found: &mut Found) {
    let mut earliest: BTreeMap<&str, Duration> = BTreeMap::new();
    for op in ops {
        if let Call::Enqueue { tag, delay_ms, .. } = &op.call {
            earliest.entry(tag).or_insert_with(|| sure(op.began, *delay_ms));
        }
    }
    for (op, _, job) in leases(ops) {
        if let Some(earliest) = earliest.get(job.tag.as_str()).filter(|earliest| op.ended < **earliest) {
            let early = *earliest - op.ended;
            found.add("too early", format!("{} ({}) came {early:?} before its time", job.id, job.tag));
        }
    }
}
