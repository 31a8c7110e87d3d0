//! What people ask: cancel, retry, purge, redrive.

use bravo_model::job::JobState;
use bravo_model::reply::Reply;
use bravo_model::{Code, Name};

use super::{Reference, Unique, refuse};

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
            Some(JobState::Dead | JobState::Cancelled) if self.is_replaced(seq) || self.is_step(seq) => {
                refuse(Code::Conflict)
            }
            Some(JobState::Dead | JobState::Cancelled) => {
                self.put_back(seq);
                Reply::State(self.jobs[&seq].state)
            }
            Some(_) => refuse(Code::Conflict),
        }
    }

    /// Whether it is a step of a workflow, which alone may do it again.
    fn is_step(&self, seq: u64) -> bool {
        self.jobs[&seq].workflow.is_some()
    }

    /// Whether another job has its unique key by now.
    fn is_replaced(&self, seq: u64) -> bool {
        let job = &self.jobs[&seq];
        self.holder_of_unique(&job.project, &job.queue, job.unique_key.as_ref()).is_some_and(|held| held.seq != seq)
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
        job.keep_until = None;
        if let Some(key) = job.unique_key.clone() {
            let (project, queue) = (job.project.clone(), job.queue.clone());
            if self.holder_of_unique(&project, &queue, Some(&key)).is_none() {
                self.uniques.push(Unique { project, queue, key, seq, until: None, ended: JobState::Ready });
            }
        }
        self.make_ready(seq);
        self.take_turn(seq);
    }

    pub(super) fn purge(&mut self, queue: &Name) -> Reply {
        let waiting: Vec<u64> =
            self.jobs.values().filter(|job| job.queue == *queue && job.waits()).map(|job| job.seq).collect();
        for seq in &waiting {
            self.jobs.remove(seq);
            self.uniques.retain(|held| held.seq != *seq);
        }
        self.pass_turns();
        Reply::Swept { done: waiting.len() as u64, more: false }
    }

    pub(super) fn redrive(&mut self, queue: &Name) -> Reply {
        let dead: Vec<u64> = self
            .jobs
            .values()
            .filter(|job| job.queue == *queue && job.state == JobState::Dead)
            .map(|job| job.seq)
            .collect();
        let mut done = 0;
        for seq in dead {
            if !self.is_replaced(seq) && !self.is_step(seq) {
                self.put_back(seq);
                done += 1;
            }
        }
        Reply::Swept { done, more: false }
    }
}
