//! Bravo's test harness. Suites by kind stand in `tests/tests/`.

pub mod embedded;
pub mod process;
