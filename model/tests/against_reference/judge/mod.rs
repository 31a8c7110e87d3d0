//! The judge: gives one history to the machine under test and to the reference, and compares.

mod compare;
mod coverage;
mod machine;
mod mirror;
mod mutant;
mod real;
mod shrink;
mod trial;

pub(crate) use machine::Machine;
pub(crate) use mirror::Mirror;
pub(crate) use mutant::{Damage, Mutant};
pub(crate) use real::Real;
pub(crate) use shrink::run_histories;
pub(crate) use trial::{judge_history, judge_seed};
