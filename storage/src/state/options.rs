//! What can be chosen about a state store.

use std::sync::Arc;

use super::reader::{LocalPages, PageCache};

/// How much memory a store may use, and what moves to the engine beyond that.
#[derive(Clone)]
pub struct StateOptions {
    /// Bytes of rows in memory beyond which rows are spilled.
    pub memory_bytes_max: u64,
    /// Tags (first bytes of keys) whose rows may be spilled, coldest first. All others stay in memory.
    pub spill_order: Vec<u8>,
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
            page_rows: 256,
            page_rows_min: 16,
            page_bytes: 64 << 10,
            merge_batch: 2048,
            cache: Arc::new(LocalPages::new(64)),
        }
    }
}
