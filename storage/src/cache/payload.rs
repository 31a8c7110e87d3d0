//! Payloads and results by the job they belong to: memory, then disk, then wherever they come from.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use foyer::{
    BlockEngineConfig, DeviceBuilder, FsDeviceBuilder, HybridCache, HybridCacheBuilder, HybridCacheEntry,
    PsyncIoEngineConfig, RecoverMode, Source,
};
use serde::{Deserialize, Serialize};

use super::counters::{CacheCounts, Counters, Outcome};

/// What an entry costs in memory beside its bytes.
const ENTRY_OVERHEAD: usize = 160;
const BLOCK_BYTES_MAX: usize = 16 << 20;
const BLOCK_BYTES_MIN: usize = 256 << 10;
/// Blocks that the disk tier should have at least: one is always being written, one cleaned.
const BLOCKS_MIN: usize = 8;
const SHARDS: usize = 8;

/// Names an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CacheKey {
    /// The Raft group.
    pub group: u32,
    /// The job's number in it.
    pub seq: u64,
    /// Which of its values: payload, result, ...
    pub kind: u8,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    expires_at_ms: u64,
    bytes: Bytes,
}

/// How large the cache may be.
#[derive(Clone)]
pub struct CacheOptions {
    /// Bytes in memory.
    pub memory_bytes: usize,
    /// Bytes on disk; 0 for a cache in memory only.
    pub disk_bytes: usize,
    /// Milliseconds since 1970; replaced in tests.
    pub now_ms: Arc<dyn Fn() -> u64 + Send + Sync>,
}

impl Default for CacheOptions {
    fn default() -> Self {
        Self { memory_bytes: 100 << 20, disk_bytes: 1 << 30, now_ms: Arc::new(wall_ms) }
    }
}

fn wall_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Why an entry could not be had.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CacheError {
    /// The loader failed. All who waited for it get the same answer.
    #[error("{0}")]
    Load(Arc<anyhow::Error>),
    /// The cache could not be opened.
    #[error("the cache cannot be opened: {0}")]
    Open(String),
}

/// The loader's error on its way through foyer and back.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
struct LoadFailed(Arc<anyhow::Error>);

/// A cache in two tiers. Cheap to clone.
#[derive(Clone)]
pub struct PayloadCache {
    cache: HybridCache<CacheKey, Entry>,
    counters: Arc<Counters>,
    now_ms: Arc<dyn Fn() -> u64 + Send + Sync>,
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
        let cache = opened.map_err(CacheError::Open)?;
        Ok(Self { cache, counters: Arc::new(Counters::new(on_disk)), now_ms: options.now_ms })
    }

    /// The entry, or what `load` answers, which is then kept for `ttl`. Many who ask for one absent
    /// key at a time cause one load.
    pub async fn get_or_load<F, Fut>(&self, key: CacheKey, ttl: Duration, load: F) -> Result<Bytes, CacheError>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = anyhow::Result<Bytes>> + Send + 'static,
    {
        // An entry that is too old is removed and asked for again; meanwhile another one that is too
        // old may come up from the disk tier, which is then passed by.
        for _ in 0..2 {
            let loading = self.fresh_entry(ttl, load());
            let found = match self.cache.get_or_fetch(&key, || loading).await {
                Ok(found) => found,
                Err(error) => match error.downcast_ref::<LoadFailed>() {
                    Some(LoadFailed(source)) => return Err(CacheError::Load(source.clone())),
                    None => break,
                },
            };
            if let Some(bytes) = self.still_good(&key, &found) {
                return Ok(bytes);
            }
        }
        let entry = self.fresh_entry(ttl, load()).await.map_err(|LoadFailed(source)| CacheError::Load(source))?;
        let bytes = entry.bytes.clone();
        self.cache.insert(key, entry);
        Ok(bytes)
    }

    /// The entry, if it is in either tier.
    pub async fn get(&self, key: CacheKey) -> Option<Bytes> {
        match self.cache.get(&key).await {
            Ok(Some(found)) => self.still_good(&key, &found),
            Ok(None) => {
                self.counters.add(Outcome::Miss);
                None
            }
            Err(error) => {
                tracing::debug!(%error, "the cache's disk tier could not be read");
                self.counters.add(Outcome::Miss);
                None
            }
        }
    }

    /// Keeps an entry for `ttl`.
    pub fn insert(&self, key: CacheKey, bytes: Bytes, ttl: Duration) {
        self.cache.insert(key, Entry { expires_at_ms: self.deadline(ttl), bytes });
    }

    /// Forgets an entry in both tiers.
    pub fn remove(&self, key: CacheKey) {
        self.cache.remove(&key);
    }

    /// What became of the requests so far.
    pub fn counts(&self) -> CacheCounts {
        self.counters.counts()
    }

    /// Bytes in the memory tier.
    pub fn memory_bytes(&self) -> usize {
        self.cache.memory().usage()
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

    fn deadline(&self, ttl: Duration) -> u64 {
        (self.now_ms)().saturating_add(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX))
    }

    fn fresh_entry<Fut>(
        &self,
        ttl: Duration,
        loading: Fut,
    ) -> impl Future<Output = Result<Entry, LoadFailed>> + Send + 'static
    where
        Fut: Future<Output = anyhow::Result<Bytes>> + Send + 'static,
    {
        let this = self.now_ms.clone();
        async move {
            let bytes = loading.await.map_err(|error| LoadFailed(Arc::new(error)))?;
            let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
            Ok(Entry { expires_at_ms: this().saturating_add(ttl_ms), bytes })
        }
    }

    /// Counts what was found; an entry that is too old is removed.
    fn still_good(&self, key: &CacheKey, found: &HybridCacheEntry<CacheKey, Entry>) -> Option<Bytes> {
        let from_outside = found.source() == Source::Outer;
        if !from_outside && found.value().expires_at_ms <= (self.now_ms)() {
            self.counters.add(Outcome::Expired);
            self.cache.remove(key);
            return None;
        }
        self.counters.add(match found.source() {
            Source::Memory => Outcome::MemoryHit,
            Source::Disk => Outcome::DiskHit,
            Source::Outer => Outcome::Miss,
        });
        Some(found.value().bytes.clone())
    }
}

async fn build(dir: &Path, options: &CacheOptions, on_disk: bool) -> Result<HybridCache<CacheKey, Entry>, String> {
    let memory = HybridCacheBuilder::new().with_name("bravo-payloads").with_flush_on_close(false);
    let memory = memory.memory(options.memory_bytes).with_shards(SHARDS);
    let builder = memory.with_weighter(|_: &CacheKey, entry: &Entry| entry.bytes.len() + ENTRY_OVERHEAD).storage();
    if !on_disk {
        return builder.build().await.map_err(|error| error.to_string());
    }
    // foyer would panic if it could not create the folder.
    std::fs::create_dir_all(dir).map_err(|error| error.to_string())?;
    let device =
        FsDeviceBuilder::new(dir).with_capacity(options.disk_bytes).build().map_err(|error| error.to_string())?;
    let block_bytes = (options.disk_bytes / BLOCKS_MIN).clamp(BLOCK_BYTES_MIN, BLOCK_BYTES_MAX);
    let engine = BlockEngineConfig::new(device).with_block_size(block_bytes).with_buffer_pool_size(block_bytes);
    let engine = engine.with_submit_queue_size_threshold(2 * block_bytes);
    let builder = builder.with_io_engine_config(PsyncIoEngineConfig::new()).with_engine_config(engine);
    builder.with_recover_mode(RecoverMode::None).build().await.map_err(|error| error.to_string())
}
