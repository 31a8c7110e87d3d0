use std::fs;
use std::time::Duration;

use bytes::Bytes;

use super::{BlobError, BlobStore, Effort, encode};

fn abc() -> Bytes {
    encode(b"abc", Effort::Quick)
}

fn store() -> (tempfile::TempDir, BlobStore) {
    let dir = tempfile::tempdir().unwrap();
    let store = BlobStore::open(dir.path()).unwrap();
    (dir, store)
}

#[test]
fn a_chunk_is_found_under_its_hash_and_listed() {
    let (_dir, store) = store();
    let hash = *blake3::hash(b"abc").as_bytes();
    assert_eq!(store.get(&hash).unwrap(), None);
    assert!(!store.renew(&hash).unwrap());
    store.put(&hash, &abc()).unwrap();
    store.put(&hash, &abc()).unwrap();
    assert_eq!(store.get(&hash).unwrap().as_deref(), Some(&b"abc"[..]));
    assert_eq!(store.names(hash[0]).unwrap(), [hash]);
    assert!(store.names(hash[0] ^ 1).unwrap().is_empty());
    assert!(matches!(store.put(&[7; 32], &abc()), Err(BlobError::Damaged { .. })), "not what the name says");
}

#[test]
fn damage_is_found_and_mended() {
    let (dir, store) = store();
    let hash = blake3::hash(b"abc");
    store.put(hash.as_bytes(), &abc()).unwrap();
    let path = dir.path().join(&hash.to_hex()[..2]).join(hash.to_hex().as_str());
    for bad in [&b"abd"[..], b"ab", b""] {
        fs::write(&path, bad).unwrap();
        assert!(matches!(store.get(hash.as_bytes()), Err(BlobError::Damaged { .. })));
        assert!(!store.contains(hash.as_bytes()), "what was found to be damaged counts as missing");
    }
    store.put(hash.as_bytes(), &abc()).unwrap();
    assert!(store.get(hash.as_bytes()).unwrap().is_some());
    assert!(store.contains(hash.as_bytes()));
}

#[test]
fn what_a_crash_left_half_written_goes_at_the_start() {
    let (dir, store) = store();
    drop(store);
    fs::write(dir.path().join("tmp/0"), b"half").unwrap();
    BlobStore::open(dir.path()).unwrap();
    assert_eq!(fs::read_dir(dir.path().join("tmp")).unwrap().count(), 0);
}

#[test]
fn only_what_is_old_is_removed() {
    let (_dir, store) = store();
    let hash = *blake3::hash(b"abc").as_bytes();
    store.put(&hash, &abc()).unwrap();
    assert!(!store.remove_older(&hash, Duration::from_secs(60)).unwrap());
    std::thread::sleep(Duration::from_millis(20));
    assert!(store.remove_older(&hash, Duration::from_millis(5)).unwrap());
    assert!(!store.contains(&hash));
}
