//! Stories about the caches.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bravo_model::{Key, Read, Txn, Value};

use super::*;
use crate::state::{
    EngineError, Engines, MemoryEngine, PageId, Place, RowId, SpillTable, SpilledRow, StateOptions, StateStore,
};

fn id(n: u64) -> RowId {
    RowId { page: PageId(n), position: 3 }
}

fn payload(n: u64) -> Value {
    vec![n as u8; 3000].into()
}

/// A cache of 16 entries or so in memory and a few MiB on disk, with a clock that tests move.
async fn open(dir: &Path, disk_bytes: usize) -> (PayloadCache, Arc<AtomicU64>) {
    let clock = Arc::new(AtomicU64::new(1_000_000));
    let now = clock.clone();
    let options = CacheOptions {
        memory_bytes: 50_000,
        disk_bytes,
        kept: Duration::from_secs(60),
        now_ms: Arc::new(move || now.load(Ordering::Relaxed)),
        ..CacheOptions::default()
    };
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

    async fn get(&self, cache: &PayloadCache, n: u64) -> Value {
        let load = || {
            let loads = self.0.clone();
            async move {
                loads.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(1)).await;
                Ok::<_, EngineError>(payload(n))
            }
        };
        cache.get_or_load(id(n), load).await.unwrap()
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
    let loader = Loader::new();
    for round in 1..=3 {
        let before = loader.loads();
        for n in 0..200 {
            assert_eq!(loader.get(&cache, n).await, payload(n));
        }
        assert!(cache.memory_bytes() <= 60_000);
        cache.evict_memory().await;
        let loads = loader.loads() - before;
        match round {
            1 => assert_eq!(loads, 200),
            2 => assert!(loads < 50, "{loads} of 200 were found nowhere"),
            // Too old is too old, in both tiers.
            _ => assert_eq!(loads, 200),
        }
        clock.fetch_add(if round == 2 { 61_000 } else { 0 }, Ordering::Relaxed);
    }
    cache.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_payload_is_loaded_again() {
    for disk_bytes in [0, 4 << 20] {
        let dir = tempfile::tempdir().unwrap();
        let (cache, clock) = open(dir.path(), disk_bytes).await;
        let loader = Loader::new();
        for loads in [1, 1, 2, 2] {
            assert_eq!(loader.get(&cache, 1).await, payload(1));
            assert_eq!(loader.loads(), loads);
            clock.fetch_add(30_000, Ordering::Relaxed);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_fails_tells_its_reason_and_nothing_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (cache, _) = open(dir.path(), 4 << 20).await;
    let damaged = EngineError::Damaged("no such page".into());
    let refused = cache.get_or_load(id(1), || std::future::ready(Err(damaged.clone()))).await;
    assert_eq!(refused, Err(damaged));
    assert_eq!(Loader::new().get(&cache, 1).await, payload(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_starts_cold_whatever_lies_in_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    let (cache, _) = open(dir.path(), 4 << 20).await;
    Loader::new().get(&cache, 1).await;
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
    let loader = Loader::new();
    assert_eq!(loader.get(&cache, 1).await, payload(1));
    assert_eq!(loader.loads(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_tier_that_cannot_be_opened_leaves_a_cache_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let (cache, _) = open(&file.join("cache"), 4 << 20).await;
    let loader = Loader::new();
    for _ in 0..2 {
        assert_eq!(loader.get(&cache, 1).await, payload(1));
    }
    assert_eq!(loader.loads(), 1);
}

fn row(n: u64) -> Key {
    Key::new(&[&[1], n.to_be_bytes().as_slice()].concat())
}

/// A store that has spilled most of `rows` rows, and room for few decoded pages.
fn spilled(engines: &Engines, rows: u64) -> StateStore {
    let options = StateOptions {
        memory_bytes_max: 10_000,
        spill_order: vec![SpillTable::last(1)],
        cache: Arc::new(DecodedPages::new(200_000, not_counted)),
        ..StateOptions::default()
    };
    let mut store = StateStore::new(engines.engine(1).unwrap(), options);
    (0..rows).for_each(|n| store.put(row(n), payload(n)));
    while store.maintain().more {}
    store
}

fn place(store: &StateStore, n: u64) -> SpilledRow {
    match store.place(&row(n)) {
        Place::Engine(row) => row,
        Place::Memory(_) => panic!("row {n} is in memory"),
        Place::Nowhere => panic!("row {n} is nowhere"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn spilled_rows_are_found_under_the_lock_and_read_without_it() {
    let dir = tempfile::tempdir().unwrap();
    let engines = Engines::open(&dir.path().join("state")).unwrap();
    let (cache, _) = open(&dir.path().join("cache"), 4 << 20).await;
    let mut store = spilled(&engines, 1_000);
    for _ in 0..2 {
        for n in (500..1_000).rev().step_by(7) {
            assert_eq!(cache.value(&place(&store, n)).await, Ok::<_, EngineError>(payload(n)));
        }
    }

    // A page that is written anew is another one: what is known of the old one is not taken for it.
    let old = place(&store, 700);
    assert_eq!(cache.value(&old).await, Ok(payload(700)));
    for n in 690..710 {
        store.put(row(n), payload(n + 1));
    }
    assert!(matches!(store.place(&row(700)), Place::Memory(value) if value == payload(701)));
    for n in 2_000..3_000 {
        store.put(row(n), payload(n));
    }
    while store.maintain().more {}
    let new = place(&store, 700);
    assert_ne!(old.id(), new.id());
    assert_eq!(cache.value(&new).await, Ok(payload(701)));

    store.delete(&row(700));
    assert!(matches!(store.place(&row(700)), Place::Nowhere));
    let gone = place(&store, 800);
    store.clear();
    assert!(matches!(store.place(&row(800)), Place::Nowhere));
    assert!(matches!(gone.read(), Err(EngineError::Damaged(_))), "the page is gone with its contents");
    assert_eq!(store.health(), Ok(()), "and that is no failure of the store");
}

#[test]
fn spilled_rows_are_read_through_the_cache_of_decoded_pages() {
    let options = StateOptions {
        memory_bytes_max: 10_000,
        spill_order: vec![SpillTable::last(1)],
        cache: Arc::new(DecodedPages::new(1 << 20, not_counted)),
        ..StateOptions::default()
    };
    let mut store = StateStore::new(Arc::new(MemoryEngine::new()), options);
    for n in 0..2_000 {
        store.put(row(n), payload(n));
    }
    while store.maintain().more {}
    assert!(store.spilled_rows() > 1000);
    for n in 0..2_000 {
        assert_eq!(Read::get(&store, &row(n)), Some(payload(n)));
    }
    store.health().unwrap();
}
