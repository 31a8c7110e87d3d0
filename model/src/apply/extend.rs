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
