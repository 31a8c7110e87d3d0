//! `Work`: one worker's stream. Its credit stands in line at every queue that it serves.
//!
//! ```text
//!   credit ──► reserve ──► window ──► lines at the queues' dispatchers
//!                            ▲                    │ deliveries
//!                            └──── sent ◄─────────┘──► the worker
//! ```
//!
//! Only a window of the credit stands in line, so that a worker that does not read holds a bounded
//! number of bytes here, however much it once granted.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bravo_api::convert::leases::{self, Item, Worker};
use bravo_api::problem::status_of;
use bravo_api::proto::{self, work_request::Message as Asked, work_response::Message as Said};
use bravo_model::{Code, Command, Name, Refusal};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::dispatch::queue::{InLine, Sink};
use crate::dispatch::streams::{OpenStream, Unwanted};
use crate::dispatch::workers::{Card, Described};
use crate::dispatch::{Credit, Dispatcher, Profile, Waiter};
use crate::gateway::app::App;
use crate::gateway::auth::KEY_EVERY;
use crate::gateway::call::Call;
use crate::gateway::service::{held::Held, items};
use crate::transport::wire::Delivery;

/// What goes to the worker.
pub(super) type Answers = ReceiverStream<Result<proto::WorkResponse, Status>>;

/// Messages between this task and the connection.
const OUT_MAX: usize = 4;
/// A worker that does not read for this long is cut off.
const UNREAD_MAX: Duration = Duration::from_secs(30);
/// Longest wait for the hello.
const HELLO_MAX: Duration = Duration::from_secs(10);
/// Batches of acks, nacks and extensions that are under way.
const BATCHES_MAX: usize = 32;
/// Jobs that stand in line or on their way to the worker.
const WINDOW_JOBS: u32 = 2_048;
/// Payload bytes of them, by the size of the jobs that came lately.
const WINDOW_BYTES: u64 = 16 << 20;

/// Takes the hello and starts the stream's task.
pub(super) async fn open(
    app: Arc<App>,
    call: Call,
    mut asks: Streaming<proto::WorkRequest>,
) -> Result<Answers, Status> {
    let (out, answers) = mpsc::channel(OUT_MAX);
    tokio::spawn(async move {
        let hello = tokio::time::timeout(HELLO_MAX, hello(&mut asks)).await;
        let late = || Err(status_of(Refusal::new(Code::DeadlineExceeded, "no hello came")));
        match hello.unwrap_or_else(|_| late()) {
            Ok(worker) => Session::new(app, call, worker, out).run(asks).await,
            Err(status) => drop(out.send(Err(status)).await),
        }
    });
    Ok(ReceiverStream::new(answers))
}

async fn hello(asks: &mut Streaming<proto::WorkRequest>) -> Result<Worker, Status> {
    match asks.message().await?.and_then(|ask| ask.message) {
        Some(Asked::Hello(hello)) => leases::hello(hello).map_err(status_of),
        _ => Err(status_of(Refusal::new(Code::InvalidArgument, "hello: the first message of a stream"))),
    }
}

/// Why a stream ends.
enum End {
    /// The worker left, or does not read.
    Gone,
    /// The worker is told.
    Refused(Refusal),
}

impl From<Refusal> for End {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

type Results = BoxFuture<'static, (proto::Results, u32)>;

struct Session {
    app: Arc<App>,
    call: Call,
    worker: Worker,
    out: mpsc::Sender<Result<proto::WorkResponse, Status>>,
    /// Credit that does not stand in line yet.
    reserve: u32,
    /// Credit that stands in line or is on its way as jobs.
    exposed: u32,
    credit: Arc<Credit>,
    card: Arc<Card>,
    profile: Arc<Profile>,
    lines: Vec<(Name, Arc<InLine>)>,
    sender: mpsc::UnboundedSender<Delivery>,
    deliveries: mpsc::UnboundedReceiver<Delivery>,
    opened: OpenStream,
    batches: FuturesUnordered<Results>,
    /// Mean payload bytes of the jobs that came lately.
    job_bytes: u64,
    in_flight: u32,
    /// What is to be said when no job can come any more.
    farewells: VecDeque<Said>,
}

impl Session {
    fn new(app: Arc<App>, call: Call, worker: Worker, out: mpsc::Sender<Result<proto::WorkResponse, Status>>) -> Self {
        let (sender, deliveries) = mpsc::unbounded_channel();
        let Worker { id, queues, capacity, in_flight, .. } = &worker;
        let described = Described {
            agent_type: worker.agent_type.clone(),
            capacity: Some(*capacity),
            weight: worker.weight,
            labels: worker.labels.clone(),
            project: call.caller.project.clone(),
        };
        let profile = Profile { project: described.project.clone(), labels: worker.labels.clone() };
        let Dispatcher { workers, balance, .. } = &app.cluster.dispatcher;
        let card = workers.hello(id, queues, *in_flight, described);
        balance.came(workers, None);
        Self {
            lines: worker.queues.iter().map(|queue| (queue.clone(), Arc::default())).collect(),
            in_flight: worker.in_flight,
            opened: app.cluster.dispatcher.streams.open(id, call.caller.project.as_ref()),
            card,
            profile: Arc::new(profile),
            app,
            call,
            worker,
            out,
            reserve: 0,
            exposed: 0,
            credit: Credit::new(0),
            sender,
            deliveries,
            batches: FuturesUnordered::new(),
            job_bytes: 0,
            farewells: VecDeque::new(),
        }
    }

