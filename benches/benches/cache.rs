//! What each tier of the caches buys: how many reads it answers, and how long a read takes at the median and at the
//! 99th percentile, beside reading through to the source. Prints a table; asserts nothing.
//!
//! Keys are drawn as callers ask for things: a few of them often, most of them seldom (Zipf, exponent 1).

use std::cell::Cell;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bravo_api::template::{Compiled, Template};
use bravo_api::workflow::{self, Parts};
use bravo_model::{Key, Txn, Value};
use bravo_storage::blob::{self, BlobStore, Effort};
use bravo_storage::cache::{CacheOptions, DecodedPages, MemoryCache, PayloadCache, TieredCache};
use bravo_storage::state::{Engines, Place, SpillTable, StateOptions, StateStore};

/// Payloads of 4 KiB that were moved to the engine, 160 MiB in all.
const PAYLOADS: u64 = 40_000;
/// Chunks of 4 MiB on another node, 256 MiB in all.
const CHUNKS: u64 = 64;
/// Reads of each setting.
const READS: u64 = 100_000;
const CHUNK_READS: u64 = 1_000;

/// Answers of the tiers, counted by whoever runs.
static MEMORY: AtomicU64 = AtomicU64::new(0);
static DISK: AtomicU64 = AtomicU64::new(0);
static PAGES: AtomicU64 = AtomicU64::new(0);

fn asked(_: &'static str, tier: &'static str, hit: bool) {
    let counter = match tier {
        "memory" => &MEMORY,
        "disk" => &DISK,
        _ => &PAGES,
    };
    counter.fetch_add(u64::from(hit), Ordering::Relaxed);
}

/// Draws keys below `count`; the same ones in each setting.
struct Zipf {
    sums: Vec<f64>,
    state: Cell<u64>,
}

impl Zipf {
    fn new(count: u64) -> Self {
        let mut sum = 0.0;
        let sums = (1..=count).map(|rank| {
            sum += 1.0 / rank as f64;
            sum
        });
        Self { sums: sums.collect(), state: Cell::new(1) }
    }

