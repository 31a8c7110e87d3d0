//! Values that are dear to get: memory, then disk, then wherever they come from.
//!
//! ```text
//!   values in memory ──► values on disk ──► a load, one for all who ask at the time
//! ```
//!
//! A name must stand for one value for ever. An entry's key is its name and a number drawn when the cache was
//! opened, so that an old entry cannot be taken for a newer value, whatever foyer brings back.

use std::fmt::Debug;
use std::future::Future;
use std::hash::Hash;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bravo_model::Value;
use foyer::{
    BlockEngineConfig, DeviceBuilder, FsDeviceBuilder, HybridCache, HybridCacheBuilder, HybridCacheEntry,
    PsyncIoEngineConfig, RecoverMode, Source,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::counters::{Asked, Counters, not_counted};
/// What an entry costs in memory beside its bytes.
const ENTRY_OVERHEAD: usize = 160;
const BLOCK_BYTES_MAX: usize = 16 << 20;
const BLOCK_BYTES_MIN: usize = 256 << 10;
/// Blocks that the disk tier should have at least: one is always being written, one cleaned.
const BLOCKS_MIN: usize = 8;
const SHARDS_MAX: usize = 8;

/// What names a value.
pub trait CacheName: Debug + Copy + Eq + Hash + Send + Sync + Serialize + DeserializeOwned + 'static {}

impl<T> CacheName for T where T: Debug + Copy + Eq + Hash + Send + Sync + Serialize + DeserializeOwned + 'static {}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct CacheKey<N> {
    life: u64,
    name: N,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    expires_at_ms: u64,
    value: Value,
}

/// How large the cache may be.
#[derive(Clone)]
pub struct CacheOptions {
    /// For whoever looks at metrics and threads.
    pub name: &'static str,
    /// Bytes in memory.
    pub memory_bytes: usize,
    /// Bytes on disk; 0 for a cache in memory only.
    pub disk_bytes: usize,
    /// Bytes of the largest value, for which shards and buffers are made. Of a larger one it is not sure that it is
    /// kept.
    pub value_bytes_max: usize,
    /// How long an entry is kept. What it belongs to may be gone long before.
    pub kept: Duration,
    /// Hears of hits and misses.
    pub asked: Asked,
    /// Milliseconds since 1970; replaced in tests.
    pub now_ms: Arc<dyn Fn() -> u64 + Send + Sync>,
}

impl Default for CacheOptions {
    fn default() -> Self {
        Self {
            name: "values",
            memory_bytes: 50 << 20,
            disk_bytes: 1 << 30,
            value_bytes_max: 1 << 20,
            kept: Duration::from_secs(3_600),
            asked: not_counted,
            now_ms: Arc::new(wall_ms),
        }
    }
}

fn wall_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// The cache could not be opened.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the cache cannot be opened: {0}")]
pub struct CacheError(String);

/// A load's error on its way through foyer and back. All who waited for the value get the same.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub(super) struct LoadFailed<E>(pub(super) E);

/// A cache in two tiers. Cheap to clone.
#[derive(Clone)]
pub struct TieredCache<N: CacheName> {
    cache: HybridCache<CacheKey<N>, Entry>,
    counters: Counters,
    life: u64,
    options: CacheOptions,
}

impl<N: CacheName> TieredCache<N> {
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
        let counters = Counters { cache: options.name, asked: options.asked, on_disk };
        Ok(Self { cache, counters, life: rand::random(), options })
    }

    /// The value that is kept, or what `load` answers, which is then kept. Many who ask for one at a time cause
    /// one load.
    pub async fn get_or_load<E, F, Fut>(&self, name: N, load: F) -> Result<Value, E>
    where
        E: std::error::Error + Clone + Send + Sync + 'static,
        F: Fn() -> Fut,
        Fut: Future<Output = Result<Value, E>> + Send + 'static,
    {
        let key = CacheKey { life: self.life, name };
        // An entry that is too old is removed and asked for again; meanwhile another one that is too
        // old may come up from the disk tier, which is then passed by.
        for _ in 0..2 {
            let loading = self.fresh_entry(load());
            let found = match self.cache.get_or_fetch(&key, || loading).await {
                Ok(found) => found,
                Err(error) => match error.downcast_ref::<LoadFailed<E>>() {
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

    fn fresh_entry<E, Fut>(&self, loading: Fut) -> impl Future<Output = Result<Entry, LoadFailed<E>>> + Send + 'static
    where
        Fut: Future<Output = Result<Value, E>> + Send + 'static,
    {
        let (now_ms, kept) = (self.options.now_ms.clone(), self.options.kept);
        async move {
            let value = loading.await.map_err(LoadFailed)?;
            let kept_ms = u64::try_from(kept.as_millis()).unwrap_or(u64::MAX);
            Ok(Entry { expires_at_ms: now_ms().saturating_add(kept_ms), value })
        }
    }

    /// Counts what was found; an entry that is too old is removed.
    fn still_good(&self, key: &CacheKey<N>, found: &HybridCacheEntry<CacheKey<N>, Entry>) -> Option<Value> {
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

type Hybrid<N> = HybridCache<CacheKey<N>, Entry>;

async fn build<N: CacheName>(dir: &Path, options: &CacheOptions, on_disk: bool) -> Result<Hybrid<N>, String> {
    let memory = HybridCacheBuilder::new().with_name(options.name).with_flush_on_close(false);
    // A shard of less than a few values would hold none of the larger ones.
    let shards = (options.memory_bytes / (4 * options.value_bytes_max)).clamp(1, SHARDS_MAX);
    let memory = memory.memory(options.memory_bytes).with_shards(shards);
    let builder = memory.with_weighter(|_: &CacheKey<N>, entry: &Entry| entry.value.len() + ENTRY_OVERHEAD).storage();
    if !on_disk {
        return builder.build().await.map_err(|error| error.to_string());
    }
    // foyer would panic if it could not create the folder.
    std::fs::create_dir_all(dir).map_err(|error| error.to_string())?;
    let device =
        FsDeviceBuilder::new(dir).with_capacity(options.disk_bytes).build().map_err(|error| error.to_string())?;
    let block_bytes = (options.disk_bytes / BLOCKS_MIN).clamp(BLOCK_BYTES_MIN, BLOCK_BYTES_MAX);
    // What gathers before it is written.
    let write_bytes = block_bytes.min(4 * options.value_bytes_max);
    let engine = BlockEngineConfig::new(device).with_block_size(block_bytes).with_buffer_pool_size(write_bytes);
    let engine = engine.with_submit_queue_size_threshold(2 * write_bytes);
    let builder = builder.with_io_engine_config(PsyncIoEngineConfig::new()).with_engine_config(engine);
    builder.with_recover_mode(RecoverMode::None).build().await.map_err(|error| error.to_string())
}
