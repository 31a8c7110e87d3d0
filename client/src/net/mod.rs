//! The way to the cluster: which nodes there are, which one answers, when to try again.

mod backoff;
mod link;
mod nodes;

pub(crate) use backoff::Backoff;
pub(crate) use link::{Auth, Link};
use nodes::cause;
pub(crate) use nodes::{Nodes, Options};
