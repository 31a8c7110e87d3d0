//! The state overlay: rows in memory, and rows that were spilled to the engine.

use std::hint::black_box;

use bravo_model::{Key, Read, Txn, Value};
use bravo_storage::state::{Engines, SpillTable, StateOptions, StateStore};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const ROWS: u64 = 20_000;
const TAG: u8 = 1;

fn key(n: u64) -> Key {
    let mut bytes = [TAG; 9];
    bytes[1..].copy_from_slice(&n.to_be_bytes());
    Key::new(&bytes)
}

fn fill(store: &mut StateStore) {
    for n in 0..ROWS {
        store.put(key(n), Value::from(vec![b'v'; 256]));
    }
}

fn benches(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let engines = Engines::open(folder.path()).expect("an engine");
    let engine = |group| engines.engine(group).expect("a tree");
    let mut group = c.benchmark_group("overlay");
    group.throughput(Throughput::Elements(ROWS));
    group.sample_size(20);
    group.bench_function("put 20,000 rows", |b| {
        b.iter(|| {
            let mut store = StateStore::new(engine(1), StateOptions::default());
            fill(&mut store);
            black_box(store.bytes())
        });
    });
    let mut hot = StateStore::new(engine(2), StateOptions::default());
    fill(&mut hot);
    group.bench_function("get 20,000 rows in memory", |b| {
        b.iter(|| (0..ROWS).filter(|n| hot.get(&key(*n)).is_some()).count());
    });
    group.bench_function("put and spill 20,000 rows", |b| {
        b.iter(|| {
            let options = StateOptions {
                memory_bytes_max: 1,
                spill_order: vec![SpillTable::last(TAG)],
                ..StateOptions::default()
            };
            let mut store = StateStore::new(engine(3), options);
            fill(&mut store);
            while store.maintain().more {}
            black_box(store.spilled_rows())
        });
    });
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
