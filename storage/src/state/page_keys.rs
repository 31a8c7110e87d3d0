//! The exact keys of one spilled page, kept in memory.
//!
//! Knowing them exactly means that a put, a delete or a read of an absent key never touches the
//! engine. Neighbouring keys share most of their bytes, so that few bytes per row are kept.

use std::cmp::Ordering;

use bravo_model::Key;

/// Sorted keys: their common prefix once, then what is left of each.
#[derive(Clone)]
pub(super) struct PageKeys {
    prefix: Key,
    tails: Box<[u8]>,
    ends: Ends,
}

#[derive(Clone)]
enum Ends {
    /// All tails have this length.
    Every(usize, usize),
    At(Box<[u32]>),
}

impl PageKeys {
    /// The keys in ascending order.
    pub(super) fn new(keys: &[Key]) -> Self {
        let shared = match (keys.first(), keys.last()) {
            (Some(first), Some(last)) => common_prefix(first.as_slice(), last.as_slice()),
            _ => 0,
        };
        let prefix = keys.first().map_or(Key::new(&[]), |first| Key::new(&first.as_slice()[..shared]));
        let mut tails = Vec::new();
        let mut ends = Vec::with_capacity(keys.len());
        for key in keys {
            tails.extend_from_slice(&key.as_slice()[shared..]);
            ends.push(tails.len() as u32);
        }
        let width = keys.first().map_or(0, |first| first.as_slice().len() - shared);
        let same = keys.iter().all(|key| key.as_slice().len() - shared == width);
        let ends = if same { Ends::Every(width, keys.len()) } else { Ends::At(ends.into()) };
        Self { prefix, tails: tails.into(), ends }
    }

    pub(super) fn len(&self) -> usize {
        match &self.ends {
            Ends::Every(_, count) => *count,
            Ends::At(ends) => ends.len(),
        }
    }

    /// The key at `position`, which must be below [`Self::len`].
    pub(super) fn key(&self, position: usize) -> Key {
        let mut bytes = [0; Key::BYTES_MAX];
        let (prefix, tail) = (self.prefix.as_slice(), self.tail(position));
        bytes[..prefix.len()].copy_from_slice(prefix);
        bytes[prefix.len()..prefix.len() + tail.len()].copy_from_slice(tail);
        Key::new(&bytes[..prefix.len() + tail.len()])
    }

    /// The position of `key`, or of the first key above it.
    pub(super) fn find(&self, key: &Key) -> Result<usize, usize> {
        let prefix = self.prefix.as_slice();
        let bytes = key.as_slice();
        let head = &bytes[..prefix.len().min(bytes.len())];
        match head.cmp(prefix) {
            Ordering::Less => return Err(0),
            Ordering::Greater => return Err(self.len()),
            Ordering::Equal => {}
        }
        let wanted = &bytes[prefix.len()..];
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = (low + high) / 2;
            match self.tail(middle).cmp(wanted) {
                Ordering::Equal => return Ok(middle),
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> u64 {
        let ends = match &self.ends {
            Ends::Every(..) => 0,
            Ends::At(ends) => ends.len() * 4,
        };
        (self.tails.len() + ends) as u64
    }

    fn tail(&self, position: usize) -> &[u8] {
        let (start, end) = match &self.ends {
            Ends::Every(width, _) => (position * width, (position + 1) * width),
            Ends::At(ends) => {
                let start = if position == 0 { 0 } else { ends[position - 1] as usize };
                (start, ends[position] as usize)
            }
        };
        &self.tails[start..end]
    }
}

fn common_prefix(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_exactly_whatever_their_lengths() {
        for texts in [vec!["a"], vec!["ab1", "ab2", "ab4"], vec!["p", "p1", "p22", "q"], vec![""]] {
            let keys: Vec<Key> = texts.iter().map(|text| Key::new(text.as_bytes())).collect();
            let packed = PageKeys::new(&keys);
            assert_eq!(packed.len(), keys.len());
            for probe in ["", "a", "ab", "ab0", "ab1", "ab3", "ab5", "p", "p0", "p22", "p3", "q", "z"] {
                let probe = Key::new(probe.as_bytes());
                assert_eq!(packed.find(&probe), keys.binary_search(&probe), "{texts:?} {probe:?}");
            }
            for (position, key) in keys.iter().enumerate() {
                assert_eq!(packed.key(position), *key);
            }
        }
    }
}
