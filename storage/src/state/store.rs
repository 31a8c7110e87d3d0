//! The store that `apply` works on.

use std::collections::VecDeque;
use std::sync::Arc;

use bravo_model::{Key, Read, Txn, Value};

use super::engine::{Engine, EngineError};
use super::frozen::Frozen;
use super::layer::{Layer, Slot};
use super::merge::Sources;
use super::options::StateOptions;
use super::page::PageId;
use super::page_index::{Killed, PageIndex, PageMeta};
use super::reader::PageReader;
use super::spill::Sweep;

/// The rows of one Raft group.
///
/// Reads and writes cannot fail in the model's eyes. If a spilled row cannot be read, the store is
/// poisoned: ask [`Self::health`] after applying and before answering anybody.
pub struct StateStore {
    pub(super) options: StateOptions,
    pub(super) reader: Arc<PageReader>,
    /// Where writes go. While nobody holds a [`Frozen`] it is the only layer, without tombstones,
    /// and no key of it is live in a page.
    pub(super) active: Layer,
    /// A layer newer than `active` that is being merged down into it; a write removes its key here.
    pub(super) draining: Option<Layer>,
    /// Layers below `active` that a [`Frozen`] holds or held, newest last.
    pub(super) frozen: Vec<Arc<Layer>>,
    /// What was spilled. Only changed in place while no [`Frozen`] shares it.
    pub(super) pages: Arc<PageIndex>,
    /// Pages without live rows, still to be deleted from the engine.
    pub(super) dead: Vec<PageId>,
    /// First keys of pages with few live rows, to be taken back into memory.
    pub(super) sparse: VecDeque<Key>,
    /// Indexes of earlier contents that a [`Frozen`] still reads.
    pub(super) retired: Vec<Arc<PageIndex>>,
    pub(super) sweep: Sweep,
    pub(super) applied: u64,
}

impl StateStore {
    /// An empty store over `engine`, whose contents are removed: a state is always rebuilt from
    /// snapshot and log.
    pub fn new(engine: Arc<dyn Engine>, options: StateOptions) -> Self {
        let reader = Arc::new(PageReader::new(engine, options.cache.clone()));
        if let Err(error) = reader.engine.clear() {
            reader.poison(error);
        }
        Self {
            options,
            reader,
            active: Layer::default(),
            draining: None,
            frozen: Vec::new(),
            pages: Arc::default(),
            dead: Vec::new(),
            sparse: VecDeque::new(),
            retired: Vec::new(),
            sweep: Sweep::default(),
            applied: 0,
        }
    }

    /// A consistent view of this moment, in constant time; writes go on in a fresh layer above it.
    pub fn freeze(&mut self) -> Frozen {
        let unchanged = self.active.is_empty() && self.draining.is_none() && !self.frozen.is_empty();
        if !unchanged {
            self.frozen.push(Arc::new(std::mem::take(&mut self.active)));
            self.frozen.extend(self.draining.take().map(Arc::new));
        }
        let layers = self.frozen.iter().rev().cloned().collect();
        Frozen::new(self.pages.clone(), layers, self.reader.clone())
    }

    /// Bytes held in memory: rows with their overhead in all layers, and the index of pages.
    pub fn bytes(&self) -> u64 {
        let draining = self.draining.as_ref().map_or(0, Layer::bytes);
        let frozen: u64 = self.frozen.iter().map(|layer| layer.bytes()).sum();
        self.active.bytes() + draining + frozen + self.pages.bytes()
    }

    /// How many rows are in pages of the engine.
    pub fn spilled_rows(&self) -> usize {
        self.pages.live()
    }

    /// How many pages the engine holds for this store.
    pub fn spilled_pages(&self) -> usize {
        self.pages.len()
    }

    /// The index of the last entry applied, which batches to the engine carry.
    pub fn set_applied(&mut self, index: u64) {
        self.applied = index;
    }

    /// An error once a spilled row could not be read: answers given since may be wrong, and the
    /// state must be rebuilt from snapshot and log.
    pub fn health(&self) -> Result<(), EngineError> {
        self.reader.health()
    }

