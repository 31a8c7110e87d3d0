//! The metric table: what this node tells Prometheus.
//!
//! A metric is declared once, in `METRICS`; the descriptions at `/metrics`, the buckets and
//! `docs/metrics.md` follow from it. `events.rs` is the only place that writes them.

use std::fmt::Write;

/// One metric.
#[derive(Debug)]
pub struct Metric {
    /// Its name at `/metrics`.
    pub name: &'static str,
    /// How it behaves.
    pub kind: MetricKind,
    /// What it counts or measures in.
    pub unit: &'static str,
    /// Its labels. Their values are bounded.
    pub labels: &'static [&'static str],
    /// What it means.
    pub doc: &'static str,
}

/// How a metric behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows, from 0 at the start of the process.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Observations in the given buckets.
    Histogram(Buckets),
}

/// The buckets of a histogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Buckets {
    /// Seconds of a client's request.
    Request,
    /// Seconds of something that a disk or one batch takes.
    Disk,
    /// Things in a batch.
    Count,
    /// Seconds of a workflow.
    Workflow,
}

impl Buckets {
    /// The upper bounds.
    pub const fn bounds(self) -> &'static [f64] {
        match self {
            Buckets::Request => &[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0],
            Buckets::Disk => &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0],
            Buckets::Workflow => &[1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, 1_800.0, 3_600.0],
            Buckets::Count => &[1.0, 4.0, 16.0, 64.0, 256.0, 1_024.0, 4_096.0, 16_384.0],
        }
    }
}

