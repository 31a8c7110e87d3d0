//! What a job and a queue are, and what each command does to them.
//!
//! This crate is the replicated state machine of Bravo and nothing else: no IO, no async, no
//! clock, no randomness, no hash order. Every replica applies the same entries in the same order
//! through [`apply`] and reaches the same bytes; the leader alone then acts on the effects.
//!
//! ```text
//!   Entry { at, commands } ──► apply(&mut impl Txn, entry) ──► [Outcome { reply, effects }]
//!                                     │                               │          │
//!                               tables (see `table`)            to the caller   leader only:
//!                                                                               wake, arm timer
//! ```
//!
//! Start reading at [`command::Command`] (what can be asked), then [`table`] (what is stored), then
//! `transition` (the one door through which a job changes). [`view`] is the read side, and
//! [`invariant`] what is always true.

mod apply;
pub mod artifact;
pub mod audit;
mod backoff;
mod bucket;
pub mod code;
pub mod command;
mod fair;
mod finish;
mod footprint;
pub mod happened;
pub mod id;
mod idempotency;
pub mod invariant;
pub mod job;
pub mod key;
pub mod lifecycle;
pub mod limits;
mod pick;
pub mod queue;
pub mod quota;
pub mod reply;
pub mod row;
pub mod scaling;
pub mod schedule;
mod state;
pub mod table;
pub mod template;
#[cfg(test)]
mod testing;
mod transition;
pub mod txn;
mod unique;
pub mod view;
pub mod webhook;
pub mod workflow;

pub use apply::{apply, apply_watched};
pub use code::{Code, Refusal};
pub use command::{Command, Entry, Envelope};
pub use fair::sticky_slot;
pub use id::{JobId, Name};
pub use job::{Job, JobState, Payload};
pub use queue::QueueConfig;
pub use reply::{Effect, Outcome, Reply};
pub use txn::{Key, Read, Txn, Value};

/// Milliseconds since the Unix epoch, on the state's own clock (see [`command::Entry::at`]).
pub type Time = u64;
