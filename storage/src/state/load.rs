//! Filling a store with the rows of a snapshot.

use bravo_model::{Key, Value};

use super::engine::EngineError;
use super::store::StateStore;

/// Rows between two looks at the memory budget.
const CHUNK_ROWS: usize = 4096;

impl StateStore {
    /// Replaces the contents by `rows`, which must come in key order; returns how many there were.
    /// Memory stays within the budget as far as tables may be spilled. After an error the store is empty.
    pub fn load<E: From<EngineError>>(
        &mut self,
        rows: impl IntoIterator<Item = Result<(Key, Value), E>>,
    ) -> Result<u64, E> {
        self.clear();
        let loaded = self.load_rows(rows);
        if loaded.is_err() {
            self.clear();
        }
        loaded
    }

    fn load_rows<E: From<EngineError>>(
        &mut self,
        rows: impl IntoIterator<Item = Result<(Key, Value), E>>,
    ) -> Result<u64, E> {
        let mut count = 0u64;
        let mut last: Option<Key> = None;
        for row in rows {
            let (key, value) = row?;
            if last.is_some_and(|last| last >= key) {
                return Err(EngineError::Damaged(format!("rows to load are out of order at {key:?}")).into());
            }
            last = Some(key);
            self.active.put(key, Some(value));
            count += 1;
            if count.is_multiple_of(CHUNK_ROWS as u64) {
                while self.spill() > 0 || self.is_spilling() {}
            }
        }
        self.health()?;
        Ok(count)
    }
}
