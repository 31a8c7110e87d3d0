//! A view of one moment.

use std::sync::Arc;

use bravo_model::{Key, Read, Value};

use super::engine::EngineError;
use super::layer::Layer;
use super::merge::Sources;
use super::page_index::PageIndex;
use super::reader::PageReader;

/// All rows as they were when [`super::StateStore::freeze`] was called. Cheap to clone, and readable
/// on any thread. While one is held nothing is spilled, so do not hold it for longer than needed.
#[derive(Clone)]
pub struct Frozen {
    view: Arc<View>,
}

/// The pages come first, so that they are let go before the layers: a store that finds its layers
/// unshared may then change its pages in place.
struct View {
    pages: Arc<PageIndex>,
    layers: Vec<Arc<Layer>>,
    reader: Arc<PageReader>,
}

impl Frozen {
    /// Layers newest first.
    pub(super) fn new(pages: Arc<PageIndex>, layers: Vec<Arc<Layer>>, reader: Arc<PageReader>) -> Self {
        Self { view: Arc::new(View { pages, layers, reader }) }
    }

    /// Visits all rows in key order until `visit` answers false.
    pub fn for_each(&self, visit: &mut dyn FnMut(&Key, &Value) -> bool) -> Result<(), EngineError> {
        self.sources(false).scan(&Key::new(&[]), None, visit)
    }

    /// BLAKE3 over all rows, each as length and bytes of its key, then length and bytes of its
    /// value: equal on all replicas at one applied index.
    pub fn digest(&self) -> Result<[u8; 32], EngineError> {
        let mut hasher = blake3::Hasher::new();
        self.for_each(&mut |key, value| {
            hasher.update(&[key.as_slice().len() as u8]);
            hasher.update(key.as_slice());
            hasher.update(&(value.len() as u32).to_le_bytes());
            hasher.update(value);
            true
        })?;
        Ok(hasher.finalize().into())
    }

    /// An error once a spilled row could not be read, here or by the store.
    pub fn health(&self) -> Result<(), EngineError> {
        self.view.reader.health()
    }

    fn sources(&self, cached: bool) -> Sources<'_> {
        let layers = self.view.layers.iter().map(Arc::as_ref).collect();
        Sources { layers, pages: &self.view.pages, reader: &self.view.reader, cached }
    }
}

impl Read for Frozen {
    fn get(&self, key: &Key) -> Option<Value> {
        let view = &*self.view;
        if let Some(slot) = view.layers.iter().find_map(|layer| layer.get(key)) {
            return slot.clone();
        }
        let (page, position) = view.pages.find(key)?;
        view.reader.value(page, position).map_err(|error| view.reader.poison(error)).ok()
    }

    fn scan(&self, from: &Key, to: &Key, visit: &mut dyn FnMut(&Key, &Value) -> bool) {
        if from >= to {
            return;
        }
        if let Err(error) = self.sources(true).scan(from, Some(to), visit) {
            self.view.reader.poison(error);
        }
    }
}
