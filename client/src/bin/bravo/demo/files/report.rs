//! The last thing that is shown.

use serde::Serialize;

use crate::output::{Table, fields};

/// Everything in numbers.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) files: usize,
    pub(super) bytes: u64,
    pub(super) rounds: u64,
    pub(super) jobs: usize,
    pub(super) seconds: f64,
    pub(super) jobs_per_second: f64,
    pub(super) jobs_delivered_again: usize,
    pub(super) attempts_max: u64,
    pub(super) acks_accepted: u64,
    pub(super) results_checked: usize,
    pub(super) probe_writes: usize,
    pub(super) replicas_equal: String,
    pub(super) killed_node: u64,
    pub(super) killed_node_led: usize,
    pub(super) failover_seconds: f64,
    pub(super) enqueue_ms: Quantiles,
    pub(super) delivery_ms: Quantiles,
    pub(super) problems: Vec<String>,
    pub(super) pass: bool,
}

/// Milliseconds.
#[derive(Debug, Serialize)]
pub(super) struct Quantiles {
    pub(super) p50: f64,
    pub(super) p99: f64,
}

impl From<[f64; 2]> for Quantiles {
    fn from([p50, p99]: [f64; 2]) -> Self {
        Self { p50, p99 }
    }
}

/// The report for people.
pub(super) fn render(report: &Report) -> String {
    let mut latencies = Table::new(&["latency", "p50", "p99"]);
    for (name, quantiles) in [("enqueue", &report.enqueue_ms), ("enqueue to delivery", &report.delivery_ms)] {
        latencies.row([name.to_owned(), format!("{:.1} ms", quantiles.p50), format!("{:.1} ms", quantiles.p99)]);
    }
    let again = match report.jobs_delivered_again {
        0 => "0".to_owned(),
        jobs => format!("{jobs} (at most {} times), each acknowledged once", report.attempts_max),
    };
    let numbers = fields(&[
        ("files", report.files.to_string()),
        ("bytes", report.bytes.to_string()),
        ("jobs", format!("{} ({} per file)", report.jobs, report.rounds)),
        ("seconds", format!("{:.1}", report.seconds)),
        ("jobs/s", format!("{:.0}", report.jobs_per_second)),
        ("acks accepted", report.acks_accepted.to_string()),
        ("results that equal a new computation", report.results_checked.to_string()),
        ("jobs delivered more than once", again),
        ("probe writes, none lost", report.probe_writes.to_string()),
        ("partitions with equal replicas", report.replicas_equal.clone()),
        ("failover", format!("{:.1} s without writes to a partition", report.failover_seconds)),
    ]);
    let verdict = if report.pass { "PASS" } else { "FAIL" };
    let problems: String = report.problems.iter().map(|problem| format!("wrong: {problem}\n")).collect();
    format!("\n{numbers}\n{}\n{problems}{verdict}\n", latencies.render())
}
