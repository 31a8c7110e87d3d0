//! Webhooks: who is told of what happens in a project, and what a delivery carries.
//!
//! The meta group keeps a webhook whole. A partition knows of it what it needs to tell which events
//! are asked for (a [`Subscription`]), and makes a delivery of each: an ordinary job of the reserved
//! queue [`QUEUE`], by the entry that made the event.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::Time;
use crate::code::{Code, Refusal};
use crate::happened::{self, Happened};
use crate::id::Name;
use crate::limits;
use crate::queue::{Backoff, QueueConfig};

/// The queue of the deliveries. Nobody else puts jobs into it, and nobody else is given any.
pub const QUEUE: &str = "bravo.webhooks";
/// Attempts of a delivery; see [`pause_ms`].
pub const ATTEMPTS: u32 = 8;
/// Deliveries of one webhook that one partition has under way at a time.
pub const AT_ONCE: u32 = 4;
/// Length of a delivery's lease: longer than a delivery may take.
pub const LEASE_MS: u64 = 30_000;

/// Pauses between the attempts: 27 and a half hours in all.
const PAUSES_MS: [u64; ATTEMPTS as usize - 1] =
    [5_000, 300_000, 1_800_000, 7_200_000, 18_000_000, 36_000_000, 36_000_000];

/// What signs the deliveries. Never shown by `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret(pub Bytes);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A webhook as the meta group keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhook {
    /// The project whose events it tells.
    pub project: Name,
    /// Its name in the project.
    pub name: Name,
    /// Grows with every change of any webhook.
    pub version: u64,
    /// Where deliveries go.
    pub url: String,
    /// Names of events, such as `job.dead`; `job.*` for all of a kind, `*` for all.
    pub events: Vec<String>,
    /// Events of jobs in this queue only.
    pub queue: Option<Name>,
    /// Nothing new is delivered.
    pub disabled: bool,
    /// What signs the deliveries.
    pub secret: Secret,
    /// When it was made.
    pub created_at: Time,
    /// When it was last changed.
    pub updated_at: Time,
}

/// A webhook as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutWebhook {
    /// The project whose events it tells.
    pub project: Name,
    /// Its name in the project.
    pub name: Name,
    /// Where deliveries go.
    pub url: String,
    /// Names of events.
    pub events: Vec<String>,
    /// Events of jobs in this queue only.
    pub queue: Option<Name>,
    /// Nothing new is delivered.
    pub disabled: bool,
    /// What signs the deliveries.
    pub secret: Secret,
    /// The secret was made up: one that is there already stays.
    pub secret_is_made_up: bool,
}

/// What a partition knows of a webhook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    /// The project whose events it tells.
    pub project: Name,
    /// Its name in the project.
    pub name: Name,
    /// The version of the webhook; a partition keeps the newest.
    pub version: u64,
    /// Names of events.
    pub events: Vec<String>,
    /// Events of jobs in this queue only.
    pub queue: Option<Name>,
    /// Nothing new is delivered.
    pub disabled: bool,
}

/// The payload of a delivery, as JSON text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// The webhook, of the job's project.
    pub webhook: Name,
    /// Its version when the event was.
    pub version: u64,
    /// What happened, in the partition of the job.
    pub happened: Happened,
}

impl Webhook {
    /// What partitions need of it.
    pub fn subscription(&self) -> Subscription {
        Subscription {
            project: self.project.clone(),
            name: self.name.clone(),
            version: self.version,
            events: self.events.clone(),
            queue: self.queue.clone(),
            disabled: self.disabled,
        }
    }
}

impl PutWebhook {
    /// Checks every bound; names the field that is wrong. Whether the address is one is for the gateway.
    pub fn validate(&self) -> Result<(), Refusal> {
        if self.url.is_empty() || self.url.len() > limits::WEBHOOK_URL_BYTES_MAX {
            return refuse(format!("url: 1 to {} bytes", limits::WEBHOOK_URL_BYTES_MAX));
        }
        let secret = self.secret.0.len();
        if !(limits::WEBHOOK_SECRET_BYTES_MIN..=limits::WEBHOOK_SECRET_BYTES_MAX).contains(&secret) {
            let (min, max) = (limits::WEBHOOK_SECRET_BYTES_MIN, limits::WEBHOOK_SECRET_BYTES_MAX);
            return refuse(format!("secret: {min} to {max} bytes behind whsec_ and base64, this one has {secret}"));
        }
        check_events(&self.events)
    }
}

