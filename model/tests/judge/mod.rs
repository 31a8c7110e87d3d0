//! The judge: gives one history to the machine under test and to the reference, and compares.

mod compare;
mod machine;
mod mirror;
mod shrink;
mod trial;

pub(crate) use machine::{Machine, Shown};
pub(crate) use mirror::Mirror;
pub(crate) use shrink::{run_histories, shortest};
pub(crate) use trial::{Complaint, Trial, judge_history, judge_seed};
