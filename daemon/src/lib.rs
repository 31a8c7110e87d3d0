//! bravod: one node of a Bravo cluster.

pub mod config;
pub mod sd;
pub mod telemetry;
