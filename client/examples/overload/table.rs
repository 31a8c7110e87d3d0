//! The table: one row a load.

use std::collections::BTreeMap;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use crate::load::{Entry, Round};

pub(crate) fn head() {
    println!(
        "| load | offered | goodput | shed | late | in time, priority 9 | 8 | 7 | 6 | 5 | 4 | 3 | 2 | 1 | 0 | within p95 | 90 % interval | failed |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|");
}

pub(crate) fn row(times: f64, round: &Round, capacity: f64, before: &Counts, now: Counts) {
    let Counts { held, checked, shed } = now.since(before);
    let entries = &round.entries;
    let count = |of: &dyn Fn(&Entry) -> bool| entries.iter().filter(|entry| of(entry)).count() as f64;
    let percent = |part: f64, whole: f64| format!("{:.1} %", part / whole.max(1.0) * 100.0);
    let admitted = count(&|entry| entry.admitted.is_some());
    let started = count(&|entry| entry.wait().is_some());
    let mut cells = vec![
        format!("{times}"),
        entries.len().to_string(),
        percent(started, capacity),
        percent(count(&|entry| entry.shed), entries.len() as f64),
        percent(count(&|entry| entry.admitted.is_some() && entry.wait().is_none()), admitted),
    ];
    for priority in (0..10).rev() {
        let all = count(&|entry| entry.priority == priority);
        cells.push(percent(count(&|entry| entry.priority == priority && entry.wait().is_some()), all));
    }
    let told = |entry: &Entry| entry.admitted.flatten().zip(entry.wait());
    let below = count(&|entry| told(entry).is_some_and(|(eta, wait)| wait.as_millis() as u64 <= eta.p95_ms));
    cells.push(percent(below, count(&|entry| told(entry).is_some())));
    cells.push(percent(held, checked));
    cells.push(round.failed.to_string());
    println!("| {} |", cells.join(" | "));
    eprintln!("{times}: refused by reason: {shed:?}");
    edge(entries);
}

/// Of the priority that was served by halves: how the tenants fared.
fn edge(entries: &[Entry]) {
    let share = |of: &dyn Fn(&Entry) -> bool| {
        let (mut all, mut admitted) = (0.0, 0.0);
        for entry in entries.iter().filter(|entry| of(entry)) {
            all += 1.0;
            admitted += f64::from(u8::from(entry.admitted.is_some()));
        }
        admitted / f64::max(all, 1.0)
    };
    let distance = |priority: &usize| ((share(&|entry| entry.priority == *priority) - 0.5).abs() * 1e3) as u64;
    let Some(priority) = (0..10).min_by_key(distance).filter(|priority| distance(priority) < 400) else { return };
    let mut tenants: Vec<u32> = (0..40)
        .map(|tenant| (share(&|entry| entry.priority == priority && entry.tenant == tenant) * 100.0) as u32)
        .collect();
    tenants.sort_unstable();
    eprintln!("  tenants of priority {priority}, percent let in: {tenants:?}");
}

/// What nodes count: estimates whose 90 % interval held, all that were compared, refusals by their reason.
#[derive(Default)]
pub(crate) struct Counts {
    held: f64,
    checked: f64,
    shed: BTreeMap<String, f64>,
}

impl Counts {
    /// Of all nodes together.
    pub(crate) async fn read(servers: &[String]) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
        // Nodes of one process count together, and each tells all of it.
        let mut texts = Vec::new();
        for server in servers {
            let Ok(uri) = format!("{server}/metrics").parse() else { continue };
            let Ok(answer) = client.get(uri).await else { continue };
            let Ok(body) = answer.into_body().collect().await else { continue };
            texts.push(String::from_utf8_lossy(&body.to_bytes()).into_owned());
        }
        let mut counts = Self::default();
        for line in texts.iter().flat_map(|text| text.lines()) {
            let Some((name, value)) = line.rsplit_once(' ') else { continue };
            let value: f64 = value.parse().unwrap_or(0.0);
            if name.starts_with("bravo_eta_checked_total") {
                counts.checked += value;
                counts.held += if name.contains("yes") { value } else { 0.0 };
            }
            if let Some(reason) = name.strip_prefix("bravo_requests_shed_total") {
                *counts.shed.entry(reason.to_owned()).or_default() += value;
            }
        }
        counts
    }

    fn since(mut self, before: &Self) -> Self {
        self.held -= before.held;
        self.checked -= before.checked;
        for (reason, count) in &mut self.shed {
            *count -= before.shed.get(reason).copied().unwrap_or(0.0);
        }
        self
    }
}
