//! The one reason why a job waits.

use bravo_model::job::JobState;

use super::Reference;

/// Why a job waits, as far as the partition itself can know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Not waiting.
    None,
    Scheduled,
    Backoff,
    BlockedOn,
    Paused,
    BehindOrderKey,
    ConcurrencyLimited,
    /// By `max_in_flight`; the contract has one word for it and for concurrency keys.
    InFlightLimited,
    RateLimited,
    /// Others are in front of it.
    Behind,
    /// It would be delivered to the next worker that asks.
    Front,
}

impl Reference {
    /// All reasons that hold; the real model names exactly one of them.
    pub(crate) fn reasons(&self, seq: u64) -> Vec<Reason> {
        let job = &self.jobs[&seq];
        match job.state {
            JobState::Scheduled if job.failed_before => return vec![Reason::Backoff],
            JobState::Scheduled => return vec![Reason::Scheduled],
            JobState::Blocked => return vec![Reason::BlockedOn],
            JobState::Ready => {}
            _ => return vec![Reason::None],
        }
        let queue = self.queue_or_default(&job.queue);
        let full = queue.config.max_in_flight.is_some_and(|max| self.counts(&job.queue).leased >= u64::from(max));
        let mut held = Vec::new();
        let mut add = |holds: bool, reason| {
            if holds {
                held.push(reason);
            }
        };
        add(queue.paused, Reason::Paused);
        add(self.is_behind_order_key(job), Reason::BehindOrderKey);
        add(self.is_concurrency_limited(job), Reason::ConcurrencyLimited);
        add(full, Reason::InFlightLimited);
        add(!self.has_rate_token(&job.queue), Reason::RateLimited);
        if held.is_empty() {
            let front = self.first_of_lanes(&job.queue, None, true, true).contains(&seq);
            held.push(if front { Reason::Front } else { Reason::Behind });
            // Those that would be passed over, for want of a slot, do stand in front of it as yet.
            if front && self.is_behind_in_lane(job) {
                held.push(Reason::Behind);
            }
        }
        // The free slots of its concurrency key are spoken for by jobs in front of it.
        if job.concurrency_key.is_some() && self.slots_are_spoken_for(job, true) {
            held.push(Reason::ConcurrencyLimited);
        }
        held
    }
}
