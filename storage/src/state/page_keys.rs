//! The exact keys of one spilled page, kept in memory.
//!
//! Knowing them exactly means that a put, a delete or a read of an absent key never touches the
//! engine. Neighbouring keys share most of their bytes, so that few bytes per row are kept.

use std::cmp::Ordering;

use bravo_model::Key;

/// Keys between two that are kept whole, where keys are kept by what differs from the one before.
const RESTART: usize = 16;
/// Tails up to this length are kept as they are: what differs would take as much.
const SHORT: usize = 3;

/// Sorted keys: their common prefix once, then what is left of each.
#[derive(Clone)]
pub(super) struct PageKeys {
    prefix: Key,
    tails: Box<[u8]>,
    count: usize,
    form: Form,
}

#[derive(Clone)]
enum Form {
    /// Tails of one length, one after the other.
    Plain(usize),
    /// Each as three parts: how many bytes it shares with the one before, how many follow, and these. One of
    /// [`RESTART`] shares nothing; this is where they begin.
    Front(Box<[u32]>),
}

impl PageKeys {
    /// The keys in ascending order.
    pub(super) fn new(keys: &[Key]) -> Self {
        let shared = match (keys.first(), keys.last()) {
            (Some(first), Some(last)) => common_prefix(first.as_slice(), last.as_slice()),
            _ => 0,
        };
        let prefix = keys.first().map_or(Key::new(&[]), |first| Key::new(&first.as_slice()[..shared]));
        let rest = |key: &Key| key.as_slice()[shared..].to_vec();
        let width = keys.first().map_or(0, |first| first.as_slice().len() - shared);
        let same = keys.iter().all(|key| key.as_slice().len() - shared == width);
        let (mut tails, mut starts) = (Vec::new(), Vec::new());
        let form = if same && width <= SHORT {
            keys.iter().for_each(|key| tails.extend(rest(key)));
            Form::Plain(width)
        } else {
            let mut before = Vec::new();
            for (position, tail) in keys.iter().map(rest).enumerate() {
                let kept = if position % RESTART == 0 {
                    starts.push(tails.len() as u32);
                    0
                } else {
                    common_prefix(&before, &tail)
                };
                tails.extend([kept as u8, (tail.len() - kept) as u8]);
                tails.extend(&tail[kept..]);
                before = tail;
            }
            Form::Front(starts.into())
        };
        Self { prefix, tails: tails.into(), count: keys.len(), form }
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// The key at `position`, which must be below [`Self::len`].
    pub(super) fn key(&self, position: usize) -> Key {
        let mut key = Building::new(&self.prefix);
        match &self.form {
            Form::Plain(width) => key.set(0, &self.tails[position * width..(position + 1) * width]),
            Form::Front(starts) => {
                let mut rest = &self.tails[starts[position / RESTART] as usize..];
                for _ in 0..=position % RESTART {
                    rest = key.read(rest);
                }
            }
        }
        key.key()
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
        match &self.form {
            Form::Plain(width) => {
                let wanted = &bytes[prefix.len()..];
                let (mut low, mut high) = (0, self.count);
                while low < high {
                    let middle = (low + high) / 2;
                    match self.tails[middle * width..(middle + 1) * width].cmp(wanted) {
                        Ordering::Equal => return Ok(middle),
                        Ordering::Less => low = middle + 1,
                        Ordering::Greater => high = middle,
                    }
                }
                Err(low)
            }
            Form::Front(starts) => {
                let whole = |block: usize| self.key(block * RESTART);
                let (mut low, mut high) = (0, starts.len());
                while low < high {
                    let middle = (low + high) / 2;
                    if whole(middle) <= *key { low = middle + 1 } else { high = middle }
                }
                let Some(block) = low.checked_sub(1) else { return Err(0) };
                let mut rest = &self.tails[starts[block] as usize..];
                let mut found = Building::new(&self.prefix);
                for position in block * RESTART..self.count.min((block + 1) * RESTART) {
                    rest = found.read(rest);
                    match found.key().cmp(key) {
                        Ordering::Equal => return Ok(position),
                        Ordering::Less => {}
                        Ordering::Greater => return Err(position),
                    }
                }
                Err(self.count.min((block + 1) * RESTART))
            }
        }
    }

    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> u64 {
        let starts = match &self.form {
            Form::Plain(_) => 0,
            Form::Front(starts) => starts.len() * 4,
        };
        (self.tails.len() + starts) as u64
    }
}

/// A key that is put together behind a prefix.
struct Building {
    bytes: [u8; Key::BYTES_MAX],
    prefix: usize,
    len: usize,
}

impl Building {
    fn new(prefix: &Key) -> Self {
        let (mut bytes, prefix) = ([0; Key::BYTES_MAX], prefix.as_slice());
        bytes[..prefix.len()].copy_from_slice(prefix);
        Self { bytes, prefix: prefix.len(), len: prefix.len() }
    }

    /// The bytes behind the first `kept` ones of the tail.
    fn set(&mut self, kept: usize, tail: &[u8]) {
        let start = self.prefix + kept;
        self.len = start + tail.len();
        self.bytes[start..self.len].copy_from_slice(tail);
    }

    /// Goes on to the next key of a block; answers what follows it.
    fn read<'a>(&mut self, tails: &'a [u8]) -> &'a [u8] {
        let (kept, len) = (tails[0] as usize, tails[1] as usize);
        self.set(kept, &tails[2..2 + len]);
        &tails[2 + len..]
    }

    fn key(&self) -> Key {
        Key::new(&self.bytes[..self.len])
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
        let many: Vec<String> = (0..500).map(|n| format!("p/{:05}/{}", n / 7, "x".repeat(n % 7))).collect();
        let plain: Vec<String> = (0..500).map(|n| format!("q{n:03}")).collect();
        let few = [vec!["a"], vec!["ab1", "ab2", "ab4"], vec!["p", "p1", "p22", "q"], vec![""]];
        let few = few.map(|texts| texts.into_iter().map(str::to_owned).collect());
        for texts in few.into_iter().chain([many, plain]) {
            let keys: Vec<Key> = texts.iter().map(|text| Key::new(text.as_bytes())).collect();
            let packed = PageKeys::new(&keys);
            assert_eq!(packed.len(), keys.len());
            let between = keys.iter().map(|key| Key::new(&[key.as_slice(), b"!"].concat()));
            let words = ["", "a", "ab", "ab0", "ab1", "ab3", "ab5", "p", "p0", "p22", "p3", "p/", "q", "q4", "z"];
            for probe in words.map(|word| Key::new(word.as_bytes())).into_iter().chain(keys.clone()).chain(between) {
                assert_eq!(packed.find(&probe), keys.binary_search(&probe), "{texts:?} {probe:?}");
            }
            for (position, key) in keys.iter().enumerate() {
                assert_eq!(packed.key(position), *key);
            }
        }
    }

    #[test]
    fn neighbours_take_few_bytes() {
        let of = |keys: Vec<Vec<u8>>| {
            let keys: Vec<Key> = keys.iter().map(|key| Key::new(key)).collect();
            PageKeys::new(&keys).heap_bytes() as f64 / keys.len() as f64
        };
        let numbers = (0..1024_u64).map(|n| [&[0x10][..], &(n + 77_000).to_be_bytes()].concat()).collect();
        assert!(of(numbers) <= 2.0);
        let parts =
            (0..1024_u64).map(|n| [&[0x6b][..], &(n / 20).to_be_bytes(), &((n % 20) as u32).to_be_bytes()].concat());
        assert!(of(parts.collect()) < 5.0);
    }
}
