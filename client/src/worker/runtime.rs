//! The worker's loop: one task that owns the leases, the outbox and the stream.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bravo_api::proto::work_request::Message as Request;
use bravo_api::proto::work_response::Message as Response;
use bravo_api::{limits, proto};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::held::Held;
use super::outbox::{Outbox, Sent};
use super::session::Session;
use super::{Config, Failure, JobContext, Output, Summary};
use crate::net::{Backoff, Nodes};
use crate::{Code, Error};

/// How long cancelled handlers may take to return, how long the last acks may take, and how long
/// the daemon may take to say that no job comes any more.
const LAST_STEP: Duration = Duration::from_secs(5);
/// Progress is told at most this often.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);
/// Between tries of what the daemon could not do just now.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// Finished jobs without an answer, beyond which no new ones are asked for.
const UNCONFIRMED_MAX: usize = 10_000;

/// How a handler ended.
struct Finished {
    id: String,
    token: u64,
    outcome: Result<Output, Failure>,
}

enum Way {
    Closed { until: Instant },
    Opening(BoxFuture<'static, Result<Box<Session>, Error>>),
    Open(Box<Session>),
}

/// Where a worker is in its life; each stage but the first has an end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Working,
    /// Finishes what it holds.
    Stopping,
    /// The grace is over: handlers were told to stop.
    Cancelling,
    /// Handlers were stopped: the last acks and nacks.
    Leaving,
}

enum Event {
    Shutdown,
    Finished,
    Opened(Result<Box<Session>, Error>),
    Response(Result<Option<proto::WorkResponse>, tonic::Status>),
    Progress,
    Time,
}

pub(super) struct Runtime<F> {
    nodes: Arc<Nodes>,
    config: Config,
    handler: Arc<F>,
    held: Held,
    outbox: Outbox,
    way: Way,
    backoff: Backoff,
    stage: Stage,
    stage_ends: Option<Instant>,
    tasks: JoinSet<()>,
    /// Jobs that have a task: they wait for a slot, or are being worked on.
    busy: usize,
    slots: Arc<Semaphore>,
    finished: (mpsc::UnboundedSender<Finished>, mpsc::UnboundedReceiver<Finished>),
    batch: Vec<Finished>,
    progress: Arc<Notify>,
    last_beat: Instant,
    next_beat: Instant,
    summary: Summary,
}

