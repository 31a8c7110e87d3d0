//! The only door between the model and its tables: ordered keys, opaque values.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;

/// A value: an encoded row, shared by reference.
pub type Value = bytes::Bytes;

/// An ordered key of at most [`Key::BYTES_MAX`] bytes, kept inline: the bytes, zeros, and the length
/// last. So two keys are ordered as their bytes are by comparing two integers: where one is the
/// other and zeros, the length decides.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key([u8; Self::BYTES_MAX + 1]);

impl Key {
    /// The longest key. Names longer than that enter keys by their hash.
    pub const BYTES_MAX: usize = 31;

    /// A key of these bytes. Key layouts are fixed at compile time, so that a longer one is a
    /// programming error; it is cut in release and caught by the debug assertion.
    pub fn new(bytes: &[u8]) -> Self {
        debug_assert!(bytes.len() <= Self::BYTES_MAX, "a key layout outgrew Key::BYTES_MAX");
        let len = bytes.len().min(Self::BYTES_MAX);
        let mut key = [0; Self::BYTES_MAX + 1];
        key[..len].copy_from_slice(&bytes[..len]);
        key[Self::BYTES_MAX] = len as u8;
        Self(key)
    }

    /// The key's bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.0[..self.0[Self::BYTES_MAX] as usize]
    }

    fn halves(&self) -> (u128, u128) {
        let half = |from: usize| {
            let mut half = [0; 16];
            half.copy_from_slice(&self.0[from..from + 16]);
            u128::from_be_bytes(half)
        };
        (half(0), half(16))
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.halves().cmp(&other.halves())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_ordered_as_their_bytes() {
        let mut slices: Vec<Vec<u8>> = vec![vec![], vec![0], vec![0, 0], vec![0, 1], vec![1], vec![0xff; 31]];
        for len in [7, 8, 15, 16, 17, 30, 31] {
            slices.extend([vec![0; len], vec![7; len], [vec![7; len - 1], vec![8]].concat()]);
        }
        for a in &slices {
            for b in &slices {
                assert_eq!(Key::new(a).cmp(&Key::new(b)), a.cmp(b), "{a:?} {b:?}");
            }
        }
    }
}
