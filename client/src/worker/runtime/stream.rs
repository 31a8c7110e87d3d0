//! The stream: opened, fed, listened to, lost, opened again.

use std::time::Duration;

use bravo_api::proto;
use bravo_api::proto::work_request::Message as Request;
use bravo_api::proto::work_response::Message as Response;
use futures_util::FutureExt;
use tokio::time::Instant;

use super::stages::Stage;
use super::{Failure, JobContext, Output, Runtime, Way};
use crate::Error;
use crate::worker::session::Session;

/// Finished jobs without an answer, beyond which no new ones are asked for.
const UNCONFIRMED_MAX: usize = 10_000;

impl<F, R> Runtime<F>
where
    F: Fn(JobContext) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Output, Failure>> + Send,
{
    pub(super) fn open(&mut self, now: Instant) {
        if let Way::Closed { until } = self.way
            && until <= now
        {
            let hello = proto::Hello {
                worker_id: self.config.worker_id.clone(),
                queues: self.config.queues.clone(),
                agent_type: self.config.agent_type.clone(),
                capacity: u32::try_from(self.config.concurrency).unwrap_or(u32::MAX),
                lease_ms: self.config.lease_ms,
                in_flight: u32::try_from(self.held.len()).unwrap_or(u32::MAX),
                labels: self.config.labels.clone(),
                weight: self.config.weight,
            };
            self.way = Way::Opening(Session::open(self.nodes.clone(), hello).boxed());
        }
    }

    pub(super) fn opened(&mut self, session: Box<Session>) {
        tracing::debug!(url = &*session.url, held = self.held.len(), "working");
        self.way = Way::Open(session);
        self.next_beat = Instant::now();
    }

    pub(super) fn lost(&mut self, error: &Error) {
        let Way::Open(session) = &self.way else { return };
        tracing::debug!(url = &*session.url, %error, held = self.held.len(), "the work stream is lost");
        match error {
            Error::Broken(_) | Error::TimedOut(_) => self.nodes.failed(&session.url),
            _ => self.nodes.leave(&session.url),
        }
        if session.proven {
            self.backoff.reset();
        }
        let pause = if session.proven { Duration::ZERO } else { self.backoff.pause() };
        let pause = error.retry_after_ms().map_or(pause, Duration::from_millis);
        self.way = Way::Closed { until: Instant::now() + pause };
        for (id, token) in self.outbox.stream_lost() {
            self.held.not_renewed(&id, token);
        }
    }

    /// Sends what there is to send; true if the stream cannot take more just now.
    pub(super) fn send(&mut self, now: Instant) -> bool {
        let Way::Open(session) = &mut self.way else { return false };
        loop {
            let Ok(place) = session.requests.try_reserve() else {
                // A closed stream tells why by its next response.
                return !session.requests.is_closed();
            };
            if let Some(message) = self.outbox.next(now) {
                place.send(proto::WorkRequest { message: Some(message) });
            } else if self.stage > Stage::Working && !session.stopped && session.stop_sent.is_none() {
                session.stop_sent = Some(now);
                place.send(proto::WorkRequest { message: Some(Request::Stop(proto::Stop {})) });
            } else {
                let most = self.config.concurrency + self.config.prefetch;
                let wanted = most.saturating_sub(self.busy + session.credits);
                let may = self.stage == Stage::Working && self.outbox.unconfirmed() < UNCONFIRMED_MAX;
                if wanted == 0 || !may {
                    return false;
                }
                session.credits += wanted;
                let n = u32::try_from(wanted).unwrap_or(u32::MAX);
                place.send(proto::WorkRequest { message: Some(Request::Credit(proto::Credit { n })) });
            }
        }
    }

    pub(super) fn receive(&mut self, response: proto::WorkResponse) {
        let Way::Open(session) = &mut self.way else { return };
        session.proven = true;
        match response.message {
            Some(Response::Jobs(delivery)) => {
                session.credits = session.credits.saturating_sub(delivery.jobs.len());
                delivery.jobs.into_iter().for_each(|job| self.start(job));
            }
            Some(Response::Results(results)) => self.answered(results),
            Some(Response::CancelRequested(request)) => {
                request.leases.iter().for_each(|lease| self.held.cancel(&lease.id, lease.lease_token));
            }
            Some(Response::Stopped(_)) => session.stopped = true,
            Some(Response::GoAway(go_away)) => {
                let detail = format!("the node takes its leave: {}", go_away.reason);
                self.lost(&Error::Unreachable(detail));
            }
            // Of a newer version.
            None => (),
        }
    }
}
