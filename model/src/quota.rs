//! Quotas: how much of a cluster one project may take.
//!
//! Each partition counts what a project has in it; the meta group keeps what it may have. The gateways compare the two
//! before they take work in, each with its own replicas' counts.

use serde::{Deserialize, Serialize};

use crate::code::{Code, Refusal};
use crate::id::Name;

/// What a project has in one partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Jobs that are not final.
    pub jobs: u64,
    /// Payload bytes of all jobs that are kept.
    pub bytes: u64,
}

impl Usage {
    /// The sum over partitions.
    pub fn plus(self, other: Self) -> Self {
        Self { jobs: self.jobs.saturating_add(other.jobs), bytes: self.bytes.saturating_add(other.bytes) }
    }
}

/// What a project may have; no bound where there is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    /// The project.
    pub project: Name,
    /// Grows with every change of any definition.
    pub version: u64,
    /// Jobs that are not final.
    pub jobs_max: Option<u64>,
    /// Payload bytes of all jobs that are kept.
    pub bytes_max: Option<u64>,
    /// Jobs that are taken in a second.
    pub jobs_per_second: Option<u32>,
}

impl Quota {
    /// Refuses work that would take the project over a bound.
    pub fn check(&self, used: Usage, jobs: u64, bytes: u64) -> Result<(), Refusal> {
        for (what, max, used, more) in
            [("jobs", self.jobs_max, used.jobs, jobs), ("payload bytes", self.bytes_max, used.bytes, bytes)]
        {
            // What adds nothing to what is bounded is not refused on its account, though there be too much already.
            if let Some(max) = max.filter(|max| more > 0 && used.saturating_add(more) > *max) {
                let detail = format!("project {} has {used} {what} of at most {max}", self.project);
                return Err(Refusal::retry_after(Code::RateLimited, detail, 1_000));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::name;

    #[test]
    fn work_over_a_bound_is_refused_and_up_to_it_taken() {
        let quota =
            Quota { project: name("p"), version: 1, jobs_max: Some(10), bytes_max: Some(100), jobs_per_second: None };
        let used = Usage { jobs: 8, bytes: 90 };
        assert!(quota.check(used, 2, 10).is_ok());
        assert_eq!(quota.check(used, 3, 0).map_err(|refusal| refusal.code), Err(Code::RateLimited));
        assert_eq!(quota.check(used, 1, 11).map_err(|refusal| refusal.code), Err(Code::RateLimited));
        assert!(quota.check(Usage { jobs: 8, bytes: 900 }, 2, 0).is_ok(), "what adds no bytes needs no room for them");
        let free = Quota { jobs_max: None, bytes_max: None, ..quota };
        assert!(free.check(Usage { jobs: u64::MAX, bytes: u64::MAX }, 1, 1).is_ok());
    }
}
