//! From protobuf messages to what the model knows, checked, and back.
//!
//! Every bound that can be told without the state is held here, so that REST and gRPC refuse alike.
//! Times and keys of one job are checked in [`jobs`], leases and what ends them in [`leases`].

mod at;
pub mod events;
pub mod jobs;
pub mod leases;
pub mod queues;
pub mod reads;
pub mod scaling;
pub mod schedules;
pub mod templates;
pub mod webhooks;
pub mod workflows;

pub(crate) use at::{At, Trust};

use crate::{Code, Refusal};

fn invalid(detail: impl Into<String>) -> Refusal {
    Refusal::new(Code::InvalidArgument, detail)
}
