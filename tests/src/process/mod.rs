//! Real `bravod` processes, broken on purpose, and a history of what their clients were told.
//!
//! ```text
//! Procs ── Proc, Proc, Proc     start, kill -9, pause, restart; ended when dropped, also in a panic
//!   ▲
//! Load ── Recorder ── Rest      each call is noted before it is sent, and how it ended
//!             │
//!             ▼
//!        History ── check       what was promised, held against what was seen
//! ```

mod binary;
mod check;
mod cluster;
mod drain;
pub mod fault;
mod history;
mod load;
mod node;
mod recorder;
mod rest;

pub use self::binary::beside;
pub use self::check::{Violation, check};
pub use self::cluster::{Options, Procs};
pub use self::drain::{judge, settled_digests};
pub use self::history::{Call, End, Final, Finals, History, Leased, Op, Said};
pub use self::load::{Load, LoadOptions};
pub use self::node::Proc;
pub use self::recorder::{Recorder, Task, code_of};
pub use self::rest::{Answer, Rest};

/// Whether the long form of the suite is asked for (`BRAVO_LONG=1`).
pub fn is_long() -> bool {
    std::env::var_os("BRAVO_LONG").is_some_and(|value| value == "1")
}

/// One of two, by the form of the suite that is asked for.
pub fn short_or_long<T>(short: T, long: T) -> T {
    if is_long() { long } else { short }
}
