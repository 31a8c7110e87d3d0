//! Why a job waits: exactly one reason, the first that holds of those that would have to change
//! before the job is delivered.

use crate::Time;
use crate::bucket;
use crate::command::QueueDefinition;
use crate::footprint::{Hashes, slot_key};
use crate::id::JobId;
use crate::job::{Job, JobState, Place};
use crate::row::{self, Meta, Slot, Stats};
use crate::state::free_in_flight;
use crate::table::{self, tag};
use crate::txn::{Key, Read};

/// Jobs in front that are counted before the answer says "at least".
const BEHIND_MAX: u64 = 1_000;

/// One reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    /// A word of the public contract, or one of two for the caller to judge: `deliverable` (nothing
    /// here stops it: no worker asked yet) and `not_waiting` (leased or final).
    pub reason: &'static str,
    /// For people: what would change it.
    pub detail: String,
    /// When time alone will change it.
    pub until: Option<Time>,
}

/// Why the job waits; none if it is not known.
pub fn why(rows: &impl Read, seq: u64) -> Option<Why> {
    let job = row::job(rows, seq)?;
    let number = job.keeping.queue_number;
    let def =
        row::read(rows, &table::by_queue(tag::QUEUE, number)).unwrap_or_else(|| row::undefined(job.queue.clone()));
    let stats = row::read(rows, &table::by_queue(tag::STATS, number)).unwrap_or_default();
    Some(match job.state {
        JobState::Blocked => because("blocked_on", "it waits for other tasks of its workflow", None),
        JobState::Scheduled if job.attempt > 0 => {
            let error = job.error.as_deref().unwrap_or("no error was told");
            because("backoff", format!("attempt {} failed ({error})", job.attempt), Some(job.run_at))
        }
        JobState::Scheduled => because("scheduled", "its run_at has not come", Some(job.run_at)),
        JobState::Ready if def.paused => because("paused", format!("queue {} is paused; resume it", def.name), None),
        JobState::Ready => match job.keeping.place {
            Place::Behind => behind_order_key(rows, &job),
            Place::Parked => saturated(&job, &def),
            _ => in_order(rows, &job, &def, &stats),
        },
        state => because("not_waiting", format!("it is {}", state.as_str()), None),
    })
}

fn because(reason: &'static str, detail: impl Into<String>, until: Option<Time>) -> Why {
    Why { reason, detail: detail.into(), until }
}

fn behind_order_key(rows: &impl Read, job: &Job) -> Why {
    let key = job.order_key.as_deref().unwrap_or_default();
    let head = Hashes::of(job)
        .order
        .and_then(|hash| row::read::<u64>(rows, &table::by_key(tag::HEAD, job.keeping.queue_number, &hash)));
    let partition = row::read::<Meta>(rows, &table::meta()).map_or(0, |meta| meta.partition);
    let head = head.map_or_else(|| "another job".to_owned(), |seq| JobId { partition, seq }.to_string());
    because("behind_order_key", format!("{head} has the turn of order key {key:?}"), None)
}

fn saturated(job: &Job, def: &QueueDefinition) -> Why {
    let key = job.concurrency_key.as_deref().unwrap_or_default();
    let limit = def.config.concurrency_per_key;
    because(
        "concurrency_limited",
        format!("{limit} jobs of concurrency key {key:?} are leased, as many as may be"),
        None,
    )
}

/// For a job in the ready order.
fn in_order(rows: &impl Read, job: &Job, def: &QueueDefinition, stats: &Stats) -> Why {
    let leased =
        slot_key(job, &Hashes::of(job)).and_then(|key| row::read::<Slot>(rows, &key)).map_or(0, |slot| slot.leased);
    if leased >= u64::from(def.config.concurrency_per_key) {
        return saturated(job, def);
    }
    if free_in_flight(def, stats) == 0 {
        let held = stats.count(JobState::Leased);
        return because("concurrency_limited", format!("{held} jobs are leased, as many as max_in_flight lets"), None);
    }
    let now = super::now(rows);
    if let Some(rate) = &def.config.rate_limit
        && bucket::tokens(stats, rate, now) == 0
    {
        return because("rate_limited", "the queue's rate is used up", Some(bucket::next_at(stats, rate, now)));
    }
    match in_front(rows, job) {
        0 => because("deliverable", "it is next", None),
        BEHIND_MAX => because("behind", format!("at least {BEHIND_MAX} jobs are in front of it"), None),
        jobs => because("behind", format!("{jobs} jobs are in front of it"), None),
    }
}

/// Jobs in the ready order before this one: of higher priority, and of its own lane and priority, whatever
/// their slots.
fn in_front(rows: &impl Read, job: &Job) -> u64 {
    let (queue, lane, priority) = (job.keeping.queue_number, job.keeping.lane, job.priority);
    let mut jobs = 0;
    let mut count = |from: &Key, to: &Key| {
        rows.scan(from, to, &mut |_, _| {
            jobs += 1;
            jobs < BEHIND_MAX
        });
        jobs
    };
    let higher = (table::by_queue(tag::READY, queue), table::ready_lane(queue, priority, 0));
    if count(&higher.0, &higher.1) >= BEHIND_MAX {
        return BEHIND_MAX;
    }
    let own = table::ready_lane(queue, priority, lane);
    let (mut from, end) = (own, table::after(&own));
    while let Some((key, _)) = rows.first(&from, &end) {
        let slot = table::slot_of(&key);
        if count(&key, &table::ready(queue, priority, lane, slot, job.ready_seq)) >= BEHIND_MAX {
            return BEHIND_MAX;
        }
        let Some(next) = slot.checked_add(1) else { break };
        from = table::ready_slot(queue, priority, lane, next);
    }
    jobs
}
