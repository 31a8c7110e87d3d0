//! The Bravo command line.
fn main() {}
