//! What the daemon answers to acks, nacks and extensions.

use std::time::Duration;

use bravo_api::proto;
use tokio::time::Instant;

use super::{Failure, JobContext, Output, Runtime};
use crate::Code;
use crate::worker::outbox::Sent;

/// Between tries of what the daemon could not do just now.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

impl<F, R> Runtime<F>
where
    F: Fn(JobContext) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Output, Failure>> + Send,
{
    pub(super) fn answered(&mut self, results: proto::Results) {
        let Some(sent) = self.outbox.answered(results.sequence) else { return };
        let mut results = results.results.into_iter();
        // An answer that is too short is no answer to the rest.
        let mut next = || results.next().unwrap_or_else(|| Code::Internal.into());
        match sent {
            Sent::Acks(acks) => acks.into_iter().for_each(|ack| self.ack_answered(ack, &next())),
            Sent::Nacks(nacks) => nacks.into_iter().for_each(|nack| self.nack_answered(nack, &next())),
            Sent::Extends(leases, at) => {
                leases.into_iter().for_each(|(id, token)| self.extend_answered(&id, token, at, &next()));
            }
        }
    }

    pub(super) fn ack_answered(&mut self, ack: proto::Ack, result: &proto::ItemResult) {
        match sort(result) {
            Answer::Done => {
                self.summary.acked += 1;
                self.held.remove(&ack.id, ack.lease_token);
            }
            Answer::Later => {
                self.outbox.rest(Instant::now() + RETRY_PAUSE);
                self.outbox.ack(ack);
            }
            Answer::Lost => {
                tracing::warn!(job = ack.id, "the lease was lost before the ack");
                self.summary.lost += 1;
                self.held.remove(&ack.id, ack.lease_token);
            }
            Answer::Refused(code) => {
                let failure = Failure::new(format!("the result was refused: {code}"));
                self.tell(ack.id, ack.lease_token, Err(failure));
            }
        }
    }

    pub(super) fn nack_answered(&mut self, nack: proto::Nack, result: &proto::ItemResult) {
        match sort(result) {
            Answer::Done => {
                self.summary.nacked += 1;
                self.held.remove(&nack.id, nack.lease_token);
            }
            Answer::Later => {
                self.outbox.rest(Instant::now() + RETRY_PAUSE);
                self.outbox.nack(nack);
            }
            Answer::Lost | Answer::Refused(_) => {
                tracing::debug!(job = nack.id, code = result.code, "the nack was not accepted");
                self.summary.lost += 1;
                self.held.remove(&nack.id, nack.lease_token);
            }
        }
    }

    pub(super) fn extend_answered(&mut self, id: &str, token: u64, sent: Instant, result: &proto::ItemResult) {
        match sort(result) {
            Answer::Done => self.held.renewed(id, token, sent),
            Answer::Later | Answer::Refused(_) => {
                self.held.not_renewed(id, token);
                self.next_beat = self.next_beat.min(Instant::now() + RETRY_PAUSE);
            }
            Answer::Lost => {
                if self.held.lose(id, token) {
                    tracing::warn!(job = id, "the lease was lost");
                    self.summary.lost += 1;
                }
            }
        }
        if result.cancel_requested {
            self.held.cancel(id, token);
        }
    }
}

/// What an answer to one item means.
enum Answer {
    Done,
    Later,
    Lost,
    Refused(String),
}

fn sort(result: &proto::ItemResult) -> Answer {
    match Code::parse(&result.code) {
        None if result.code.is_empty() => Answer::Done,
        Some(Code::LeaseLost | Code::NotFound) => Answer::Lost,
        Some(Code::NoLeader | Code::Shed | Code::RateLimited | Code::DeadlineExceeded | Code::Internal) => {
            Answer::Later
        }
        _ => Answer::Refused(result.code.clone()),
    }
}
