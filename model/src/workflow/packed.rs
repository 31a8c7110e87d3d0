//! A workflow that is over, as one row.
//!
//! While a workflow runs, its parts are some dozen small rows that change one by one. When it is over they
//! change no more, and a history of millions would be mostly keys: so they become one row, in order of the
//! workflow's number, which a store can put away a thousand at a time and never touch again. A retry takes
//! them out again; reads look inside.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::apply::workflow::PARTS;
use crate::limits;
use crate::row;
use crate::table::{self, tag};
use crate::txn::{Key, Read, Value};

/// The form of what is packed; another one is not read.
const VERSION: u8 = 1;

/// A row: the table, what follows the workflow's number in its key, and its value.
#[derive(Serialize, Deserialize)]
struct Part {
    tag: u8,
    rest: Bytes,
    value: Bytes,
}

/// The rows of a workflow's parts as one value, and their keys; none if there are more than a row should hold.
pub(crate) fn pack(rows: &(impl Read + ?Sized), seq: u64) -> Option<(Value, Vec<Key>)> {
    let (mut parts, mut keys, mut bytes) = (Vec::new(), Vec::new(), 0);
    for tag in PARTS {
        let prefix = table::by_seq(tag, seq);
        row::walk(rows, &prefix, &prefix, &mut |key, value| {
            let rest = key.as_slice().get(prefix.as_slice().len()..).unwrap_or_default();
            parts.push(Part { tag, rest: Bytes::copy_from_slice(rest), value: value.clone() });
            keys.push(*key);
            bytes += rest.len() + value.len();
            bytes <= limits::PACKED_BYTES_MAX && keys.len() <= limits::PACKED_ROWS_MAX
        });
        if bytes > limits::PACKED_BYTES_MAX || keys.len() > limits::PACKED_ROWS_MAX {
            return None;
        }
    }
    let packed = postcard::to_extend(&parts, vec![VERSION]).ok()?;
    Some((packed.into(), keys))
}

/// The rows in a packed value; none if they are in a form that this build does not know.
pub(crate) fn unpack(seq: u64, packed: &[u8]) -> Option<BTreeMap<Key, Value>> {
    let (&version, parts) = packed.split_first()?;
    let parts: Vec<Part> = (version == VERSION).then(|| postcard::from_bytes(parts).ok()).flatten()?;
    let row = |part: Part| (table::key(part.tag, &[&seq.to_be_bytes(), &part.rest]), part.value);
    Some(parts.into_iter().map(row).collect())
}

/// Rows as they would be if one workflow were not packed.
pub(crate) struct Opened<'a, R: ?Sized> {
    rows: &'a R,
    seq: u64,
    parts: Option<BTreeMap<Key, Value>>,
}

impl<'a, R: Read + ?Sized> Opened<'a, R> {
    /// Looks into one workflow.
    pub(crate) fn new(rows: &'a R, seq: u64) -> Self {
        let packed = rows.get(&table::by_seq(tag::PACKED, seq));
        Self { rows, seq, parts: packed.and_then(|packed| unpack(seq, &packed)) }
    }

    /// The parts, if the key is one of theirs.
    fn of(&self, key: &Key) -> Option<&BTreeMap<Key, Value>> {
        let parts = self.parts.as_ref()?;
        let (tag, rest) = key.as_slice().split_first()?;
        (PARTS.contains(tag) && rest.starts_with(&self.seq.to_be_bytes())).then_some(parts)
    }
}

impl<R: Read + ?Sized> Read for Opened<'_, R> {
    fn get(&self, key: &Key) -> Option<Value> {
        match self.of(key) {
            Some(parts) => parts.get(key).cloned(),
            None => self.rows.get(key),
        }
    }

    /// A scan stays within one table of one workflow.
    fn scan(&self, from: &Key, to: &Key, visit: &mut dyn FnMut(&Key, &Value) -> bool) {
        match self.of(from) {
            Some(parts) => parts.scan(from, to, visit),
            None => self.rows.scan(from, to, visit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_out_as_it_went_in_and_reads_alike() {
        let mut rows: BTreeMap<Key, Value> = BTreeMap::new();
        rows.insert(table::by_seq(tag::INPUT, 7), Value::from_static(b"{}"));
        for event in 1..=3_u32 {
            rows.insert(table::of_workflow(tag::EVENT, 7, &[event]), event.to_be_bytes().to_vec().into());
        }
        rows.insert(table::by_seq(tag::INPUT, 8), Value::from_static(b"other"));
        let (packed, keys) = pack(&rows, 7).expect("it is small");
        assert_eq!(keys.len(), 4);
        let mut bare = rows.clone();
        keys.iter().for_each(|key| drop(bare.remove(key)));
        assert_eq!(bare.len(), 1);
        bare.insert(table::by_seq(tag::PACKED, 7), packed.clone());
        let opened = Opened::new(&bare, 7);
        for key in rows.keys() {
            assert_eq!(opened.get(key), rows.get(key).cloned());
        }
        let from = table::of_workflow(tag::EVENT, 7, &[2]);
        let mut seen = Vec::new();
        row::walk(&opened, &from, &table::by_seq(tag::EVENT, 7), &mut |key, _| {
            seen.push(table::last_u32(key));
            true
        });
        assert_eq!(seen, [2, 3]);
        assert_eq!(unpack(7, &[9, 1, 2]), None, "an unknown form is not read");
        assert_eq!(unpack(7, &packed).map(|rows| rows.len()), Some(4));
    }

    #[test]
    fn more_than_a_row_should_hold_is_left_as_it_is() {
        let mut rows: BTreeMap<Key, Value> = BTreeMap::new();
        rows.insert(table::by_seq(tag::INPUT, 7), vec![b' '; limits::PACKED_BYTES_MAX + 1].into());
        assert!(pack(&rows, 7).is_none());
    }
}
