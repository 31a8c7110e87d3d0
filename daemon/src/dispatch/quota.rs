//! How many more jobs may be given to somebody until that is looked at again.

use std::sync::atomic::{AtomicU32, Ordering};

const UNBOUNDED: u32 = u32::MAX;

/// A number of jobs that goes down as they are given; unbounded unless set.
#[derive(Debug)]
pub struct Quota {
    left: AtomicU32,
    set: AtomicU32,
}

impl Default for Quota {
    fn default() -> Self {
        Self { left: AtomicU32::new(UNBOUNDED), set: AtomicU32::new(UNBOUNDED) }
    }
}

impl Quota {
    /// Whether nothing may be given now.
    pub fn is_used_up(&self) -> bool {
        self.left.load(Ordering::Acquire) == 0
    }

    /// Takes up to `max`; what was taken.
    pub fn take(&self, max: u32) -> u32 {
        let mut taken = max;
        let less = |left: u32| {
            taken = left.min(max);
            Some(if left == UNBOUNDED { left } else { left - taken })
        };
        let _ = self.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
        taken
    }

    /// Gives back what was taken and not given to anybody.
    pub fn put_back(&self, jobs: u32) {
        let more = |left: u32| (left != UNBOUNDED).then(|| left.saturating_add(jobs).min(UNBOUNDED - 1));
        let _ = self.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, more);
    }

    /// Sets it anew, by how many were taken since that was done last; answers whether there was nothing and now is.
    pub fn renew(&self, jobs: impl FnOnce(u32) -> u32) -> bool {
        let (set, left) = (self.set.load(Ordering::Acquire), self.left.load(Ordering::Acquire));
        let used = if set == UNBOUNDED { 0 } else { set.saturating_sub(left) };
        let jobs = jobs(used);
        self.set.store(jobs, Ordering::Release);
        self.left.swap(jobs, Ordering::AcqRel) == 0 && jobs > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_down_as_jobs_are_given_and_tells_how_many_were() {
        let quota = Quota::default();
        assert_eq!((quota.take(1_000), quota.is_used_up()), (1_000, false));
        quota.renew(|used| {
            assert_eq!(used, 0, "unbounded, nobody counts");
            3
        });
        assert_eq!((quota.take(2), quota.take(2), quota.take(2), quota.is_used_up()), (2, 1, 0, true));
        quota.put_back(1);
        let opened = quota.renew(|used| {
            assert_eq!(used, 2);
            0
        });
        assert!(!opened && quota.is_used_up());
        assert!(quota.renew(|_| u32::MAX), "there was nothing and now there is");
    }
}
