//! What happens when the engine or its files fail, and what the budget means.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use bravo_model::{Key, Read, Txn, Value};

use super::super::*;

fn key(n: u32) -> Key {
    Key::new(&[&[1], n.to_be_bytes().as_slice()].concat())
}

fn value(n: u32) -> Value {
    format!("value {n} ").repeat(10).into()
}

fn options() -> StateOptions {
    StateOptions {
        memory_bytes_max: 50_000,
        spill_order: vec![SpillTable::last(1)],
        page_rows: 32,
        cache: Arc::new(LocalPages::new(1)),
        ..StateOptions::default()
    }
}

fn filled(engine: Arc<dyn Engine>, rows: u32) -> StateStore {
    let mut store = StateStore::new(engine, options());
    (0..rows).for_each(|n| store.put(key(n), value(n)));
    while store.maintain().more {}
    assert!(store.bytes() <= 50_000 + 20_000, "{} bytes", store.bytes());
    assert!(rows < 2000 || store.spilled_rows() > 1000);
    store
}

fn assert_holds(store: &StateStore, rows: u32) {
    (0..rows).for_each(|n| assert_eq!(Read::get(store, &key(n)), Some(value(n))));
    store.health().unwrap();
}

fn files_below(dir: &Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files_below(&path, files) } else { files.push(path) }
    }
}

#[test]
fn whatever_happened_to_the_state_folder_a_store_starts_empty_and_answers_right() {
    let dir = tempfile::tempdir().unwrap();
    type Mischief = fn(&mut Vec<u8>);
    let mischiefs: [Mischief; 4] = [
        |bytes| bytes.iter_mut().step_by(7).for_each(|byte| *byte ^= 0x10),
        |bytes| bytes.truncate(bytes.len() / 2),
        |bytes| bytes.clear(),
        |bytes| bytes.extend_from_slice(b"rubbish"),
    ];
    for mischief in mischiefs {
        let engines = Engines::open(dir.path()).unwrap();
        assert_holds(&filled(engines.engine(1).unwrap(), 3000), 3000);
        drop(engines);
        let mut files = Vec::new();
        files_below(dir.path(), &mut files);
        assert!(!files.is_empty());
        for file in files {
            let mut bytes = fs::read(&file).unwrap();
            mischief(&mut bytes);
            fs::write(&file, bytes).unwrap();
        }
        let engines = Engines::open(dir.path()).unwrap();
        let store = StateStore::new(engines.engine(1).unwrap(), options());
        assert_eq!(Read::first(&store, &key(0), &key(9999)), None);
    }
    fs::remove_dir_all(dir.path()).unwrap();
    let engines = Engines::open(dir.path()).unwrap();
    assert_holds(&filled(engines.engine(1).unwrap(), 3000), 3000);
}

#[test]
fn groups_share_one_sled_and_never_see_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let engines = Engines::open(dir.path()).unwrap();
    let mut one = filled(engines.engine(1).unwrap(), 3000);
    let two = filled(engines.engine(2).unwrap(), 2500);
    one.clear();
    assert_eq!(Read::first(&one, &key(0), &key(9999)), None);
    assert_holds(&two, 2500);
}

#[test]
fn a_flipped_bit_in_a_page_poisons_the_store_instead_of_answering_wrongly() {
    let engine = Arc::new(MemoryEngine::new());
    let mut store = filled(engine.clone(), 3000);
    engine.damage(|bytes| bytes[30] ^= 4);
    (0..3000).for_each(|n| assert!(Read::get(&store, &key(n)).is_none_or(|found| found == value(n))));
    assert!(matches!(store.health(), Err(EngineError::Damaged(_))));
    assert!(store.freeze().digest().is_err());
    // Thrown away and rebuilt, it is well again.
    store.load((0..3000).map(|n| Ok::<_, EngineError>((key(n), value(n))))).unwrap();
    assert_holds(&store, 3000);
}

#[test]
fn an_engine_that_takes_no_more_leaves_rows_in_memory_and_answers_stay_right() {
    let engine = Arc::new(MemoryEngine::new());
    engine.fail_with(Some(EngineError::Failed("no space left on device".into())));
    let mut refused = StateStore::new(engine.clone(), options());
    assert!(refused.health().is_err(), "an engine that cannot be cleared is no start");
    engine.fail_with(None);
    refused.clear();
    engine.fail_with(Some(EngineError::Failed("no space left on device".into())));
    (0..3000).for_each(|n| refused.put(key(n), value(n)));
    while refused.maintain().more {}
    assert!(refused.maintain().engine_refused);
    assert_eq!(refused.spilled_rows(), 0);
    assert_holds(&refused, 3000);
}

#[test]
fn rows_that_come_and_go_within_the_budget_never_touch_the_engine_nor_leave_a_trace() {
    let engine = Arc::new(MemoryEngine::new());
    let mut store = StateStore::new(engine.clone(), options());
    engine.fail_with(Some(EngineError::Failed("touched".into())));
    for round in 0..50 {
        let view = (round % 3 == 0).then(|| store.freeze());
        (0..200).for_each(|n| store.put(key(n), value(n)));
        (0..200).for_each(|n| store.delete(&key(n)));
        drop(view);
        while store.maintain().more {}
        assert_eq!(store.bytes(), 0);
    }
    store.health().unwrap();
}

#[test]
fn the_newest_backlog_is_spilled_first() {
    let store = filled(Arc::new(MemoryEngine::new()), 5000);
    assert!(store.pages.find(&key(0)).is_none() && store.active.get(&key(0)).is_some());
    assert!(store.pages.find(&key(4999)).is_some());
}