    async fn run(mut self, asks: Streaming<proto::WorkRequest>) {
        if let Err(End::Refused(refusal)) = self.serve(asks).await {
            let _ = tokio::time::timeout(UNREAD_MAX, self.out.send(Err(status_of(refusal)))).await;
        }
        self.app.cluster.dispatcher.workers.bye(&self.card);
        // What was leased for it and not sent goes to others.
        self.credit.close();
        self.deliveries.close();
        let mut held = Held::new(&self.app.cluster);
        while let Ok(delivery) = self.deliveries.try_recv() {
            held.add(delivery);
        }
    }

    async fn serve(&mut self, mut asks: Streaming<proto::WorkRequest>) -> Result<(), End> {
        let drain = self.app.drain.clone();
        let (mut asking, mut leaving) = (true, false);
        let mut look_at_key = tokio::time::interval(KEY_EVERY);
        while asking || !self.batches.is_empty() || !self.farewells.is_empty() {
            tokio::select! {
                ask = asks.message(), if asking && self.batches.len() < BATCHES_MAX => match ask {
                    Ok(Some(ask)) => self.take(ask)?,
                    Ok(None) => {
                        asking = false;
                        self.credit.close();
                        self.leaves();
                    }
                    Err(_) => return Err(End::Gone),
                },
                Some(delivery) = self.deliveries.recv() => self.deliver(delivery).await?,
                cancels = self.opened.cancels() => self.cancel(cancels).await?,
                Some((results, ended)) = self.batches.next(), if !self.batches.is_empty() => {
                    self.in_flight = self.in_flight.saturating_sub(ended);
                    self.report();
                    self.say(Said::Results(results)).await?;
                }
                () = self.credit.settled() => self.stand_in_line(),
                _ = look_at_key.tick() => self.app.door.holds(&self.app.cluster, &self.call.caller)?,
                () = drain.cancelled(), if !leaving => {
                    leaving = true;
                    self.farewell(Said::GoAway(proto::GoAway { reason: "this node is stopping".into() }));
                }
                () = self.out.closed() => return Err(End::Gone),
            }
            self.say_farewells().await?;
        }
        Ok(())
    }

    /// One message of the worker.
    fn take(&mut self, ask: proto::WorkRequest) -> Result<(), End> {
        match ask.message {
            Some(Asked::Credit(credit)) => {
                self.reserve = self.reserve.saturating_add(credit.n);
                self.stand_in_line();
            }
            Some(Asked::Ack(batch)) => {
                self.batch(batch.sequence, true, leases::acks(batch.acks)?, Command::Ack);
            }
            Some(Asked::Nack(batch)) => {
                self.batch(batch.sequence, true, leases::nacks(batch.nacks)?, Command::Nack);
            }
            Some(Asked::Extend(batch)) => {
                self.batch(batch.sequence, false, leases::extends(batch.leases)?, Command::Extend);
            }
            Some(Asked::Stop(_)) => {
                self.farewell(Said::Stopped(proto::Stopped {}));
                self.leaves();
            }
            Some(Asked::Hello(_)) => return Err(Refusal::new(Code::InvalidArgument, "hello: only once").into()),
            None => return Err(Refusal::new(Code::InvalidArgument, "a message of a kind that is not known").into()),
        }
        self.report();
        Ok(())
    }

