//! What happens in a node, one struct per event: it decides the log line and the metric.
//!
//! Events of the hot path stand for a batch, never for a single job, and write no line above `debug`.

use super::{labels, metric};
use bravo_model::lifecycle::Class;
use bravo_model::workflow::{Status, TemplateRef};
use http::{Method, StatusCode};
use metrics::{counter, histogram};
use std::time::Duration;
use tracing::{debug, error, info, trace, warn};

/// A request of a client was answered.
#[derive(Debug)]
pub struct RequestDone<'a> {
    /// Its method.
    pub method: &'a Method,
    /// The pattern of its route (`/api/v1/jobs/{id}`), none where no route matched.
    pub endpoint: Option<&'a str>,
    /// The status of the answer.
    pub status: StatusCode,
    /// From its header lines to the end of the answer.
    pub took: Duration,
    /// Its `X-Request-Id`.
    pub request_id: &'a str,
}

impl RequestDone<'_> {
    /// Counts it; a failure of the server is worth a line, the rest is for `debug`.
    pub fn emit(&self) {
        let method = method_label(self.method);
        let endpoint = self.endpoint.unwrap_or("unmatched");
        let status = self.status.as_u16();
        let labels =
            [("method", method.to_string()), ("endpoint", endpoint.to_string()), ("status", status.to_string())];
        histogram!(metric::REQUEST_SECONDS, &labels).record(self.took.as_secs_f64());
        let (request_id, took_ms) = (self.request_id, self.took.as_millis() as u64);
        if self.status == StatusCode::INTERNAL_SERVER_ERROR {
            error!(method, endpoint, status, took_ms, request_id, "request failed");
        } else {
            debug!(method, endpoint, status, took_ms, request_id, "request done");
        }
    }
}

/// The methods that have a route; anything else that a client thinks of is `other`.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// Entries of the audit log could not be written.
#[derive(Debug)]
pub struct AuditLost<'a> {
    /// How many.
    pub entries: u64,
    /// Why.
    pub detail: &'a str,
}

impl AuditLost<'_> {
    /// Counts them; what they tell of happened all the same.
    pub fn emit(&self) {
        counter!(metric::AUDIT_LOST).increment(self.entries);
        warn!(entries = self.entries, detail = self.detail, "entries of the audit log were not written");
    }
}

/// The cluster could not be told when keys were used.
#[derive(Debug)]
pub struct KeyUsesLost<'a> {
    /// Why.
    pub detail: &'a str,
}

impl KeyUsesLost<'_> {
    /// The next use is noted again.
    pub fn emit(&self) {
        debug!(detail = self.detail, "the cluster was not told when keys were used");
    }
}

/// The breaker of a worker or of a type of agent changed its state, or a worker was set aside or is back.
#[derive(Debug)]
pub struct BreakerChanged<'a> {
    /// What it is of.
    pub of: &'static str,
    /// Whose it is.
    pub name: &'a str,
    /// The state now.
    pub state: &'static str,
}

impl BreakerChanged<'_> {
    /// Counts it; that of a type is worth a line.
    pub fn emit(&self) {
        let Self { of, name, state } = *self;
        counter!(metric::BREAKER_CHANGES, "of" => of, "state" => state).increment(1);
        if of == "agent_type" {
            warn!(agent_type = name, state, "breaker changed");
        } else {
            debug!(of, worker = name, state, "breaker changed");
        }
    }
}

/// A worker was chosen for the next jobs.
#[derive(Debug)]
pub struct WorkerPicked {
    /// `two` or `only`.
    pub of: &'static str,
}

impl WorkerPicked {
    /// Counts it.
    pub fn emit(&self) {
        counter!(metric::WORKERS_PICKED, "of" => self.of).increment(1);
    }
}

/// A workflow that is no other's part came to its end.
#[derive(Debug)]
pub struct WorkflowEnded<'a> {
    /// How.
    pub status: Status,
    /// From its start.
    pub took: Duration,
    /// What it was made from.
    pub template: Option<&'a TemplateRef>,
}

