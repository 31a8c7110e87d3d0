//! The producer's task: makes batches, sends them, sends them again.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bravo_api::proto::enqueue_result::Outcome;
use bravo_api::{Refusal, proto};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::Options;
use super::batch::{Batch, Entry, Verdict};
use super::session::Session;
use crate::Error;
use crate::net::{Backoff, Nodes};

/// Answers that were no answer, in a row, after which another node is tried.
const FAILURES_MAX: u32 = 3;
const IDLE: Duration = Duration::from_secs(3_600);

/// The producer's task. Batches are in `waiting` or in `sent`; their number is bounded.
pub(super) struct Pump {
    nodes: Arc<Nodes>,
    options: Options,
    inbox: mpsc::UnboundedReceiver<Entry>,
    /// No producer is left.
    closed: bool,
    /// Did not fit into the last batch, and starts the next one.
    held_over: Option<Entry>,
    /// What the keys of its batches begin with.
    name: Arc<str>,
    waiting: VecDeque<Batch>,
    sent: HashMap<u64, Batch>,
    next_id: u64,
    way: Way,
    backoff: Backoff,
    /// Why there is no session, or why batches were not answered.
    last_error: Option<Error>,
}

enum Way {
    Closed { until: Instant },
    Opening(BoxFuture<'static, Result<Box<Session>, Error>>),
    Open(Box<Session>),
}

enum Event {
    Entry(Option<Entry>),
    Opened(Result<Box<Session>, Error>),
    Answer(Result<Option<proto::EnqueueResult>, tonic::Status>),
    Time,
}

impl Pump {
    pub(super) fn new(nodes: Arc<Nodes>, options: Options, inbox: mpsc::UnboundedReceiver<Entry>) -> Self {
        Self {
            nodes,
            options,
            inbox,
            closed: false,
            held_over: None,
            name: uuid::Uuid::new_v4().simple().to_string().into(),
            waiting: VecDeque::new(),
            sent: HashMap::new(),
            next_id: 1,
            way: Way::Closed { until: Instant::now() },
            backoff: Backoff::default(),
            last_error: None,
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            let now = Instant::now();
            self.expire(now);
            self.make_batches(now);
            self.open(now);
            self.send(now);
            if self.closed && self.held_over.is_none() && self.waiting.is_empty() && self.sent.is_empty() {
                return;
            }
            match self.next_event(now).await {
                Event::Entry(Some(entry)) => self.held_over = Some(entry),
                Event::Entry(None) => self.closed = true,
                Event::Opened(Ok(session)) => self.way = Way::Open(session),
                Event::Opened(Err(error)) => self.not_opened(error),
                Event::Answer(Ok(Some(result))) => self.answered(result),
                Event::Answer(Ok(None)) => self.lost(Error::Broken("the node ended the stream".into())),
                Event::Answer(Err(status)) => self.lost(status.into()),
                Event::Time => (),
            }
        }
    }

    async fn next_event(&mut self, now: Instant) -> Event {
        let wake = self.wake_at(now);
        let takes = !self.closed && self.held_over.is_none() && self.has_place();
        let way = &mut self.way;
        let from_way = async {
            match way {
                Way::Opening(opening) => Event::Opened(opening.await),
                Way::Open(session) => Event::Answer(session.answers.message().await),
                Way::Closed { .. } => std::future::pending().await,
            }
        };
        tokio::select! {
            entry = self.inbox.recv(), if takes => Event::Entry(entry),
            event = from_way => event,
            () = sleep_until(wake) => Event::Time,
        }
    }

    fn has_place(&self) -> bool {
        self.waiting.len() + self.sent.len() < self.options.in_flight
    }

    /// Makes batches of what waits, as long as there is place for one more.
    fn make_batches(&mut self, now: Instant) {
        while self.has_place() {
            let mut entries: Vec<Entry> = Vec::new();
            let (mut jobs, mut bytes) = (0, 0);
            while let Some(entry) = self.held_over.take().or_else(|| self.inbox.try_recv().ok()) {
                let fits = jobs + entry.jobs.len() <= self.options.batch_jobs
                    && bytes + entry.bytes <= self.options.batch_bytes;
                if !fits && !entries.is_empty() {
                    self.held_over = Some(entry);
                    break;
                }
                jobs += entry.jobs.len();
                bytes += entry.bytes;
                entries.push(entry);
            }
            if entries.is_empty() {
                return;
            }
            self.waiting.push_back(Batch::new(&self.name, entries, now));
        }
    }

