//! What can be chosen about a state store.

use std::sync::Arc;

use bravo_model::{Key, Value};

use super::reader::{LocalPages, PageCache};
use super::store::StateStore;

/// A table whose rows may move to the engine, and which of them first.
#[derive(Clone, Copy)]
pub struct SpillTable {
    /// The first byte of its keys.
    pub tag: u8,
    /// Where the rows are that will be needed last.
    pub coldest: End,
    /// Whether a row may move; it is asked of some thousand rows at a time, with the store's lock held.
    pub is_cold: fn(&StateStore, &Key, &Value) -> bool,
}

/// An end of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The lowest keys: of what is over, the oldest.
    Low,
    /// The highest keys: of what waits, the last to be served.
    High,
}

impl SpillTable {
    /// All rows may move, the oldest first.
    pub const fn oldest(tag: u8) -> Self {
        Self { tag, coldest: End::Low, is_cold: |_, _, _| true }
    }

    /// All rows may move, the last to be served first.
    pub const fn last(tag: u8) -> Self {
        Self { tag, coldest: End::High, is_cold: |_, _, _| true }
    }

    /// Only some rows may move.
    pub const fn only(self, is_cold: fn(&StateStore, &Key, &Value) -> bool) -> Self {
        Self { is_cold, ..self }
    }
}

/// How much memory a store may use, and what moves to the engine beyond that.
#[derive(Clone)]
pub struct StateOptions {
    /// Bytes of rows in memory beyond which rows are spilled.
    pub memory_bytes_max: u64,
    /// Tables whose rows may be spilled, coldest first; one may come again with more of its rows. All others
    /// stay in memory.
    pub spill_order: Vec<SpillTable>,
    /// Rows spilled by one call of `maintain`, about.
    pub spill_batch: usize,
    /// Bytes of keys and values spilled by one call of `maintain`, about.
    pub spill_bytes: usize,
    /// Rows of one page at most.
    pub page_rows: usize,
    /// Fewer neighbouring rows than this are not worth a page.
    pub page_rows_min: usize,
    /// Bytes of values of one page, about; one larger row still fits a page of its own.
    pub page_bytes: usize,
    /// Rows merged from one layer into the next by one call of `maintain`.
    pub merge_batch: usize,
    /// Where decoded pages are kept for a while; shared by the groups of a node.
    pub cache: Arc<dyn PageCache>,
}

impl Default for StateOptions {
    fn default() -> Self {
        Self {
            memory_bytes_max: 512 << 20,
            spill_order: Vec::new(),
            spill_batch: 1024,
            spill_bytes: 512 << 10,
            page_rows: 1024,
            page_rows_min: 16,
            page_bytes: 64 << 10,
            merge_batch: 2048,
            cache: Arc::new(LocalPages::new(64)),
        }
    }
}
