//! The leases that this worker holds, and when they have to be prolonged.
//!
//! Ends are measured on this worker's own clock from the moment at which something was sent or
//! came in, so that the worker never believes in a lease longer than the daemon does by more than
//! the way of one message.

use std::collections::HashMap;
use std::time::Duration;

use bravo_api::proto;
use tokio::time::Instant;

use super::JobContext;

/// Heartbeats are this part of a lease apart.
const PART: u32 = 3;
const LONGEST: Duration = Duration::from_secs(3_600);

/// One lease.
struct Lease {
    context: JobContext,
    ends: Instant,
    /// When it was last prolonged, or began.
    renewed: Instant,
    /// The handler is done; an ack or nack is under way.
    finished: bool,
}

/// The leases, by job id.
#[derive(Default)]
pub(super) struct Held(HashMap<String, Lease>);

impl Lease {
    fn length(&self) -> Duration {
        Duration::from_millis(self.context.lease_ms())
    }

    fn is(&self, token: u64) -> bool {
        self.context.lease_token() == token
    }
}

impl Held {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// A job came in. An older lease of the same job is lost. Returns when it has to be prolonged.
    pub(super) fn insert(&mut self, context: JobContext, now: Instant) -> Duration {
        let length = Duration::from_millis(context.lease_ms());
        let id = context.id().to_owned();
        let lease = Lease { context, ends: now + length, renewed: now, finished: false };
        if let Some(older) = self.0.insert(id, lease) {
            older.context.cancel();
        }
        length / PART
    }

    /// The handler is done. False: the lease was lost or given up before, and nobody wants to know.
    pub(super) fn finish(&mut self, id: &str, token: u64) -> bool {
        match self.0.get_mut(id).filter(|lease| lease.is(token) && !lease.finished) {
            Some(lease) => {
                lease.finished = true;
                true
            }
            None => false,
        }
    }

    /// The ack or nack was answered: the lease is over.
    pub(super) fn remove(&mut self, id: &str, token: u64) {
        if self.0.get(id).is_some_and(|lease| lease.is(token)) {
            self.0.remove(id);
        }
    }

    /// The daemon says that the lease is lost. True if the handler was still at work.
    pub(super) fn lose(&mut self, id: &str, token: u64) -> bool {
        match self.0.get(id) {
            // The answer to the ack or nack under way says what became of the job.
            Some(lease) if lease.is(token) && !lease.finished => {
                lease.context.cancel();
                self.0.remove(id);
                true
            }
            _ => false,
        }
    }

    /// The daemon prolonged the lease as asked at `sent`.
    pub(super) fn renewed(&mut self, id: &str, token: u64, sent: Instant) {
        if let Some(lease) = self.0.get_mut(id).filter(|lease| lease.is(token)) {
            lease.ends = lease.ends.max(sent + lease.length());
        }
    }

    /// The daemon did not prolong the lease now; the next heartbeat asks again.
    pub(super) fn not_renewed(&mut self, id: &str, token: u64) {
        if let Some(lease) = self.0.get_mut(id).filter(|lease| lease.is(token)) {
            lease.renewed = lease.ends - lease.length();
        }
    }

    /// A caller wants the job cancelled.
    pub(super) fn cancel(&self, id: &str, token: u64) {
        if let Some(lease) = self.0.get(id).filter(|lease| lease.is(token)) {
            lease.context.cancel();
        }
    }

    /// Tells every handler to stop.
    pub(super) fn cancel_all(&self) {
        self.0.values().for_each(|lease| lease.context.cancel());
    }

    /// The jobs whose handlers are still at work: id and token.
    pub(super) fn at_work(&self) -> Vec<(String, u64)> {
        let at_work = self.0.iter().filter(|(_, lease)| !lease.finished);
        at_work.map(|(id, lease)| (id.clone(), lease.context.lease_token())).collect()
    }

    /// Gives up the leases that ended on this worker's clock; how many.
    pub(super) fn expire(&mut self, now: Instant) -> u64 {
        // What is finished is still told: the daemon may be more patient, and its answer counts.
        let ended = self.0.extract_if(|_, lease| lease.ends <= now && !lease.finished);
        ended.map(|(_, lease)| lease.context.cancel()).count() as u64
    }

    /// What to prolong with this heartbeat: what is half a period old, or has progress to tell.
    pub(super) fn beat(&mut self, now: Instant) -> Vec<proto::Extend> {
        let mut extends = Vec::new();
        for (id, lease) in &mut self.0 {
            let due = lease.renewed + lease.length() / (2 * PART) <= now;
            if due || lease.context.has_progress() {
                lease.renewed = now;
                extends.push(proto::Extend {
                    id: id.clone(),
                    lease_token: lease.context.lease_token(),
                    lease_ms: None,
                    progress: lease.context.take_progress(),
                });
            }
        }
        extends
    }

    /// The pause between heartbeats: a third of the shortest lease.
    pub(super) fn period(&self) -> Duration {
        self.0.values().map(Lease::length).min().map_or(LONGEST, |shortest| shortest / PART)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn job(id: &str, token: u64, lease_ms: u64) -> JobContext {
        let job = proto::LeasedJob { id: id.into(), lease_token: token, lease_ms, ..Default::default() };
        JobContext::new(job, Arc::default())
    }

    fn after(ms: u64, start: Instant) -> Instant {
        start + Duration::from_millis(ms)
    }

    #[test]
    fn heartbeats_come_before_half_of_the_lease() {
        let (mut held, start) = (Held::default(), Instant::now());
        held.insert(job("a", 1, 3_000), start);
        assert_eq!(held.period(), Duration::from_secs(1));
        assert_eq!(held.beat(after(400, start)).len(), 0);
        assert_eq!(held.beat(after(1_000, start)).len(), 1);
        assert_eq!(held.beat(after(1_100, start)).len(), 0);
        held.renewed("a", 1, after(1_000, start));
        assert_eq!(held.expire(after(3_999, start)), 0);
        assert_eq!(held.expire(after(4_000, start)), 1);
    }

    #[test]
    fn a_newer_lease_of_the_same_job_wins() {
        let (mut held, start) = (Held::default(), Instant::now());
        let (first, second) = (job("a", 1, 3_000), job("a", 2, 3_000));
        held.insert(first.clone(), start);
        held.insert(second.clone(), start);
        assert!(first.is_cancelled() && !second.is_cancelled());
        assert!(!held.finish("a", 1));
        assert!(!held.lose("a", 1));
        assert!(held.finish("a", 2));
        assert!(!held.lose("a", 2), "the ack under way decides");
        held.remove("a", 1);
        assert_eq!(held.len(), 1);
    }

    #[test]
    fn progress_is_told_at_once_and_once() {
        let (mut held, start) = (Held::default(), Instant::now());
        let context = job("a", 1, 30_000);
        held.insert(context.clone(), start);
        context.progress(&1).unwrap();
        context.progress(&2).unwrap();
        assert_eq!(held.beat(start)[0].progress, "2");
        assert!(held.beat(start).is_empty());
        assert!(context.progress(&"x".repeat(20_000)).is_err());
    }
}
