//! Admission: when will a job start, and is it to be let in at all.
//!
//! ```text
//!              ┌─────────────── each tick (watch) ───────────────┐
//!  replicas ──►│ queues: what waits, what is done, how long     ─┼─► queue ──► Standing ─┐ read by each enqueue,
//!  workers  ──►│ slots                                           │   (estimate,          │ nothing is awaited
//!  samples  ──►│ waits that were predicted                      ─┼─► calibrate)          ▼
//!  node     ──►│ queue time, memory, backlog                    ─┼─► overload ──► Gate ► admit ─► eta, or shed
//!              └──────────────────────────────────────────────────┘
//! ```
//!
//! Everything that decides is a pure function of numbers and is tested on virtual time (`simulated`). A job is
//! refused before anything is proposed, or not at all: what was accepted stays, and jobs of workflows and schedules,
//! which are the work of something accepted, do not come by here.

pub(crate) mod calibrate;
pub(crate) mod coming;
mod door;
pub mod estimate;
pub(crate) mod ladder;
pub(crate) mod lanes;
pub(crate) mod memory;
pub(crate) mod overload;
pub(crate) mod queue;
pub(crate) mod sample;
#[cfg(test)]
mod simulated;
#[cfg(test)]
mod testing;
pub(crate) mod watch;

pub use door::Admission;
pub(crate) use door::Admitted;

/// Priorities, 0 to 9.
pub(crate) const PRIORITIES: usize = 10;

const _: () = assert!(PRIORITIES == bravo_model::row::PRIORITIES);
