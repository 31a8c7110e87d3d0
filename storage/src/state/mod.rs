//! The state of one Raft group: ordered rows in memory over an engine on disk.
//!
//! ```text
//!   put, delete ──► active layer (BTreeMap)      the only layer while nobody holds a Frozen
//!                   frozen layers (Arc)          what snapshots being written still look at
//!                   pages (index in memory)      cold rows, some hundred per compressed page ──► engine (sled)
//! ```
//!
//! Rows that come and go within the memory budget never touch the engine: it is dear per record, so
//! it only sees whole pages of rows that were cold when memory ran out. The engine is a working copy:
//! a store always starts empty and is rebuilt from snapshot and log, so whatever happens to the
//! engine's files costs time and never data. A read of the engine that fails poisons the store
//! ([`StateStore::health`]); it is then thrown away and rebuilt.

mod drain;
mod engine;
mod engine_memory;
mod engine_sled;
mod frozen;
mod layer;
mod load;
mod maintain;
mod merge;
mod options;
mod page;
mod page_index;
mod page_keys;
mod reader;
mod spill;
mod spilled;
mod store;

#[cfg(test)]
mod tests;

pub use engine::{Engine, EngineError};
pub use engine_memory::MemoryEngine;
pub use engine_sled::Engines;
pub use frozen::Frozen;
pub use maintain::Maintenance;
pub use options::{End, SpillTable, StateOptions};
pub use page::{Page, PageId};
pub use reader::{LocalPages, PageCache};
pub use spilled::{Place, RowId, SpilledRow};
pub use store::StateStore;
