//! What time brings: `run_at`, the ends of leases, deadlines, retention.

use bravo_model::job::JobState;
use bravo_model::reply::Reply;
use bravo_model::{Time, limits};

use super::{RefJob, Reference, Seen};

impl Reference {
    pub(super) fn tick(&mut self, seen: &Seen<'_>) -> Reply {
        // What was due when the tick began, longest due first; what that makes due is for the next.
        let mut due: Vec<(Time, u64)> = self
            .jobs
            .values()
            .filter_map(|job| Some((self.due_at(job)?, job.seq)))
            .filter(|(at, _)| *at <= self.now)
            .collect();
        due.sort_unstable();
        due.truncate(limits::SWEEP_MAX as usize);
        for &(_, seq) in &due {
            self.do_due(seq, seen);
        }
        Reply::Swept { done: due.len() as u64, more: self.next_due().is_some_and(|at| at <= self.now) }
    }

    /// When time next changes something about this job.
    fn due_at(&self, job: &RefJob) -> Option<Time> {
        match job.state {
            JobState::Blocked | JobState::Ready => job.deadline,
            JobState::Scheduled => Some(job.deadline.map_or(job.run_at, |deadline| deadline.min(job.run_at))),
            JobState::Leased => job.lease_expires_at,
            JobState::Succeeded | JobState::Dead | JobState::Cancelled => job.keep_until,
        }
    }

    fn do_due(&mut self, seq: u64, seen: &Seen<'_>) {
        let job = self.jobs.get_mut(&seq).expect("a job that is due");
        match job.state {
            // The worker is gone: the job is ready again at once. The attempt counts.
            JobState::Leased => {
                job.error = Some("lease_expired".into());
                self.fail(seq, Some(0), false, seen);
            }
            JobState::Succeeded | JobState::Dead | JobState::Cancelled => {
                self.jobs.remove(&seq);
            }
            _ if job.deadline.is_some_and(|deadline| deadline <= self.now) => {
                job.error = Some("deadline_exceeded".into());
                self.finish(seq, JobState::Dead);
            }
            _ => self.make_ready(seq),
        }
    }

    /// When time next changes something; nothing may be missed by sleeping until then.
    pub(crate) fn next_due(&self) -> Option<Time> {
        self.jobs.values().filter_map(|job| self.due_at(job)).min()
    }
}
