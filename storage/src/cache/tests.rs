//! Stories about the caches.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bravo_model::{Key, Read, Txn};
use bytes::Bytes;

use super::*;
use crate::state::{MemoryEngine, StateOptions, StateStore};

const TTL: Duration = Duration::from_secs(60);

fn key(seq: u64) -> CacheKey {
    CacheKey { group: 1, seq, kind: 0 }
}

fn payload(seq: u64) -> Bytes {
    vec![seq as u8; 3000].into()
}

/// A cache of 16 entries or so in memory and a few MiB on disk, with a clock that tests move.
async fn open(dir: &Path, disk_bytes: usize) -> (PayloadCache, Arc<AtomicU64>) {
    let clock = Arc::new(AtomicU64::new(1_000_000));
    let now = clock.clone();
    let now_ms = Arc::new(move || now.load(Ordering::Relaxed));
    let options = CacheOptions { memory_bytes: 50_000, disk_bytes, now_ms };
    (PayloadCache::open(dir, options).await.unwrap(), clock)
}

struct Loader(Arc<AtomicUsize>);

impl Loader {
    fn new() -> Self {
        Self(Arc::default())
    }

    fn loads(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    async fn get(&self, cache: &PayloadCache, seq: u64) -> Bytes {
        let load = || {
            let loads = self.0.clone();
            async move {
                loads.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(10)).await;
                Ok(payload(seq))
            }
        };
        cache.get_or_load(key(seq), TTL, load).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_who_ask_for_one_absent_payload_cause_one_load() {
    let dir = tempfile::tempdir().unwrap();
    let (cache, _) = open(dir.path(), 4 << 20).await;
    let loader = Loader::new();
    let all = (0..100).map(|_| loader.get(&cache, 7));
    for bytes in futures(all).await {
        assert_eq!(bytes, payload(7));
    }
    assert_eq!(loader.loads(), 1);
}

async fn futures<F: Future>(all: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut pinned: Vec<_> = all.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(move |context| {
        let mut ready = true;
        for (future, output) in &mut pinned {
            if output.is_none() {
                match future.as_mut().poll(context) {
                    std::task::Poll::Ready(done) => *output = Some(done),
                    std::task::Poll::Pending => ready = false,
                }
            }
        }
        if !ready {
            return std::task::Poll::Pending;
        }
        std::task::Poll::Ready(pinned.iter_mut().filter_map(|(_, output)| output.take()).collect())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_disk_tier_answers_for_what_memory_let_go() {
    let dir = tempfile::tempdir().unwrap();
    let (cache, clock) = open(dir.path(), 8 << 20).await;
    for seq in 0..200 {
        cache.insert(key(seq), payload(seq), TTL);
    }
    cache.evict_memory().await;
    let mut found = 0;
    for seq in 0..200 {
        if let Some(bytes) = cache.get(key(seq)).await {
            assert_eq!(bytes, payload(seq));
            found += 1;
        }
    }
    let counts = cache.counts();
    assert!(found > 150 && counts.disk_hits > 100, "{found} found: {counts:?}");
    assert_eq!(counts.memory_hits + counts.disk_hits + counts.misses, 200);

    // Too old is too old, in both tiers.
    cache.evict_memory().await;
    clock.fetch_add(61_000, Ordering::Relaxed);
    for seq in 0..200 {
        assert_eq!(cache.get(key(seq)).await, None);
    }
    assert!(cache.counts().expired > 150);
    cache.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_payload_is_loaded_again() {
    for disk_bytes in [0, 4 << 20] {
        let dir = tempfile::tempdir().unwrap();
        let (cache, clock) = open(dir.path(), disk_bytes).await;
        let loader = Loader::new();
        assert_eq!(loader.get(&cache, 1).await, payload(1));
        assert_eq!(loader.get(&cache, 1).await, payload(1));
        assert_eq!(loader.loads(), 1);
        clock.fetch_add(60_000, Ordering::Relaxed);
        assert_eq!(loader.get(&cache, 1).await, payload(1));
        assert_eq!(loader.get(&cache, 1).await, payload(1));
        assert_eq!(loader.loads(), 2);
        if disk_bytes > 0 {
            cache.evict_memory().await;
            clock.fetch_add(60_000, Ordering::Relaxed);
            assert_eq!(loader.get(&cache, 1).await, payload(1));
            assert_eq!(loader.loads(), 3);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_removed_or_dropped_is_loaded_again() {
    let dir = tempfile::tempdir().unwrap();
    let (cache, _) = open(dir.path(), 0).await;
    let loader = Loader::new();
    loader.get(&cache, 1).await;
    cache.remove(key(1));
    assert_eq!(loader.get(&cache, 1).await, payload(1));
    assert_eq!(loader.loads(), 2);
    for seq in 0..1000 {
        cache.insert(key(seq), payload(seq), TTL);
    }
    assert!(cache.memory_bytes() <= 60_000);
    for seq in 0..50 {
        assert_eq!(loader.get(&cache, seq).await, payload(seq));
    }
    assert!(loader.loads() > 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loader_that_fails_tells_its_reason_and_nothing_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (cache, _) = open(dir.path(), 4 << 20).await;
    let refused = cache.get_or_load(key(1), TTL, || async { Err(anyhow::anyhow!("no such job")) }).await;
    assert_eq!(refused.unwrap_err().to_string(), "no such job");
    assert_eq!(Loader::new().get(&cache, 1).await, payload(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_starts_cold_whatever_lies_in_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    let (cache, _) = open(dir.path(), 4 << 20).await;
    cache.insert(key(1), payload(1), TTL);
    cache.evict_memory().await;
    cache.close().await;
    drop(cache);
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.iter_mut().step_by(1000).for_each(|byte| *byte ^= 0x55);
        std::fs::write(path, bytes).unwrap();
    }
    let (cache, _) = open(dir.path(), 4 << 20).await;
    assert_eq!(cache.get(key(1)).await, None);
    assert_eq!(Loader::new().get(&cache, 1).await, payload(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_tier_that_cannot_be_opened_leaves_a_cache_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let (cache, _) = open(&file.join("cache"), 4 << 20).await;
    assert_eq!(Loader::new().get(&cache, 1).await, payload(1));
    assert_eq!(cache.get(key(1)).await, Some(payload(1)));
}

#[test]
fn spilled_rows_are_read_through_the_cache_of_decoded_pages() {
    let options = StateOptions {
        memory_bytes_max: 10_000,
        spill_order: vec![1],
        cache: Arc::new(DecodedPages::new(1 << 20)),
        ..StateOptions::default()
    };
    let mut store = StateStore::new(Arc::new(MemoryEngine::new()), options);
    let keys: Vec<Key> = (0..2000u32).map(|n| Key::new(&[&[1], n.to_be_bytes().as_slice()].concat())).collect();
    for (n, key) in keys.iter().enumerate() {
        store.put(*key, payload(n as u64));
    }
    while store.maintain().more {}
    assert!(store.spilled_rows() > 1000);
    for (n, key) in keys.iter().enumerate() {
        assert_eq!(Read::get(&store, key), Some(payload(n as u64)));
    }
    store.health().unwrap();
}
