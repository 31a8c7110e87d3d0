//! openraft's state machine over the model and the node's state store.
//!
//! The state in memory is rebuilt at start from the newest fsynced snapshot and the log behind it
//! (openraft does the replay), so `applied_state` never claims more than what is durable.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bravo_model::{Reply, apply, apply_watched};
use bravo_storage::snapshot::{SnapshotFile, SnapshotName, SnapshotWriter};
use bravo_storage::state::Frozen;
use futures_util::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use serde::{Deserialize, Serialize};

use super::group::GroupState;
use super::types::alias::{LogId, Snapshot, SnapshotMeta, StoredMembership};
use super::types::{Applied, Batch, TypeConfig};

/// The state machine of one group on this node.
pub struct Machine {
    shared: Arc<GroupState>,
    snapshots: PathBuf,
    applied: Option<LogId>,
    membership: StoredMembership,
}

/// Writes the snapshot of one frozen moment.
pub struct SnapshotBuilder {
    frozen: Frozen,
    meta: SnapshotMeta,
    group: u32,
    snapshots: PathBuf,
}

/// What a snapshot file says about itself.
#[derive(Serialize, Deserialize)]
struct Meta {
    applied: Option<LogId>,
    membership: StoredMembership,
}

impl Machine {
    /// An empty state machine; openraft fills it from the snapshot in `snapshots` and the log.
    pub fn new(shared: Arc<GroupState>, snapshots: PathBuf) -> Self {
        Self { shared, snapshots, applied: None, membership: StoredMembership::default() }
    }

    fn apply_batch(&self, index: u64, batch: &Batch) -> io::Result<Applied> {
        let Some(entry) = batch.decode() else {
            // A format of a later version: every replica of this build refuses it alike.
            return Ok(Applied(Vec::new()));
        };
        let started = Instant::now();
        let mut state = self.shared.state.write();
        let (partition, feed) = (self.shared.partition, &self.shared.feed);
        let (outcomes, happened) = if feed.is_wanted() {
            let (outcomes, happened) = apply_watched(&mut *state, partition, &entry);
            (outcomes, Some(happened))
        } else {
            (apply(&mut *state, partition, &entry), None)
        };
        state.set_applied(index);
        // A spilled row that could not be read was taken for absent: nothing of this may be answered.
        state.health().map_err(io::Error::other)?;
        let next_due = bravo_model::view::next_due(&*state);
        drop(state);
        match happened {
            Some(happened) => feed.note(partition, index, happened),
            None => feed.pass_over(partition, index),
        }
        self.shared.clock.at_least(entry.at);
        let mut replies: Vec<Reply> = Vec::with_capacity(outcomes.len());
        let mut effects = Vec::new();
        for outcome in outcomes {
            replies.push(outcome.reply);
            effects.extend(outcome.effects);
        }
        self.shared.log_since_snapshot.fetch_add(batch.0.len() as u64, Ordering::Relaxed);
        self.shared.after_apply(effects, next_due, replies.len(), started.elapsed());
        Ok(Applied(replies))
    }

    fn load(&mut self, meta: Meta, file: &SnapshotFile) -> io::Result<()> {
        let rows = file.rows().map_err(io::Error::other)?;
        let mut state = self.shared.state.write();
        state.clear();
        state.load(rows).map_err(io::Error::other)?;
        let now = bravo_model::view::now(&*state);
        let next_due = bravo_model::view::next_due(&*state);
        drop(state);
        self.shared.clock.at_least(now);
        self.shared.arm(next_due);
        self.applied = meta.applied;
        self.membership = meta.membership;
        Ok(())
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            let log_id = entry.log_id;
            let answer = match entry.payload {
                EntryPayload::Blank => Applied(Vec::new()),
                EntryPayload::Normal(batch) if batch.is_marker() => {
                    let frozen = self.shared.state.write().freeze();
                    self.shared.keep_marker(log_id.index, frozen);
                    Applied(Vec::new())
                }
                EntryPayload::Normal(batch) => self.apply_batch(log_id.index, &batch)?,
                EntryPayload::Membership(membership) => {
                    self.membership = StoredMembership::new(Some(log_id), membership);
                    Applied(Vec::new())
                }
            };
            self.applied = Some(log_id);
            self.shared.applied_index(log_id.index);
            if let Some(responder) = responder {
                responder.send(answer);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        self.shared.log_since_snapshot.store(0, Ordering::Relaxed);
        SnapshotBuilder {
            frozen: self.shared.state.write().freeze(),
            meta: SnapshotMeta { last_log_id: self.applied, last_membership: self.membership.clone() },
            group: self.shared.group,
            snapshots: self.snapshots.clone(),
        }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, file: SnapshotFile) -> Result<(), io::Error> {
        let meta = Meta { applied: meta.last_log_id, membership: meta.last_membership.clone() };
        tokio::task::block_in_place(|| self.load(meta, &file))
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        let group = self.shared.group;
        let snapshots = self.snapshots.clone();
        let file = tokio::task::spawn_blocking(move || SnapshotFile::open(&snapshots, group))
            .await
            .map_err(io::Error::other)?
            .map_err(io::Error::other)?;
        file.map(|file| Ok(Snapshot { meta: read_meta(&file)?, snapshot: file })).transpose()
    }
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    type SnapshotData = SnapshotFile;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let meta = self.meta.clone();
        let described = write_meta(&meta)?;
        let name = snapshot_name(&meta);
        let (frozen, group, snapshots) = (self.frozen.clone(), self.group, self.snapshots.clone());
        let file =
            tokio::task::spawn_blocking(move || SnapshotWriter::write(&snapshots, group, name, &described, &frozen))
                .await
                .map_err(io::Error::other)?
                .map_err(io::Error::other)?;
        Ok(Snapshot { meta, snapshot: file })
    }
}

/// The name of a snapshot: the last entry in it.
pub(crate) fn snapshot_name(meta: &SnapshotMeta) -> SnapshotName {
    meta.last_log_id.map_or(SnapshotName::new(0, 0), |id| SnapshotName::new(id.index, id.leader_id.term))
}

/// Encodes what a snapshot file says about itself.
pub(crate) fn write_meta(meta: &SnapshotMeta) -> io::Result<Vec<u8>> {
    let meta = Meta { applied: meta.last_log_id, membership: meta.last_membership.clone() };
    serde_json::to_vec(&meta).map_err(io::Error::other)
}

/// Decodes what a snapshot file says about itself.
pub(crate) fn read_meta(file: &SnapshotFile) -> io::Result<SnapshotMeta> {
    let meta: Meta = serde_json::from_slice(file.meta()).map_err(io::Error::other)?;
    Ok(SnapshotMeta { last_log_id: meta.applied, last_membership: meta.membership })
}
