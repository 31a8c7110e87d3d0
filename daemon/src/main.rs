//! The Bravo daemon.
fn main() {}