impl WorkflowEnded<'_> {
    /// Counts it. Templates are bounded, and so are the labels.
    pub fn emit(&self) {
        let name = self.template.map_or("", |template| template.name.as_str());
        let labels = [("template", name.to_owned()), ("status", self.status.as_str().to_owned())];
        histogram!(metric::WORKFLOW_SECONDS, &labels).record(self.took.as_secs_f64());
        if let Some(template) = self.template
            && self.status != Status::Cancelled
        {
            let (language, framework) = template.labels.clone().unwrap_or_default();
            let labels = [("template_type", name.to_owned()), ("language", language), ("framework", framework)];
            counter!(metric::GENERATION_ATTEMPTS, &labels).increment(1);
            counter!(metric::GENERATION_SUCCESSES, &labels).increment(u64::from(self.status == Status::Succeeded));
        }
        debug!(
            template = name,
            status = self.status.as_str(),
            took_ms = self.took.as_millis() as u64,
            "workflow ended"
        );
    }
}

/// A request was refused early, on purpose.
#[derive(Debug)]
pub struct RequestShed {
    /// The bound that was met: the name of its key in the configuration.
    pub reason: &'static str,
}

impl RequestShed {
    /// Counts it. No line: what is refused to survive a flood must not become a flood of lines.
    pub fn emit(&self) {
        counter!(metric::REQUESTS_SHED, "reason" => self.reason).increment(1);
        trace!(reason = self.reason, "request shed");
    }
}

/// An estimate of a job's start was compared with when it was started.
#[derive(Debug)]
pub struct EtaChecked {
    /// Whether the wait lay within the estimate's nine tenths.
    pub held: bool,
    /// Whether it was no longer than what 19 of 20 are to be.
    pub below: bool,
}

impl EtaChecked {
    /// Counts it.
    pub fn emit(&self) {
        counter!(metric::ETA_CHECKED, "held" => if self.held { "yes" } else { "no" }).increment(1);
        counter!(metric::ETA_BELOW).increment(u64::from(self.below));
    }
}

/// A request was refused since its caller makes too many.
#[derive(Debug)]
pub struct RateLimited {
    /// Which limit it was: `address`, `key` or `global`.
    pub limit: &'static str,
}

impl RateLimited {
    /// Counts it. No line, for the same reason.
    pub fn emit(&self) {
        counter!(metric::RATE_LIMITED, "limit" => self.limit).increment(1);
        trace!(limit = self.limit, "request over its limit");
    }
}

/// A peer kept its connection waiting for too long.
#[derive(Debug)]
pub struct Evicted {
    /// What it was waited for: to `connect`, to send what is to be `read`, to take what is to be `send`.
    pub reason: &'static str,
}

impl Evicted {
    /// Counts it.
    pub fn emit(&self) {
        counter!(metric::EVICTED, "reason" => self.reason).increment(1);
        debug!(reason = self.reason, "a slow peer was given up");
    }
}

/// Files of certificates changed and were read again.
#[derive(Debug)]
pub struct CertificatesRead {
    /// Whose: of the `public` port, or for `peer`s.
    pub what: &'static str,
    /// What came of it.
    pub outcome: anyhow::Result<()>,
}

impl CertificatesRead {
    /// Counts it; an operator wants to know either way.
    pub fn emit(&self) {
        let outcome = if self.outcome.is_ok() { "taken" } else { "refused" };
        counter!(metric::CERTIFICATES_READ, "what" => self.what, "outcome" => outcome).increment(1);
        match &self.outcome {
            Ok(()) => info!(what = self.what, "new certificates are in use"),
            Err(error) => {
                let error = format!("{error:#}");
                error!(what = self.what, error, "new certificates are no good; the old ones stay in use");
            }
        }
    }
}

/// Something happened to jobs of one queue, as one batch.
#[derive(Debug)]
pub struct JobsMoved<'a> {
    /// The queue.
    pub queue: &'a str,
    /// What happened.
    pub what: Moved,
    /// To how many jobs.
    pub count: u64,
}

/// What can happen to a batch of jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    /// Taken in, duplicates not counted.
    Enqueued,
    /// Leased to a worker.
    Leased,
    /// Ended with an accepted ack.
    Acked,
    /// Given back with an accepted nack.
    Nacked,
    /// Taken back, as the lease ran out.
    Expired,
}

impl JobsMoved<'_> {
    /// Counts them. To be called by the leader alone, or each replica counts them again.
    pub fn emit(&self) {
        let name = match self.what {
            Moved::Enqueued => metric::JOBS_ENQUEUED,
            Moved::Leased => metric::LEASES_GRANTED,
            Moved::Acked => metric::JOBS_ACKED,
            Moved::Nacked => metric::JOBS_NACKED,
            Moved::Expired => metric::LEASES_EXPIRED,
        };
        counter!(name, "queue" => labels::queue(self.queue)).increment(self.count);
        if self.what == Moved::Expired {
            debug!(queue = self.queue, count = self.count, "leases expired");
        }
    }
}

