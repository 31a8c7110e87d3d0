//! What was spilled, known exactly: pages that do not overlap, their keys, and which rows still count.

use std::collections::BTreeMap;
use std::ops::Bound;

use bravo_model::Key;

use super::page::PageId;
use super::page_keys::PageKeys;

/// What an entry costs beside its keys.
const META_OVERHEAD: u64 = 256;

/// One page as the index knows it.
#[derive(Clone)]
pub(super) struct PageMeta {
    pub(super) id: PageId,
    pub(super) keys: PageKeys,
    last: Key,
    dead: Box<[u64]>,
    live: usize,
}

impl PageMeta {
    pub(super) fn new(id: PageId, keys: &[Key]) -> Self {
        Self {
            id,
            last: keys.last().copied().unwrap_or(Key::new(&[])),
            keys: PageKeys::new(keys),
            dead: vec![0; keys.len().div_ceil(64)].into(),
            live: keys.len(),
        }
    }

    pub(super) fn last(&self) -> &Key {
        &self.last
    }

    pub(super) fn is_live(&self, position: usize) -> bool {
        self.dead[position / 64] & (1 << (position % 64)) == 0
    }

    /// Rows that still count are so few that the page is not worth its place.
    pub(super) fn is_sparse(&self) -> bool {
        self.live * 4 < self.keys.len()
    }

    /// The positions that still count.
    pub(super) fn live_positions(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.keys.len()).filter(|position| self.is_live(*position))
    }

    fn bytes(&self) -> u64 {
        META_OVERHEAD + self.keys.heap_bytes() + self.dead.len() as u64 * 8
    }
}

/// What became of a page when one of its rows was killed.
pub(super) enum Killed {
    /// The key is in no page.
    Absent,
    /// The page lives on.
    Row,
    /// The page has few live rows left; this is its first key.
    Sparse(Key),
    /// It was the last row; the page left the index.
    Page(PageId),
}

/// All pages of a store, by first key.
#[derive(Clone, Default)]
pub(super) struct PageIndex {
    pages: BTreeMap<Key, PageMeta>,
    by_tag: BTreeMap<u8, usize>,
    live: usize,
    bytes: u64,
}

impl PageIndex {
    pub(super) fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    /// How many pages there are.
    pub(super) fn len(&self) -> usize {
        self.pages.len()
    }

    /// How many spilled rows still count.
    pub(super) fn live(&self) -> usize {
        self.live
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether any page has rows of `key`'s table: false for all hot tables, at almost no cost.
    pub(super) fn has_tag_of(&self, key: &Key) -> bool {
        !self.by_tag.is_empty() && self.by_tag.contains_key(&tag(key))
    }

    /// The page whose range of keys covers `key`, with its first key.
    pub(super) fn covering(&self, key: &Key) -> Option<(&Key, &PageMeta)> {
        self.pages.range(..=key).next_back().filter(|(_, page)| page.last >= *key)
    }

    /// The greatest page whose first key is below `key`.
    pub(super) fn below(&self, key: &Key) -> Option<&PageMeta> {
        self.pages.range(..key).next_back().map(|(_, page)| page)
    }

    /// The first key of the lowest page above `key`.
    pub(super) fn above(&self, key: &Key) -> Option<&Key> {
        self.pages.range((Bound::Excluded(key), Bound::Unbounded)).next().map(|(first, _)| first)
    }

    /// The page and the position where `key` still counts.
    pub(super) fn find(&self, key: &Key) -> Option<(&PageMeta, usize)> {
        let (_, page) = self.covering(key)?;
        let position = page.keys.find(key).ok()?;
        page.is_live(position).then_some((page, position))
    }

    /// The pages that may have rows with `from <= key`, and `key < to` if there is such an end.
    pub(super) fn overlapping<'a>(
        &'a self,
        from: &Key,
        to: Option<&Key>,
    ) -> impl Iterator<Item = &'a PageMeta> + use<'a> {
        let start = self.covering(from).map_or(*from, |(first, _)| *first);
        let end = match to {
            Some(to) if *to <= start => Bound::Excluded(start),
            Some(to) => Bound::Excluded(*to),
            None => Bound::Unbounded,
        };
        self.pages.range((Bound::Included(start), end)).map(|(_, page)| page)
    }

    /// Whether a scan of this range has to look at pages.
    pub(super) fn overlaps(&self, from: &Key, to: &Key) -> bool {
        let tags = tag(from)..=tag(to);
        !self.by_tag.is_empty()
            && self.by_tag.range(tags).next().is_some()
            && self.overlapping(from, Some(to)).next().is_some()
    }

    pub(super) fn insert(&mut self, page: PageMeta) {
        let first = page.keys.key(0);
        self.live += page.live;
        self.bytes += page.bytes();
        *self.by_tag.entry(tag(&first)).or_default() += 1;
        self.pages.insert(first, page);
    }

    pub(super) fn remove(&mut self, first: &Key) -> Option<PageMeta> {
        let page = self.pages.remove(first)?;
        self.live -= page.live;
        self.bytes -= page.bytes();
        if let Some(count) = self.by_tag.get_mut(&tag(first)) {
            *count -= 1;
            if *count == 0 {
                self.by_tag.remove(&tag(first));
            }
        }
        Some(page)
    }

    /// The row under `key` no longer counts.
    pub(super) fn kill(&mut self, key: &Key) -> Killed {
        let Some((first, page)) = self.pages.range_mut(..=key).next_back() else { return Killed::Absent };
        if page.last < *key {
            return Killed::Absent;
        }
        let Ok(position) = page.keys.find(key) else { return Killed::Absent };
        if !page.is_live(position) {
            return Killed::Absent;
        }
        page.dead[position / 64] |= 1 << (position % 64);
        page.live -= 1;
        self.live -= 1;
        let first = *first;
        if page.live == 0 {
            let id = page.id;
            self.remove(&first);
            return Killed::Page(id);
        }
        if page.is_sparse() { Killed::Sparse(first) } else { Killed::Row }
    }

    /// The ids of all pages.
    pub(super) fn ids(&self) -> impl Iterator<Item = PageId> + '_ {
        self.pages.values().map(|page| page.id)
    }
}

/// The table that a key belongs to.
pub(super) fn tag(key: &Key) -> u8 {
    key.as_slice().first().copied().unwrap_or_default()
}
