//! bravod: one node of a Bravo cluster.
//!
//! ```text
//!  gateway (REST, gRPC) ─► cluster (routes to leaders) ─► raft (batches, replicates, applies)
//!          │                     ▲                            │
//!          └─► dispatch ─────────┘                        transport (QUIC)
//! ```

pub mod admission;
pub(crate) mod blobs;
pub mod cluster;
pub(crate) mod cold;
pub mod config;
pub mod dev;
pub mod dispatch;
pub mod events;
pub mod gateway;
pub mod keeper;
mod members;
pub mod membership;
pub mod node;
pub mod query;
pub mod raft;
pub mod reads;
pub(crate) mod reload;
pub mod routing;
pub mod run;
pub(crate) mod scaling;
pub mod sd;
pub mod service;
pub mod shipped;
mod spill;
pub mod tasks;
pub mod telemetry;
pub mod transport;
pub(crate) mod webhooks;
