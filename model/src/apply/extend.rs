//! Extend: prolongs a lease, and tells the worker whether the job is still wanted.

use super::{Answer, each};
use crate::code::Code;
use crate::command::Extend;
use crate::limits;
use crate::reply::ItemResult;
use crate::state::State;

impl State<'_> {
    pub(super) fn extend(&mut self, extends: Vec<Extend>) -> Answer {
        each(extends, |extend| self.extend_one(extend))
    }

    fn extend_one(&mut self, extend: Extend) -> Result<ItemResult, Code> {
        let old = self.leased(extend.seq, extend.token)?;
        if extend.lease_ms.is_some_and(|ms| !(limits::LEASE_MS_MIN..=limits::LEASE_MS_MAX).contains(&ms)) {
            return Err(Code::InvalidArgument);
        }
        if extend.progress.as_ref().is_some_and(|progress| progress.len() > limits::PROGRESS_BYTES_MAX) {
            return Err(Code::PayloadTooLarge);
        }
        let mut new = old.clone();
        let expires_at = self.now().saturating_add(extend.lease_ms.unwrap_or(old.lease_ms));
        new.lease_expires_at = Some(expires_at);
        if extend.progress.is_some() {
            new.progress = extend.progress;
        }
        self.transition(Some(&old), Some(&new));
        Ok(ItemResult { code: None, cancel_requested: new.cancel_requested, expires_at: Some(expires_at) })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use crate::command::{Command, Extend};
    use crate::testing::World;
    use crate::{Code, JobState};

    fn extend(seq: u64, lease_ms: Option<u64>) -> Command {
        Command::Extend(vec![Extend { seq, token: 1, lease_ms, progress: Some(Bytes::from_static(b"50")) }])
    }

    #[test]
    fn a_lease_that_is_extended_ends_later_and_tells_of_a_cancel() {
        let mut world = World::new();
        let seq = world.add(|_| {});
        world.lease(1);
        world.tick(29_000);
        let item = world.item(extend(seq, None)).expect("extended");
        assert_eq!((item.expires_at, item.cancel_requested), (Some(world.at + 30_000), false));
        world.tick(29_000);
        world.ask(Command::Cancel(seq));
        assert!(world.item(extend(seq, Some(100))).expect("extended").cancel_requested);
        assert_eq!(world.job(seq).progress, Some(Bytes::from_static(b"50")));
        world.tick(99);
        assert_eq!(world.state(seq), Some(JobState::Leased));
        world.tick(1);
        assert_eq!(world.state(seq), Some(JobState::Cancelled));
    }

    #[test]
    fn a_lease_that_is_over_is_lost_and_lengths_have_bounds() {
        let mut world = World::new();
        let seq = world.add(|_| {});
        world.lease(1);
        assert_eq!(world.item(extend(seq, Some(99))), Err(Code::InvalidArgument));
        assert_eq!(world.item(extend(99, None)), Err(Code::NotFound));
        world.at += 30_000;
        assert_eq!(world.item(extend(seq, None)), Err(Code::LeaseLost));
    }
}
