//! Nack: ends a lease with failure. The job waits for its next attempt, or dies.

use super::{Answer, each};
use crate::backoff;
use crate::code::Code;
use crate::command::Nack;
use crate::job::JobState;
use crate::limits;
use crate::reply::ItemResult;
use crate::state::State;

impl State<'_> {
    pub(super) fn nack(&mut self, nacks: Vec<Nack>) -> Answer {
        each(nacks, |nack| self.nack_one(nack))
    }

    fn nack_one(&mut self, nack: Nack) -> Result<ItemResult, Code> {
        let old = self.leased(nack.seq, nack.token)?;
        if nack.retry_in_ms.is_some_and(|ms| ms > limits::HORIZON_MS_MAX) {
            return Err(Code::InvalidArgument);
        }
        let mut new = old.clone();
        new.error = nack.error.map(cut);
        if nack.dead && !new.cancel_requested {
            self.finish(&old, new, JobState::Dead);
            return Ok(ItemResult::default());
        }
        let backoff = &self.queue(old.keeping.queue_number).def.config.backoff;
        let pause_ms = nack.retry_in_ms.unwrap_or_else(|| backoff::pause_ms(backoff, old.seq, old.attempt));
        let run_at = self.now().saturating_add(pause_ms);
        self.fail(&old, new, run_at);
        Ok(ItemResult::default())
    }
}

/// Cuts an error text to its bound, between characters.
fn cut(mut text: String) -> String {
    if text.len() > limits::ERROR_BYTES_MAX {
        let end = (0..=limits::ERROR_BYTES_MAX).rev().find(|&end| text.is_char_boundary(end));
        text.truncate(end.unwrap_or(0));
    }
    text
}
