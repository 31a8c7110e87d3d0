//! Unique keys: one job per project, queue and key, until it is final or its window is over.

use crate::Time;
use crate::command::NewJob;
use crate::job::Job;
use crate::reply::Enqueued;
use crate::row::Unique;
use crate::state::State;
use crate::table::{self, H16, tag};

impl State<'_> {
    /// The job that holds the new one's unique key, as the answer to a second enqueue.
    pub(crate) fn holder(&mut self, new: &NewJob) -> Option<Enqueued> {
        let key = new.unique_key.as_ref()?;
        let queue = self.known(&new.queue)?;
        let unique = self.held(queue, &table::h16(&[new.project.as_str(), key]))?;
        let state = self.job(unique.seq).map(|job| job.state).or(unique.ended)?;
        Some(Enqueued { seq: unique.seq, state, duplicate: true })
    }

    /// Claims the job's unique key for a window, or until the job is final.
    pub(crate) fn claim(&mut self, job: &Job, until: Option<Time>) {
        let Some(hash) = hash_of(job) else { return };
        let queue = job.keeping.queue_number;
        let key = table::by_key(tag::UNIQUE, queue, &hash);
        if let Some(until) = self.read::<Unique>(&key).and_then(|old| old.until) {
            self.txn.delete(&table::due_unique(until, queue, &hash));
        }
        self.put(key, &Unique { seq: job.seq, until, ended: None });
        if let Some(until) = until {
            self.mark(table::due_unique(until, queue, &hash));
        }
    }

    /// The other job that holds the key of a job which is to be put back.
    pub(crate) fn rival(&mut self, job: &Job) -> Option<u64> {
        let unique = self.held(job.keeping.queue_number, &hash_of(job)?)?;
        (unique.seq != job.seq).then_some(unique.seq)
    }

    /// Claims the key again for a job that is put back, unless its window still holds.
    pub(crate) fn reclaim(&mut self, job: &Job) {
        if let Some(hash) = hash_of(job)
            && self.held(job.keeping.queue_number, &hash).is_none()
        {
            self.claim(job, None);
        }
    }

    /// Lets go of the key of a job that is final, unless its window still holds.
    pub(crate) fn release(&mut self, job: &Job) {
        let Some(hash) = hash_of(job) else { return };
        let key = table::by_key(tag::UNIQUE, job.keeping.queue_number, &hash);
        if self.read::<Unique>(&key).is_some_and(|unique| unique.seq == job.seq && unique.until.is_none()) {
            self.txn.delete(&key);
        }
    }

    /// Lets go of the key of a job that is gone: a purged one at once, while one that ended leaves
    /// its answer for the rest of the window.
    pub(crate) fn release_gone(&mut self, job: &Job) {
        let Some(hash) = hash_of(job) else { return };
        let queue = job.keeping.queue_number;
        let key = table::by_key(tag::UNIQUE, queue, &hash);
        let Some(unique) = self.read::<Unique>(&key).filter(|unique| unique.seq == job.seq) else { return };
        match unique.until {
            Some(until) if job.state.is_final() && until > self.now() => {
                self.put(key, &Unique { ended: Some(job.state), ..unique });
            }
            until => {
                self.txn.delete(&key);
                if let Some(until) = until {
                    self.txn.delete(&table::due_unique(until, queue, &hash));
                }
            }
        }
    }

    /// Ends a window: the key is free, whatever became of the job.
    pub(crate) fn end_window(&mut self, queue: u32, hash: &H16, at: Time) {
        let key = table::by_key(tag::UNIQUE, queue, hash);
        if self.read::<Unique>(&key).is_some_and(|unique| unique.until == Some(at)) {
            self.txn.delete(&key);
        }
    }

    fn held(&mut self, queue: u32, hash: &H16) -> Option<Unique> {
        let unique: Unique = self.read(&table::by_key(tag::UNIQUE, queue, hash))?;
        unique.until.is_none_or(|until| until > self.now()).then_some(unique)
    }
}

fn hash_of(job: &Job) -> Option<H16> {
    Some(table::h16(&[job.project.as_str(), job.unique_key.as_ref()?]))
}
