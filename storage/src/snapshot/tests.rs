//! Stories about snapshots.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use bravo_model::{Key, Txn, Value};

use super::*;
use crate::state::{EngineError, Frozen, MemoryEngine, SpillTable, StateOptions, StateStore};

fn row(n: u32) -> (Key, Value) {
    let mut key = vec![1 + (n % 3) as u8];
    key.extend_from_slice(&n.to_be_bytes());
    (Key::new(&key), Value::from(format!("row {n} ").repeat(n as usize % 40)))
}

fn store(rows: u32, engine: Arc<MemoryEngine>) -> StateStore {
    let options = StateOptions {
        memory_bytes_max: 20_000,
        spill_order: vec![SpillTable::last(1), SpillTable::last(2)],
        page_rows_min: 2,
        ..StateOptions::default()
    };
    let mut store = StateStore::new(engine, options);
    for n in 0..rows {
        let (key, value) = row(n);
        store.put(key, value);
    }
    while store.maintain().more {}
    store
}

fn frozen(rows: u32) -> Frozen {
    store(rows, Arc::default()).freeze()
}

fn files(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir.join("5")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn digest(rows: SnapshotRows) -> [u8; 32] {
    let mut store = StateStore::new(Arc::new(MemoryEngine::new()), StateOptions::default());
    store.load(rows).unwrap();
    store.freeze().digest().unwrap()
}

#[test]
fn a_state_comes_back_from_its_snapshot_and_older_ones_go() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(SnapshotFile::open(dir.path(), 5).unwrap(), None);
    for (index, rows) in [(9, 0), (10, 3000), (100, 2000)] {
        let view = frozen(rows);
        let name = SnapshotName::new(index, 3);
        let written = SnapshotWriter::write(dir.path(), 5, name, b"meta", &view).unwrap();
        let opened = SnapshotFile::open(dir.path(), 5).unwrap().unwrap();
        assert_eq!(written, opened);
        assert_eq!(opened.len(), fs::metadata(opened.path()).unwrap().len());
        assert_eq!((opened.name(), opened.meta(), opened.row_count()), (name, b"meta".as_slice(), rows as u64));
        assert_eq!(digest(opened.rows().unwrap()), view.digest().unwrap());
    }
    assert_eq!(files(dir.path()), ["100-3.snap"]);
}

#[test]
fn every_truncation_and_every_flipped_bit_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let snapshot = SnapshotWriter::write(dir.path(), 5, SnapshotName::new(7, 1), b"some meta", &frozen(60)).unwrap();
    let good = fs::read(snapshot.path()).unwrap();
    for cut in 0..good.len() {
        fs::write(snapshot.path(), &good[..cut]).unwrap();
        let error = SnapshotFile::open(dir.path(), 5).unwrap_err();
        assert!(error.to_string().contains("7-1.snap is damaged"), "{error}");
    }
    for byte in 0..good.len() {
        let mut bad = good.clone();
        bad[byte] ^= 1 << (byte % 8);
        fs::write(snapshot.path(), &bad).unwrap();
        assert!(SnapshotFile::open(dir.path(), 5).is_err(), "byte {byte}");
        // Rows of a damaged file may fail, but never panic and never go on without an end.
        if let Ok(rows) = snapshot.rows() {
            assert!(rows.count() <= 62);
        }
    }
    let mut longer = good.clone();
    longer.push(0);
    fs::write(snapshot.path(), &longer).unwrap();
    assert!(SnapshotFile::open(dir.path(), 5).is_err());
    fs::write(snapshot.path(), &good).unwrap();
    assert_eq!(SnapshotFile::open(dir.path(), 5).unwrap(), Some(snapshot));
}

#[test]
fn a_damaged_newest_snapshot_is_an_error_even_beside_a_good_older_one() {
    let dir = tempfile::tempdir().unwrap();
    let new = SnapshotWriter::write(dir.path(), 5, SnapshotName::new(20, 1), b"", &frozen(60)).unwrap();
    fs::copy(new.path(), dir.path().join("5/10-1.snap")).unwrap();
    fs::write(new.path(), b"BRAVOSNP").unwrap();
    let error = SnapshotFile::open(dir.path(), 5).unwrap_err();
    assert!(matches!(&error, SnapshotError::Damaged { older: true, .. }), "{error}");
}

