//! The end of a worker's life: what is held is finished, then cancelled, then given back.

use std::time::Duration;

use tokio::time::Instant;

use super::{Failure, JobContext, Output, Runtime, Way};
use crate::worker::session::Session;

/// How long cancelled handlers may take to return, how long the last acks may take, and how long
/// the daemon may take to say that no job comes any more.
pub(super) const LAST_STEP: Duration = Duration::from_secs(5);

/// Where a worker is in its life; each stage but the first has an end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    Working,
    /// Finishes what it holds.
    Stopping,
    /// The grace is over: handlers were told to stop.
    Cancelling,
    /// Handlers were stopped: the last acks and nacks.
    Leaving,
}

impl<F, R> Runtime<F>
where
    F: Fn(JobContext) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Output, Failure>> + Send,
{
    pub(super) fn enter(&mut self, stage: Stage) {
        self.stage = stage;
        let span = if stage == Stage::Stopping { self.config.grace } else { LAST_STEP };
        self.stage_ends = Some(Instant::now() + span);
    }

    pub(super) fn advance(&mut self, now: Instant) {
        let ended = self.stage_ends.is_some_and(|end| end <= now);
        match self.stage {
            Stage::Stopping if ended => {
                self.held.cancel_all();
                self.enter(Stage::Cancelling);
            }
            Stage::Cancelling if ended => {
                self.tasks.abort_all();
                self.busy = 0;
                for (id, token) in self.held.at_work() {
                    self.held.finish(&id, token);
                    self.tell(id, token, Err(stopped()));
                }
                self.enter(Stage::Leaving);
            }
            _ => (),
        }
    }

    pub(super) fn is_over(&self) -> bool {
        let stopped = match &self.way {
            Way::Open(session) => {
                session.stopped || session.stop_sent.is_some_and(|at| at + LAST_STEP <= Instant::now())
            }
            _ => true,
        };
        let done = self.busy == 0 && self.outbox.unconfirmed() == 0 && stopped;
        let late = self.stage == Stage::Leaving && self.stage_ends.is_some_and(|end| end <= Instant::now());
        self.stage > Stage::Working && (done || late)
    }

    /// Half-closes the stream and lets the daemon end it.
    pub(super) async fn leave(&mut self) {
        let way = std::mem::replace(&mut self.way, Way::Closed { until: Instant::now() });
        if let Way::Open(session) = way {
            let Session { requests, mut responses, .. } = *session;
            drop(requests);
            let drain = async { while let Ok(Some(_)) = responses.message().await {} };
            drop(tokio::time::timeout(Duration::from_secs(1), drain).await);
        }
    }
}

/// What becomes of a job that a stopping worker cannot finish: another one may have it at once.
pub(super) fn stopped() -> Failure {
    Failure::new("the worker stopped").retry_in(Duration::ZERO)
}