/// A log entry was applied.
#[derive(Debug)]
pub struct BatchApplied {
    /// Its partition.
    pub partition: u32,
    /// Its index.
    pub index: u64,
    /// The commands in it.
    pub commands: usize,
    /// How long that took.
    pub took: Duration,
}

impl BatchApplied {
    /// Observes it.
    pub fn emit(&self) {
        histogram!(metric::RAFT_APPLY_SECONDS).record(self.took.as_secs_f64());
        histogram!(metric::RAFT_BATCH_COMMANDS).record(self.commands as f64);
        trace!(partition = self.partition, index = self.index, commands = self.commands, "batch applied");
    }
}

/// A partition has another leader, or none.
#[derive(Debug)]
pub struct LeaderChanged {
    /// The partition.
    pub partition: u32,
    /// The new leader's node.
    pub leader: Option<u64>,
    /// Its term.
    pub term: u64,
}

impl LeaderChanged {
    /// Counts it and says who leads now.
    pub fn emit(&self) {
        counter!(metric::RAFT_LEADER_CHANGES, "partition" => self.partition.to_string()).increment(1);
        let (partition, term) = (self.partition, self.term);
        match self.leader {
            Some(leader) => info!(partition, leader, term, "leader changed"),
            None => warn!(partition, term, "leader lost"),
        }
    }
}

/// A snapshot is durable.
#[derive(Debug)]
pub struct SnapshotMade {
    /// Its partition.
    pub partition: u32,
    /// The last entry in it.
    pub index: u64,
    /// Its size.
    pub bytes: u64,
    /// How long it took.
    pub took: Duration,
}

impl SnapshotMade {
    /// Counts it.
    pub fn emit(&self) {
        let partition = self.partition.to_string();
        counter!(metric::RAFT_SNAPSHOTS, "partition" => partition.clone()).increment(1);
        metrics::gauge!(metric::RAFT_SNAPSHOT_BYTES, "partition" => partition).set(self.bytes as f64);
        let took_ms = self.took.as_millis() as u64;
        info!(partition = self.partition, index = self.index, bytes = self.bytes, took_ms, "snapshot made");
    }
}

/// The shared log wrote what was waiting and synced it.
#[derive(Debug)]
pub struct LogFlushed {
    /// Records in the write, votes included.
    pub records: u64,
    /// Bytes of the write.
    pub bytes: u64,
    /// How long its fsync took.
    pub fsync: Duration,
}

impl LogFlushed {
    /// An fsync beyond this is worth a line: it eats into the election timeout.
    const SLOW: Duration = Duration::from_millis(250);

    /// Counts and observes it.
    pub fn emit(&self) {
        histogram!(metric::LOG_FSYNC_SECONDS).record(self.fsync.as_secs_f64());
        counter!(metric::LOG_WRITES).increment(1);
        counter!(metric::LOG_RECORDS).increment(self.records);
        counter!(metric::LOG_WRITTEN_BYTES).increment(self.bytes);
        if self.fsync > Self::SLOW {
            warn!(fsync_ms = self.fsync.as_millis() as u64, bytes = self.bytes, "slow fsync");
        }
    }
}

/// A tier of the cache was asked for a payload or result.
#[derive(Debug)]
pub struct CacheAsked {
    /// The cache.
    pub cache: &'static str,
    /// `pages`, `memory`, `disk` or `edge`.
    pub tier: &'static str,
    /// Whether it had the value.
    pub hit: bool,
}

impl CacheAsked {
    /// Counts it.
    pub fn emit(&self) {
        let metric = if self.hit { metric::CACHE_HITS } else { metric::CACHE_MISSES };
        counter!(metric, "cache" => self.cache, "tier" => self.tier).increment(1);
    }
}

/// Something happened to chunks of artifacts on this node.
#[derive(Debug, Clone, Copy)]
pub enum Chunks {
    /// One was sent here and is on disk, with so many bytes.
    Stored(u64),
    /// One was missing or damaged and came from another node.
    Repaired,
    /// One was read again: whether it is sound.
    Scrubbed(bool),
    /// So many were removed that no artifact is made of.
    Swept(u64),
    /// The same, from the cold tier.
    SweptCold(u64),
}

