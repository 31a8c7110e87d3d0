//! Moving cold rows to the engine, as compressed pages of neighbouring rows.
//!
//! A sweep goes through the spillable tables, coldest first, each from its high end: what was queued
//! last is served last. It stops when memory is an eighth below its budget. Pages never overlap: a
//! run of rows ends where a page begins, and rows that came up inside a page's range wait until
//! there are enough of them to write that page anew.

use std::sync::Arc;

use bravo_model::{Key, Value};

use super::engine::EngineError;
use super::layer;
use super::page::{Page, PageId};
use super::page_index::{PageMeta, tag};
use super::store::StateStore;

/// Runs looked at by one step at most, so that a step over many poor runs stays short.
const RUNS_MAX: usize = 256;

/// Where the sweep through the spillable tables is.
#[derive(Default)]
pub(super) struct Sweep {
    running: bool,
    table: usize,
    /// Rows from here on were looked at already.
    below: Option<Key>,
    /// Below this many bytes no new sweep starts: the last one found too little to spill.
    rest_until: u64,
    /// The engine refused a batch: rows stay in memory.
    broken: bool,
}

/// Pages about to be written, and what they replace.
#[derive(Default)]
struct Plan {
    pages: Vec<PageMeta>,
    /// First keys of pages that are written anew.
    replaced: Vec<Key>,
    /// Keys of rows that leave memory.
    moved: Vec<Key>,
    batch: Vec<(Key, Option<Value>)>,
    raw_bytes: usize,
    /// What memory gets back.
    freed: u64,
    /// A page took as many rows as one step may move; rows below may belong to the same page.
    full: bool,
}

impl StateStore {
    /// Whether a sweep has still to go on.
    pub(super) fn is_spilling(&self) -> bool {
        self.sweep.running
    }

    /// Whether the engine refused a batch, so that cold rows stay in memory.
    pub(super) fn is_spill_broken(&self) -> bool {
        self.sweep.broken
    }

    /// One bounded step of spilling; returns how many rows left memory.
    pub(super) fn spill(&mut self) -> usize {
        let (bytes, max) = (self.bytes(), self.options.memory_bytes_max);
        if self.sweep.running && bytes <= self.low_water() {
            self.sweep = Sweep { broken: self.sweep.broken, ..Sweep::default() };
        }
        if !self.sweep.running {
            if bytes <= max.max(self.sweep.rest_until) || self.sweep.broken || self.options.spill_order.is_empty() {
                return 0;
            }
            self.sweep.running = true;
        }
        let moved = self.plan().and_then(|plan| self.execute(plan));
        moved.unwrap_or_else(|error| {
            tracing::error!(%error, "cold rows stay in memory: the state engine takes no more");
            self.sweep = Sweep { broken: true, ..Sweep::default() };
            0
        })
    }

    /// Where a sweep stops.
    fn low_water(&self) -> u64 {
        self.options.memory_bytes_max - self.options.memory_bytes_max / 8
    }

    fn plan(&mut self) -> Result<Plan, EngineError> {
        let mut plan = Plan::default();
        let excess = self.bytes().saturating_sub(self.low_water());
        for _ in 0..RUNS_MAX {
            let full =
                plan.full || plan.moved.len() >= self.options.spill_batch || plan.raw_bytes >= self.options.spill_bytes;
            if full || plan.freed >= excess {
                return Ok(plan);
            }
            let Some(&table) = self.options.spill_order.get(self.sweep.table) else {
                let bytes = self.bytes();
                self.sweep = Sweep { rest_until: bytes + bytes / 16, ..Sweep::default() };
                return Ok(plan);
            };
            let floor = Key::new(&[table]);
            let below = self.sweep.below.or_else(|| table.checked_add(1).map(|next| Key::new(&[next])));
            match self.active.range(&floor, below.as_ref()).next_back().map(|(key, _)| *key) {
                Some(highest) => self.plan_run(&floor, highest, below, &mut plan)?,
                None => {
                    self.sweep.table += 1;
                    self.sweep.below = None;
                }
            }
        }
        Ok(plan)
    }

