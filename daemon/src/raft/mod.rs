//! Replication: openraft's traits over our log, state and transport. The only place, with
//! [`crate::transport`], that names openraft.

pub mod clock;
pub mod group;
pub mod log;
pub mod machine;
pub mod network;
pub mod proposer;
pub mod pulse;
pub mod types;
