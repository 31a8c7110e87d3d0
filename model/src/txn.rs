//! The only door between the model and its tables: ordered keys, opaque values.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;

/// A value: an encoded row, shared by reference.
pub type Value = bytes::Bytes;

/// An ordered key of at most [`Key::BYTES_MAX`] bytes, kept inline.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    len: u8,
    bytes: [u8; Self::BYTES_MAX],
}

impl Key {
    /// The longest key. Names longer than that enter keys by their hash.
    pub const BYTES_MAX: usize = 31;

    /// A key of these bytes. Key layouts are fixed at compile time, so that a longer one is a
    /// programming error; it is cut in release and caught by the debug assertion.
    pub fn new(bytes: &[u8]) -> Self {
        debug_assert!(bytes.len() <= Self::BYTES_MAX, "a key layout outgrew Key::BYTES_MAX");
        let len = bytes.len().min(Self::BYTES_MAX);
        let mut key = Self { len: len as u8, bytes: [0; Self::BYTES_MAX] };
        key.bytes[..len].copy_from_slice(&bytes[..len]);
        key
    }

    /// The key's bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len as usize]
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_slice().cmp(other.as_slice())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.as_slice() {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// Read access to the tables.
pub trait Read {
    /// The row under `key`.
    fn get(&self, key: &Key) -> Option<Value>;

    /// Visits rows with `from <= key < to` in key order until `visit` answers false.
    fn scan(&self, from: &Key, to: &Key, visit: &mut dyn FnMut(&Key, &Value) -> bool);

    /// Whether there is a row under `key`.
    fn contains(&self, key: &Key) -> bool {
        self.get(key).is_some()
    }

    /// The first row with `from <= key < to`.
    fn first(&self, from: &Key, to: &Key) -> Option<(Key, Value)> {
        let mut found = None;
        self.scan(from, to, &mut |key, value| {
            found = Some((*key, value.clone()));
            false
        });
        found
    }
}

/// Write access to the tables: what `apply` works on.
pub trait Txn: Read {
    /// Writes the row under `key`.
    fn put(&mut self, key: Key, value: Value);
    /// Removes the row under `key`, if any.
    fn delete(&mut self, key: &Key);
}

impl Read for BTreeMap<Key, Value> {
    fn get(&self, key: &Key) -> Option<Value> {
        BTreeMap::get(self, key).cloned()
    }

    fn scan(&self, from: &Key, to: &Key, visit: &mut dyn FnMut(&Key, &Value) -> bool) {
        if from >= to {
            return;
        }
        for (key, value) in self.range((Bound::Included(from), Bound::Excluded(to))) {
            if !visit(key, value) {
                return;
            }
        }
    }
}

impl Txn for BTreeMap<Key, Value> {
    fn put(&mut self, key: Key, value: Value) {
        self.insert(key, value);
    }

    fn delete(&mut self, key: &Key) {
        self.remove(key);
    }
}
