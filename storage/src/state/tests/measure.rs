//! Measurements, run by hand:
//! `cargo test --release -p bravo-storage measure -- --ignored --nocapture --test-threads 1`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bravo_model::{Key, Read, Txn, Value};

use super::super::*;

fn key(tag: u8, n: u64) -> Key {
    let mut bytes = vec![tag, 0, 0, 0, 7];
    bytes.extend_from_slice(&n.to_be_bytes());
    Key::new(&bytes)
}

/// A job-like record that compresses about as well as real ones do.
fn record(n: u64) -> Value {
    let random = blake3::hash(&n.to_le_bytes());
    format!(
        "{{\"queue\":\"emails\",\"customer\":{},\"template\":\"welcome\",\"token\":\"{}\"}}",
        n % 1000,
        random.to_hex()
    )
    .into()
}

fn shuffled(n: u64, count: u64) -> u64 {
    n.wrapping_mul(0x9E37_79B9_7F4A_7C15) % count
}

fn cpu() -> Duration {
    let usage = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = usage.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

fn per(name: &str, count: u64, work: impl FnOnce()) {
    let (start, cpu_start) = (Instant::now(), cpu());
    work();
    let each = |time: Duration| time.as_secs_f64() * 1e6 / count as f64;
    println!("{name:48} {:9.3} us wall {:9.3} us cpu each", each(start.elapsed()), each(cpu() - cpu_start));
}

fn rss() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    status.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[test]
#[ignore = "a measurement"]
fn measure_a_million_hot_rows() {
    const ROWS: u64 = 1_000_000;
    let before = rss();
    let mut store = StateStore::new(Arc::new(MemoryEngine::new()), StateOptions::default());
    per("put, ascending", ROWS, || (0..ROWS).for_each(|n| store.put(key(1, n), record(n))));
    println!("bytes() {} MB, rss {} MB", store.bytes() / 1_000_000, (rss() - before) / 1_000_000);
    per("get, random", ROWS, || (0..ROWS).for_each(|n| drop(Read::get(&store, &key(1, shuffled(n, ROWS))).unwrap())));
    let value = record(1);
    per("put over, random", ROWS, || (0..ROWS).for_each(|n| store.put(key(1, shuffled(n, ROWS)), value.clone())));
    per("first", ROWS, || (0..ROWS).for_each(|n| drop(store.first(&key(1, n), &Key::new(&[2])).unwrap())));
    let view = store.freeze();
    per("freeze: put over, random", ROWS / 4, || {
        (0..ROWS / 4).for_each(|n| store.put(key(1, shuffled(n, ROWS)), value.clone()))
    });
    per("freeze: get, random", ROWS, || (0..ROWS).for_each(|n| drop(Read::get(&store, &key(1, shuffled(n, ROWS))))));
    per("digest of a view", ROWS, || assert_ne!(view.digest().unwrap(), [0; 32]));
    drop(view);
    let (mut calls, mut longest) = (0, Duration::ZERO);
    per("merge", ROWS / 4, || {
        loop {
            let start = Instant::now();
            let more = store.maintain().more;
            longest = longest.max(start.elapsed());
            calls += 1;
            if !more {
                break;
            }
        }
    });
    println!("{calls} calls of maintain, the longest {longest:?}");
}

fn spill(page_rows: usize, page_bytes: usize) {
    const ROWS: u64 = 400_000;
    let dir = tempfile::tempdir_in("/work").unwrap();
    let engines = Engines::open(dir.path()).unwrap();
    let options = StateOptions {
        memory_bytes_max: 10 << 20,
        spill_order: vec![SpillTable::last(1)],
        page_rows,
        page_bytes,
        cache: Arc::new(crate::cache::DecodedPages::new(16 << 20, crate::cache::not_counted)),
        ..StateOptions::default()
    };
    let mut store = StateStore::new(engines.engine(1).unwrap(), options);
    let mut longest = Duration::ZERO;
    println!("--- pages of {page_rows} rows, {} KiB", page_bytes >> 10);
    per("put and spill", ROWS, || {
        for n in 0..ROWS {
            store.put(key(1, n), record(n));
            if n % 256 == 0 {
                let start = Instant::now();
                store.maintain();
                longest = longest.max(start.elapsed());
            }
        }
        while store.maintain().more {}
    });
    println!(
        "{} rows in {} pages, engine {} MB, on disk {} MB, index {} KB, longest maintain {longest:?}",
        store.spilled_rows(),
        store.spilled_pages(),
        store.reader.engine.bytes() / 1_000_000,
        engines.disk_bytes() / 1_000_000,
        store.pages.bytes() / 1000
    );
    per("get, ascending", ROWS, || (0..ROWS).for_each(|n| drop(Read::get(&store, &key(1, n)).unwrap())));
    per("get, random", ROWS / 20, || {
        (0..ROWS / 20).for_each(|n| drop(Read::get(&store, &key(1, shuffled(n, ROWS))).unwrap()))
    });
    per("first and delete, ascending", ROWS, || {
        for n in 0..ROWS {
            let (first, _) = store.first(&Key::new(&[1]), &Key::new(&[2])).unwrap();
            store.delete(&first);
            if n % 256 == 0 {
                store.maintain();
            }
        }
    });
    while store.maintain().more {}
    println!("on disk {} MB at the end", engines.disk_bytes() / 1_000_000);
}

#[test]
#[ignore = "a measurement"]
fn measure_spilling_by_page_size() {
    for (rows, bytes) in [(128, 16 << 10), (256, 32 << 10), (256, 64 << 10), (1024, 128 << 10)] {
        spill(rows, bytes);
    }
}

#[test]
#[ignore = "a measurement"]
fn measure_sled_with_plain_rows() {
    const ROWS: u64 = 200_000;
    let dir = tempfile::tempdir_in("/work").unwrap();
    let engines = Engines::open(dir.path()).unwrap();
    let engine = engines.engine(1).unwrap();
    per("plain rows in batches of 1024", ROWS, || {
        for batch in 0..ROWS / 1024 {
            let rows: Vec<_> = (batch * 1024..(batch + 1) * 1024).map(|n| (key(1, n), Some(record(n)))).collect();
            engine.batch(&rows, batch).unwrap();
        }
    });
    per("plain get, random", ROWS / 4, || (0..ROWS / 4).for_each(|n| drop(engine.get(&key(1, shuffled(n, ROWS))))));
    println!("engine {} MB, on disk {} MB", engine.bytes() / 1_000_000, engines.disk_bytes() / 1_000_000);
}

#[test]
#[ignore = "a measurement"]
fn measure_snapshots() {
    use crate::snapshot::{SnapshotFile, SnapshotName, SnapshotWriter};
    const ROWS: u64 = 1_000_000;
    let dir = tempfile::tempdir_in("/work").unwrap();
    let mut store = StateStore::new(Arc::new(MemoryEngine::new()), StateOptions::default());
    (0..ROWS).for_each(|n| store.put(key(1, n), record(n)));
    let view = store.freeze();
    per("write a snapshot", ROWS, || drop(SnapshotWriter::write(dir.path(), 1, SnapshotName::new(1, 1), b"", &view)));
    let mut file = None;
    per("open and verify", ROWS, || file = SnapshotFile::open(dir.path(), 1).unwrap());
    let file = file.unwrap();
    println!("{} MB", file.len() / 1_000_000);
    per("load", ROWS, || assert_eq!(store.load(file.rows().unwrap()).unwrap(), ROWS));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn measure_the_payload_cache_before_spilled_rows() {
    use crate::cache::{CacheOptions, DecodedPages, PayloadCache, not_counted};
    const ROWS: u64 = 100_000;
    const READS: u64 = 100_000;
    let value = |n: u64| Value::from((0..30).flat_map(|i| record(n * 30 + i)).collect::<Vec<u8>>());
    for (name, pages, memory, disk) in [
        ("pages 64 MiB alone", 64, 0, 0),
        ("pages 32 MiB, values 32 MiB", 32, 32, 0),
        ("pages 32 MiB, values 32 MiB, disk 1 GiB", 32, 32, 1 << 30),
    ] {
        let dir = tempfile::tempdir_in("/work").unwrap();
        let engines = Engines::open(&dir.path().join("state")).unwrap();
        let options = StateOptions {
            memory_bytes_max: 10 << 20,
            spill_order: vec![SpillTable::last(1)],
            cache: Arc::new(DecodedPages::new(pages << 20, not_counted)),
            ..StateOptions::default()
        };
        let mut store = StateStore::new(engines.engine(1).unwrap(), options);
        for n in 0..ROWS {
            store.put(key(1, n), value(n));
            if n % 256 == 0 {
                store.maintain();
            }
        }
        while store.maintain().more {}
        let options = CacheOptions { memory_bytes: memory << 20, disk_bytes: disk, ..CacheOptions::default() };
        let cache = PayloadCache::open(&dir.path().join("cache"), options).await.unwrap();
        println!(
            "--- {name}; {} rows of 4 KB spilled, engine {} MB",
            store.spilled_rows(),
            store.reader.engine.bytes() >> 20
        );
        for (what, among) in [("in order", 0), ("at random among 5,000", 5_000), ("at random among all", ROWS)] {
            for round in 1..=2 {
                let (start, cpu_start) = (Instant::now(), cpu());
                for n in 0..READS {
                    // Rows that are asked for are far apart, as jobs that somebody looks at are.
                    let n = if among == 0 { n } else { shuffled(shuffled(n * 7 + round, among), ROWS) };
                    let found = match store.place(&key(1, n)) {
                        Place::Engine(row) if memory > 0 => cache.value(&row).await.unwrap(),
                        Place::Engine(row) => match row.decoded() {
                            Some(value) => value,
                            None => tokio::task::spawn_blocking(move || row.read()).await.unwrap().unwrap(),
                        },
                        Place::Memory(value) => value,
                        Place::Nowhere => panic!("row {n}"),
                    };
                    assert!(found.len() > 1_000);
                }
                let each = |time: Duration| time.as_secs_f64() * 1e6 / READS as f64;
                let (wall, cpu) = (each(start.elapsed()), each(cpu() - cpu_start));
                println!("{what:24} round {round} {wall:9.2} us wall {cpu:9.2} us cpu each");
            }
        }
        cache.close().await;
    }
}
