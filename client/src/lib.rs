//! The Rust client library of Bravo, its worker runtime, and the command line `bravo`.