    /// Opens a stream when there is something to send and no pause to keep.
    fn open(&mut self, now: Instant) {
        if let Way::Closed { until } = self.way
            && until <= now
            && !self.waiting.is_empty()
        {
            let depth = self.options.in_flight;
            self.way = Way::Opening(Session::open(self.nodes.clone(), depth).boxed());
        }
    }

    /// Sends what is due.
    fn send(&mut self, now: Instant) {
        let Way::Open(session) = &self.way else { return };
        for _ in 0..self.waiting.len() {
            let Some(batch) = self.waiting.pop_front() else { return };
            // Refused batches can be split into more than may be under way at once.
            let may_go = batch.due <= now && self.sent.len() < self.options.in_flight;
            let place = if may_go { session.batches.try_reserve().ok() } else { None };
            let Some(place) = place else {
                self.waiting.push_back(batch);
                continue;
            };
            place.send(batch.message(self.next_id));
            self.sent.insert(self.next_id, batch);
            self.next_id += 1;
        }
    }

    fn answered(&mut self, result: proto::EnqueueResult) {
        let Some(batch) = self.sent.remove(&result.id) else { return };
        if !result.key_prefix.is_empty() {
            self.name = result.key_prefix.into();
        }
        let error = match result.outcome {
            Some(Outcome::Enqueued(response)) => {
                if let Way::Open(session) = &mut self.way {
                    session.proven = true;
                }
                self.backoff.reset();
                return batch.settle(response.jobs);
            }
            Some(Outcome::Problem(problem)) => Error::Refused(Refusal::from(problem)),
            None => Error::Broken("an answer of a newer version".into()),
        };
        tracing::debug!(%error, "a batch was not taken in");
        self.last_error = Some(error.clone());
        let of_the_node = error.is_of_the_node();
        if let Verdict::Again(batches) = batch.refused(error.clone(), Instant::now()) {
            let stuck = of_the_node && batches.iter().any(|batch| batch.failures % FAILURES_MAX == 0);
            self.waiting.extend(batches);
            if stuck {
                self.lost(error);
            }
        }
    }

    /// The session is over: what was not answered goes to another node, under the same keys.
    fn lost(&mut self, error: Error) {
        let Way::Open(session) = &self.way else { return };
        tracing::debug!(url = &*session.url, %error, unanswered = self.sent.len(), "the enqueue stream is lost");
        match &error {
            Error::Broken(_) | Error::TimedOut(_) => self.nodes.failed(&session.url),
            _ => self.nodes.leave(&session.url),
        }
        let now = Instant::now();
        let pause = if session.proven { Duration::ZERO } else { self.backoff.pause() };
        self.way = Way::Closed { until: now + pause };
        for (_, mut batch) in self.sent.drain() {
            batch.unknown = true;
            batch.due = now;
            self.waiting.push_back(batch);
        }
        if error.is_retryable() {
            self.last_error = Some(error);
        } else {
            self.fail_all(&error);
        }
    }

    fn not_opened(&mut self, error: Error) {
        self.way = Way::Closed { until: Instant::now() + self.backoff.pause() };
        if error.is_retryable() {
            self.last_error = Some(error);
        } else {
            self.fail_all(&error);
        }
    }

    fn fail_all(&mut self, error: &Error) {
        for batch in self.waiting.drain(..) {
            batch.fail(error);
        }
    }

    /// Tells callers whose time is up.
    fn expire(&mut self, now: Instant) {
        let unreachable = matches!(&self.last_error, Some(Error::Unreachable(_))) && !matches!(self.way, Way::Open(_));
        let patience = self.options.patience;
        let is_over = |batch: &Batch| batch.end <= now || (unreachable && batch.made + patience <= now);
        let late = Error::TimedOut("the batch was not answered before its deadline".into());
        for (_, batch) in self.sent.extract_if(|_, batch| batch.end <= now) {
            batch.fail(&late);
        }
        for _ in 0..self.waiting.len() {
            match self.waiting.pop_front() {
                Some(batch) if is_over(&batch) => batch.fail(self.last_error.as_ref().unwrap_or(&late)),
                Some(batch) => self.waiting.push_back(batch),
                None => (),
            }
        }
    }

    fn wake_at(&self, now: Instant) -> Instant {
        let patience = self.options.patience;
        let sent = self.sent.values().map(|batch| batch.end);
        let waiting = self.waiting.iter().flat_map(|batch| [batch.end, batch.due, batch.made + patience]);
        let open = match self.way {
            Way::Closed { until } if !self.waiting.is_empty() => Some(until),
            _ => None,
        };
        // What is in the past was seen to, or waits for something else than time.
        sent.chain(waiting).chain(open).filter(|at| *at > now).min().unwrap_or(now + IDLE)
    }
}
