//! What a queue is configured to do.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::code::{Code, Refusal};
use crate::id::Name;
use crate::limits;
use crate::webhook;

/// A queue's configuration. Absent keys take these defaults; a `PUT` replaces the whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QueueConfig {
    /// Attempts of a job that names none. 1 to 10,000; 5.
    pub max_attempts: u32,
    /// The pause before the next attempt.
    pub backoff: Backoff,
    /// Length of a lease that names none; 30,000.
    pub lease_ms: u64,
    /// Leases a second.
    pub rate_limit: Option<RateLimit>,
    /// Leases at a time.
    pub max_in_flight: Option<u32>,
    /// Leases at a time of one concurrency key; 1 unless set.
    pub concurrency_per_key: u32,
    /// Weight of a fairness key; 1 unless named.
    pub fairness_weights: BTreeMap<String, u32>,
    /// How long a final job is kept; seven days.
    pub retention_ms: u64,
    /// The queue that gets a copy of each dead job.
    pub dead_letter: Option<Name>,
    /// Waiting jobs (ready, scheduled and blocked) beyond which enqueues are refused.
    pub max_ready: u64,
    /// The type of agent that works this queue; the queue's own name unless set.
    pub agent_type: Option<Name>,
}

/// Exponential backoff: `initial_ms * factor^(attempt-1)`, at most `max_ms`, of which up to the
/// share `jitter` is taken off, decided by the job's id and attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Backoff {
    /// Pause after the first failure; 1,000.
    pub initial_ms: u64,
    /// Growth per failure, 1 to 100; 2.
    pub factor: f64,
    /// Longest pause; 300,000.
    pub max_ms: u64,
    /// Share of the pause that may be taken off, 0 to 1; 0.2.
    pub jitter: f64,
}

/// A token bucket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RateLimit {
    /// Tokens a second; above 0.
    pub per_second: f64,
    /// Most tokens at a time; at least 1.
    pub burst: u32,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { initial_ms: 1_000, factor: 2.0, max_ms: 300_000, jitter: 0.2 }
    }
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self {
            max_attempts: 5,
            backoff: Backoff::default(),
            lease_ms: 30_000,
            rate_limit: None,
            max_in_flight: None,
            concurrency_per_key: 1,
            fairness_weights: BTreeMap::new(),
            retention_ms: 7 * 86_400_000,
            dead_letter: None,
            max_ready: limits::MAX_READY_DEFAULT,
            agent_type: None,
        }
    }
}

impl QueueConfig {
    /// Whether a limit holds for the whole queue, so that all its jobs live in one partition
    /// (the queue's home) where it can be held exactly.
    pub fn is_homed(&self) -> bool {
        self.rate_limit.is_some() || self.max_in_flight.is_some() || self.max_ready != limits::MAX_READY_DEFAULT
    }

    /// Checks every bound; names the key that is wrong.
    pub fn validate(&self) -> Result<(), Refusal> {
        let bad = |detail: String| Err(Refusal::new(Code::InvalidArgument, detail));
        if !(1..=limits::ATTEMPTS_MAX).contains(&self.max_attempts) {
            return bad(format!("max_attempts: 1 to {}", limits::ATTEMPTS_MAX));
        }
        if !(limits::LEASE_MS_MIN..=limits::LEASE_MS_MAX).contains(&self.lease_ms) {
            return bad(format!("lease_ms: {} to {}", limits::LEASE_MS_MIN, limits::LEASE_MS_MAX));
        }
        let backoff = &self.backoff;
        if !(1.0..=100.0).contains(&backoff.factor) {
            return bad("backoff.factor: 1 to 100".into());
        }
        if !(0.0..=1.0).contains(&backoff.jitter) {
            return bad("backoff.jitter: 0 to 1".into());
        }
        if backoff.max_ms > limits::HORIZON_MS_MAX || backoff.initial_ms > backoff.max_ms {
            return bad("backoff.initial_ms: at most backoff.max_ms, and that at most ten years".into());
        }
        if let Some(rate) = &self.rate_limit {
            if !(rate.per_second > 0.0 && rate.per_second <= 1e9) {
                return bad("rate_limit.per_second: above 0, at most 1e9".into());
            }
            if rate.burst == 0 {
                return bad("rate_limit.burst: at least 1".into());
            }
        }
        if self.max_in_flight == Some(0) {
            return bad("max_in_flight: at least 1 (pause the queue to stop delivery)".into());
        }
        if self.concurrency_per_key == 0 {
            return bad("concurrency_per_key: at least 1".into());
        }
        if self.fairness_weights.len() > limits::FAIRNESS_WEIGHTS_MAX {
            return bad(format!("fairness.weights: at most {}", limits::FAIRNESS_WEIGHTS_MAX));
        }
        if let Some((key, _)) = self.fairness_weights.iter().find(|(_, w)| !(1..=10_000).contains(*w)) {
            return bad(format!("fairness.weights.{key}: 1 to 10000"));
        }
        if let Some(target) = &self.dead_letter {
            webhook::refuse_queue("dead_letter", target)?;
        }
        if self.retention_ms > limits::HORIZON_MS_MAX {
            return bad("retention_ms: at most ten years".into());
        }
        if self.max_ready == 0 {
            return bad("max_ready: at least 1".into());
        }
        Ok(())
    }
}