    /// Looks at the rows from `highest` downwards, either inside a page's range or outside of all.
    fn plan_run(&mut self, floor: &Key, highest: Key, below: Option<Key>, plan: &mut Plan) -> Result<(), EngineError> {
        let pages = self.pages.clone();
        if let Some((first, page)) = pages.covering(&highest) {
            let rows = self.rows(first, below.as_ref(), self.options.spill_batch, self.options.spill_bytes);
            let lowest = rows.first().map_or(highest, |(key, _)| *key);
            plan.full = self.active.range(first, Some(&lowest)).next().is_some();
            self.sweep.below = Some(if plan.full { lowest } else { *first });
            return if rows.len() >= self.options.page_rows_min {
                self.rewrite(page, first, rows, plan)
            } else {
                Ok(())
            };
        }
        let bottom = pages.below(&highest).map(|page| *page.last()).filter(|last| tag(last) == tag(&highest));
        let rows =
            self.rows(&bottom.unwrap_or(*floor), below.as_ref(), self.options.page_rows, self.options.page_bytes);
        self.sweep.below = rows.first().map(|(key, _)| *key).or(Some(highest));
        let heavy = rows.iter().map(|(_, value)| value.len()).sum::<usize>() * 4 >= self.options.page_bytes;
        if rows.len() >= self.options.page_rows_min || heavy {
            plan.move_out(&rows);
            plan.add_page(&rows)?;
        }
        Ok(())
    }

    /// The highest rows with `from <= key < below`, in key order, until a page is full.
    fn rows(&self, from: &Key, below: Option<&Key>, rows_max: usize, bytes_max: usize) -> Vec<(Key, Value)> {
        let mut rows = Vec::new();
        let mut bytes = 0;
        for (key, slot) in self.active.range(from, below).rev() {
            let Some(value) = slot else { continue };
            bytes += value.len();
            if rows.len() >= rows_max || (bytes > bytes_max && !rows.is_empty()) {
                break;
            }
            rows.push((*key, value.clone()));
        }
        rows.reverse();
        rows
    }

    /// Writes a page anew with the rows that came up inside its range.
    fn rewrite(
        &self,
        old: &PageMeta,
        first: &Key,
        rows: Vec<(Key, Value)>,
        plan: &mut Plan,
    ) -> Result<(), EngineError> {
        let page = self.reader.page_uncached(old).inspect_err(|error| self.reader.poison(error.clone()))?;
        plan.move_out(&rows);
        plan.replaced.push(*first);
        plan.batch.push((old.id.engine_key(), None));
        let mut all = rows;
        for position in old.live_positions() {
            let missing = || EngineError::Damaged(format!("page {} has no row {position}", old.id.0));
            all.push((old.keys.key(position), page.value(position).ok_or_else(missing)?));
        }
        all.sort_unstable_by_key(|(key, _)| *key);
        let mut rest = all.as_slice();
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = rest.iter().take(self.options.page_rows).take_while(|(_, value)| {
                bytes += value.len();
                bytes <= self.options.page_bytes
            });
            let (page, left) = rest.split_at(fits.count().max(1));
            plan.add_page(page)?;
            rest = left;
        }
        Ok(())
    }

    /// Writes the planned pages as one batch, then lets the rows go from memory.
    fn execute(&mut self, plan: Plan) -> Result<usize, EngineError> {
        if plan.batch.is_empty() {
            return Ok(0);
        }
        self.reader.engine.batch(&plan.batch, self.applied)?;
        let pages = Arc::make_mut(&mut self.pages);
        for first in &plan.replaced {
            if let Some(old) = pages.remove(first) {
                self.reader.cache.remove(old.id);
            }
        }
        for page in plan.pages {
            pages.insert(page);
        }
        for key in &plan.moved {
            self.active.remove(key);
        }
        Ok(plan.moved.len())
    }
}

impl Plan {
    fn move_out(&mut self, rows: &[(Key, Value)]) {
        self.moved.extend(rows.iter().map(|(key, _)| *key));
        self.freed += rows.iter().map(|(_, value)| layer::weight_of(value)).sum::<u64>();
    }

    fn add_page(&mut self, rows: &[(Key, Value)]) -> Result<(), EngineError> {
        let (keys, values): (Vec<Key>, Vec<Value>) = rows.iter().cloned().unzip();
        let id = PageId::fresh();
        self.raw_bytes += values.iter().map(Value::len).sum::<usize>();
        self.batch.push((id.engine_key(), Some(Page::encode(id, &values)?.into())));
        self.pages.push(PageMeta::new(id, &keys));
        Ok(())
    }
}
