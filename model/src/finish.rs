//! How jobs end: final states, dead-letter copies, and the removal of what is over.

use bytes::Bytes;

use crate::Time;
use crate::id::JobId;
use crate::job::{Job, JobState, Keeping, Place};
use crate::state::State;
use crate::table::{self, tag};
use crate::txn::Value;

/// Why a job died that nobody began in time.
pub(crate) const DEADLINE_EXCEEDED: &str = "deadline_exceeded";
/// Why a job died or came back whose worker was not heard of.
pub(crate) const LEASE_EXPIRED: &str = "lease_expired";

impl State<'_> {
    /// Ends a job as succeeded, dead or cancelled.
    pub(crate) fn finish(&mut self, old: &Job, mut new: Job, state: JobState) {
        let now = self.now();
        let config = &self.queue(old.keeping.queue_number).def.config;
        let (retention_ms, dead_letter) = (config.retention_ms, config.dead_letter.clone());
        new.state = state;
        new.finished_at = Some(now);
        new.lease_expires_at = None;
        new.keeping.keep_until = Some(now.saturating_add(retention_ms));
        new.keeping.place = Place::Nowhere;
        new.keeping.charged = 0;
        self.transition(Some(old), Some(&new));
        self.release(&new);
        if new.workflow.is_some() {
            self.job_of_task_ended(&new);
        }
        // A copy that dies in its turn stays where it is: dead-letter queues that name each other
        // or themselves would otherwise copy for ever.
        if let Some(target) = dead_letter
            && state == JobState::Dead
            && new.keeping.dead_letter_of.is_none()
            && target != new.queue
        {
            let target = self.intern(&target);
            self.copy_dead(&new, target);
        }
    }

    /// Ends a job as dead.
    pub(crate) fn die(&mut self, old: &Job, mut new: Job, error: Option<&str>) {
        if let Some(error) = error {
            new.error = Some(error.to_owned());
        }
        self.finish(old, new, JobState::Dead);
    }

    /// Ends a lease without success: cancelled if a caller asked for it, dead if that was the last
    /// attempt or it is too late, else waiting until `run_at`.
    pub(crate) fn fail(&mut self, old: &Job, new: Job, run_at: Time) {
        let late = new.deadline.is_some_and(|deadline| deadline <= self.now());
        if new.cancel_requested {
            self.finish(old, new, JobState::Cancelled);
        } else if late {
            self.die(old, new, Some(DEADLINE_EXCEEDED));
        } else if new.attempt >= new.max_attempts {
            self.die(old, new, None);
        } else {
            let mut new = new;
            new.lease_expires_at = None;
            new.keeping.charged = 0;
            self.wait_until(&mut new, run_at);
            self.transition(Some(old), Some(&new));
        }
    }

    /// Removes a job with all that belongs to it.
    pub(crate) fn remove(&mut self, job: &Job) {
        self.transition(Some(job), None);
        self.release_gone(job);
        if job.workflow.is_some() {
            self.job_of_task_ended(job);
        }
        self.txn.delete(&table::by_seq(tag::PAYLOAD, job.seq));
        if job.state == JobState::Succeeded {
            self.txn.delete(&table::by_seq(tag::RESULT, job.seq));
        }
    }

    /// Puts a copy of a dead job into its dead-letter queue. It carries no keys and no workflow:
    /// it is there to be looked at, not to hold back the living. Limits of the queue do not stop
    /// it, since there is nobody to tell.
    fn copy_dead(&mut self, dead: &Job, queue: u32) {
        let now = self.now();
        let def = &self.queue(queue).def;
        let (name, max_attempts, lease_ms) = (def.name.clone(), def.config.max_attempts, def.config.lease_ms);
        self.meta.last_seq = self.meta.last_seq.saturating_add(1);
        let seq = self.meta.last_seq;
        let id = JobId { partition: self.partition, seq: dead.seq };
        let mut copy = Job {
            seq,
            queue: name,
            metadata: with_origin(&dead.metadata, id),
            max_attempts,
            lease_ms,
            enqueued_at: now,
            error: dead.error.clone(),
            ..Job::new(dead.project.clone(), dead.priority)
        };
        copy.keeping = Keeping {
            queue_number: queue,
            attempts_granted: max_attempts,
            payload_bytes: dead.keeping.payload_bytes,
            dead_letter_of: Some(dead.seq),
            ..Keeping::default()
        };
        if let Some(payload) = self.txn.get(&table::by_seq(tag::PAYLOAD, dead.seq)) {
            self.txn.put(table::by_seq(tag::PAYLOAD, seq), Value::clone(&payload));
        }
        self.wait_until(&mut copy, now);
        self.transition(None, Some(&copy));
    }
}

/// Metadata with one more member that names the dead job, last, so that it wins over one of the
/// same name. Metadata is JSON object text that the gateway checked; anything else is replaced.
fn with_origin(metadata: &Bytes, id: JobId) -> Bytes {
    with_members(metadata, &format!("\"dead_letter_of\":\"{id}\""))
}

/// Metadata with more members (JSON text without braces), last.
pub(crate) fn with_members(metadata: &Bytes, more: &str) -> Bytes {
    let text = std::str::from_utf8(metadata).unwrap_or_default().trim();
    let members = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or_default().trim();
    let comma = if members.is_empty() { "" } else { "," };
    Bytes::from(format!("{{{members}{comma}{more}}}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_origin_joins_whatever_metadata_there_is() {
        let id = JobId { partition: 3, seq: 7 };
        let cases = [
            ("", r#"{"dead_letter_of":"j3-7"}"#),
            (" { } ", r#"{"dead_letter_of":"j3-7"}"#),
            (r#"{"a":{"b":1}}"#, r#"{"a":{"b":1},"dead_letter_of":"j3-7"}"#),
            ("{\"a\":1\n}\n", r#"{"a":1,"dead_letter_of":"j3-7"}"#),
            ("[1]", r#"{"dead_letter_of":"j3-7"}"#),
        ];
        for (metadata, expected) in cases {
            assert_eq!(with_origin(&Bytes::from_static(metadata.as_bytes()), id), expected);
        }
    }
}
