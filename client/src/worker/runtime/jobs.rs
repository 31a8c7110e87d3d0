//! Jobs as tasks: from the delivery to the ack or nack.

use std::panic::AssertUnwindSafe;

use bravo_api::{limits, proto};
use futures_util::FutureExt;
use tokio::time::Instant;

use super::stages::{Stage, stopped};
use super::{Failure, Finished, JobContext, Output, Runtime};

impl<F, R> Runtime<F>
where
    F: Fn(JobContext) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Output, Failure>> + Send,
{
    pub(super) fn start(&mut self, job: proto::LeasedJob) {
        let context = JobContext::new(job, self.progress.clone());
        let now = Instant::now();
        self.next_beat = self.next_beat.min(now + self.held.insert(context.clone(), now));
        if self.stage >= Stage::Cancelling {
            self.held.finish(context.id(), context.lease_token());
            return self.tell(context.id().to_owned(), context.lease_token(), Err(stopped()));
        }
        self.busy += 1;
        let (handler, slots, finished) = (self.handler.clone(), self.slots.clone(), self.finished.0.clone());
        self.tasks.spawn(async move {
            let slot = tokio::select! {
                slot = slots.acquire_owned() => slot.ok(),
                () = context.cancelled() => None,
            };
            let outcome = if slot.is_some() {
                let work = AssertUnwindSafe(async { handler(context.clone()).await });
                work.catch_unwind().await.unwrap_or_else(|panic| Err(Failure::new(words_of(&*panic))))
            } else {
                Err(Failure::new("cancelled before it was started"))
            };
            drop(slot);
            let (id, token) = (context.id().to_owned(), context.lease_token());
            // Nobody listens when the worker was dropped.
            drop(finished.send(Finished { id, token, outcome }));
        });
    }

    pub(super) fn finish(&mut self) {
        for Finished { id, token, outcome } in std::mem::take(&mut self.batch) {
            // Zero where the task was stopped just when it was done.
            self.busy = self.busy.saturating_sub(1);
            if self.held.finish(&id, token) {
                self.tell(id, token, outcome);
            }
        }
        while self.tasks.try_join_next().is_some() {}
    }

    pub(super) fn tell(&mut self, id: String, lease_token: u64, outcome: Result<Output, Failure>) {
        let outcome = outcome.and_then(|output| match output.0 {
            Some(result) if result.data.len() > limits::PAYLOAD_BYTES_MAX => {
                Err(Failure::new(format!("the result has {} bytes, more than 1 MiB", result.data.len())))
            }
            result => Ok(result.map(|result| proto::Payload { data: result.data, json: result.json })),
        });
        match outcome {
            Ok(result) => self.outbox.ack(proto::Ack { id, lease_token, result }),
            Err(Failure { mut error, retry_in_ms, dead }) => {
                let end = (0..=limits::ERROR_BYTES_MAX.min(error.len())).rev().find(|end| error.is_char_boundary(*end));
                error.truncate(end.unwrap_or(0));
                self.outbox.nack(proto::Nack { id, lease_token, error: Some(error), retry_in_ms, dead });
            }
        }
    }
}

fn words_of(panic: &(dyn std::any::Any + Send)) -> String {
    let words = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("the handler panicked: {}", words.unwrap_or("for no reason it gives"))
}