/// Declares the metrics, each as a constant with its name, and all of them as the table.
macro_rules! metrics {
    ($( $(#[doc = $doc:literal])* $const:ident = $name:literal, $kind:expr, $unit:literal, [$($label:literal),*]; )*) => {
        $( $(#[doc = $doc])* pub(super) const $const: &str = $name; )*

        /// All metrics, in the order of the reference page.
        pub const METRICS: &[Metric] = &[$(
            Metric { name: $name, kind: $kind, unit: $unit, labels: &[$($label),*], doc: concat!($($doc),*) },
        )*];
    };
}

use MetricKind::{Counter, Gauge, Histogram};

metrics! {
    /// Time from a request's header lines to the end of its answer. Lease calls count with the time
    /// that they waited for a job.
    REQUEST_SECONDS = "api_request_duration_seconds", Histogram(Buckets::Request), "seconds", ["method", "endpoint", "status"];
    /// Time from a workflow's start to its end, in the partitions that this node led then. Parts of other
    /// workflows are not counted.
    WORKFLOW_SECONDS = "workflow_execution_duration_seconds", Histogram(Buckets::Workflow), "seconds", ["template", "status"];
    /// Workflows from a template that succeeded or failed, in the partitions that this node led then.
    GENERATION_ATTEMPTS = "template_generation_attempts_total", Counter, "workflows", ["template_type", "language", "framework"];
    /// Those of them that succeeded.
    GENERATION_SUCCESSES = "template_generation_successes_total", Counter, "workflows", ["template_type", "language", "framework"];
    /// Requests that were refused early, on purpose, by the bound that was met.
    REQUESTS_SHED = "bravo_requests_shed_total", Counter, "requests", ["reason"];
    /// How much admission keeps out, from 0 (nothing) to 1: of the `node`, whatever the queue, and of the `queues` with
    /// deadlines, the one that keeps out most.
    ADMISSION_SHUT = "bravo_admission_shut_ratio", Gauge, "", ["scope"];
    /// Estimates of starts (`eta_ms`) that were compared with when the job was started, a sample, and whether the wait
    /// lay between their 5th and their 95th percentile: 90 % are to.
    ETA_CHECKED = "bravo_eta_checked_total", Counter, "jobs", ["held"];
    /// Those of them that waited no longer than the 95th percentile, the `p95` that callers are told.
    ETA_BELOW = "bravo_eta_below_upper_total", Counter, "jobs", [];
    /// Requests that were refused with `rate_limited`, by the limit of `[rate_limits]`: `address`, `key` or `global`.
    RATE_LIMITED = "bravo_requests_rate_limited_total", Counter, "requests", ["limit"];
    /// Peers that kept this node waiting, by what for: to `connect` (the TLS handshake, the first bytes), for more of
    /// a request's body (`read`), or to take an answer (`send`).
    EVICTED = "bravo_slow_peers_total", Counter, "peers", ["reason"];
    /// Certificates that were read again since their files had changed, of the `public` port or for `peer`s, and
    /// whether they were `taken` or `refused`.
    CERTIFICATES_READ = "bravo_certificates_read_total", Counter, "times", ["what", "outcome"];
    /// Jobs that are ready in the partitions that this node leads. Sum over the nodes.
    TASK_QUEUE_SIZE = "agent_task_queue_size", Gauge, "jobs", ["agent_type", "queue"];
    /// Jobs by state in the partitions that this node leads. Sum over the nodes.
    QUEUE_JOBS = "bravo_queue_jobs", Gauge, "jobs", ["queue", "state"];
    /// Jobs taken in by the partitions that this node led, duplicates not counted.
    JOBS_ENQUEUED = "bravo_jobs_enqueued_total", Counter, "jobs", ["queue"];
    /// Jobs that ended with an accepted ack.
    JOBS_ACKED = "bravo_jobs_acked_total", Counter, "jobs", ["queue"];
    /// Accepted nacks.
    JOBS_NACKED = "bravo_jobs_nacked_total", Counter, "jobs", ["queue"];
    /// Leases granted to workers.
    LEASES_GRANTED = "bravo_leases_granted_total", Counter, "leases", ["queue"];
    /// Choices of the worker that is given the next jobs: of `two` that were drawn, or the `only` one that waited.
    WORKERS_PICKED = "bravo_workers_picked_total", Counter, "choices", ["of"];
    /// Changes of breakers, by what they are of (`worker`, `agent_type`, and `worker_aside` for workers that are set
    /// aside) and the state they changed to, as this node sees them.
    BREAKER_CHANGES = "bravo_breaker_changes_total", Counter, "changes", ["of", "state"];
    /// Leases that ran out before their worker acked, nacked or extended them.
    LEASES_EXPIRED = "bravo_leases_expired_total", Counter, "leases", ["queue"];
    /// 1 where this node leads the partition, else 0.
    RAFT_IS_LEADER = "bravo_raft_is_leader", Gauge, "", ["partition"];
    /// The Raft term as this node knows it.
    RAFT_TERM = "bravo_raft_term", Gauge, "", ["partition"];
    /// Index of the last entry in this node's log.
    RAFT_LAST_LOG = "bravo_raft_last_log", Gauge, "entries", ["partition"];
    /// Index of the last entry that this node knows to be committed.
    RAFT_COMMIT = "bravo_raft_commit", Gauge, "entries", ["partition"];
    /// Index of the last entry that this node has applied.
    RAFT_LAST_APPLIED = "bravo_raft_last_applied", Gauge, "entries", ["partition"];
    /// Changes of leadership that this node has seen.
    RAFT_LEADER_CHANGES = "bravo_raft_leader_changes_total", Counter, "changes", ["partition"];
    /// Time to apply one log entry.
    RAFT_APPLY_SECONDS = "bravo_raft_apply_seconds", Histogram(Buckets::Disk), "seconds", [];
    /// Commands in one applied log entry.
    RAFT_BATCH_COMMANDS = "bravo_raft_batch_commands", Histogram(Buckets::Count), "commands", [];
    /// Snapshots made on this node.
    RAFT_SNAPSHOTS = "bravo_raft_snapshots_total", Counter, "snapshots", ["partition"];
    /// Size of the newest snapshot on this node.
    RAFT_SNAPSHOT_BYTES = "bravo_raft_snapshot_bytes", Gauge, "bytes", ["partition"];
    /// Time of one fsync of the shared log.
    LOG_FSYNC_SECONDS = "bravo_log_fsync_seconds", Histogram(Buckets::Disk), "seconds", [];
    /// Bytes written to the shared log.
    LOG_WRITTEN_BYTES = "bravo_log_written_bytes_total", Counter, "bytes", [];
    /// Writes to the shared log, each followed by one fsync.
    LOG_WRITES = "bravo_log_writes_total", Counter, "writes", [];
    /// Records written to the shared log, votes included.
    LOG_RECORDS = "bravo_log_records_total", Counter, "records", [];
    /// Segments that the shared log holds on disk.
    LOG_SEGMENTS = "bravo_log_segments", Gauge, "segments", [];
    /// What a tier of a cache had, by cache: `payloads` and results that the state does not hold in memory (as
    /// decoded `pages`, as single values in `memory` and on `disk`), `chunks` of artifacts that this node is not to
    /// keep, compiled `templates`, `estimates` that the answer to an idempotency
    /// key carried first, and what `callers` hold and ask about with `If-None-Match` (tier `edge`). A tier
    /// is asked for what the ones before it did not have.
    CACHE_HITS = "bravo_cache_hits_total", Counter, "values", ["cache", "tier"];
    /// Those that it did not have.
    CACHE_MISSES = "bravo_cache_misses_total", Counter, "values", ["cache", "tier"];
    /// Bytes of artifacts that callers sent to this node, as they sent them.
    ARTIFACT_BYTES_IN = "bravo_artifact_received_bytes_total", Counter, "bytes", [];
    /// Bytes of artifacts that this node gave to callers, before they were packed or unpacked on the way.
    ARTIFACT_BYTES_OUT = "bravo_artifact_sent_bytes_total", Counter, "bytes", [];
    /// Chunks of artifacts, and shards of chunks, that this node was sent and wrote, or had already.
    CHUNKS_STORED = "bravo_artifact_chunks_stored_total", Counter, "chunks", [];
    /// Bytes of those on disk, packed where that saves something.
    CHUNKS_STORED_BYTES = "bravo_artifact_chunks_stored_bytes_total", Counter, "bytes", [];
    /// Chunks that this node lacked, or had damaged, and fetched from another one.
    CHUNKS_REPAIRED = "bravo_artifact_chunks_repaired_total", Counter, "chunks", [];
    /// Chunks that this node took in and spread: as six shards (`shards`), or in whole copies, since they are small
    /// or the cluster is (`whole`), or since too few nodes could take a shard (`fallback`).
    CHUNKS_SPREAD = "bravo_artifact_chunks_spread_total", Counter, "chunks", ["kept"];
    /// Shards that this node, as leader of their partition, put where they were missing: `copied` from another node,
    /// or `made` anew from the others of their chunk.
    SHARDS_MENDED = "bravo_artifact_shards_mended_total", Counter, "shards", ["how"];
    /// Chunks and shards that were read again to see whether they are sound, and what was found: `sound` or `damaged`.
    CHUNKS_SCRUBBED = "bravo_artifact_chunks_scrubbed_total", Counter, "chunks", ["found"];
    /// Chunks that no artifact is made of and that this node removed, from its disk (`hot`) or the cold tier.
    CHUNKS_SWEPT = "bravo_artifact_chunks_swept_total", Counter, "chunks", ["tier"];
    /// Versions that this node moved to another class, as leader of their partition.
    COLD_MOVES = "bravo_artifact_moves_total", Counter, "versions", ["class"];
    /// Bytes of those.
    COLD_MOVED_BYTES = "bravo_artifact_moved_bytes_total", Counter, "bytes", ["class"];
    /// Reads of one partition that may be stale and were asked for at this node, by kind (a key of `[reads]`) and by
    /// who answered: a `replica` that does not lead, or the `leader`.
    READS = "bravo_reads_total", Counter, "reads", ["kind", "served_by"];
    /// Agents of the type that are there, as of the last look of the node that leads meta.
    SCALING_CURRENT = "bravo_scaling_current_agents", Gauge, "agents", ["agent_type"];
    /// Agents of the type that should be, as of the last look of the node that leads meta.
    SCALING_RECOMMENDED = "bravo_scaling_recommended_agents", Gauge, "agents", ["agent_type"];
    /// Recommendations that were made, by what they rest on: `forecast`, or `fallback` where too little was seen or
    /// the forecast did worse than the plain rule.
    SCALING_DECISIONS = "bravo_scaling_decisions_total", Counter, "decisions", ["by"];
    /// Agents of this node that were `started`, `asked_to_leave`, `left`, `died` or were `killed` when the node stopped.
    SCALING_AGENTS = "bravo_scaling_agents_moved_total", Counter, "agents", ["agent_type", "what"];
    /// Times that an actuator could not do what it was told.
    SCALING_FAILURES = "bravo_scaling_act_failures_total", Counter, "times", ["actuator"];
    /// Tries of deliveries to webhooks by this node, by outcome: `delivered`; `failed`, to be tried again unless
    /// that was the last attempt; `throttled`, put off as the receiver asked; `refused`, as the address is
    /// private; `gone`, which disabled the webhook; `dropped`, as the webhook was deleted or disabled meanwhile.
    /// And `overflow`: never made, as too many of the webhook wait; counted where the partition is led.
    WEBHOOK_DELIVERIES = "bravo_webhook_deliveries_total", Counter, "deliveries", ["outcome"];
    /// Entries of the audit log that could not be written: there was no leader in time, or too many callers were turned
    /// away at once.
    AUDIT_LOST = "bravo_audit_lost_total", Counter, "entries", [];
    /// Named invariants that were found broken. Anything above 0 is a bug: please report it.
    INVARIANT_VIOLATIONS = "bravo_invariant_violations_total", Counter, "violations", ["name"];
    /// Always 1; the label tells the version.
    BUILD_INFO = "bravo_build_info", Gauge, "", ["version"];
    /// Processor time of this process, in user and system mode. It only grows, though its type is
    /// gauge, since it has fractions.
    PROCESS_CPU_SECONDS = "process_cpu_seconds_total", Gauge, "seconds", [];
    /// Memory of this process that is in RAM.
    PROCESS_RESIDENT_BYTES = "process_resident_memory_bytes", Gauge, "bytes", [];
    /// Open file descriptors of this process.
    PROCESS_OPEN_FDS = "process_open_fds", Gauge, "descriptors", [];
    /// Most file descriptors that this process may have open.
    PROCESS_MAX_FDS = "process_max_fds", Gauge, "descriptors", [];
}

/// The text of `docs/metrics.md`.
pub fn reference() -> String {
    let mut page = String::from(INTRO);
    for metric in METRICS {
        let labels = metric.labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        let kind = match metric.kind {
            Counter => "counter",
            Gauge => "gauge",
            Histogram(_) => "histogram",
        };
        let (name, unit, doc) = (metric.name, metric.unit, metric.doc.trim());
        let _ = writeln!(page, "| `{name}` | {kind} | {unit} | {labels} | {doc} |");
    }
    page.push_str("\n## Buckets\n\n");
    for metric in METRICS {
        if let Histogram(buckets) = metric.kind {
            let bounds = buckets.bounds().iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let _ = writeln!(page, "- `{}`: {bounds}", metric.name);
        }
    }
    page
}

const INTRO: &str = "\
# Metrics

<!-- Made from daemon/src/telemetry/metric.rs by its tests; do not edit.
     Renew it with: BRAVO_UPDATE_DOCS=1 cargo test -p bravo-daemon metric -->

`GET /metrics` on the public port, in Prometheus' text format. Label values are bounded: `queue` holds \
the first `limits.queue_labels_max` names, later ones are counted under `other`; `endpoint` is the \
route's pattern, never a path.

| name | kind | unit | labels | meaning |
|---|---|---|---|---|
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metric_reference_page_is_up_to_date() {
        crate::config::testing::same_page("metrics.md", &reference());
    }

    #[test]
    fn metric_names_are_unique_and_follow_the_rules_of_prometheus() {
        let mut names: Vec<_> = METRICS.iter().map(|metric| metric.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), METRICS.len());
        for metric in METRICS {
            assert!(metric.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{}", metric.name);
            assert!(metric.kind != Counter || metric.name.ends_with("_total"), "{}", metric.name);
            if let Histogram(buckets) = metric.kind {
                assert!(buckets.bounds().is_sorted(), "{}", metric.name);
            }
        }
    }
}
