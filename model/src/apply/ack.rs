//! Ack: ends a lease with success. At most one ack of a job is ever accepted; repeating it is fine.

use super::{Answer, each};
use crate::code::Code;
use crate::command::Ack;
use crate::job::JobState;
use crate::limits;
use crate::reply::ItemResult;
use crate::state::State;
use crate::table::{self, tag};

impl State<'_> {
    pub(super) fn ack(&mut self, acks: Vec<Ack>) -> Answer {
        each(acks, |ack| self.ack_one(ack))
    }

    fn ack_one(&mut self, ack: Ack) -> Result<ItemResult, Code> {
        let old = match self.leased(ack.seq, ack.token) {
            Ok(job) => job,
            Err(code) => {
                let accepted = self.job(ack.seq).is_some_and(|job| job.acked_token == Some(ack.token));
                return if accepted { Ok(ItemResult::default()) } else { Err(code) };
            }
        };
        if ack.result.as_ref().is_some_and(|result| result.bytes.len() > limits::PAYLOAD_BYTES_MAX) {
            return Err(Code::PayloadTooLarge);
        }
        if let Some(result) = &ack.result {
            self.put(table::by_seq(tag::RESULT, ack.seq), result);
        }
        let mut new = old.clone();
        new.acked_token = Some(ack.token);
        new.error = None;
        self.finish(&old, new, JobState::Succeeded);
        Ok(ItemResult::default())
    }
}