    fn draw(&self) -> u64 {
        // splitmix64
        self.state.set(self.state.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
        let mut mixed = self.state.get();
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let part = (mixed ^ (mixed >> 31)) as f64 / u64::MAX as f64;
        let at = part * self.sums.last().copied().unwrap_or(0.0);
        let rank = self.sums.partition_point(|sum| *sum < at) as u64;
        // Those that are asked for often are no neighbours.
        rank.wrapping_mul(2_654_435_761) % self.sums.len() as u64
    }
}

/// Reads `reads` times, a third of it before to warm up, and prints a line.
async fn measure<F: Future>(setting: &str, keys: u64, reads: u64, read: impl Fn(u64) -> F) {
    let keys = Zipf::new(keys);
    for _ in 0..reads / 3 {
        read(keys.draw()).await;
    }
    [&MEMORY, &DISK, &PAGES].iter().for_each(|counter| counter.store(0, Ordering::Relaxed));
    let mut took = Vec::with_capacity(reads as usize);
    for _ in 0..reads {
        let key = keys.draw();
        let start = Instant::now();
        read(key).await;
        took.push(start.elapsed());
    }
    took.sort_unstable();
    let at = |part: f64| took[((reads - 1) as f64 * part) as usize].as_secs_f64() * 1e6;
    let mean = took.iter().sum::<Duration>().as_secs_f64() * 1e6 / reads as f64;
    let hits = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64 * 100.0 / reads as f64;
    let (pages, memory, disk) = (hits(&PAGES), hits(&MEMORY), hits(&DISK));
    let (p50, p99) = (at(0.5), at(0.99));
    println!("| {setting:44} | {pages:5.1} | {memory:5.1} | {disk:5.1} | {p50:9.1} | {p99:9.1} | {mean:9.1} |");
}

fn head(title: &str) {
    println!("\n{title}\n");
    println!(
        "| {:44} | pages | memory | disk | p50 us | p99 us | mean us |\n|---|---:|---:|---:|---:|---:|---:|",
        "tiers"
    );
}

fn key(n: u64) -> Key {
    let mut bytes = [1; 9];
    bytes[1..].copy_from_slice(&n.to_be_bytes());
    Key::new(&bytes)
}

/// 4 KiB of JSON, each another.
fn payload(n: u64) -> Value {
    (0..64).flat_map(|line| format!("{{\"line\":{:055}}},", n * 64 + line).into_bytes()).collect::<Vec<u8>>().into()
}

async fn payloads() {
    head("Payloads and results that the state moved to the engine (4 KiB, 160 MiB in all)");
    let settings = [
        ("read through", 0, 0, 0),
        ("decoded pages, 32 MiB", 32, 0, 0),
        ("pages 16 MiB, values 16 MiB", 16, 16, 0),
        ("pages 16 MiB, values 16 MiB, disk 1 GiB", 16, 16, 1 << 30),
    ];
    for (setting, pages, memory, disk) in settings {
        let folder = tempfile::tempdir_in(".").expect("a folder");
        let engines = Engines::open(&folder.path().join("state")).expect("an engine");
        let options = StateOptions {
            memory_bytes_max: 1 << 20,
            spill_order: vec![SpillTable::last(1)],
            cache: Arc::new(DecodedPages::new((pages << 20).max(1), asked)),
            ..StateOptions::default()
        };
        let mut store = StateStore::new(engines.engine(1).expect("a tree"), options);
        for n in 0..PAYLOADS {
            store.put(key(n), payload(n));
            if n % 256 == 0 {
                store.maintain();
            }
        }
        while store.maintain().more {}
        let options =
            CacheOptions { memory_bytes: (memory << 20).max(1), disk_bytes: disk, asked, ..CacheOptions::default() };
        let cache = PayloadCache::open(&folder.path().join("cache"), options).await.expect("a cache");
        let read = async |n: u64| match store.place(&key(n)) {
            Place::Engine(row) if memory > 0 => cache.value(&row).await.expect("a value"),
            Place::Engine(row) => match row.decoded() {
                Some(value) => value,
                None => tokio::task::spawn_blocking(move || row.read()).await.expect("it ends").expect("a value"),
            },
            Place::Memory(value) => value,
            Place::Nowhere => panic!("row {n} is nowhere"),
        };
        measure(setting, PAYLOADS, READS, read).await;
        cache.close().await;
    }
}

/// The source is a folder of chunks, compressed as they travel; a network would come on top of it.
async fn chunks() {
    head("Chunks that belong to another node (4 MiB, 256 MiB in all; what the other node does, without the network)");
    for (setting, memory, disk) in
        [("read through", 0, 0), ("values 64 MiB", 64, 0), ("values 64 MiB, disk 1 GiB", 64, 1 << 30)]
    {
        let folder = tempfile::tempdir_in(".").expect("a folder");
        let blobs = Arc::new(BlobStore::open(&folder.path().join("blobs")).expect("a store"));
        let names: Vec<_> = (0..CHUNKS)
            .map(|n| {
                let plain: Vec<u8> =
                    (0..1024).flat_map(|part| payload(n * 1_024 + part).to_vec()).take(4 << 20).collect();
                let name = *blake3::hash(&plain).as_bytes();
                blobs.put(&name, &blob::encode(&plain, Effort::Quick)).expect("it is written");
                name
            })
            .collect();
        let options = CacheOptions {
            memory_bytes: (memory << 20).max(1),
            disk_bytes: disk,
            value_bytes_max: 4 << 20,
            asked,
            ..CacheOptions::default()
        };
        let cache = TieredCache::open(&folder.path().join("cache"), options).await.expect("a cache");
        let read = async |n: u64| {
            let name = names[n as usize];
            let load = || {
                let blobs = blobs.clone();
                async move {
                    let read = tokio::task::spawn_blocking(move || blobs.get(&name)).await.expect("it ends");
                    Ok::<_, std::fmt::Error>(read.expect("it is sound").expect("it is there"))
                }
            };
            if memory == 0 { load().await } else { cache.get_or_load(name, load).await }.expect("a chunk")
        };
        measure(setting, CHUNKS, CHUNK_READS, read).await;
        cache.close().await;
    }
}

async fn templates() {
    head("Templates, ready for a workflow to be made from (the four that are shipped)");
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/templates");
    let documents: Vec<Vec<u8>> = ["crud", "ecommerce", "enterprise_api", "realtime_chat"]
        .map(|name| std::fs::read(format!("{folder}/{name}.json")).expect("a template"))
        .into();
    let compile = |document: &[u8]| {
        let template = Template::stored(document).expect("a template");
        let plan = workflow::plan(&template.tasks, template.on_failure.as_ref(), &Parts::new()).expect("a plan");
        (Compiled::new(template).expect("a sound schema"), plan)
    };
    let through = async |n: u64| {
        let document = documents[n as usize].clone();
        tokio::task::spawn_blocking(move || compile(&document)).await.expect("it ends")
    };
    measure("made anew", documents.len() as u64, READS / 10, through).await;
    let cache = MemoryCache::new("templates", 10 << 20, Duration::from_secs(300), asked);
    let cached = async |n: u64| {
        let load = || {
            let document = documents[n as usize].clone();
            async move {
                let made = tokio::task::spawn_blocking(move || Arc::new(compile(&document))).await.expect("it ends");
                Ok::<_, std::fmt::Error>((made, 100_000))
            }
        };
        cache.get_or_load(&n, load).await.expect("a template")
    };
    measure("in memory", documents.len() as u64, READS / 10, cached).await;
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        templates().await;
        payloads().await;
        chunks().await;
    });
}
