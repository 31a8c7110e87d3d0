//! A chunk in shards (Reed-Solomon): its form is cut into four, two are added, and any four of the six give it
//! back.
//!
//! ```text
//!   form, filled up with zeros   │ 0 │ 1 │ 2 │ 3 │  +  │ 4 │ 5 │
//! ```
//!
//! Each shard is a chunk of its own to the store, named by what it hashes to, so that a damaged one is known
//! before it is used: here a shard is either right or not there. A shard that was lost is made anew from the
//! others and must hash to the same, so that the code may never change; the library is pinned for that.

use bravo_model::artifact::{DATA_SHARDS, RECOVERY_SHARDS, SHARDS};
use bravo_model::limits::FORM_BYTES_MAX;
use bytes::Bytes;

/// Bytes of each shard of a form; the code wants an even number.
fn shard_bytes(form_bytes: usize) -> usize {
    form_bytes.div_ceil(DATA_SHARDS).next_multiple_of(2)
}

fn is_form(bytes: usize) -> bool {
    (1..=FORM_BYTES_MAX).contains(&bytes)
}

/// The shards of a form; none if it is empty or longer than a form may be.
pub fn cut(form: &[u8]) -> Option<[Bytes; SHARDS]> {
    if !is_form(form.len()) {
        return None;
    }
    let size = shard_bytes(form.len());
    let mut filled = Vec::with_capacity(size * DATA_SHARDS);
    filled.extend_from_slice(form);
    filled.resize(size * DATA_SHARDS, 0);
    let filled = Bytes::from(filled);
    let data = (0..DATA_SHARDS).map(|index| filled.slice(index * size..(index + 1) * size));
    let added = reed_solomon_simd::encode(DATA_SHARDS, RECOVERY_SHARDS, data.clone()).ok()?;
    let all: Vec<Bytes> = data.chain(added.into_iter().map(Bytes::from)).collect();
    all.try_into().ok()
}

/// The form of so many bytes whose shards these are; none if fewer than four of them have the right length.
pub fn join(shards: &[Option<Bytes>; SHARDS], form_bytes: usize) -> Option<Bytes> {
    if !is_form(form_bytes) {
        return None;
    }
    let size = shard_bytes(form_bytes);
    let there = |shard: &Option<Bytes>| shard.clone().filter(|shard| shard.len() == size);
    let (data, added) = shards.split_at(DATA_SHARDS);
    let (data, added): (Vec<_>, Vec<_>) = (data.iter().map(there).collect(), added.iter().map(there).collect());
    let lost = if data.iter().all(Option::is_some) { None } else { Some(restore(&data, &added)?) };
    let mut form = Vec::with_capacity(size * DATA_SHARDS);
    for (index, shard) in data.iter().enumerate() {
        match shard {
            Some(shard) => form.extend_from_slice(shard),
            None => form.extend_from_slice(lost.as_ref()?.get(&index)?),
        }
    }
    form.truncate(form_bytes);
    Some(form.into())
}

type Restored = std::collections::BTreeMap<usize, Vec<u8>>;

fn restore(data: &[Option<Bytes>], added: &[Option<Bytes>]) -> Option<Restored> {
    reed_solomon_simd::decode(DATA_SHARDS, RECOVERY_SHARDS, numbered(data), numbered(added)).ok()
}

fn numbered(shards: &[Option<Bytes>]) -> impl Iterator<Item = (usize, &Bytes)> {
    shards.iter().enumerate().filter_map(|(index, shard)| Some((index, shard.as_ref()?)))
}

#[cfg(test)]
mod tests {
    use bravo_model::limits::{CHUNK_BYTES, CODED_BYTES_MIN};

    use super::*;

    fn noise(count: usize) -> Vec<u8> {
        let mut out = vec![0; count];
        blake3::Hasher::new().update(&count.to_le_bytes()).finalize_xof().fill(&mut out);
        out
    }

    fn without(shards: &[Bytes; SHARDS], lost: &[usize]) -> [Option<Bytes>; SHARDS] {
        std::array::from_fn(|index| (!lost.contains(&index)).then(|| shards[index].clone()))
    }

    #[test]
    fn any_two_shards_may_be_lost_at_every_length() {
        let edges = [1, 2, 7, 8, 9, 63, 64, 65, 1_000, CODED_BYTES_MIN - 1, CODED_BYTES_MIN, CODED_BYTES_MIN + 1];
        for bytes in edges.into_iter().chain([1_000_003, CHUNK_BYTES, CHUNK_BYTES + 8, FORM_BYTES_MAX]) {
            let form = noise(bytes);
            let shards = cut(&form).unwrap();
            assert!(shards.iter().all(|shard| shard.len() == shards[0].len()));
            assert!(shards[0].len() * DATA_SHARDS < bytes + 2 * DATA_SHARDS, "half as much again, and no more");
            for one in 0..SHARDS {
                for other in one..SHARDS {
                    let back = join(&without(&shards, &[one, other]), bytes);
                    assert!(back.is_some_and(|back| back == form), "{bytes} bytes without {one} and {other}");
                }
            }
        }
    }

    #[test]
    fn three_lost_shards_are_too_many() {
        let shards = cut(&noise(CODED_BYTES_MIN)).unwrap();
        for one in 0..SHARDS {
            for two in one + 1..SHARDS {
                for three in two + 1..SHARDS {
                    assert_eq!(join(&without(&shards, &[one, two, three]), CODED_BYTES_MIN), None);
                }
            }
        }
    }

    #[test]
    fn what_has_another_length_counts_as_lost() {
        let form = noise(300_000);
        let mut shards = without(&cut(&form).unwrap(), &[]);
        shards[0] = Some(Bytes::new());
        shards[5] = shards[5].as_ref().map(|shard| shard.slice(2..));
        assert!(join(&shards, form.len()).is_some_and(|back| back == form));
        shards[1] = Some(noise(4 << 20).into());
        assert_eq!(join(&shards, form.len()), None);
        for bytes in [0, 299_000, 300_008, FORM_BYTES_MAX + 1, usize::MAX] {
            let all = without(&cut(&form).unwrap(), &[]);
            assert_eq!(join(&all, bytes), None, "shards of another form than one of {bytes} bytes");
        }
        assert_eq!((cut(&[]), cut(&noise(FORM_BYTES_MAX + 1))), (None, None));
    }

    /// What is on disks was made by this code, and is made anew by it.
    #[test]
    fn the_code_stays_as_it_is() {
        let shards = cut(&noise(300_001)).unwrap();
        let hash = shards.iter().fold(blake3::Hasher::new(), |mut all, shard| {
            all.update(shard);
            all
        });
        assert_eq!(hash.finalize().to_hex()[..16], *"7ed12aba231a10fc");
    }
}
