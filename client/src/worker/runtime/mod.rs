//! The worker's loop: one task that owns the leases, the outbox and the stream.

mod answers;
mod jobs;
mod stages;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use bravo_api::{limits, proto};
use futures_util::future::BoxFuture;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::held::Held;
use super::outbox::Outbox;
use super::session::Session;
use super::{Config, Failure, JobContext, Output, Summary};
use crate::Error;
use crate::net::{Backoff, Nodes};
use stages::{LAST_STEP, Stage};

/// Progress is told at most this often.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

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
