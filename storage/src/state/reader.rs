//! Reading pages: through a cache of decoded ones, and with a memory for failure.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use bravo_model::Value;
use parking_lot::Mutex;

use super::engine::{Engine, EngineError};
use super::page::{Page, PageId};
use super::page_index::PageMeta;

/// Keeps decoded pages for a while. Ids are unique in the process, so that one cache serves all
/// groups of a node.
pub trait PageCache: Send + Sync {
    /// The page, if it is still kept.
    fn get(&self, id: PageId) -> Option<Arc<Page>>;
    /// Keeps the page.
    fn insert(&self, id: PageId, page: Arc<Page>);
    /// Forgets a page that will not be asked for again.
    fn remove(&self, id: PageId);
}

/// The last few decoded pages, first in, first out: enough for tests and small stores.
pub struct LocalPages {
    pages: Mutex<VecDeque<(PageId, Arc<Page>)>>,
    pages_max: usize,
}

impl LocalPages {
    /// Keeps at most `pages_max` pages.
    pub fn new(pages_max: usize) -> Self {
        Self { pages: Mutex::default(), pages_max }
    }
}

impl PageCache for LocalPages {
    fn get(&self, id: PageId) -> Option<Arc<Page>> {
        self.pages.lock().iter().rev().find(|(other, _)| *other == id).map(|(_, page)| page.clone())
    }

    fn insert(&self, id: PageId, page: Arc<Page>) {
        let mut pages = self.pages.lock();
        while pages.len() >= self.pages_max.max(1) {
            pages.pop_front();
        }
        pages.push_back((id, page));
    }

    fn remove(&self, id: PageId) {
        self.pages.lock().retain(|(other, _)| *other != id);
    }
}

/// The store's and its frozen views' way to spilled rows.
pub(super) struct PageReader {
    pub(super) engine: Arc<dyn Engine>,
    pub(super) cache: Arc<dyn PageCache>,
    poison: OnceLock<EngineError>,
}

impl PageReader {
    pub(super) fn new(engine: Arc<dyn Engine>, cache: Arc<dyn PageCache>) -> Self {
        Self { engine, cache, poison: OnceLock::new() }
    }

    /// The first failure stays: what was answered since may be wrong.
    pub(super) fn poison(&self, error: EngineError) {
        if self.poison.set(error.clone()).is_ok() {
            tracing::error!(%error, "a spilled row could not be read; the state must be rebuilt from snapshot and log");
        }
    }

    pub(super) fn health(&self) -> Result<(), EngineError> {
        self.poison.get().cloned().map_or(Ok(()), Err)
    }

    /// The page, and it stays in the cache.
    pub(super) fn page(&self, meta: &PageMeta) -> Result<Arc<Page>, EngineError> {
        if let Some(page) = self.cache.get(meta.id) {
            return Ok(page);
        }
        let page = Arc::new(self.page_uncached(meta)?);
        self.cache.insert(meta.id, page.clone());
        Ok(page)
    }

    /// The page, past the cache: a whole pass must not push out what is hot.
    pub(super) fn page_uncached(&self, meta: &PageMeta) -> Result<Page, EngineError> {
        self.read(meta.id, meta.keys.len())
    }

    /// The page from the engine.
    pub(super) fn read(&self, id: PageId, rows: usize) -> Result<Page, EngineError> {
        let bytes = self.engine.get(&id.engine_key())?;
        let bytes = bytes.ok_or_else(|| EngineError::Damaged(format!("page {} is missing", id.0)))?;
        let page = Page::decode(id, &bytes)?;
        if page.rows() != rows {
            return Err(EngineError::Damaged(format!("page {} has another number of rows", id.0)));
        }
        Ok(page)
    }

    /// One value of a page.
    pub(super) fn value(&self, meta: &PageMeta, position: usize) -> Result<Value, EngineError> {
        let missing = || EngineError::Damaged(format!("page {} has no row {position}", meta.id.0));
        self.page(meta)?.value(position).ok_or_else(missing)
    }
}
