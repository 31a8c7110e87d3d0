//! Bounded caches in front of spilled rows, which are payloads and results: decoded pages, then single values.
//!
//! Nothing here is ever the only copy: an entry may vanish at any moment, and a miss always has
//! somewhere to go. Rows that are in memory are never looked for here. foyer knows no expiry, so it is part
//! of the value and checked on every read.
//! This folder is the only place that names foyer.

mod counters;
mod pages;
mod payload;

#[cfg(test)]
mod tests;

pub use counters::{Asked, not_counted};
pub use pages::DecodedPages;
pub use payload::{CacheError, CacheOptions, PayloadCache};
