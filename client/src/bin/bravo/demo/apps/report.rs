//! The last thing that is shown.

use serde::Serialize;

use crate::output::{Table, fields};

/// Everything in numbers.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) apps: Vec<Built>,
    pub(super) seconds: f64,
    pub(super) tasks: usize,
    pub(super) bundles_checked: usize,
    pub(super) killed_node: u64,
    pub(super) killed_node_led: usize,
    pub(super) failover_seconds: f64,
    pub(super) killed_agent: String,
    /// The job that it held.
    pub(super) killed_job: String,
    /// At which attempt the job was done all the same.
    pub(super) killed_job_attempt: u64,
    pub(super) probe_writes: usize,
    pub(super) replicas_equal: String,
    pub(super) problems: Vec<String>,
    pub(super) pass: bool,
}

/// An application that was built.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Built {
    pub(super) app: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) workflow: String,
    pub(super) features: u64,
    pub(super) tests_passed: u64,
    pub(super) http_checks: usize,
    pub(super) lines: u64,
    /// From the start of the workflow to its end.
    pub(super) seconds: f64,
    pub(super) url: String,
    pub(super) blake3: String,
}

/// The report for people.
pub(super) fn render(report: &Report) -> String {
    let mut apps = Table::new(&["app", "type", "features", "tests", "calls", "lines", "seconds", "artifact"]);
    for app in &report.apps {
        apps.row([
            app.app.clone(),
            app.kind.clone(),
            app.features.to_string(),
            app.tests_passed.to_string(),
            app.http_checks.to_string(),
            app.lines.to_string(),
            format!("{:.1}", app.seconds),
            app.url.clone(),
        ]);
    }
    let again = format!("{}: {} was done at attempt {}", report.killed_agent, report.killed_job, report.killed_job_attempt);
    let numbers = fields(&[
        ("applications", report.apps.len().to_string()),
        ("seconds", format!("{:.1}", report.seconds)),
        ("tasks, each done once", report.tasks.to_string()),
        ("killed node", format!("{}, leader of {} groups", report.killed_node, report.killed_node_led)),
        ("failover", format!("{:.1} s without writes to a partition", report.failover_seconds)),
        ("killed agent", again),
        ("bundles read from every node, with the right hash", report.bundles_checked.to_string()),
        ("probe writes, none lost", report.probe_writes.to_string()),
        ("groups with equal replicas", report.replicas_equal.clone()),
    ]);
    let verdict = if report.pass { "PASS" } else { "FAIL" };
    let problems: String = report.problems.iter().map(|problem| format!("wrong: {problem}\n")).collect();
    format!("\n{}\n{numbers}\n{problems}{verdict}\n", apps.render())
}
