//! Moving cold rows to the engine, as compressed pages of neighbouring rows.
//!
//! A sweep goes through the spillable tables, coldest first, each from the end where its coldest rows are:
//! of what is over the oldest, of what waits the last to be served. It stops when memory is an eighth below
//! its budget. Pages never overlap: a run of rows ends where a page begins, and rows that came up inside a
//! page's range wait until there are enough of them to write that page anew.

use std::sync::Arc;

use bravo_model::{Key, Value};

use super::engine::EngineError;
use super::layer::{self, Slot};
use super::options::{End, SpillTable};
use super::page::{Page, PageId};
use super::page_index::PageMeta;
use super::store::StateStore;

/// Runs looked at by one step at most, so that a step over many poor runs stays short.
const RUNS_MAX: usize = 256;
/// Rows looked at for one run at most, so that a step among rows that are all needed stays short.
const LOOKS_MAX: usize = 4096;

/// A sweep that frees less than this part of memory is not worth another one before memory has grown by as much.
const SWEEP_WORTH: u64 = 16;

/// Where the sweep through the spillable tables is.
#[derive(Default)]
pub(super) struct Sweep {
    running: bool,
    table: usize,
    /// The last row of the table that was looked at.
    seen: Option<Key>,
    /// Bytes that left memory in this sweep.
    freed: u64,
    /// Below this many bytes no new sweep starts: the last one found too little to spill.
    rest_until: u64,
    /// The engine refused a batch: rows stay in memory.
    broken: bool,
}

/// Neighbouring rows that may move, in key order.
struct Run {
    rows: Vec<(Key, Value)>,
    /// The last row that was looked at.
    seen: Key,
    /// It ended since it was long enough, not since there was no more.
    cut: bool,
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
                break;
            }
            let Some(table) = self.options.spill_order.get(self.sweep.table).copied() else {
                // What came behind this sweep while it went on is for the next one.
                let (bytes, freed) = (self.bytes(), self.sweep.freed + plan.freed);
                self.sweep = if freed > bytes / SWEEP_WORTH {
                    Sweep { running: true, ..Sweep::default() }
                } else {
                    Sweep { rest_until: bytes + bytes / SWEEP_WORTH, ..Sweep::default() }
                };
                return Ok(plan);
            };
            if !self.plan_run(&table, &mut plan)? {
                self.sweep.table += 1;
                self.sweep.seen = None;
                // The next one may be of the same table, which does not know of the planned pages yet.
                plan.full |= !plan.batch.is_empty();
            }
        }
        self.sweep.freed += plan.freed;
        Ok(plan)
    }

    /// Looks at the next rows of a table, either inside a page's range or outside of all; false if there are none.
    fn plan_run(&mut self, table: &SpillTable, plan: &mut Plan) -> Result<bool, EngineError> {
        let (page_rows, page_bytes) = (self.options.page_rows, self.options.page_bytes);
        let Some(next) = self.unseen(table).next().map(|(key, _)| *key) else { return Ok(false) };
        let pages = self.pages.clone();
        if let Some((first, page)) = pages.covering(&next) {
            let within = |key: &Key| *key >= *first && *key <= *page.last();
            let run = self.run(table, within, self.options.spill_batch, self.options.spill_bytes);
            plan.full = run.cut;
            self.sweep.seen = Some(run.seen);
            if run.rows.len() >= self.options.page_rows_min {
                self.rewrite(page, first, run.rows, plan)?;
            }
            return Ok(true);
        }
        let run = match table.coldest {
            End::High => {
                let bottom = pages.below(&next).map(|page| *page.last());
                self.run(table, |key| bottom.is_none_or(|bottom| *key > bottom), page_rows, page_bytes)
            }
            End::Low => {
                let top = pages.above(&next).copied();
                self.run(table, |key| top.is_none_or(|top| *key < top), page_rows, page_bytes)
            }
        };
        self.sweep.seen = Some(run.seen);
        let heavy = run.rows.iter().map(|(_, value)| value.len()).sum::<usize>() * 4 >= page_bytes;
        if run.rows.len() >= self.options.page_rows_min || heavy {
            plan.move_out(&run.rows);
            plan.add_page(&run.rows)?;
        }
        Ok(true)
    }

    /// The rows of a table that the sweep has still to look at, coldest first.
    fn unseen(&self, table: &SpillTable) -> Box<dyn Iterator<Item = (&Key, &Slot)> + '_> {
        let (floor, seen) = (Key::new(&[table.tag]), self.sweep.seen);
        let ceiling = table.tag.checked_add(1).map(|next| Key::new(&[next]));
        match table.coldest {
            End::High => Box::new(self.active.range(&floor, seen.or(ceiling).as_ref()).rev()),
            End::Low => {
                let rows = self.active.range(&seen.unwrap_or(floor), ceiling.as_ref());
                Box::new(rows.skip_while(move |(key, _)| seen.is_some_and(|seen| **key <= seen)))
            }
        }
    }

    /// The next rows that may move and lie within a range, until a page is full.
    fn run(&self, table: &SpillTable, within: impl Fn(&Key) -> bool, rows_max: usize, bytes_max: usize) -> Run {
        let mut run = Run { rows: Vec::new(), seen: self.sweep.seen.unwrap_or(Key::new(&[table.tag])), cut: false };
        let (mut bytes, mut looks) = (0, 0);
        for (key, slot) in self.unseen(table).take_while(|(key, _)| within(key)) {
            let Some(value) = slot else { continue };
            let cold = (table.is_cold)(self, key, value);
            if cold {
                bytes += value.len();
                run.cut = run.rows.len() >= rows_max || (bytes > bytes_max && !run.rows.is_empty());
            }
            looks += 1;
            if run.cut || looks > LOOKS_MAX {
                run.cut = true;
                break;
            }
            if cold {
                run.rows.push((*key, value.clone()));
            }
            run.seen = *key;
        }
        if table.coldest == End::High {
            run.rows.reverse();
        }
        run
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
