//! The housekeeping that is done between applied batches, in steps of a few milliseconds at most.

use std::sync::Arc;

use bravo_model::Key;

use super::engine::EngineError;
use super::store::StateStore;

/// Dead pages deleted from the engine by one call.
const DELETE_BATCH: usize = 64;

/// What one call of [`StateStore::maintain`] did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Maintenance {
    /// Rows merged from one layer into the next.
    pub merged_rows: usize,
    /// Rows moved to the engine.
    pub spilled_rows: usize,
    /// Rows taken back from pages that had few left.
    pub restored_rows: usize,
    /// Pages deleted from the engine.
    pub deleted_pages: usize,
    /// Whether the engine takes no more, so that memory may outgrow its budget: time to refuse work.
    pub engine_refused: bool,
    /// Whether another call now would find something to do.
    pub more: bool,
}

impl StateStore {
    /// Merges layers that no view holds any more, and moves cold rows to the engine when memory is
    /// beyond its budget. Call it after every applied batch, and when idle while it asks for more.
    pub fn maintain(&mut self) -> Maintenance {
        let mut done = Maintenance { merged_rows: self.drain(self.options.merge_batch), ..Maintenance::default() };
        self.bury_retired();
        done.deleted_pages = self.delete_dead();
        let settled = self.frozen.is_empty() && self.draining.is_none() && Arc::strong_count(&self.pages) == 1;
        if settled && self.health().is_ok() {
            done.restored_rows = self.restore_sparse();
            done.spilled_rows = self.spill();
        }
        done.more = self.draining.is_some()
            || (!self.dead.is_empty() && done.deleted_pages > 0)
            || (settled && (!self.sparse.is_empty() || self.is_spilling()));
        done.engine_refused = self.is_spill_broken();
        done
    }

    /// Pages of earlier contents can go once the views that read them are gone.
    fn bury_retired(&mut self) {
        let dead = &mut self.dead;
        self.retired.retain(|pages| {
            let held = Arc::strong_count(pages) > 1;
            if !held {
                dead.extend(pages.ids());
            }
            held
        });
    }

    fn delete_dead(&mut self) -> usize {
        if self.dead.is_empty() {
            return 0;
        }
        let from = self.dead.len().saturating_sub(DELETE_BATCH);
        let batch: Vec<_> = self.dead[from..].iter().map(|id| (id.engine_key(), None)).collect();
        match self.reader.engine.batch(&batch, self.applied) {
            Ok(()) => {
                self.dead.truncate(from);
                batch.len()
            }
            Err(error) => {
                tracing::warn!(%error, "dead pages stay in the state engine until the next round");
                0
            }
        }
    }

    /// Takes the last rows of a sparse page back into memory; they are spilled again with new
    /// neighbours if they stay cold.
    fn restore_sparse(&mut self) -> usize {
        let Some(first) = self.sparse.pop_front() else { return 0 };
        match self.restore(&first) {
            Ok(rows) => rows,
            Err(error) => {
                self.reader.poison(error);
                0
            }
        }
    }

    fn restore(&mut self, first: &Key) -> Result<usize, EngineError> {
        let Some((found, meta)) = self.pages.covering(first) else { return Ok(0) };
        if found != first || !meta.is_sparse() {
            return Ok(0);
        }
        let page = self.reader.page(meta)?;
        let mut rows = Vec::new();
        for position in meta.live_positions() {
            let missing = || EngineError::Damaged(format!("page {} has no row {position}", meta.id.0));
            rows.push((meta.keys.key(position), page.value(position).ok_or_else(missing)?));
        }
        if let Some(meta) = Arc::make_mut(&mut self.pages).remove(first) {
            self.reader.cache.remove(meta.id);
            self.dead.push(meta.id);
        }
        let count = rows.len();
        for (key, value) in rows {
            self.active.put(key, Some(value));
        }
        Ok(count)
    }
}