    /// Hands a batch in; `ends` says whether its items end leases.
    fn batch<T: items::Part + Send + 'static>(
        &mut self,
        sequence: u64,
        ends: bool,
        items: Vec<Item<T>>,
        command: impl Fn(Vec<T>) -> Command + Send + 'static,
    ) {
        let call = self.call.part(Duration::from_millis(self.app.limits.request_timeout_ms));
        let (app, count) = (self.app.clone(), items.len());
        self.batches.push(Box::pin(async move {
            match items::each(&app, &call, items, command, || [0; 16]).await {
                Ok(results) => {
                    let done = results.iter().filter(|result| ends && result.code.is_empty()).count();
                    (proto::Results { sequence, results }, u32::try_from(done).unwrap_or(u32::MAX))
                }
                Err(refusal) => (proto::Results { sequence, results: vec![refusal.code.into(); count] }, 0),
            }
        }));
    }

    /// No more jobs; what is already leased for the worker still comes, then this is said.
    fn farewell(&mut self, said: Said) {
        self.credit.close();
        self.reserve = 0;
        self.farewells.push_back(said);
        self.report();
    }

    /// The worker itself takes no more jobs, at whatever node.
    fn leaves(&self) {
        self.report();
        self.app.cluster.dispatcher.workers.leaves(&self.card);
    }

    /// What it has to do, and whether it takes more: now, or when it has done that.
    fn report(&self) {
        let takes = !self.credit.is_closed() && (self.reserve > 0 || self.exposed > 0 || self.in_flight > 0);
        self.app.cluster.dispatcher.workers.holds(&self.card, self.in_flight, takes);
    }

    async fn say_farewells(&mut self) -> Result<(), End> {
        while !self.farewells.is_empty() && self.credit.asked() == 0 {
            self.deliver_all().await?;
            if let Some(said) = self.farewells.pop_front() {
                self.say(said).await?;
            }
        }
        Ok(())
    }

    /// Moves credit from the reserve to the window, and waits at each queue where nobody waits for it.
    fn stand_in_line(&mut self) {
        let fit = WINDOW_BYTES.checked_div(self.job_bytes).unwrap_or(u64::MAX).clamp(8, WINDOW_JOBS.into());
        let room = u32::try_from(fit).unwrap_or(WINDOW_JOBS).saturating_sub(self.exposed);
        let more = self.reserve.min(room);
        self.reserve -= more;
        self.exposed += more;
        self.credit.grant(more);
        if self.credit.open() == 0 {
            return;
        }
        for (queue, in_line) in &self.lines {
            if in_line.step_in() {
                let waiter = Waiter {
                    card: self.card.clone(),
                    profile: self.profile.clone(),
                    is_sticky: true,
                    lease_ms: self.worker.lease_ms,
                    credit: self.credit.clone(),
                    sink: Sink::Stream(self.sender.clone(), in_line.clone()),
                };
                self.app.cluster.dispatcher.wait(&self.app.cluster, queue, waiter);
            }
        }
    }

    /// Tells the worker what nobody wants any more, after the jobs themselves.
    async fn cancel(&mut self, cancels: Vec<Unwanted>) -> Result<(), End> {
        self.deliver_all().await?;
        let leases = cancels.into_iter().map(|unwanted| leases::held(unwanted.job, unwanted.token)).collect();
        self.say(Said::CancelRequested(proto::CancelRequested { leases })).await
    }

    async fn deliver_all(&mut self) -> Result<(), End> {
        while let Ok(delivery) = self.deliveries.try_recv() {
            self.deliver(delivery).await?;
        }
        Ok(())
    }

    async fn deliver(&mut self, delivery: Delivery) -> Result<(), End> {
        let jobs = u32::try_from(delivery.jobs.len()).unwrap_or(u32::MAX);
        let bytes: usize = delivery.jobs.iter().map(|(_, payload)| payload.bytes.len()).sum();
        self.job_bytes = (self.job_bytes + bytes as u64 / u64::from(jobs.max(1))) / 2;
        let mut held = Held::new(&self.app.cluster);
        held.add(delivery);
        // The jobs are the worker's only when there is room for the message.
        let Ok(Ok(room)) = tokio::time::timeout(UNREAD_MAX, self.out.reserve()).await else { return Err(End::Gone) };
        let message = Said::Jobs(proto::Delivery { jobs: held.take() });
        room.send(Ok(proto::WorkResponse { message: Some(message) }));
        self.exposed = self.exposed.saturating_sub(jobs);
        self.in_flight = self.in_flight.saturating_add(jobs);
        self.report();
        self.stand_in_line();
        Ok(())
    }

    async fn say(&mut self, message: Said) -> Result<(), End> {
        let send = self.out.send(Ok(proto::WorkResponse { message: Some(message) }));
        match tokio::time::timeout(UNREAD_MAX, send).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(End::Gone),
        }
    }
}
