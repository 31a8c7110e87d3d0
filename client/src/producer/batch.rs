//! A batch: what one message carries, and what becomes of its callers.

use bravo_api::{Code, proto};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;

use crate::net::Backoff;
use crate::{Enqueued, Error};

/// How long a key is kept after the last repetition of its batch was sent: longer than any node works on it.
const KEY_KEPT_AFTER: Duration = Duration::from_secs(120);

/// What one caller handed over.
pub(super) struct Entry {
    pub(super) jobs: Vec<proto::NewJob>,
    pub(super) bytes: usize,
    pub(super) end: Instant,
    pub(super) reply: oneshot::Sender<Result<Vec<Enqueued>, Error>>,
    pub(super) _room: OwnedSemaphorePermit,
}

/// What goes as one message.
pub(super) struct Batch {
    /// What its keys begin with.
    producer: Arc<str>,
    /// The idempotency key: the same as long as it is the same batch.
    key: String,
    entries: Vec<Entry>,
    /// When its callers stop waiting.
    pub(super) end: Instant,
    /// When it is sent, or sent again.
    pub(super) due: Instant,
    /// When the first of it was handed over.
    pub(super) made: Instant,
    /// It was sent, and may have been carried out.
    pub(super) unknown: bool,
    /// Answers that were no answer, in a row.
    pub(super) failures: u32,
    backoff: Backoff,
}

/// What to do after a batch was answered with an error.
pub(super) enum Verdict {
    /// Its callers were told.
    Over,
    /// Send these.
    Again(Vec<Batch>),
}

impl Batch {
    /// A batch under a new key. Keys of one producer begin alike, so that its batches go to one
    /// partition: larger entries there, and its jobs keep their order.
    pub(super) fn new(producer: &Arc<str>, entries: Vec<Entry>, now: Instant) -> Self {
        let end = entries.iter().map(|entry| entry.end).min().unwrap_or(now);
        let key = format!("{producer}/{}", uuid::Uuid::new_v4().simple());
        Self {
            producer: producer.clone(),
            key,
            entries,
            end,
            due: now,
            made: now,
            unknown: false,
            failures: 0,
            backoff: Backoff::default(),
        }
    }

    pub(super) fn message(&self, id: u64) -> proto::EnqueueBatch {
        let jobs = self.entries.iter().flat_map(|entry| &entry.jobs).cloned().collect();
        // It is repeated until its callers stop waiting, and no longer.
        let left = self.end.saturating_duration_since(Instant::now()) + KEY_KEPT_AFTER;
        let key_kept_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        proto::EnqueueBatch { id, jobs, idempotency_key: self.key.clone(), key_kept_ms }
    }

    /// Tells each caller what became of its jobs.
    pub(super) fn settle(self, jobs: Vec<proto::EnqueuedJob>) {
        let expected: usize = self.entries.iter().map(|entry| entry.jobs.len()).sum();
        if jobs.len() != expected {
            let detail = format!("{} answers for {expected} jobs", jobs.len());
            return self.fail(&Error::Broken(detail));
        }
        let mut jobs = jobs.into_iter().map(Enqueued::from);
        for entry in self.entries {
            let mine = jobs.by_ref().take(entry.jobs.len()).collect();
            // A caller that went away does not want to know.
            drop(entry.reply.send(Ok(mine)));
        }
    }

    /// Tells each caller that it failed.
    pub(super) fn fail(self, error: &Error) {
        let error = match error {
            // The last try sent nothing, but an earlier one may have done it.
            Error::Unreachable(detail) if self.unknown => Error::TimedOut(detail.clone()),
            error => error.clone(),
        };
        for entry in self.entries {
            drop(entry.reply.send(Err(error.clone())));
        }
    }

    /// Decides what follows a refusal.
    pub(super) fn refused(mut self, error: Error, now: Instant) -> Verdict {
        self.unknown |= error.outcome_unknown();
        let full = error.code() == Some(Code::QueueFull);
        if error.is_retryable() && !full {
            let pause = error.retry_after_ms().map(Duration::from_millis);
            self.due = now + pause.unwrap_or_default().max(self.backoff.pause());
            self.failures += 1;
            if self.due < self.end {
                return Verdict::Again(vec![self]);
            }
        } else if self.entries.len() > 1 && !self.unknown {
            // Someone's job is refused, and the others must not suffer. Nothing was changed, so
            // that the halves may go under new keys.
            let rest = self.entries.split_off(self.entries.len() / 2);
            return Verdict::Again(vec![
                Self::new(&self.producer, self.entries, now),
                Self::new(&self.producer, rest, now),
            ]);
        }
        self.fail(&error);
        Verdict::Over
    }
}
