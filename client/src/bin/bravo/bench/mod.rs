//! `bravo bench`: how fast it is, without fooling oneself.
//!
//! ```text
//!   Starter: when calls are due ──► producers ──► daemons ──► workers
//!                                      │                        │
//!                                      └──► Record: latency from the due time ◄──┘ (in the payload)
//! ```

mod cpu;
mod grpc;
pub(crate) mod http;
mod payload;
mod plan;
mod record;
mod report;
mod rest;
mod schedule;

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::exit::Failure;
use crate::global::Global;
use crate::output::show;
use http::Http;
use payload::Payload;
pub(crate) use plan::Args;
use plan::{Mode, Plan, Transport, base};
use record::Record;
use report::Report;
use schedule::{Starter, micros};

/// How long what is under way may take when the time is up.
const GRACE: Duration = Duration::from_secs(5);
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) async fn run(args: Args, global: &Global) -> Result<(), Failure> {
    let plan = Arc::new(Plan::new(&args, global)?);
    let (threads, own) = (args.threads as usize, global.clone());
    // A runtime of its own: with one thread nothing is woken across cores, which costs the daemons less.
    let measuring = move || {
        let runtime = match threads {
            1 => Builder::new_current_thread().enable_all().build(),
            many => Builder::new_multi_thread().worker_threads(many).enable_all().build(),
        };
        let runtime = runtime.map_err(|error| Failure::Usage(format!("threads: {error}")))?;
        let report = runtime.block_on(measure(&plan, &own));
        runtime.shutdown_background();
        report
    };
    let report = tokio::task::spawn_blocking(measuring).await;
    let report = report.map_err(|error| Failure::No(error.to_string()))??;
    show(global.output, &report, report::render);
    Ok(())
}

/// Both sides of the load.
struct Load {
    producers: JoinSet<()>,
    workers: Workers,
    stop: CancellationToken,
}

enum Workers {
    Grpc(JoinSet<Result<bravo_client::Summary, bravo_client::Error>>),
    Rest(JoinSet<u64>),
}

async fn measure(plan: &Arc<Plan>, global: &Global) -> Result<Report, Failure> {
    let calls = plan.producers.max(plan.workers);
    let http = Http::new(calls, global.key.as_deref(), CALL_TIMEOUT).map_err(Failure::Usage)?;
    let clients = grpc::clients(plan, global)?;
    // Also shows that there is a server at all.
    clients[0].cluster().await?;
    let ask = rest::Ask::of(plan, &http, &base(&global.servers[0])).await.map_err(Failure::No)?;
    if plan.preload > 0 && plan.mode != Mode::Read {
        grpc::preload(plan, &clients[0]).await?;
    }
    let starter = Starter::new(plan.warmup + plan.seconds, plan.calls_per_second);
    let payload = Payload::new(plan.run, plan.payload);
    let record = Arc::new(Record::new(starter, payload, micros(plan.warmup)).map_err(Failure::No)?);

    let load = Load::start(plan, global, &clients, &http, &ask, &record);
    let beat = record.clone();
    let beating = tokio::task::spawn_blocking(move || beat.starter().beat());
    tokio::time::sleep(plan.warmup).await;
    let before = Cpu::now(plan, &http).await?;
    tokio::time::sleep(plan.seconds).await;
    let after = Cpu::now(plan, &http).await?;
    let (enqueued, finished) = record.counted();
    let unstarted = record.starter().end();
    record.unstarted(&unstarted);
    drop(beating.await);
    let acks_accepted = load.end(plan, &record).await;

    let seconds = plan.seconds.as_secs_f64();
    let [call, delivery] = record.latencies();
    let (enqueue, call) = if plan.mode.enqueues() { (call, None) } else { (None, call) };
    let jobs = if plan.works() { finished } else { enqueued };
    let daemons = after.daemons.zip(before.daemons).map(|(after, before)| after - before);
    Ok(Report {
        mode: plan.mode,
        transport: plan.transport,
        rate: plan.calls_per_second.map(|calls| calls * plan.batch as f64),
        queue: plan.queue.clone(),
        payload_bytes: plan.payload,
        batch: plan.batch,
        seconds,
        jobs: enqueued,
        enqueued_per_second: enqueued as f64 / seconds,
        finished,
        finished_per_second: finished as f64 / seconds,
        unstarted_calls: unstarted.len(),
        left_open: if plan.works() { record.open() } else { 0 },
        acks_accepted,
        enqueue,
        call,
        delivery,
        daemon_cpu_seconds: daemons,
        daemon_cpu_seconds_per_100k_jobs: daemons.filter(|_| jobs > 0).map(|cpu| cpu * 1e5 / jobs as f64),
        own_cpu_seconds: after.own - before.own,
        errors: record.errors(),
    })
}

/// CPU seconds so far.
struct Cpu {
    own: f64,
    daemons: Option<f64>,
}

impl Cpu {
    async fn now(plan: &Plan, http: &Http) -> Result<Self, Failure> {
        let own = cpu::of_process("self").map_err(Failure::No)?;
        let daemons = match &plan.daemons {
            Some(daemons) => Some(daemons.cpu_seconds(http).await.map_err(Failure::No)?),
            None => None,
        };
        Ok(Self { own, daemons })
    }
}

impl Load {
    fn start(
        plan: &Arc<Plan>,
        global: &Global,
        clients: &[bravo_client::Client],
        http: &Http,
        ask: &rest::Ask,
        record: &Arc<Record>,
    ) -> Self {
        let (mut producers, stop) = (JoinSet::new(), CancellationToken::new());
        let urls: Vec<String> = global.servers.iter().map(|url| base(url)).collect();
        let workers = match (plan.transport, plan.works()) {
            (Transport::Grpc, true) => Workers::Grpc(grpc::work(plan, clients, record, &stop)),
            (Transport::Rest, true) => Workers::Rest(rest::work(plan, http, &urls, record, &stop)),
            (_, false) => Workers::Rest(JoinSet::new()),
        };
        match plan.transport {
            Transport::Grpc => grpc::produce(plan, clients, record, &mut producers),
            Transport::Rest => rest::produce(plan, http, &urls, ask, record, &mut producers),
        }
        Self { producers, workers, stop }
    }

    /// Lets what is under way come to its end; how many acks were accepted.
    async fn end(mut self, plan: &Plan, record: &Record) -> u64 {
        let producing = async { while self.producers.join_next().await.is_some() {} };
        drop(tokio::time::timeout(GRACE, producing).await);
        self.producers.abort_all();
        let draining = async {
            while plan.works() && record.open() > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        drop(tokio::time::timeout(GRACE, draining).await);
        self.stop.cancel();
        let mut accepted = 0;
        let leaving = async {
            match &mut self.workers {
                Workers::Grpc(tasks) => {
                    while let Some(ended) = tasks.join_next().await {
                        match ended {
                            Ok(Ok(summary)) => accepted += summary.acked,
                            _ => record.failed("worker_failed"),
                        }
                    }
                }
                Workers::Rest(tasks) => {
                    while let Some(ended) = tasks.join_next().await {
                        accepted += ended.unwrap_or(0);
                    }
                }
            }
        };
        drop(tokio::time::timeout(GRACE * 3, leaving).await);
        accepted
    }
}
