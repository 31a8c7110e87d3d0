//! Single values of spilled pages: memory, then disk, then the engine.
//!
//! ```text
//!   decoded pages ──► values in memory ──► values on disk ──► the engine: a page is read and decoded
//! ```
//!
//! Jobs that are leased in order are neighbours, and a decoded page serves all of them. Values that are
//! asked for again and again in no order would each hold a whole page in memory; here they are kept alone.
//! What a decoded page answers is not kept, so that a backlog that is worked off does not wander through
//! the disk tier.
//!
//! An entry's key is where its value was written: the page, which never changes and whose number is never
//! used again, and a number drawn when the cache was opened. So an old entry cannot be taken for a newer
//! value, whatever foyer brings back.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bravo_model::Value;
use foyer::{
    BlockEngineConfig, DeviceBuilder, FsDeviceBuilder, HybridCache, HybridCacheBuilder, HybridCacheEntry,
    PsyncIoEngineConfig, RecoverMode, Source,
};
use serde::{Deserialize, Serialize};

use super::counters::{Asked, Counters, not_counted};
use crate::state::{EngineError, RowId, SpilledRow};

/// What an entry costs in memory beside its bytes.
const ENTRY_OVERHEAD: usize = 160;
const BLOCK_BYTES_MAX: usize = 16 << 20;
const BLOCK_BYTES_MIN: usize = 256 << 10;
/// Bytes that gather before they are written to the disk tier; more than the largest value.
const WRITE_BYTES_MAX: usize = 4 << 20;
/// Blocks that the disk tier should have at least: one is always being written, one cleaned.
const BLOCKS_MIN: usize = 8;
const SHARDS: usize = 8;

/// Names an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct CacheKey {
    life: u64,
    page: u64,
    position: u32,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    expires_at_ms: u64,
    value: Value,
}

/// How large the cache may be.
#[derive(Clone)]
pub struct CacheOptions {
    /// Bytes in memory.
    pub memory_bytes: usize,
    /// Bytes on disk; 0 for a cache in memory only.
    pub disk_bytes: usize,
    /// How long an entry is kept. Its job may be gone long before.
    pub kept: Duration,
    /// Hears of hits and misses.
    pub asked: Asked,
    /// Milliseconds since 1970; replaced in tests.
    pub now_ms: Arc<dyn Fn() -> u64 + Send + Sync>,
}

impl Default for CacheOptions {
    fn default() -> Self {
        let (memory_bytes, disk_bytes, kept) = (50 << 20, 1 << 30, Duration::from_secs(3_600));
        Self { memory_bytes, disk_bytes, kept, asked: not_counted, now_ms: Arc::new(wall_ms) }
    }
}

fn wall_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// The cache could not be opened.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the cache cannot be opened: {0}")]
pub struct CacheError(String);

/// The engine's error on its way through foyer and back. All who waited for the value get the same.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
struct LoadFailed(EngineError);

/// A cache in two tiers. Cheap to clone.
#[derive(Clone)]
pub struct PayloadCache {
    cache: HybridCache<CacheKey, Entry>,
    counters: Counters,
    life: u64,
    options: CacheOptions,
}

impl PayloadCache {
    /// Opens the cache with its disk tier in `dir`. It starts cold: foyer may bring removed entries
    /// back from an earlier run, and a cache that is empty cannot be wrong. If the disk tier cannot
    /// be opened, the cache goes on in memory.
    pub async fn open(dir: &Path, options: CacheOptions) -> Result<Self, CacheError> {
        let mut on_disk = options.disk_bytes > 0;
        let mut opened = build(dir, &options, on_disk).await;
        if let (Err(error), true) = (&opened, on_disk) {
            tracing::warn!(dir = %dir.display(), %error, "the cache goes on without its disk tier");
            on_disk = false;
            opened = build(dir, &options, false).await;
        }
        let cache = opened.map_err(CacheError)?;
        let counters = Counters { asked: options.asked, on_disk };
        Ok(Self { cache, counters, life: rand::random(), options })
    }

    /// A spilled row's value. Many who ask for one value at a time cause one read of the engine, apart from
    /// the threads of the async runtime.
    pub async fn value(&self, row: &SpilledRow) -> Result<Value, EngineError> {
        if let Some(value) = row.decoded() {
            return Ok(value);
        }
        let read = || {
            let row = row.clone();
            async move {
                let read = tokio::task::spawn_blocking(move || row.read()).await;
                read.unwrap_or_else(|error| Err(EngineError::Failed(error.to_string())))
            }
        };
        self.get_or_load(row.id(), read).await
    }

