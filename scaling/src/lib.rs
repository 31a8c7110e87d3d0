//! Predictive scaling, the pure part: from what arrived to how many agents are needed, and why.
//!
//! There is no IO here but the loop of [`serve`], no clock and no randomness: the same observations give the same
//! recommendations wherever they are replayed. That is why it is a crate of its own. The daemon runs it; the command
//! line replays it on traces; and neither depends on the other.
//!
//! ```text
//! Observation ─► History ─► refit (elsewhere) ─► Model ─► chances of arrivals ─┐
//!      │                                                                       ├─► Plan ─► Brake ─► Recommendation
//!      └────► Service, Boot, known jobs ───────────────────────────────────────┘
//! ```

mod advice;
mod behaviour;
mod boot;
mod controller;
pub mod erlang;
pub mod forecast;
mod gauge;
mod history;
mod judge;
mod observation;
mod past;
mod plan;
mod reactive;
mod serve;
mod service;
mod settings;
mod shadow;
pub mod sim;
mod threshold;
mod usage;

pub use advice::{Point, Recommendation};
pub use behaviour::Brake;
pub use controller::{Controller, State};
pub use forecast::{Model, refit};
pub use gauge::{Expected, Gauge};
pub use history::{History, ROLLUPS_MAX, TICKS_MAX};
pub use judge::{Calibration, Judge};
pub use observation::{Due, Observation};
pub use past::Past;
pub use reactive::Reactive;
pub use serve::serve;
pub use service::Service;
pub use settings::{AGENTS_MAX, Behaviour, Block, Policy, Settings};
