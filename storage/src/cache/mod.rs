//! Bounded caches in front of what is dear to fetch.