#[test]
fn of_what_is_over_the_oldest_is_spilled_first_and_what_is_not_over_stays() {
    // Every tenth row is still needed.
    let needed = |n: u32| n.is_multiple_of(10);
    let over = |_: &StateStore, key: &Key, _: &Value| !key.as_slice()[4].is_multiple_of(10);
    let row = |n: u32| Key::new(&[1, 0, (n / 200) as u8, 0, (n % 200) as u8]);
    let options = StateOptions { spill_order: vec![SpillTable::oldest(1).only(over)], ..options() };
    let mut store = StateStore::new(Arc::new(MemoryEngine::new()), options);
    for n in 0..5000 {
        store.put(row(n), value(n));
        store.maintain();
    }
    while store.maintain().more {}
    let spilled = |store: &StateStore, n: u32| store.pages.find(&row(n)).is_some();
    assert!((0..3000).all(|n| spilled(&store, n) != needed(n)));
    assert!(!spilled(&store, 4999));
    // What is not needed any more joins its neighbours when memory is short again.
    (0..5000).filter(|n| needed(*n)).for_each(|n| store.delete(&row(n)));
    (5000..9000).for_each(|n| store.put(row(n), value(n)));
    while store.maintain().more {}
    assert!((4000..6000).filter(|n| !needed(*n)).all(|n| spilled(&store, n)));
    for n in 0..9000 {
        let expected = (n >= 5000 || !needed(n)).then(|| value(n));
        assert_eq!(Read::get(&store, &row(n)), expected, "{n}");
    }
    store.health().unwrap();
}

#[test]
fn a_view_stays_right_when_the_store_is_cleared_and_loaded_anew() {
    let engine = Arc::new(MemoryEngine::new());
    let mut store = filled(engine.clone(), 3000);
    let view = store.freeze();
    let before = view.digest().unwrap();
    store.load((5000..9000).map(|n| Ok::<_, EngineError>((key(n), value(n + 1))))).unwrap();
    while store.maintain().more {}
    assert_eq!(view.digest().unwrap(), before);
    assert_eq!(Read::get(&view, &key(2999)), Some(value(2999)));
    assert_eq!(Read::get(&store, &key(2999)), None);
    drop(view);
    while store.maintain().more {}
    store.clear();
    assert!(engine.is_empty(), "pages of the earlier contents stayed");
}

#[test]
fn rows_out_of_order_or_a_failing_stream_leave_an_empty_store() {
    let mut store = filled(Arc::new(MemoryEngine::new()), 3000);
    let unordered = [2, 1].map(|n| Ok::<_, EngineError>((key(n), value(n))));
    assert!(store.load(unordered).is_err());
    assert_eq!(store.bytes(), 0);
    let failing = [Ok((key(1), value(1))), Err(EngineError::Failed("cut".into()))];
    assert_eq!(store.load(failing), Err(EngineError::Failed("cut".into())));
    assert_eq!((store.bytes(), Read::get(&store, &key(1))), (0, None));
}

#[test]
fn loading_more_than_fits_spills_on_the_way() {
    let mut store = StateStore::new(Arc::new(MemoryEngine::new()), options());
    store.load((0..20_000).map(|n| Ok::<_, EngineError>((key(n), value(n))))).unwrap();
    while store.maintain().more {}
    assert!(store.spilled_rows() > 15_000);
    assert_holds(&store, 20_000);
}

#[test]
fn many_rows_inside_one_page_are_spilled_in_bounded_steps() {
    let mut store = StateStore::new(Arc::new(MemoryEngine::new()), options());
    // One page spans the whole table, then all the rest comes up inside it.
    for n in (0..=320_000).step_by(1000) {
        store.put(key(n), value(n));
    }
    while store.maintain().more {}
    assert!(store.spilled_rows() > 100);
    for n in 0..20_000 {
        store.put(key(n * 16), value(n * 16));
    }
    let (mut steps, mut most) = (0, 0);
    loop {
        let done = store.maintain();
        steps += 1;
        most = most.max(done.spilled_rows);
        if !done.more {
            break;
        }
    }
    assert!(steps > 10 && most <= 2 * StateOptions::default().spill_batch, "{most} rows in one of {steps} steps");
    assert!(store.bytes() < 500_000, "{} bytes stay in memory", store.bytes());
    (0..20_000).for_each(|n| assert_eq!(Read::get(&store, &key(n * 16)), Some(value(n * 16))));
    store.health().unwrap();
}

#[test]
fn a_view_can_be_read_on_any_thread_while_the_store_goes_on() {
    fn shared<T: Send + Sync + Clone>(_: &T) {}
    let mut store = filled(Arc::new(MemoryEngine::new()), 3000);
    let view = store.freeze();
    shared(&view);
    let before = view.digest().unwrap();
    let digests = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..3).map(|_| scope.spawn(|| view.digest().unwrap())).collect();
        for n in 0..3000 {
            store.delete(&key(n));
            store.put(key(n + 10_000), value(n));
            store.maintain();
        }
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(digests, [before; 3]);
    drop(view);
    while store.maintain().more {}
    assert_eq!(store.first(&key(0), &key(99_999)), Some((key(10_000), value(0))));
}

#[test]
fn rows_that_came_behind_a_sweep_are_moved_though_nothing_more_comes() {
    // A step moves as much as comes between two of them, so that each sweep leaves as much behind it.
    let options = StateOptions { spill_batch: 64, ..options() };
    let mut store = StateStore::new(Arc::new(MemoryEngine::new()), options);
    for n in 0..20_000 {
        store.put(key(n), value(n));
        if n % 64 == 0 {
            store.maintain();
        }
    }
    while store.maintain().more {}
    let left = 20_000 - store.spilled_rows();
    assert!(left < 500, "{left} rows in memory, {} bytes", store.bytes());
    assert_holds(&store, 20_000);
}
