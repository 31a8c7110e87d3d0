//! The store over sled against a plain map: constantly spilling, freezing, merging, at random.

use std::collections::BTreeMap;
use std::sync::Arc;

use bravo_model::{Key, Read, Txn, Value};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::super::*;

type Plain = BTreeMap<Key, Value>;

/// Three tables: hot, spillable with scattered keys, spillable with growing keys.
fn key(rng: &mut StdRng, step: u64) -> Key {
    let tag = rng.random_range(1..=3u8);
    let n: u32 = match tag {
        1 => rng.random_range(0..500),
        2 => rng.random_range(0..3000),
        _ => (step as u32 / 2).saturating_sub(rng.random_range(0..2000)),
    };
    let mut bytes = vec![tag];
    bytes.extend_from_slice(&n.to_be_bytes());
    if n.is_multiple_of(7) {
        bytes.push(n as u8);
    }
    Key::new(&bytes)
}

fn value(rng: &mut StdRng) -> Value {
    let length = if rng.random_ratio(1, 200) { 20_000 } else { rng.random_range(0..120) };
    let fill = rng.random_range(0..=255u8);
    (0..length).map(|i: usize| fill.wrapping_add(i as u8 / 16)).collect::<Vec<_>>().into()
}

fn all(view: &Frozen) -> Vec<(Key, Value)> {
    let mut rows = Vec::new();
    view.for_each(&mut |key, value| {
        rows.push((*key, value.clone()));
        true
    })
    .unwrap();
    rows
}

fn scanned(view: &impl Read, from: &Key, to: &Key, max: usize) -> Vec<(Key, Value)> {
    let mut rows = Vec::new();
    view.scan(from, to, &mut |key, value| {
        rows.push((*key, value.clone()));
        rows.len() < max
    });
    rows
}

struct Pair {
    store: StateStore,
    plain: Plain,
    views: Vec<(Frozen, Plain)>,
    spilled: usize,
    restored: usize,
    merged: usize,
}

fn is_even(_: &StateStore, key: &Key, _: &Value) -> bool {
    key.as_slice().last().is_none_or(|byte| byte % 2 == 0)
}

fn options(memory_bytes_max: u64) -> StateOptions {
    StateOptions {
        memory_bytes_max,
        spill_order: vec![SpillTable::last(3), SpillTable::oldest(2).only(is_even), SpillTable::last(2)],
        spill_batch: 100,
        page_rows: 32,
        page_rows_min: 4,
        page_bytes: 4 << 10,
        merge_batch: 50,
        cache: Arc::new(LocalPages::new(4)),
        ..StateOptions::default()
    }
}

impl Pair {
    fn step(&mut self, rng: &mut StdRng, step: u64) {
        match rng.random_range(0..1000) {
            0..450 => {
                let (key, value) = (key(rng, step), value(rng));
                self.store.put(key, value.clone());
                self.plain.insert(key, value);
            }
            450..650 => {
                let key = key(rng, step);
                self.store.delete(&key);
                self.plain.remove(&key);
            }
            650..850 => {
                let key = key(rng, step);
                assert_eq!(Read::get(&self.store, &key), self.plain.get(&key).cloned(), "step {step}");
                assert_eq!(self.store.contains(&key), self.plain.contains_key(&key), "step {step}");
            }
            850..900 => {
                let (from, to) = (key(rng, step), key(rng, step));
                let max = rng.random_range(1..100);
                assert_eq!(scanned(&self.store, &from, &to, max), scanned(&self.plain, &from, &to, max), "step {step}");
            }
            900..910 => {
                let (from, end) = (key(rng, step), Key::new(&[9]));
                let served = scanned(&self.plain, &from, &end, 40);
                for (key, _) in served.iter().filter(|_| rng.random_ratio(7, 8)) {
                    self.store.delete(key);
                    self.plain.remove(key);
                }
            }
            910..990 => {
                let done = self.store.maintain();
                self.spilled += done.spilled_rows;
                self.restored += done.restored_rows;
                self.merged += done.merged_rows;
            }
            990..993 => self.views.push((self.store.freeze(), self.plain.clone())),
            993..999 => {
                if let Some((view, plain)) = self.views.last() {
                    let (from, to) = (key(rng, step), key(rng, step));
                    assert_eq!(scanned(view, &from, &to, 50), scanned(plain, &from, &to, 50), "step {step}");
                    assert_eq!(Read::get(view, &from), plain.get(&from).cloned(), "step {step}");
                }
                if !self.views.is_empty() {
                    let (view, plain) = self.views.swap_remove(rng.random_range(0..self.views.len()));
                    assert_eq!(all(&view), plain.into_iter().collect::<Vec<_>>(), "step {step}");
                }
            }
            _ => {
                let rows: Vec<(Key, Value)> = self.plain.clone().into_iter().collect();
                if rng.random_ratio(1, 4) {
                    let rows = rows.into_iter().map(Ok::<_, EngineError>);
                    assert_eq!(self.store.load(rows).unwrap(), self.plain.len() as u64);
                }
            }
        }
    }
}

fn run(engine: Arc<dyn Engine>, seed: u64, steps: u64, memory_bytes_max: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let store = StateStore::new(engine, options(memory_bytes_max));
    let mut pair = Pair { store, plain: Plain::new(), views: Vec::new(), spilled: 0, restored: 0, merged: 0 };
    for step in 0..steps {
        pair.step(&mut rng, step);
    }
    pair.store.health().unwrap();
    let view = pair.store.freeze();
    assert_eq!(all(&view), pair.plain.clone().into_iter().collect::<Vec<_>>());
    drop(view);
    pair.views.clear();
    while pair.store.maintain().more {}
    pair.store.assert_settled();
    assert!(
        pair.spilled > 500 && pair.restored > 0 && pair.merged > 500,
        "too little in seed {seed}: {} spilled, {} restored, {} merged",
        pair.spilled,
        pair.restored,
        pair.merged
    );
    for key in pair.plain.keys() {
        pair.store.delete(key);
    }
    while pair.store.maintain().more {}
    assert_eq!(pair.store.bytes(), 0);
}

impl StateStore {
    /// Without views there is one layer without tombstones, and no key is both in memory and in a page.
    fn assert_settled(&self) {
        assert!(self.frozen.is_empty() && self.draining.is_none());
        for (key, slot) in self.active.range(&Key::new(&[]), None) {
            assert!(slot.is_some() && self.pages.find(key).is_none());
        }
    }
}

#[test]
fn a_store_over_sled_that_spills_all_the_time_answers_like_a_plain_map() {
    for seed in 0..3 {
        let dir = tempfile::tempdir().unwrap();
        let engines = Engines::open(dir.path()).unwrap();
        run(engines.engine(7).unwrap(), seed, 20_000, 60_000);
    }
}

#[test]
fn a_store_over_memory_answers_like_a_plain_map_and_leaves_nothing_behind() {
    for seed in 100..110 {
        let engine = Arc::new(MemoryEngine::new());
        run(engine.clone(), seed, 20_000, 30_000 + seed * 1000);
        assert_eq!(engine.len(), 0, "pages left in the engine by seed {seed}");
    }
}
