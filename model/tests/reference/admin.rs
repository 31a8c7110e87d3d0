//! What people ask: cancel, retry, purge, redrive.

use bravo_model::job::JobState;
use bravo_model::reply::Reply;
use bravo_model::{Code, Name};

use super::{Reference, refuse};

impl Reference {
    pub(super) fn cancel(&mut self, seq: u64) -> Reply {
        let Some(job) = self.jobs.get_mut(&seq) else { return refuse(Code::NotFound) };
        match job.state {
            JobState::Leased => {
                job.cancel_requested = true;
                Reply::State(JobState::Leased)
            }
            JobState::Cancelled => Reply::State(JobState::Cancelled),
            JobState::Succeeded | JobState::Dead => refuse(Code::Conflict),
            JobState::Ready | JobState::Scheduled | JobState::Blocked => {
                self.finish(seq, JobState::Cancelled);
                Reply::State(JobState::Cancelled)
            }
        }
    }

    pub(super) fn retry(&mut self, seq: u64) -> Reply {
        match self.jobs.get(&seq).map(|job| job.state) {
            None => refuse(Code::NotFound),
            Some(JobState::Dead | JobState::Cancelled) => {
                self.put_back(seq);
                Reply::State(self.jobs[&seq].state)
            }
            Some(_) => refuse(Code::Conflict),
        }
    }

    /// A dead or cancelled job waits again, with as many attempts as it was given at first.
    fn put_back(&mut self, seq: u64) {
        let now = self.now;
        let job = self.jobs.get_mut(&seq).expect("a job that is there");
        job.max_attempts = job.attempt + job.attempts_granted;
        job.finished_at = None;
        job.cancel_requested = false;
        job.run_at = now;
        job.deadline = job.deadline.filter(|&deadline| deadline > now);
        self.make_ready(seq);
    }

    pub(super) fn purge(&mut self, queue: &Name) -> Reply {
        let waiting: Vec<u64> =
            self.jobs.values().filter(|job| job.queue == *queue && job.waits()).map(|job| job.seq).collect();
        for seq in &waiting {
            self.jobs.remove(seq);
            self.uniques.retain(|held| held.seq != *seq);
        }
        Reply::Swept { done: waiting.len() as u64, more: false }
    }

    pub(super) fn redrive(&mut self, queue: &Name) -> Reply {
        let dead: Vec<u64> = self
            .jobs
            .values()
            .filter(|job| job.queue == *queue && job.state == JobState::Dead)
            .map(|job| job.seq)
            .collect();
        for seq in &dead {
            self.put_back(*seq);
        }
        Reply::Swept { done: dead.len() as u64, more: false }
    }
}
