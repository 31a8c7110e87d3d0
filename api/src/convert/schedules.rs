//! Schedules: what comes back of one, and the job that one starts.

use bravo_model::command::NewJob;
use bravo_model::schedule::cron::Ticks;
use bravo_model::schedule::{Overlap, Run, Schedule, Target};
use bravo_model::workflow::WorkflowId;
use bravo_model::{JobId, Time};

use super::jobs::one;
use super::{At, Trust, invalid};
use crate::{Refusal, proto};

/// Ticks that are told ahead.
const NEXT_TOLD: usize = 5;

/// The rule of a message.
pub fn overlap(text: &str) -> Result<Overlap, Refusal> {
    match text {
        "" => Ok(Overlap::default()),
        text => Overlap::parse(text).ok_or_else(|| invalid("overlap: skip, queue or allow")),
    }
}

/// The job that each tick starts: its times count from the tick.
pub fn job(job: proto::NewJob) -> Result<NewJob, Refusal> {
    use proto::new_job::{End, Start};
    if matches!(job.start, Some(Start::RunAtMs(_))) {
        return Err(invalid("job.run_at: a schedule says when; delay_ms may be given"));
    }
    if matches!(job.end, Some(End::DeadlineAtMs(_))) {
        return Err(invalid("job.deadline: each run has its own; give ttl_ms"));
    }
    if job.unique_key.is_some() {
        return Err(invalid("job.unique_key: whether runs may overlap is for the schedule to say (overlap)"));
    }
    one(job, At::Root, Trust::Unseen).map_err(|mut refusal| {
        refusal.detail.insert_str(0, "job.");
        refusal
    })
}

/// A schedule as callers see it.
pub fn schedule(partition: u16, schedule: Schedule, target: &Target, now: Time) -> proto::Schedule {
    let ticks = Ticks::parse(&schedule.cron, &schedule.timezone).ok().filter(|_| !schedule.paused);
    let first = schedule.next.filter(|next| *next > now);
    let next_at_ms = ticks.map(|ticks| ticks.next(first.map_or(now, |first| first - 1), NEXT_TOLD)).unwrap_or_default();
    let (starts, queue, template, project) = match target {
        Target::Job(job) => ("job", job.queue.to_string(), String::new(), &job.project),
        Target::Workflow(new) => {
            let template = new.template.as_ref().map(|template| template.name.to_string());
            ("workflow", String::new(), template.unwrap_or_default(), &new.project)
        }
    };
    let last_id = match schedule.last_run {
        Some(Run::Job(seq)) => JobId { partition, seq }.to_string(),
        Some(Run::Workflow(seq)) => WorkflowId { partition, seq }.to_string(),
        None => String::new(),
    };
    proto::Schedule {
        name: schedule.name.into(),
        cron: schedule.cron,
        timezone: schedule.timezone,
        overlap: schedule.overlap.as_str().into(),
        catch_up_ms: schedule.catch_up_ms,
        paused: schedule.paused,
        starts: starts.into(),
        queue,
        template,
        next_at_ms,
        last_at_ms: schedule.last,
        last_id,
        runs: schedule.runs,
        skipped: schedule.skipped,
        missed: schedule.missed,
        queued: schedule.queued,
        created_at_ms: schedule.created_at,
        updated_at_ms: schedule.updated_at,
        project_id: project.to_string(),
        source: bytes::Bytes::new(),
    }
}