impl<F, R> Runtime<F>
where
    F: Fn(JobContext) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Output, Failure>> + Send,
{
    pub(super) fn new(nodes: Arc<Nodes>, config: Config, handler: F) -> Self {
        let now = Instant::now();
        Self {
            nodes,
            slots: Arc::new(Semaphore::new(config.concurrency)),
            config,
            handler: Arc::new(handler),
            held: Held::default(),
            outbox: Outbox::default(),
            way: Way::Closed { until: now },
            backoff: Backoff::default(),
            stage: Stage::Working,
            stage_ends: None,
            tasks: JoinSet::new(),
            busy: 0,
            // Bounded by `busy`: each task sends once.
            finished: mpsc::unbounded_channel(),
            batch: Vec::new(),
            progress: Arc::default(),
            last_beat: now,
            next_beat: now,
            summary: Summary::default(),
        }
    }

    pub(super) async fn run(mut self, shutdown: impl Future<Output = ()>) -> Result<Summary, Error> {
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            let now = Instant::now();
            self.advance(now);
            self.beat(now);
            self.open(now);
            let blocked = self.send(now);
            if self.is_over() {
                self.leave().await;
                self.summary.unconfirmed = self.outbox.unconfirmed() as u64;
                return Ok(self.summary);
            }
            match self.next_event(now, blocked, shutdown.as_mut()).await {
                Event::Shutdown => self.enter(Stage::Stopping),
                Event::Finished => self.finish(),
                Event::Opened(Ok(session)) => self.opened(session),
                Event::Opened(Err(error)) if !error.is_retryable() => return Err(error),
                Event::Opened(Err(error)) => {
                    tracing::debug!(%error, "no stream");
                    self.way = Way::Closed { until: Instant::now() + self.backoff.pause() };
                }
                Event::Response(Ok(Some(response))) => self.receive(response),
                Event::Response(Ok(None)) => self.lost(&Error::Broken("the node ended the stream".into())),
                Event::Response(Err(status)) => {
                    let error = Error::from(status);
                    if !error.is_retryable() {
                        return Err(error);
                    }
                    self.lost(&error);
                }
                Event::Progress => self.next_beat = self.next_beat.min(self.last_beat + PROGRESS_EVERY),
                Event::Time => (),
            }
        }
    }

    async fn next_event(&mut self, now: Instant, blocked: bool, shutdown: impl Future<Output = ()>) -> Event {
        let wake = self.wake_at(now);
        let working = self.stage == Stage::Working;
        let way = &mut self.way;
        let from_way = async {
            match way {
                Way::Opening(opening) => Event::Opened(opening.await),
                Way::Open(session) if blocked => tokio::select! {
                    response = session.responses.message() => Event::Response(response),
                    // There is place for a message again; the loop sends it.
                    _ = session.requests.reserve() => Event::Time,
                },
                Way::Open(session) => Event::Response(session.responses.message().await),
                Way::Closed { .. } => std::future::pending().await,
            }
        };
        tokio::select! {
            () = shutdown, if working => Event::Shutdown,
            _ = self.finished.1.recv_many(&mut self.batch, limits::ACK_ITEMS_MAX) => Event::Finished,
            event = from_way => event,
            () = self.progress.notified() => Event::Progress,
            () = sleep_until(wake) => Event::Time,
        }
    }

    fn wake_at(&self, now: Instant) -> Instant {
        let open = match self.way {
            Way::Closed { until } => Some(until),
            _ => None,
        };
        let stop = match &self.way {
            Way::Open(session) if !session.stopped => session.stop_sent.map(|at| at + LAST_STEP),
            _ => None,
        };
        // What is in the past was seen to, or waits for something else than time.
        let others = [open, self.stage_ends, stop, self.outbox.wakes_at()].into_iter().flatten();
        others.filter(|at| *at > now).fold(self.next_beat, Instant::min)
    }

    // ---- jobs ----

    fn start(&mut self, job: proto::LeasedJob) {
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

    fn finish(&mut self) {
        for Finished { id, token, outcome } in std::mem::take(&mut self.batch) {
            // Zero where the task was stopped just when it was done.
            self.busy = self.busy.saturating_sub(1);
            if self.held.finish(&id, token) {
                self.tell(id, token, outcome);
            }
        }
        while self.tasks.try_join_next().is_some() {}
    }

    fn tell(&mut self, id: String, lease_token: u64, outcome: Result<Output, Failure>) {
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

    // ---- stages ----

    fn enter(&mut self, stage: Stage) {
        self.stage = stage;
        let span = if stage == Stage::Stopping { self.config.grace } else { LAST_STEP };
        self.stage_ends = Some(Instant::now() + span);
    }

    fn advance(&mut self, now: Instant) {
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

    fn is_over(&self) -> bool {
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
    async fn leave(&mut self) {
        let way = std::mem::replace(&mut self.way, Way::Closed { until: Instant::now() });
        if let Way::Open(session) = way {
            let Session { requests, mut responses, .. } = *session;
            drop(requests);
            let drain = async { while let Ok(Some(_)) = responses.message().await {} };
            drop(tokio::time::timeout(Duration::from_secs(1), drain).await);
        }
    }

    // ---- the stream ----

    fn open(&mut self, now: Instant) {
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
            };
            self.way = Way::Opening(Session::open(self.nodes.clone(), hello).boxed());
        }
    }

    fn opened(&mut self, mut session: Box<Session>) {
        tracing::debug!(url = &*session.url, held = self.held.len(), "working");
        // No credit was given on this stream.
        session.stopped = self.stage > Stage::Working;
        self.way = Way::Open(session);
        self.next_beat = Instant::now();
    }

    fn lost(&mut self, error: &Error) {
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
    fn send(&mut self, now: Instant) -> bool {
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

    fn receive(&mut self, response: proto::WorkResponse) {
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

    // ---- answers ----

    fn answered(&mut self, results: proto::Results) {
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

    fn ack_answered(&mut self, ack: proto::Ack, result: &proto::ItemResult) {
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

    fn nack_answered(&mut self, nack: proto::Nack, result: &proto::ItemResult) {
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

    fn extend_answered(&mut self, id: &str, token: u64, sent: Instant, result: &proto::ItemResult) {
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

    fn beat(&mut self, now: Instant) {
        if now < self.next_beat {
            return;
        }
        let ended = self.held.expire(now);
        if ended > 0 {
            tracing::warn!(ended, "leases ended before they could be prolonged");
            self.summary.lost += ended;
        }
        let mut period = self.held.period();
        if matches!(self.way, Way::Open(_)) {
            self.outbox.extend(self.held.beat(now));
        } else {
            // Leases may end while no node can be reached: look more often.
            period = period.min(Duration::from_millis(500));
        }
        self.last_beat = now;
        self.next_beat = now + period;
    }
}

/// What becomes of a job that a stopping worker cannot finish: another one may have it at once.
fn stopped() -> Failure {
    Failure::new("the worker stopped").retry_in(Duration::ZERO)
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

fn words_of(panic: &(dyn std::any::Any + Send)) -> String {
    let words = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("the handler panicked: {}", words.unwrap_or("for no reason it gives"))
}
