//! The durable side of one Bravo node: shared Raft log, state store, snapshots, payload cache, chunks of artifacts.

pub mod blob;
pub mod cache;
pub mod identity;
pub mod log;
pub mod snapshot;
pub mod state;

#[cfg(test)]
mod crash;
