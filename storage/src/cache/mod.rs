//! Bounded caches in front of what is dear to fetch: payloads, results, spilled pages.
//!
//! Nothing here is ever the only copy: an entry may vanish at any moment, and a miss always has
//! somewhere to go. foyer knows no expiry, so it is part of the value and checked on every read.
//! This folder is the only place that names foyer.

mod counters;
mod pages;
mod payload;

#[cfg(test)]
mod tests;

pub use counters::CacheCounts;
pub use pages::DecodedPages;
pub use payload::{CacheError, CacheKey, CacheOptions, PayloadCache};
