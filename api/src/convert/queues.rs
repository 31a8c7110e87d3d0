//! Queues' configurations.

use bravo_model::QueueConfig;
use bravo_model::queue::{Backoff, RateLimit};

use super::At;
use crate::{Refusal, proto};

/// A configuration to put: absent fields take defaults, every bound is held.
pub fn config(config: proto::QueueConfig) -> Result<QueueConfig, Refusal> {
    let at = At::Root;
    let default = QueueConfig::default();
    let backoff = config.backoff.unwrap_or_default();
    let name = |field, text: Option<String>| text.map(|text| at.name(field, &text)).transpose();
    let config = QueueConfig {
        max_attempts: config.max_attempts.unwrap_or(default.max_attempts),
        backoff: Backoff {
            initial_ms: backoff.initial_ms.unwrap_or(default.backoff.initial_ms),
            factor: backoff.factor.unwrap_or(default.backoff.factor),
            max_ms: backoff.max_ms.unwrap_or(default.backoff.max_ms),
            jitter: backoff.jitter.unwrap_or(default.backoff.jitter),
        },
        lease_ms: config.lease_ms.unwrap_or(default.lease_ms),
        rate_limit: config.rate_limit.map(|limit| RateLimit {
            per_second: limit.per_second,
            burst: limit.burst.unwrap_or_else(|| burst_of(limit.per_second)),
        }),
        max_in_flight: config.max_in_flight,
        concurrency_per_key: config.concurrency_per_key.unwrap_or(default.concurrency_per_key),
        fairness_weights: config.fairness.map_or(default.fairness_weights, |fairness| fairness.weights),
        retention_ms: config.retention_ms.unwrap_or(default.retention_ms),
        dead_letter: name("dead_letter", config.dead_letter)?,
        max_ready: config.max_ready.unwrap_or(default.max_ready),
        agent_type: name("agent_type", config.agent_type)?,
    };
    config.validate()?;
    Ok(config)
}

/// One second's tokens, and at least one.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn burst_of(per_second: f64) -> u32 {
    per_second.ceil().clamp(1.0, f64::from(u32::MAX)) as u32
}

impl From<QueueConfig> for proto::QueueConfig {
    fn from(config: QueueConfig) -> Self {
        Self {
            max_attempts: Some(config.max_attempts),
            backoff: Some(proto::Backoff {
                initial_ms: Some(config.backoff.initial_ms),
                factor: Some(config.backoff.factor),
                max_ms: Some(config.backoff.max_ms),
                jitter: Some(config.backoff.jitter),
            }),
            lease_ms: Some(config.lease_ms),
            rate_limit: config
                .rate_limit
                .map(|limit| proto::RateLimit { per_second: limit.per_second, burst: Some(limit.burst) }),
            max_in_flight: config.max_in_flight,
            concurrency_per_key: Some(config.concurrency_per_key),
            fairness: Some(proto::Fairness { weights: config.fairness_weights }),
            retention_ms: Some(config.retention_ms),
            dead_letter: config.dead_letter.map(String::from),
            max_ready: Some(config.max_ready),
            agent_type: config.agent_type.map(String::from),
        }
    }
}