impl Chunks {
    /// Counts it.
    pub fn emit(self) {
        match self {
            Self::Stored(bytes) => {
                counter!(metric::CHUNKS_STORED).increment(1);
                counter!(metric::CHUNKS_STORED_BYTES).increment(bytes);
            }
            Self::Repaired => counter!(metric::CHUNKS_REPAIRED).increment(1),
            Self::Scrubbed(sound) => {
                counter!(metric::CHUNKS_SCRUBBED, "found" => if sound { "sound" } else { "damaged" }).increment(1);
            }
            Self::Swept(count) => counter!(metric::CHUNKS_SWEPT, "tier" => "hot").increment(count),
            Self::SweptCold(count) => counter!(metric::CHUNKS_SWEPT, "tier" => "cold").increment(count),
        }
    }
}

/// A chunk of an artifact that was taken in is on as many nodes as it must be.
#[derive(Debug, Clone, Copy)]
pub enum Spread {
    /// In six shards.
    Shards,
    /// Whole: it is small, or the cluster is.
    Whole,
    /// Whole, since too few nodes could take a shard.
    Fallback,
}

impl Spread {
    /// Counts it.
    pub fn emit(self) {
        let kept = match self {
            Self::Shards => "shards",
            Self::Whole => "whole",
            Self::Fallback => "fallback",
        };
        counter!(metric::CHUNKS_SPREAD, "kept" => kept).increment(1);
    }
}

/// A shard was put where it belongs and was missing.
#[derive(Debug, Clone, Copy)]
pub enum Mended {
    /// Another node had it.
    Copied,
    /// It was made anew from the others.
    Made,
}

impl Mended {
    /// Counts it.
    pub fn emit(self) {
        let how = match self {
            Self::Copied => "copied",
            Self::Made => "made",
        };
        counter!(metric::SHARDS_MENDED, "how" => how).increment(1);
    }
}

/// Bytes of artifacts came from a caller, or went to one.
#[derive(Debug, Clone, Copy)]
pub enum ArtifactBytes {
    /// They came.
    In(u64),
    /// They went.
    Out(u64),
}

impl ArtifactBytes {
    /// Counts them.
    pub fn emit(self) {
        match self {
            Self::In(bytes) => counter!(metric::ARTIFACT_BYTES_IN).increment(bytes),
            Self::Out(bytes) => counter!(metric::ARTIFACT_BYTES_OUT).increment(bytes),
        }
    }
}

/// A version's chunks were moved to another class.
#[derive(Debug)]
pub struct ColdMoved {
    /// Where they are now.
    pub to: Class,
    /// The version's bytes.
    pub bytes: u64,
}

impl ColdMoved {
    /// Counts it and says so.
    pub fn emit(&self) {
        let (class, bytes) = (self.to.as_str(), self.bytes);
        counter!(metric::COLD_MOVES, "class" => class).increment(1);
        counter!(metric::COLD_MOVED_BYTES, "class" => class).increment(bytes);
        debug!(class, bytes, "moved a version of an artifact");
    }
}

/// A read that may be stale was answered.
#[derive(Debug)]
pub struct ReadServed {
    /// What it was for: a key of `[reads]`.
    pub kind: &'static str,
    /// `replica` or `leader`.
    pub served_by: &'static str,
}

impl ReadServed {
    /// Counts it.
    pub fn emit(&self) {
        counter!(metric::READS, "kind" => self.kind, "served_by" => self.served_by).increment(1);
    }
}

/// A recommendation was made.
#[derive(Debug)]
pub struct ScalingDecided {
    /// Whether the plain rule made it.
    pub fallback: bool,
}

impl ScalingDecided {
    /// Counts it.
    pub fn emit(&self) {
        let by = if self.fallback { "fallback" } else { "forecast" };
        counter!(metric::SCALING_DECISIONS, "by" => by).increment(1);
    }
}

/// Agents of this node came or went.
#[derive(Debug)]
pub struct AgentMoved<'a> {
    /// Their type.
    pub agent_type: &'a str,
    /// See the metric.
    pub what: &'static str,
    /// How many they are.
    pub count: usize,
}

impl AgentMoved<'_> {
    /// Counts them; the life of a pool is worth a line.
    pub fn emit(&self) {
        let agent_type = labels::queue(self.agent_type);
        counter!(metric::SCALING_AGENTS, "agent_type" => agent_type, "what" => self.what).increment(self.count as u64);
        let (agent_type, what, count) = (self.agent_type, self.what, self.count);
        match what {
            "died" | "killed" => warn!(agent_type, what, count, "agents ended"),
            _ => info!(agent_type, what, count, "a pool changes"),
        }
    }
}