#[test]
fn a_snapshot_of_a_later_version_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let snapshot = SnapshotWriter::write(dir.path(), 5, SnapshotName::new(7, 1), b"", &frozen(5)).unwrap();
    let mut bytes = fs::read(snapshot.path()).unwrap();
    bytes[8] = 9;
    let crc = crc32c::crc32c(&bytes[..16]);
    bytes[16..20].copy_from_slice(&crc.to_le_bytes());
    fs::write(snapshot.path(), bytes).unwrap();
    assert!(matches!(SnapshotFile::open(dir.path(), 5), Err(SnapshotError::Version { found: 9, .. })));
}

#[test]
fn a_snapshot_is_received_in_chunks_and_counts_only_when_it_is_whole() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let name = SnapshotName::new(20, 4);
    let sent = SnapshotWriter::write(from.path(), 5, name, b"m", &frozen(900)).unwrap();
    SnapshotWriter::write(to.path(), 5, SnapshotName::new(3, 1), b"", &frozen(2)).unwrap();
    let bytes = fs::read(sent.path()).unwrap();

    let mut damaged = SnapshotReceiver::new(to.path(), 5, name).unwrap();
    damaged.write_chunk(&bytes[..bytes.len() - 70]).unwrap();
    damaged.write_chunk(&[7; 14]).unwrap();
    damaged.write_chunk(&bytes[bytes.len() - 56..]).unwrap();
    assert!(damaged.finish().is_err());
    assert_eq!(files(to.path()), ["3-1.snap"]);

    let mut receiver = SnapshotReceiver::new(to.path(), 5, name).unwrap();
    for chunk in bytes.chunks(777) {
        receiver.write_chunk(chunk).unwrap();
        assert_eq!(SnapshotFile::open(to.path(), 5).unwrap().unwrap().name().index, 3);
    }
    let received = receiver.finish().unwrap();
    assert_eq!(digest(received.rows().unwrap()), digest(sent.rows().unwrap()));
    assert_eq!(files(to.path()), ["20-4.snap"]);
}

#[test]
fn a_crash_in_the_middle_of_receiving_leaves_nothing_that_counts() {
    let dir = tempfile::tempdir().unwrap();
    let old = SnapshotWriter::write(dir.path(), 5, SnapshotName::new(3, 1), b"", &frozen(2)).unwrap();
    // What a killed process leaves: a temporary file that nobody holds a lock on.
    fs::write(dir.path().join("5/9-1.0.tmp"), b"BRAVOSNP half").unwrap();
    let mut running = SnapshotReceiver::new(dir.path(), 5, SnapshotName::new(9, 1)).unwrap();
    running.write_chunk(b"BRAVOSNP").unwrap();
    assert_eq!(SnapshotFile::open(dir.path(), 5).unwrap(), Some(old));
    assert_eq!(files(dir.path()).len(), 2, "the abandoned file went, the one in use stayed");
    drop(running);
    assert_eq!(files(dir.path()), ["3-1.snap"]);
}

#[test]
fn a_state_that_cannot_be_read_leaves_no_half_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Arc::new(MemoryEngine::new());
    let mut store = store(3000, engine.clone());
    assert!(store.spilled_rows() > 500);
    engine.fail_with(Some(EngineError::Failed("no space left on device".into())));
    let error = SnapshotWriter::write(dir.path(), 5, SnapshotName::new(3, 1), b"", &store.freeze()).unwrap_err();
    assert!(error.to_string().contains("no space left"), "{error}");
    assert!(files(dir.path()).is_empty());
    engine.fail_with(None);
    SnapshotWriter::write(dir.path(), 5, SnapshotName::new(3, 1), b"", &store.freeze()).unwrap();
    assert_eq!(files(dir.path()), ["3-1.snap"]);
}
