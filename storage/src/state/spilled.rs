//! Rows that moved to the engine, found under the store's lock and read without it.

use std::sync::Arc;

use bravo_model::{Key, Value};
use serde::{Deserialize, Serialize};

use super::engine::EngineError;
use super::page::PageId;
use super::page_index::PageMeta;
use super::reader::PageReader;
use super::store::StateStore;

/// Where a row is at one moment.
pub enum Place {
    /// In memory: this is its value.
    Memory(Value),
    /// In a page of the engine.
    Engine(SpilledRow),
    /// There is no such row.
    Nowhere,
}

/// A row in a page. Pages never change, so that what is read here is right for as long as it can be read;
/// a page that was given up meanwhile cannot, and the row is to be looked for again.
#[derive(Clone)]
pub struct SpilledRow {
    reader: Arc<PageReader>,
    page: PageId,
    rows: usize,
    position: usize,
}

/// Names a value that was written once: no other row of this process ever has the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RowId {
    /// The page.
    pub page: PageId,
    /// Where in the page.
    pub position: u32,
}

impl StateStore {
    /// Where the row is now. Reads no disk.
    pub fn place(&self, key: &Key) -> Place {
        match self.slot(key) {
            Some(Some(value)) => Place::Memory(value.clone()),
            Some(None) => Place::Nowhere,
            None => match self.spilled(key) {
                Some((page, position)) => Place::Engine(SpilledRow::new(self.reader.clone(), page, position)),
                None => Place::Nowhere,
            },
        }
    }
}

impl SpilledRow {
    fn new(reader: Arc<PageReader>, page: &PageMeta, position: usize) -> Self {
        Self { reader, page: page.id, rows: page.keys.len(), position }
    }

    /// What no other value has.
    pub fn id(&self) -> RowId {
        RowId { page: self.page, position: u32::try_from(self.position).unwrap_or(u32::MAX) }
    }

    /// The value, if its page is among the decoded ones.
    pub fn decoded(&self) -> Option<Value> {
        self.reader.cache.get(self.page)?.value(self.position)
    }

    /// Reads the page from the engine, where it may have to wait for the disk.
    pub fn read(&self) -> Result<Value, EngineError> {
        let page = Arc::new(self.reader.read(self.page, self.rows)?);
        self.reader.cache.insert(self.page, page.clone());
        let missing = || EngineError::Damaged(format!("page {} has no row {}", self.page.0, self.position));
        page.value(self.position).ok_or_else(missing)
    }
}
