//! One layer of the overlay: rows and tombstones, and what they weigh.

use std::collections::BTreeMap;
use std::ops::Bound;

use bravo_model::{Key, Value};

/// A row, or the mark that the layers below no longer count.
pub(super) type Slot = Option<Value>;

/// What a row costs beside its value's bytes: key and value handle inline in tree nodes that are
/// about two thirds full, and the allocation behind the value.
const ROW_OVERHEAD: u64 = 128;

/// Rows of one layer with their weight.
#[derive(Default)]
pub(super) struct Layer {
    rows: BTreeMap<Key, Slot>,
    bytes: u64,
}

/// What one row weighs in memory.
pub(super) fn weight_of(value: &Value) -> u64 {
    ROW_OVERHEAD + value.len() as u64
}

fn weight(slot: &Slot) -> u64 {
    slot.as_ref().map_or(ROW_OVERHEAD, weight_of)
}

impl Layer {
    pub(super) fn get(&self, key: &Key) -> Option<&Slot> {
        self.rows.get(key)
    }

    pub(super) fn put(&mut self, key: Key, slot: Slot) {
        self.bytes += weight(&slot);
        if let Some(old) = self.rows.insert(key, slot) {
            self.bytes -= weight(&old);
        }
    }

    pub(super) fn remove(&mut self, key: &Key) -> Option<Slot> {
        let old = self.rows.remove(key)?;
        self.bytes -= weight(&old);
        Some(old)
    }

    pub(super) fn pop_first(&mut self) -> Option<(Key, Slot)> {
        let (key, slot) = self.rows.pop_first()?;
        self.bytes -= weight(&slot);
        Some((key, slot))
    }

    /// Rows with `from <= key`, and `key < to` if there is such an end.
    pub(super) fn range(&self, from: &Key, to: Option<&Key>) -> std::collections::btree_map::Range<'_, Key, Slot> {
        let empty = to.is_some_and(|to| from >= to);
        let end = match to {
            _ if empty => Bound::Excluded(from),
            Some(to) => Bound::Excluded(to),
            None => Bound::Unbounded,
        };
        self.rows.range((Bound::Included(from), end))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}
