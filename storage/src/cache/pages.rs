//! Decoded pages of spilled rows. In memory only: what is below it is on this very disk already.

use std::sync::Arc;

use foyer::{Cache, CacheBuilder};

use super::counters::Asked;
use crate::state::{Page, PageCache, PageId};

/// One cache for the pages of all groups of a node, bounded by bytes.
pub struct DecodedPages {
    cache: Cache<PageId, Arc<Page>>,
    asked: Asked,
}

impl DecodedPages {
    /// Keeps about `bytes_max` bytes of decoded pages.
    pub fn new(bytes_max: usize, asked: Asked) -> Self {
        let builder = CacheBuilder::new(bytes_max).with_shards(4).with_name("bravo-pages");
        Self { cache: builder.with_weighter(|_: &PageId, page: &Arc<Page>| page.bytes() + 128).build(), asked }
    }
}

impl PageCache for DecodedPages {
    fn get(&self, id: PageId) -> Option<Arc<Page>> {
        let found = self.cache.get(&id).map(|entry| entry.value().clone());
        (self.asked)("payloads", "pages", found.is_some());
        found
    }

    fn insert(&self, id: PageId, page: Arc<Page>) {
        self.cache.insert(id, page);
    }

    fn remove(&self, id: PageId) {
        self.cache.remove(&id);
    }
}
