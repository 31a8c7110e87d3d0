//! Writes the audit log: what administrators change before it is answered, and who was turned away soon after.
//!
//! Anybody can be turned away as often as they like, so that only so many refusals a second are written; how many
//! were left out is an entry too.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bravo_model::audit::NewEntry;
use bravo_model::{Command, Envelope};
use tokio::sync::mpsc;

use crate::cluster::{Cluster, Repeat};
use crate::raft::types::META_GROUP;
use crate::telemetry::events::AuditLost;

/// How long one waits for an entry to be written.
const PATIENCE: Duration = Duration::from_secs(5);
/// Refusals that are written together.
const BATCH_EVERY: Duration = Duration::from_secs(1);
/// Refusals of one batch; the rest is counted.
const BATCH_MAX: usize = 20;
/// Refusals on their way.
const QUEUED_MAX: usize = 1_024;

/// Where entries are handed in.
pub(crate) struct Audit {
    refusals: mpsc::Sender<NewEntry>,
    waiting: parking_lot::Mutex<Option<mpsc::Receiver<NewEntry>>>,
}

impl Default for Audit {
    fn default() -> Self {
        let (refusals, waiting) = mpsc::channel(QUEUED_MAX);
        Self { refusals, waiting: parking_lot::Mutex::new(Some(waiting)) }
    }
}

impl Audit {
    /// Writes an entry; what it tells of has happened already, so that a failure is only told.
    pub(crate) async fn write(&self, cluster: &Arc<Cluster>, entry: NewEntry) {
        append(cluster, vec![entry]).await;
    }

    /// Hands in that somebody was turned away.
    pub(crate) fn refused(&self, entry: NewEntry) {
        if self.refusals.try_send(entry).is_err() {
            AuditLost { entries: 1, detail: "too many refusals at once" }.emit();
        }
    }

    /// Writes refusals as they come, until `leave` is over.
    pub(crate) async fn run(&self, cluster: &Arc<Cluster>, leave: impl Future<Output = ()>) {
        let Some(mut waiting) = self.waiting.lock().take() else { return };
        tokio::pin!(leave);
        loop {
            let first = tokio::select! {
                entry = waiting.recv() => entry,
                () = &mut leave => return,
            };
            let Some(first) = first else { return };
            let mut batch = vec![first];
            tokio::select! {
                () = tokio::time::sleep(BATCH_EVERY) => {}
                () = &mut leave => {}
            }
            while let Ok(entry) = waiting.try_recv() {
                batch.push(entry);
            }
            append(cluster, bounded(batch)).await;
        }
    }
}

/// The first of many, and how many more there were.
fn bounded(mut batch: Vec<NewEntry>) -> Vec<NewEntry> {
    let left_out = batch.len().saturating_sub(BATCH_MAX);
    batch.truncate(BATCH_MAX);
    if left_out > 0 {
        batch.push(NewEntry {
            actor: String::new(),
            action: "refusals".into(),
            target: format!("{left_out} more"),
            result: "not_noted".into(),
        });
    }
    batch
}

async fn append(cluster: &Arc<Cluster>, entries: Vec<NewEntry>) {
    let count = entries.len() as u64;
    let envelope = Envelope::plain(Command::AppendAudit(entries));
    let written = cluster.propose(META_GROUP, &envelope, Repeat::Never, Instant::now() + PATIENCE).await;
    if let Err(refusal) = written {
        AuditLost { entries: count, detail: &refusal.detail }.emit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_flood_of_refusals_the_first_are_written_and_the_rest_is_counted() {
        let entry = |n: usize| NewEntry {
            actor: n.to_string(),
            action: "authenticate".into(),
            target: String::new(),
            result: "unauthenticated".into(),
        };
        let batch = bounded((0..100).map(entry).collect());
        assert_eq!(batch.len(), BATCH_MAX + 1);
        assert_eq!((batch[0].actor.as_str(), batch[BATCH_MAX].target.as_str()), ("0", "80 more"));
        assert_eq!(bounded(vec![entry(1)]).len(), 1);
    }
}