    /// The entry, or what `load` answers, which is then kept.
    pub(super) async fn get_or_load<F, Fut>(&self, id: RowId, load: F) -> Result<Value, EngineError>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<Value, EngineError>> + Send + 'static,
    {
        let key = CacheKey { life: self.life, page: id.page.0, position: id.position };
        // An entry that is too old is removed and asked for again; meanwhile another one that is too
        // old may come up from the disk tier, which is then passed by.
        for _ in 0..2 {
            let loading = self.fresh_entry(load());
            let found = match self.cache.get_or_fetch(&key, || loading).await {
                Ok(found) => found,
                Err(error) => match error.downcast_ref::<LoadFailed>() {
                    Some(LoadFailed(source)) => return Err(source.clone()),
                    None => break,
                },
            };
            if let Some(value) = self.still_good(&key, &found) {
                return Ok(value);
            }
        }
        self.counters.missed();
        load().await
    }

    /// Waits for what is being written, and closes both tiers.
    pub async fn close(&self) {
        if let Err(error) = self.cache.close().await {
            tracing::warn!(%error, "the cache did not close cleanly; it starts cold anyway");
        }
    }

    /// Moves everything from memory to disk, as pressure would.
    #[cfg(test)]
    pub(super) async fn evict_memory(&self) {
        self.cache.memory().evict_all();
        self.cache.storage().wait().await;
    }

    /// Bytes in the memory tier.
    #[cfg(test)]
    pub(super) fn memory_bytes(&self) -> usize {
        self.cache.memory().usage()
    }

    fn fresh_entry<Fut>(&self, loading: Fut) -> impl Future<Output = Result<Entry, LoadFailed>> + Send + 'static
    where
        Fut: Future<Output = Result<Value, EngineError>> + Send + 'static,
    {
        let (now_ms, kept) = (self.options.now_ms.clone(), self.options.kept);
        async move {
            let value = loading.await.map_err(LoadFailed)?;
            let kept_ms = u64::try_from(kept.as_millis()).unwrap_or(u64::MAX);
            Ok(Entry { expires_at_ms: now_ms().saturating_add(kept_ms), value })
        }
    }

    /// Counts what was found; an entry that is too old is removed.
    fn still_good(&self, key: &CacheKey, found: &HybridCacheEntry<CacheKey, Entry>) -> Option<Value> {
        let from_outside = found.source() == Source::Outer;
        if !from_outside && found.value().expires_at_ms <= (self.options.now_ms)() {
            self.cache.remove(key);
            return None;
        }
        match found.source() {
            Source::Memory => self.counters.found_in_memory(),
            Source::Disk => self.counters.found_on_disk(),
            Source::Outer => self.counters.missed(),
        }
        Some(found.value().value.clone())
    }
}

async fn build(dir: &Path, options: &CacheOptions, on_disk: bool) -> Result<HybridCache<CacheKey, Entry>, String> {
    let memory = HybridCacheBuilder::new().with_name("bravo-payloads").with_flush_on_close(false);
    let memory = memory.memory(options.memory_bytes).with_shards(SHARDS);
    let builder = memory.with_weighter(|_: &CacheKey, entry: &Entry| entry.value.len() + ENTRY_OVERHEAD).storage();
    if !on_disk {
        return builder.build().await.map_err(|error| error.to_string());
    }
    // foyer would panic if it could not create the folder.
    std::fs::create_dir_all(dir).map_err(|error| error.to_string())?;
    let device =
        FsDeviceBuilder::new(dir).with_capacity(options.disk_bytes).build().map_err(|error| error.to_string())?;
    let block_bytes = (options.disk_bytes / BLOCKS_MIN).clamp(BLOCK_BYTES_MIN, BLOCK_BYTES_MAX);
    let write_bytes = block_bytes.min(WRITE_BYTES_MAX);
    let engine = BlockEngineConfig::new(device).with_block_size(block_bytes).with_buffer_pool_size(write_bytes);
    let engine = engine.with_submit_queue_size_threshold(2 * write_bytes);
    let builder = builder.with_io_engine_config(PsyncIoEngineConfig::new()).with_engine_config(engine);
    builder.with_recover_mode(RecoverMode::None).build().await.map_err(|error| error.to_string())
}
