//! Holds a history against what was promised.
//!
//! Each rule has a name and judges alone. It says only what is certain: an unknown call may have been
//! done or not, and between the beginning and the end of a call anything may be true.

mod ends;
mod keys;
mod leases;
#[cfg(test)]
mod tests;

use std::fmt;

use super::history::{Finals, Op};

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The rule.
    pub rule: &'static str,
    /// What was seen.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.detail)
    }
}

/// Broken promises found so far.
#[derive(Default)]
struct Found(Vec<Violation>);

impl Found {
    fn add(&mut self, rule: &'static str, detail: String) {
        self.0.push(Violation { rule, detail });
    }
}

/// All broken promises of a history. `finals` are all jobs of the queue, read after it was drained.
pub fn check(ops: &[Op], finals: &Finals) -> Vec<Violation> {
    let mut found = Found::default();
    ends::nothing_lost(ops, finals, &mut found);
    ends::one_ack_and_it_counts(ops, finals, &mut found);
    ends::cancel_and_ack_tell_one_story(ops, finals, &mut found);
    ends::refused_means_unchanged(ops, finals, &mut found);
    keys::one_job_per_key(ops, finals, &mut found);
    leases::tokens_grow(ops, &mut found);
    leases::one_live_lease(ops, &mut found);
    leases::not_before_run_at(ops, &mut found);
    found.0
}
