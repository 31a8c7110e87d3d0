//! How a chunk lies in its file and travels between nodes: a head, then its bytes, compressed where that
//! saves something.
//!
//! | bytes | what |
//! |---|---|
//! | 0..4 | `BVCH` |
//! | 4 | version of this form, 1 |
//! | 5 | 0: the bytes as they are; 1: zstd |
//! | 6..8 | zero |
//! | 8.. | the bytes |
//!
//! A chunk's name is the hash of its plain bytes, so that it stays the same however a node keeps it, and a
//! check of the name covers what the head says.

use bravo_model::limits::{CHUNK_BYTES, FORM_BYTES_MAX};
use bytes::Bytes;

const MAGIC: &[u8; 4] = b"BVCH";
const VERSION: u8 = 1;
const PLAIN: u8 = 0;
const ZSTD: u8 = 1;
const HEAD_BYTES: usize = 8;
const _: () = assert!(CHUNK_BYTES + HEAD_BYTES <= FORM_BYTES_MAX);

/// Bytes of each sample by which it is decided whether compressing is worth it.
const SAMPLE_BYTES: usize = 16 << 10;
/// Samples of a chunk, spread over it.
const SAMPLES: usize = 3;

/// How hard a chunk is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// Hardly slower than the disk, for what is in use.
    Quick,
    /// Some megabytes a second, for what is put away for long.
    Thorough,
}

impl Effort {
    fn level(self) -> i32 {
        match self {
            Self::Quick => 1,
            Self::Thorough => 15,
        }
    }
}

/// A chunk in the form in which it is kept; compressed if at least a sixteenth is saved.
pub fn encode(plain: &[u8], effort: Effort) -> Bytes {
    let level = effort.level();
    let worth = |before: usize, after: usize| after <= before - before / 16;
    if plain.len() <= CHUNK_BYTES
        && is_promising(plain)
        && let Ok(smaller) = zstd::bulk::compress(plain, level)
        && worth(plain.len(), smaller.len())
    {
        return with_head(ZSTD, &smaller);
    }
    as_it_is(plain)
}

/// The same without a try to compress it.
pub fn as_it_is(plain: &[u8]) -> Bytes {
    with_head(PLAIN, plain)
}

/// The plain bytes of a chunk; none if this is no form of one. They are still to be checked against the name.
/// Files without a head are the bytes themselves: builds before this form wrote them.
pub(super) fn decode(form: Bytes) -> Option<Bytes> {
    let Some((head, body)) = form.split_at_checked(HEAD_BYTES) else { return Some(form) };
    match head {
        [b'B', b'V', b'C', b'H', VERSION, PLAIN, 0, 0] => Some(form.slice(HEAD_BYTES..)),
        [b'B', b'V', b'C', b'H', VERSION, ZSTD, 0, 0] => {
            zstd::bulk::decompress(body, CHUNK_BYTES).ok().map(Bytes::from)
        }
        [b'B', b'V', b'C', b'H', ..] => None,
        _ => Some(form),
    }
}

/// The plain bytes of a chunk, if they are what its name says.
pub fn open(name: &[u8; 32], form: Bytes) -> Option<Bytes> {
    decode(form).filter(|plain| blake3::hash(plain) == *name)
}

fn with_head(how: u8, body: &[u8]) -> Bytes {
    let mut form = Vec::with_capacity(HEAD_BYTES + body.len());
    form.extend_from_slice(MAGIC);
    form.extend_from_slice(&[VERSION, how, 0, 0]);
    form.extend_from_slice(body);
    form.into()
}

/// Whether a few samples of the bytes get smaller, which costs little where the whole would not.
fn is_promising(plain: &[u8]) -> bool {
    let step = plain.len() / SAMPLES;
    if step <= SAMPLE_BYTES {
        return true;
    }
    let samples: Vec<u8> = (0..SAMPLES).flat_map(|n| plain.iter().skip(n * step).take(SAMPLE_BYTES)).copied().collect();
    zstd::bulk::compress(&samples, Effort::Quick.level()).is_ok_and(|smaller| smaller.len() < samples.len() / 16 * 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that do not get smaller.
    fn noise(count: usize) -> Vec<u8> {
        let mut out = vec![0; count];
        blake3::Hasher::new().finalize_xof().fill(&mut out);
        out
    }

    #[test]
    fn what_gets_smaller_is_compressed_and_comes_back() {
        let text = b"all work and no play ".repeat(10_000);
        for (plain, smaller) in
            [(text.clone(), true), (noise(1 << 20), false), (Vec::new(), false), (vec![0; CHUNK_BYTES], true)]
        {
            for effort in [Effort::Quick, Effort::Thorough] {
                let form = encode(&plain, effort);
                assert_eq!(form.len() < plain.len() / 2, smaller, "{} of {}", form.len(), plain.len());
                let name = *blake3::hash(&plain).as_bytes();
                assert!(open(&name, form.clone()).unwrap() == plain);
                assert_eq!(open(&[1; 32], form), None, "another name");
            }
        }
    }

    #[test]
    fn a_thorough_effort_saves_more() {
        let words = noise(1 << 16).iter().fold(String::new(), |text, byte| text + &format!("{} ", byte / 4));
        let of = |effort| encode(words.as_bytes(), effort).len();
        assert!(of(Effort::Thorough) < of(Effort::Quick));
    }

    #[test]
    fn what_is_no_form_is_not_opened() {
        let name = *blake3::hash(b"abc").as_bytes();
        let good = encode(b"abc", Effort::Quick);
        assert!(open(&name, good.clone()).is_some());
        for place in 0..good.len() {
            let mut bad = good.to_vec();
            bad[place] ^= 1;
            assert_eq!(open(&name, bad.into()), None, "byte {place}");
        }
        assert_eq!(open(&name, Bytes::from_static(b"abd")), None);
    }

    #[test]
    fn files_of_builds_before_the_head_are_still_read() {
        for plain in [&b"abc"[..], b"longer than a head"] {
            let name = *blake3::hash(plain).as_bytes();
            assert_eq!(open(&name, Bytes::from_static(plain)).as_deref(), Some(plain));
        }
    }

    #[test]
    fn a_chunk_that_would_unpack_to_more_than_a_chunk_is_refused() {
        let bomb = zstd::bulk::compress(&vec![0; CHUNK_BYTES + 1], 1).unwrap();
        assert_eq!(decode(with_head(ZSTD, &bomb)), None);
    }
}
