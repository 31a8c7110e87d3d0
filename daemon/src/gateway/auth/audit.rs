//! Writes the audit log: what administrators change before it is answered, and who was turned away soon after.
//!
//! Anybody can be turned away as often as they like, so that refusals of one kind are one entry and only so many are
//! written in a while (four a second, if there are that many kinds); how many were left out is an entry too.

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
/// Refusals that come this soon after the first are written with it.
const GATHERED: Duration = Duration::from_secs(1);
/// Between two batches of refusals: floods must not push out what administrators did.
const BATCH_EVERY: Duration = Duration::from_secs(10);
/// Entries of one batch, of calls that were denied and of callers who are nobody; each stands for all refusals of one
/// kind. The rest is counted.
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
        let mut not_before = tokio::time::Instant::now();
        let mut left = false;
        while !left {
            let mut batch = Batch::default();
            tokio::select! {
                first = waiting.recv() => match first {
                    Some(first) => batch.add(first),
                    None => return,
                },
                () = &mut leave => return,
            }
            let due = not_before.max(tokio::time::Instant::now() + GATHERED);
            loop {
                tokio::select! {
                    Some(entry) = waiting.recv() => batch.add(entry),
                    () = tokio::time::sleep_until(due) => break,
                    () = &mut leave => {
                        left = true;
                        break;
                    }
                }
            }
            not_before = tokio::time::Instant::now() + BATCH_EVERY;
            append(cluster, batch.entries()).await;
        }
    }
}

/// Refusals that are written together: the first of each kind, and how many more there were.
#[derive(Default)]
struct Batch {
    kinds: Vec<(NewEntry, u64)>,
    /// Of further kinds.
    left_out: u64,
}

impl Batch {
    fn add(&mut self, entry: NewEntry) {
        let same = |of: &NewEntry| (&of.actor, &of.action, &of.result) == (&entry.actor, &entry.action, &entry.result);
        let is_like = |(of, _): &&(NewEntry, u64)| of.result == entry.result;
        match self.kinds.iter().position(|(of, _)| same(of)) {
            Some(place) => self.kinds[place].1 += 1,
            None if self.kinds.iter().filter(is_like).count() < BATCH_MAX => self.kinds.push((entry, 0)),
            None => self.left_out += 1,
        }
    }

    fn entries(self) -> Vec<NewEntry> {
        let others = NewEntry {
            actor: String::new(),
            action: "refusals".into(),
            target: format!("{} more", self.left_out),
            result: "not_noted".into(),
        };
        let kinds = self.kinds.into_iter().map(|(entry, more)| match more {
            0 => entry,
            more => NewEntry { target: format!("{more} more and {}", entry.target), ..entry },
        });
        kinds.chain((self.left_out > 0).then_some(others)).collect()
    }
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

    fn of(actor: &str, target: &str) -> NewEntry {
        let (action, result) = ("authenticate".into(), "unauthenticated".into());
        NewEntry { actor: actor.into(), action, target: target.into(), result }
    }

    #[test]
    fn whoever_is_turned_away_again_and_again_is_one_entry() {
        let mut batch = Batch::default();
        (0..100).for_each(|n| batch.add(of("address:192.0.2.1", &format!("GET /{n}"))));
        batch.add(of("address:192.0.2.2", "GET /"));
        assert_eq!(batch.entries(), [of("address:192.0.2.1", "99 more and GET /0"), of("address:192.0.2.2", "GET /")]);
    }

    #[test]
    fn of_a_flood_of_refusals_the_first_are_written_and_the_rest_is_counted() {
        let mut batch = Batch::default();
        (0..100).for_each(|n| batch.add(of(&n.to_string(), "GET /")));
        let entries = batch.entries();
        assert_eq!(entries.len(), BATCH_MAX + 1);
        assert_eq!((entries[0].actor.as_str(), entries[BATCH_MAX].target.as_str()), ("0", "80 more"));
    }

    #[test]
    fn a_flood_of_wrong_keys_leaves_room_for_calls_that_were_denied() {
        let mut batch = Batch::default();
        (0..100).for_each(|n| batch.add(of(&n.to_string(), "GET /")));
        let denied = NewEntry { result: "permission_denied".into(), ..of("key:a", "x") };
        batch.add(denied.clone());
        assert!(batch.entries().contains(&denied));
    }
}
