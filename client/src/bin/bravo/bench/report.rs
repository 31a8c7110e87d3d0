//! The result, for people and programs.

use std::collections::BTreeMap;

use serde::Serialize;

use super::plan::{Mode, Transport};
use super::record::Latency;
use crate::output::{Table, fields, or_dash};

/// What was measured.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) mode: Mode,
    pub(super) transport: Transport,
    /// Jobs a second that were asked for; absent in a closed loop.
    pub(super) rate: Option<f64>,
    pub(super) queue: String,
    pub(super) payload_bytes: usize,
    pub(super) batch: usize,
    /// In the measured part.
    pub(super) seconds: f64,
    /// Enqueued in the measured part, or jobs read, or workflows started.
    pub(super) jobs: u64,
    pub(super) enqueued_per_second: f64,
    pub(super) finished: u64,
    pub(super) finished_per_second: f64,
    /// Calls that were due and not begun when the time was up.
    pub(super) unstarted_calls: usize,
    /// Jobs that were enqueued and not finished some seconds after the end.
    pub(super) left_open: u64,
    /// Acks that the daemons accepted, over the whole run.
    pub(super) acks_accepted: u64,
    /// From the intended start to the acknowledgement; one sample per call.
    pub(super) enqueue: Option<Latency>,
    /// Where jobs are read or workflows started: from the intended start to the answer.
    pub(super) call: Option<Latency>,
    /// From the intended start to the worker; one sample per job.
    pub(super) delivery: Option<Latency>,
    pub(super) daemon_cpu_seconds: Option<f64>,
    pub(super) daemon_cpu_seconds_per_100k_jobs: Option<f64>,
    pub(super) own_cpu_seconds: f64,
    pub(super) errors: BTreeMap<String, u64>,
}

/// The report for people.
pub(super) fn render(report: &Report) -> String {
    let (works, [jobs, per_second, call]) = match report.mode {
        Mode::Enqueue => (false, ["jobs", "enqueued/s", ""]),
        Mode::E2e | Mode::Mixed => (true, ["jobs", "enqueued/s", ""]),
        Mode::Read => (false, ["jobs read", "read/s", "read"]),
        Mode::Workflow => (false, ["workflows", "started/s", "start"]),
    };
    let mut latencies = Table::new(&["latency ms", "p50", "p90", "p95", "p99", "p99.9", "max"]);
    for (name, latency) in [("enqueue", &report.enqueue), (call, &report.call), ("enqueue to delivery", &report.delivery)] {
        if let Some(latency) = latency {
            let times = [latency.p50_us, latency.p90_us, latency.p95_us, latency.p99_us, latency.p999_us, latency.max_us];
            let cells = times.map(|us| format!("{:.2}", us as f64 / 1e3));
            latencies.row(std::iter::once(name.to_owned()).chain(cells));
        }
    }
    let round = |number: f64| format!("{number:.0}");
    let mut lines = vec![
        ("rate", report.rate.map_or_else(|| "as fast as it goes".to_owned(), round)),
        ("seconds", format!("{:.1}", report.seconds)),
        (jobs, report.jobs.to_string()),
        (per_second, round(report.enqueued_per_second)),
    ];
    if works {
        lines.push(("finished/s", round(report.finished_per_second)));
        lines.push(("left open", report.left_open.to_string()));
    }
    if report.rate.is_some() {
        lines.push(("calls never started", report.unstarted_calls.to_string()));
    }
    let daemons = report.daemon_cpu_seconds_per_100k_jobs.map(|seconds| format!("{seconds:.2}"));
    lines.push(("daemon CPU-s per 100,000 jobs", or_dash(daemons)));
    lines.push(("own CPU-s", format!("{:.2}", report.own_cpu_seconds)));
    let errors: Vec<String> = report.errors.iter().map(|(code, count)| format!("{code} {count}")).collect();
    lines.push(("errors", if errors.is_empty() { "0".into() } else { errors.join(", ") }));
    format!("{}\n{}", fields(&lines), latencies.render())
}
