//! Bounded caches in front of what is dear to get: spilled rows (payloads and results), as decoded pages and as
//! single values; and whatever else has a name that stands for one value for ever.
//!
//! Nothing here is ever the only copy: an entry may vanish at any moment, and a miss always has
//! somewhere to go. Rows that are in memory are never looked for here. foyer knows no expiry, so it is part
//! of the value and checked on every read.
//! This folder is the only place that names foyer.

mod counters;
mod memory;
mod pages;
mod payload;
mod tiered;

#[cfg(test)]
mod tests;

pub use counters::{Asked, not_counted};
pub use memory::MemoryCache;
pub use pages::DecodedPages;
pub use payload::PayloadCache;
pub use tiered::{CacheError, CacheName, CacheOptions, TieredCache};