/// An actuator could not do what it was told.
pub struct ActFailed<'a> {
    /// Of which pool.
    pub agent_type: &'a str,
    /// Which actuator: a word of the configuration.
    pub actuator: &'static str,
    /// Why.
    pub error: &'a dyn std::fmt::Display,
}

impl ActFailed<'_> {
    /// Counts it; an operator has to know.
    pub fn emit(&self) {
        counter!(metric::SCALING_FAILURES, "actuator" => self.actuator).increment(1);
        let (agent_type, actuator, error) = (self.agent_type, self.actuator, self.error);
        warn!(agent_type, actuator, %error, "a pool could not follow its recommendation");
    }
}

/// A delivery to a webhook came to an end, or one try of it.
#[derive(Debug)]
pub struct WebhookDelivered {
    /// How: see the metric.
    pub outcome: &'static str,
}

impl WebhookDelivered {
    /// Counts it.
    pub fn emit(&self) {
        counter!(metric::WEBHOOK_DELIVERIES, "outcome" => self.outcome).increment(1);
        trace!(outcome = self.outcome, "webhook delivery");
    }

    /// So many were never made, since too many of their webhooks wait.
    pub fn dropped(count: u64) {
        counter!(metric::WEBHOOK_DELIVERIES, "outcome" => "overflow").increment(count);
        warn!(count, "events were not told to webhooks whose deliveries wait beyond their bound");
    }
}

/// A named invariant does not hold.
#[derive(Debug)]
pub struct InvariantViolated<'a> {
    /// Its name.
    pub name: &'static str,
    /// What was found.
    pub detail: &'a str,
}

impl InvariantViolated<'_> {
    /// Counts it and says so; in debug builds it ends the test.
    pub fn emit(&self) {
        counter!(metric::INVARIANT_VIOLATIONS, "name" => self.name).increment(1);
        error!(name = self.name, detail = self.detail, "invariant violated");
        debug_assert!(false, "invariant {} violated: {}", self.name, self.detail);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::recorded;

    #[test]
    fn a_request_is_counted_by_its_route_and_unknown_methods_share_a_label() {
        let text = recorded(|| {
            let method = Method::from_bytes(b"BREW").unwrap();
            let took = Duration::from_millis(20);
            RequestDone { method: &method, endpoint: None, status: StatusCode::NOT_FOUND, took, request_id: "r" }
                .emit();
        });
        let line =
            r#"api_request_duration_seconds_bucket{method="other",endpoint="unmatched",status="404",le="0.025"} 1"#;
        assert!(text.contains(line), "{text}");
        assert!(text.contains("# TYPE api_request_duration_seconds histogram"), "{text}");
    }

    #[test]
    fn chunks_and_moves_are_counted() {
        let text = recorded(|| {
            for event in [Chunks::Stored(7), Chunks::Stored(5), Chunks::Scrubbed(false), Chunks::SweptCold(3)] {
                event.emit();
            }
            Spread::Fallback.emit();
            Mended::Made.emit();
            ArtifactBytes::In(9).emit();
            ColdMoved { to: Class::Archive, bytes: 11 }.emit();
        });
        for line in [
            "bravo_artifact_chunks_stored_total 2",
            "bravo_artifact_chunks_stored_bytes_total 12",
            r#"bravo_artifact_chunks_scrubbed_total{found="damaged"} 1"#,
            r#"bravo_artifact_chunks_swept_total{tier="cold"} 3"#,
            r#"bravo_artifact_chunks_spread_total{kept="fallback"} 1"#,
            r#"bravo_artifact_shards_mended_total{how="made"} 1"#,
            "bravo_artifact_received_bytes_total 9",
            r#"bravo_artifact_moved_bytes_total{class="archive"} 11"#,
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }

    #[test]
    fn jobs_are_counted_by_batch() {
        let text = recorded(|| {
            JobsMoved { queue: "mail", what: Moved::Enqueued, count: 3 }.emit();
            JobsMoved { queue: "mail", what: Moved::Enqueued, count: 2 }.emit();
            LogFlushed { records: 5, bytes: 100, fsync: Duration::from_micros(90) }.emit();
        });
        assert!(text.contains(r#"bravo_jobs_enqueued_total{queue="mail"} 5"#), "{text}");
        assert!(text.contains(r#"bravo_log_fsync_seconds_bucket{le="0.0001"} 1"#), "{text}");
    }
}
