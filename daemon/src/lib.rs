//! bravod: one node of a Bravo cluster.

pub mod config;