    /// Forgets all rows, and any failure. Views that are still held stay right.
    pub fn clear(&mut self) {
        let engine = self.reader.engine.clone();
        self.reader = Arc::new(PageReader::new(engine, self.options.cache.clone()));
        (self.active, self.draining) = (Layer::default(), None);
        self.frozen.clear();
        self.sparse.clear();
        self.sweep = Sweep::default();
        let pages = std::mem::take(&mut self.pages);
        if Arc::strong_count(&pages) > 1 {
            self.retired.push(pages);
        } else if self.retired.is_empty() {
            self.dead.clear();
            if let Err(error) = self.reader.engine.clear() {
                self.reader.poison(error);
            }
        } else {
            self.dead.extend(pages.ids());
        }
    }

    /// All layers, newest first, over the pages.
    fn sources(&self) -> Sources<'_> {
        let mut layers = Vec::with_capacity(self.frozen.len() + 2);
        layers.extend(self.draining.as_ref());
        layers.push(&self.active);
        layers.extend(self.frozen.iter().rev().map(Arc::as_ref));
        Sources { layers, pages: &self.pages, reader: &self.reader, cached: true }
    }

    /// Whether layers or pages below the active layer have a word on `key`.
    pub(super) fn is_below(&self, key: &Key) -> bool {
        self.frozen.iter().any(|layer| layer.get(key).is_some()) || self.spilled(key).is_some()
    }

    /// A row in a page no longer counts, since the layer that is now the lowest says otherwise.
    pub(super) fn kill(&mut self, key: &Key) {
        if self.spilled(key).is_none() {
            return;
        }
        match Arc::make_mut(&mut self.pages).kill(key) {
            Killed::Absent | Killed::Row => {}
            Killed::Sparse(first) => {
                if self.sparse.back() != Some(&first) {
                    self.sparse.push_back(first);
                }
            }
            Killed::Page(id) => {
                self.reader.cache.remove(id);
                self.dead.push(id);
            }
        }
    }

    /// The newest word of the layers on `key`, if they have one.
    pub(super) fn slot(&self, key: &Key) -> Option<&Slot> {
        let slot = self.draining.as_ref().and_then(|layer| layer.get(key)).or_else(|| self.active.get(key));
        slot.or_else(|| self.frozen.iter().rev().find_map(|layer| layer.get(key)))
    }

    /// The page and the position of a row that no layer has a word on.
    pub(super) fn spilled(&self, key: &Key) -> Option<(&PageMeta, usize)> {
        if self.pages.has_tag_of(key) { self.pages.find(key) } else { None }
    }
}

impl Read for StateStore {
    fn get(&self, key: &Key) -> Option<Value> {
        if let Some(slot) = self.slot(key) {
            return slot.clone();
        }
        let (page, position) = self.spilled(key)?;
        self.reader.value(page, position).map_err(|error| self.reader.poison(error)).ok()
    }

    fn scan(&self, from: &Key, to: &Key, visit: &mut dyn FnMut(&Key, &Value) -> bool) {
        if from >= to {
            return;
        }
        let one_layer = self.draining.is_none() && self.frozen.is_empty();
        if one_layer && !self.pages.overlaps(from, to) {
            for (key, slot) in self.active.range(from, Some(to)) {
                if slot.as_ref().is_some_and(|value| !visit(key, value)) {
                    return;
                }
            }
            return;
        }
        if let Err(error) = self.sources().scan(from, Some(to), visit) {
            self.reader.poison(error);
        }
    }

    fn contains(&self, key: &Key) -> bool {
        self.slot(key).map_or_else(|| self.spilled(key).is_some(), Slot::is_some)
    }
}

impl Txn for StateStore {
    fn put(&mut self, key: Key, value: Value) {
        if let Some(draining) = &mut self.draining {
            draining.remove(&key);
        }
        self.active.put(key, Some(value));
        if self.frozen.is_empty() && !self.pages.is_empty() {
            self.kill(&key);
        }
    }

    fn delete(&mut self, key: &Key) {
        if let Some(draining) = &mut self.draining {
            draining.remove(key);
        }
        if self.frozen.is_empty() {
            self.active.remove(key);
            if !self.pages.is_empty() {
                self.kill(key);
            }
        } else if self.is_below(key) {
            self.active.put(*key, None);
        } else {
            self.active.remove(key);
        }
    }
}
