//! Criterion benches of Bravo's parts.
