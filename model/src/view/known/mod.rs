//! What a partition knows of the work to come, and what stands behind its queues: for whoever sizes pools.
//!
//! All of it is read from rows that are there for other reasons, the nearest first, and so many of them at most:
//! jobs that wait for their time, ticks of schedules and leases that run out are in the due table; steps of workflows
//! follow from the tasks that are under way. It is what is certain, or nearly so, and never all that will come.

mod steps;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Time;
use crate::id::Name;
use crate::job::{Job, JobState};
use crate::row;
use crate::schedule::cron::Ticks;
use crate::schedule::{Schedule, Target};
use crate::table::{self, due, tag};
use crate::txn::Read;
use crate::workflow::{Action, Plan, Status};

/// Ticks of schedules that are looked for beyond the next one of each, all together: each is some arithmetic.
const TICKS_MAX: usize = 500;
/// Workflows under way that are counted at most.
const WORKFLOWS_MAX: u32 = 20_000;
/// A lease of which so small a part is left was not extended when it should have been, twice.
const LEASE_PARTS: u64 = 3;

/// Jobs of a queue that will be ready within a slot of time, counted in slots from now.
pub type Coming = BTreeMap<(Name, u32), u32>;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Jobs that will be ready.
    pub coming: Coming,
    /// Leases by queue that nobody seems to hold: they are about to end, and their jobs come again.
    pub lost: BTreeMap<Name, u32>,
    /// Workflows by queue that have a task there; parts of one workflow are one.
    pub workflows: BTreeMap<Name, u32>,
    /// Workflows under way that are no other's part.
    pub running: u32,
}

/// The time that is looked at, in slots.
struct Slots {
    now: Time,
    slot_ms: u64,
    end: Time,
}

impl Slots {
    /// The slot of a time; what should have come is in the first.
    fn of(&self, at: Time) -> Option<u32> {
        (at < self.end).then(|| u32::try_from(at.saturating_sub(self.now) / self.slot_ms).unwrap_or(u32::MAX))
    }
}

impl Known {
    fn add(&mut self, slots: &Slots, at: Time, queue: Name) {
        let Some(slot) = slots.of(at) else { return };
        let count = self.coming.entry((queue, slot)).or_default();
        *count = count.saturating_add(1);
    }
}

/// What is known of the next `slots` slots of `slot_ms` from `now`. At most `looks.0` rows of the due table are looked at,
/// the nearest first, and `looks.1` tasks of workflows that are under way.
pub fn known(rows: &impl Read, now: Time, (slot_ms, slots): (u64, u32), looks: (usize, usize)) -> Known {
    let slot_ms = slot_ms.max(1);
    let slots = Slots { now, slot_ms, end: now.saturating_add(slot_ms.saturating_mul(slots.into())) };
    let mut known = Known::default();
    due_rows(rows, &mut known, &slots, looks.0);
    steps::steps(rows, &mut known, &slots, looks.1);
    for status in [Status::Running, Status::Paused] {
        let prefix = table::key(tag::BY_STATUS, &[&[status as u8]]);
        row::walk(rows, &prefix, &prefix, &mut |_, _| {
            known.running += 1;
            known.running < WORKFLOWS_MAX
        });
    }
    known
}

fn due_rows(rows: &impl Read, known: &mut Known, slots: &Slots, looks: usize) {
    let (mut left, mut found) = (looks, Vec::new());
    let prefix = table::key(tag::DUE, &[]);
    row::walk(rows, &prefix, &prefix, &mut |key, _| {
        let Some((at, kind, what)) = table::split_due(key) else { return true };
        left = left.saturating_sub(1);
        match kind {
            due::JOB | due::SCHEDULE if at < slots.end => found.push((at, kind, what.to_vec())),
            _ => {}
        }
        at < slots.end && left > 0
    });
    let mut ticks_left = TICKS_MAX;
    for (at, kind, what) in found {
        if kind == due::SCHEDULE {
            ticks(rows, known, slots, &what, &mut ticks_left);
        } else if let Some(job) = what.last_chunk().and_then(|seq| row::job(rows, u64::from_be_bytes(*seq))) {
            job_due(known, slots, at, job);
        }
    }
}

/// A job that waits for its time, or one whose lease runs out and that has an attempt left. Other due rows of jobs are
/// of leases that will be extended, of deadlines, and of jobs that are over.
fn job_due(known: &mut Known, slots: &Slots, at: Time, job: Job) {
    match job.state {
        JobState::Scheduled if at == job.run_at => known.add(slots, at, job.queue),
        JobState::Leased if at.saturating_sub(slots.now) < job.lease_ms / LEASE_PARTS => {
            let lost = known.lost.entry(job.queue.clone()).or_default();
            *lost = lost.saturating_add(1);
            if job.attempt < job.max_attempts && !job.cancel_requested {
                known.add(slots, at, job.queue);
            }
        }
        _ => {}
    }
}

/// The jobs that a schedule's ticks start.
fn ticks(rows: &impl Read, known: &mut Known, slots: &Slots, what: &[u8], left: &mut usize) {
    let Ok(hash) = what.try_into() else { return };
    let Some(schedule) = row::read::<Schedule>(rows, &table::by_hash(tag::SCHEDULE, hash)) else { return };
    let target = row::read::<(Target, bytes::Bytes)>(rows, &table::by_hash(tag::SCHEDULE_TARGET, hash));
    let Some((target, _)) = target.filter(|_| !schedule.paused) else { return };
    let mut queues = Vec::new();
    match target {
        Target::Job(job) => queues.push(job.queue),
        Target::Workflow(workflow) => first_queues(&workflow.plan, &mut queues),
    }
    let pattern = Ticks::parse(&schedule.cron, &schedule.timezone).ok();
    let mut next = schedule.next;
    while let Some(at) = next.filter(|at| *at < slots.end && !queues.is_empty()) {
        for queue in &queues {
            known.add(slots, at, queue.clone());
        }
        next = pattern.as_ref().filter(|_| *left > 0).and_then(|ticks| ticks.after(at));
        *left = left.saturating_sub(1);
    }
}

/// The queues of the jobs with which a plan begins.
fn first_queues(plan: &Plan, queues: &mut Vec<Name>) {
    for task in plan.tasks.iter().filter(|task| task.depends_on.is_empty() && task.when.is_none()) {
        queues_of(&task.action, queues);
    }
}

/// The queues of the jobs with which a task begins. How many items a list has is known when it begins: one is counted.
fn queues_of(action: &Action, queues: &mut Vec<Name>) {
    match action {
        Action::Job { queue, .. } => queues.push(queue.clone()),
        Action::Workflow { plan, .. } => first_queues(plan, queues),
        Action::Signal(_) | Action::Timer(_) | Action::Approval => {}
    }
}

#[cfg(test)]
mod tests;
