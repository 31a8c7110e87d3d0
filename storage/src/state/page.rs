//! A page: the values of some hundred neighbouring rows, compressed, as one value of the engine.
//!
//! Pages never change. Their ids are unique within the process, so that a cache of decoded pages
//! needs no invalidation to be right. Layout, little endian:
//! `version u8, id u64, rows u32, raw length u32, crc32c u32 of all else, zstd(lengths u32 × rows, values)`.

use std::sync::atomic::{AtomicU64, Ordering};

use bravo_model::{Key, Value};
use serde::{Deserialize, Serialize};

use super::engine::EngineError;

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 21;
const ZSTD_LEVEL: i32 = 1;
/// Values up to this length are copied out of their page, so that they do not keep all of it alive.
const COPY_BYTES_MAX: usize = 16 << 10;

/// Names a page within this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PageId(pub u64);

static NEXT: AtomicU64 = AtomicU64::new(1);

impl PageId {
    /// An id that no other page of this process has.
    pub(super) fn fresh() -> Self {
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// Where the page is in the engine.
    pub(super) fn engine_key(self) -> Key {
        Key::new(&self.0.to_be_bytes())
    }
}

/// A decoded page.
pub struct Page {
    raw: Value,
    rows: usize,
    ends: Box<[usize]>,
}

impl Page {
    /// Encodes values as the page `id`.
    pub(super) fn encode(id: PageId, values: &[Value]) -> Result<Vec<u8>, EngineError> {
        let total: usize = values.iter().map(|value| 4 + value.len()).sum();
        let length = u32::try_from(total).map_err(|_| EngineError::Failed(format!("a page of {total} bytes")))?;
        let mut raw = Vec::with_capacity(total);
        for value in values {
            raw.extend_from_slice(&(value.len() as u32).to_le_bytes());
        }
        for value in values {
            raw.extend_from_slice(value);
        }
        let body = zstd::bulk::compress(&raw, ZSTD_LEVEL)
            .map_err(|error| EngineError::Failed(format!("compress a page: {error}")))?;
        let mut page = Vec::with_capacity(HEADER_BYTES + body.len());
        page.push(VERSION);
        page.extend_from_slice(&id.0.to_le_bytes());
        page.extend_from_slice(&(values.len() as u32).to_le_bytes());
        page.extend_from_slice(&length.to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&page), &body);
        page.extend_from_slice(&crc.to_le_bytes());
        page.extend_from_slice(&body);
        Ok(page)
    }

    /// Decodes the page `id`; anything but what was written is refused.
    pub(super) fn decode(id: PageId, bytes: &[u8]) -> Result<Self, EngineError> {
        let damaged = |what: &str| EngineError::Damaged(format!("page {}: {what}", id.0));
        let (head, body) = bytes.split_at_checked(HEADER_BYTES).ok_or_else(|| damaged("too short"))?;
        let (head, crc) = head.split_at(HEADER_BYTES - 4);
        if crc32c::crc32c_append(crc32c::crc32c(head), body).to_le_bytes() != crc {
            return Err(damaged("checksum mismatch"));
        }
        if head[0] != VERSION {
            return Err(damaged("unknown version"));
        }
        if head[1..9] != id.0.to_le_bytes() {
            return Err(damaged("holds another page"));
        }
        let rows = read_u32(head, 9).ok_or_else(|| damaged("no row count"))? as usize;
        let length = read_u32(head, 13).ok_or_else(|| damaged("no length"))? as usize;
        let raw = zstd::bulk::decompress(body, length).map_err(|error| damaged(&error.to_string()))?;
        let mut ends = Vec::with_capacity(rows);
        let mut end = rows * 4;
        for row in 0..rows {
            end += read_u32(&raw, row * 4).ok_or_else(|| damaged("short of lengths"))? as usize;
            ends.push(end);
        }
        if raw.len() != end {
            return Err(damaged("lengths do not add up"));
        }
        Ok(Self { raw: raw.into(), rows, ends: ends.into() })
    }

    /// How many rows the page was written with.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        self.raw.len() + self.ends.len() * size_of::<usize>()
    }

    /// The value at `position`.
    pub(super) fn value(&self, position: usize) -> Option<Value> {
        let end = *self.ends.get(position)?;
        let start = if position == 0 { self.rows * 4 } else { self.ends[position - 1] };
        if end - start <= COPY_BYTES_MAX {
            return Some(Value::copy_from_slice(&self.raw[start..end]));
        }
        Some(self.raw.slice(start..end))
    }
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_of_a_page_is_noticed() {
        let values: Vec<Value> = (0..20u8).map(|i| Value::from(vec![i; i as usize * 3])).collect();
        let id = PageId::fresh();
        let bytes = Page::encode(id, &values).unwrap();
        let page = Page::decode(id, &bytes).unwrap();
        for (position, value) in values.iter().enumerate() {
            assert_eq!(page.value(position).as_ref(), Some(value));
        }
        assert_eq!(page.value(20), None);
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Page::decode(id, &bad).is_err(), "bit {bit}");
        }
        for cut in 0..bytes.len() {
            assert!(Page::decode(id, &bytes[..cut]).is_err(), "cut at {cut}");
        }
        assert!(Page::decode(PageId::fresh(), &bytes).is_err());
    }
}