impl Subscription {
    /// Whether it asks for what happened.
    pub(crate) fn wants(&self, happened: &Happened) -> bool {
        let kind = happened.kind();
        !self.disabled
            && self.queue.as_ref().is_none_or(|wanted| happened.queue() == Some(wanted))
            && self.events.iter().any(|pattern| matches(pattern, kind))
    }
}

/// Whether a queue is the reserved one.
pub fn is_queue(name: &Name) -> bool {
    name.as_str() == QUEUE
}

/// Refuses the reserved queue; `what` is the field that names it.
pub fn refuse_queue(what: &str, name: &Name) -> Result<(), Refusal> {
    if is_queue(name) { refuse(format!("{what}: the queue {QUEUE} is reserved for deliveries")) } else { Ok(()) }
}

/// How the reserved queue is configured. Its backoff is for attempts whose worker could not say how they failed.
pub fn queue_config() -> QueueConfig {
    QueueConfig {
        max_attempts: ATTEMPTS,
        backoff: Backoff { initial_ms: 5_000, factor: 8.0, max_ms: 36_000_000, jitter: 0.1 },
        lease_ms: LEASE_MS,
        concurrency_per_key: AT_ONCE,
        ..QueueConfig::default()
    }
}

/// Milliseconds from a failed attempt, from 1, to the next one.
pub fn pause_ms(attempt: u32) -> u64 {
    let place = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX);
    PAUSES_MS.get(place).or(PAUSES_MS.last()).copied().unwrap_or_default()
}

fn matches(pattern: &str, kind: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => kind.starts_with(prefix),
        None => pattern == kind,
    }
}

/// Names that no event has, now or ever, would wait for ever.
fn check_events(events: &[String]) -> Result<(), Refusal> {
    if events.is_empty() || events.len() > limits::WEBHOOK_EVENTS_MAX {
        return refuse(format!("events: 1 to {}, these are {}", limits::WEBHOOK_EVENTS_MAX, events.len()));
    }
    for (place, event) in events.iter().enumerate() {
        let whole = event.strip_suffix('*').is_none_or(|prefix| prefix.is_empty() || prefix.ends_with('.'));
        if !whole || !happened::kinds().any(|kind| matches(event, kind)) {
            let shown = crate::id::clip(event);
            return refuse(format!("events[{place}]: there is no event {shown:?} (such as job.dead, workflow.*, *)"));
        }
    }
    Ok(())
}

fn refuse<T>(detail: String) -> Result<T, Refusal> {
    Err(Refusal::new(Code::InvalidArgument, detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_a_name_or_what_names_begin_with() {
        let good = ["*", "job.*", "job.dead", "workflow.succeeded", "task.*", "tasks.added", "signal.*"];
        for pattern in good {
            assert_eq!(check_events(&[pattern.to_owned()]), Ok(()), "{pattern}");
        }
        for pattern in ["", "job", "job.", "jo*", "job.d*", "job.died", "**", "*.dead", "Job.dead"] {
            assert!(check_events(&[pattern.to_owned()]).is_err(), "{pattern}");
        }
        assert!(matches("job.*", "job.dead") && !matches("job.*", "workflow.failed"));
        assert!(check_events(&vec!["*".to_owned(); limits::WEBHOOK_EVENTS_MAX + 1]).is_err());
    }

    #[test]
    fn pauses_span_a_day_and_go_on_with_the_last() {
        let all: u64 = (1..ATTEMPTS).map(pause_ms).sum();
        assert!((24 * 3_600_000..48 * 3_600_000).contains(&all), "{all}");
        assert_eq!(pause_ms(ATTEMPTS + 9), pause_ms(ATTEMPTS - 1));
    }

    #[test]
    fn a_secret_is_not_shown() {
        assert_eq!(format!("{:?}", Secret(Bytes::from_static(b"abc"))), "Secret(…)");
    }
}
