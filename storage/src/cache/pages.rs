//! Decoded pages of spilled rows. In memory only: what is below it is on this very disk already.

use std::sync::Arc;

use foyer::{Cache, CacheBuilder};
use metrics::{Counter, counter};

use crate::state::{Page, PageCache, PageId};

/// One cache for the pages of all groups of a node, bounded by bytes.
pub struct DecodedPages {
    cache: Cache<PageId, Arc<Page>>,
    hits: Counter,
    misses: Counter,
}

impl DecodedPages {
    /// Keeps about `bytes_max` bytes of decoded pages.
    pub fn new(bytes_max: usize) -> Self {
        let builder = CacheBuilder::new(bytes_max).with_shards(4).with_name("bravo-pages");
        Self {
            cache: builder.with_weighter(|_: &PageId, page: &Arc<Page>| page.bytes() + 128).build(),
            hits: counter!("bravo_cache_requests_total", "tier" => "pages", "result" => "hit"),
            misses: counter!("bravo_cache_requests_total", "tier" => "pages", "result" => "miss"),
        }
    }
}

impl PageCache for DecodedPages {
    fn get(&self, id: PageId) -> Option<Arc<Page>> {
        let found = self.cache.get(&id).map(|entry| entry.value().clone());
        if found.is_some() {
            self.hits.increment(1)
        } else {
            self.misses.increment(1)
        }
        found
    }

    fn insert(&self, id: PageId, page: Arc<Page>) {
        self.cache.insert(id, page);
    }

    fn remove(&self, id: PageId) {
        self.cache.remove(&id);
    }
}
