//! One ordered pass over all layers and the pages below them: the newest word on each key counts.

use std::collections::btree_map::Range;
use std::iter::Peekable;
use std::sync::Arc;

use bravo_model::{Key, Value};

use super::engine::EngineError;
use super::layer::{Layer, Slot};
use super::page::Page;
use super::page_index::{PageIndex, PageMeta};
use super::reader::PageReader;

/// What a pass looks at.
pub(super) struct Sources<'a> {
    /// Newest first.
    pub(super) layers: Vec<&'a Layer>,
    pub(super) pages: &'a PageIndex,
    pub(super) reader: &'a PageReader,
    /// Whether pages that are read stay in the cache.
    pub(super) cached: bool,
}

impl Sources<'_> {
    /// Visits rows with `from <= key`, and `key < to` if there is such an end, in key order until
    /// `visit` answers false.
    pub(super) fn scan(
        &self,
        from: &Key,
        to: Option<&Key>,
        visit: &mut dyn FnMut(&Key, &Value) -> bool,
    ) -> Result<(), EngineError> {
        let mut layers: Vec<Peekable<Range<'_, Key, Slot>>> =
            self.layers.iter().map(|layer| layer.range(from, to).peekable()).collect();
        let mut pages = PageRows::new(self, from, to);
        loop {
            let in_layers = layers.iter_mut().filter_map(|layer| layer.peek().map(|(key, _)| **key)).min();
            let in_pages = pages.peek();
            let Some(key) = [in_layers, in_pages].into_iter().flatten().min() else { return Ok(()) };
            let mut newest: Option<&Slot> = None;
            for layer in &mut layers {
                if let Some((_, slot)) = layer.next_if(|(other, _)| **other == key) {
                    newest.get_or_insert(slot);
                }
            }
            let more = match newest {
                Some(Some(value)) => visit(&key, value),
                Some(None) => true,
                None => visit(&key, &pages.value()?),
            };
            if !more {
                return Ok(());
            }
            if in_pages == Some(key) {
                pages.advance();
            }
        }
    }
}

/// The live rows of pages in key order. Keys come from the index; a page is read for its values only.
struct PageRows<'a> {
    reader: &'a PageReader,
    cached: bool,
    pages: Box<dyn Iterator<Item = &'a PageMeta> + 'a>,
    to: Option<Key>,
    current: Option<&'a PageMeta>,
    position: usize,
    decoded: Option<Arc<Page>>,
}

impl<'a> PageRows<'a> {
    fn new(sources: &Sources<'a>, from: &Key, to: Option<&Key>) -> Self {
        let mut pages: Box<dyn Iterator<Item = &'a PageMeta> + 'a> = Box::new(sources.pages.overlapping(from, to));
        let current = pages.next();
        let position = current.map_or(0, |page| page.keys.find(from).unwrap_or_else(|above| above));
        let (reader, cached) = (sources.reader, sources.cached);
        let mut rows = Self { reader, cached, pages, to: to.copied(), current, position, decoded: None };
        rows.settle();
        rows
    }

    fn peek(&self) -> Option<Key> {
        let key = self.current?.keys.key(self.position);
        self.to.is_none_or(|to| key < to).then_some(key)
    }

    fn value(&mut self) -> Result<Value, EngineError> {
        let gone = || EngineError::Damaged("a page ended early".to_owned());
        let meta = self.current.ok_or_else(gone)?;
        let page = match self.decoded.take() {
            Some(page) => page,
            None if self.cached => self.reader.page(meta)?,
            None => Arc::new(self.reader.page_uncached(meta)?),
        };
        let value = page.value(self.position).ok_or_else(gone);
        self.decoded = Some(page);
        value
    }

    fn advance(&mut self) {
        self.position += 1;
        self.settle();
    }

    /// Moves on to the next row that counts.
    fn settle(&mut self) {
        while let Some(page) = self.current {
            while self.position < page.keys.len() {
                if page.is_live(self.position) {
                    return;
                }
                self.position += 1;
            }
            self.current = self.pages.next();
            self.position = 0;
            self.decoded = None;
        }
    }
}
