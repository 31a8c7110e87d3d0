//! What time brings: `run_at`, the ends of leases, deadlines, retention.

use bravo_model::job::JobState;
use bravo_model::reply::Reply;
use bravo_model::{Time, limits};

use super::{RefJob, Reference, Seen};

impl Reference {
    pub(super) fn tick(&mut self, seen: &Seen<'_>) -> Reply {
        let mut done = 0;
        while let Some(seq) = self.next_due_job() {
            if done == u64::from(limits::SWEEP_MAX) {
                return Reply::Swept { done, more: true };
            }
            self.do_due(seq, seen);
            done += 1;
        }
        Reply::Swept { done, more: false }
    }

    /// The job that has been due for the longest time.
    fn next_due_job(&self) -> Option<u64> {
        self.jobs
            .values()
            .filter_map(|job| self.due_at(job).map(|at| (at, job.seq)))
            .filter(|(at, _)| *at <= self.now)
            .min()
            .map(|(_, seq)| seq)
    }

    /// When time next changes something about this job.
    fn due_at(&self, job: &RefJob) -> Option<Time> {
        match job.state {
            JobState::Blocked | JobState::Ready => job.deadline,
            JobState::Scheduled => Some(job.deadline.map_or(job.run_at, |deadline| deadline.min(job.run_at))),
            JobState::Leased => job.lease_expires_at,
            JobState::Succeeded | JobState::Dead | JobState::Cancelled => {
                let kept = self.queue_or_default(&job.queue).config.retention_ms;
                job.finished_at.map(|at| at + kept)
            }
        }
    }

    fn do_due(&mut self, seq: u64, seen: &Seen<'_>) {
        let job = &self.jobs[&seq];
        match job.state {
            JobState::Leased => self.fail(seq, None, false, seen),
            JobState::Succeeded | JobState::Dead | JobState::Cancelled => {
                self.jobs.remove(&seq);
            }
            _ if job.deadline.is_some_and(|deadline| deadline <= self.now) => self.finish(seq, JobState::Dead),
            _ => self.make_ready(seq),
        }
    }

    /// When time next changes something; nothing may be missed by sleeping until then.
    pub(crate) fn next_due(&self) -> Option<Time> {
        self.jobs.values().filter_map(|job| self.due_at(job)).min()
    }
}
