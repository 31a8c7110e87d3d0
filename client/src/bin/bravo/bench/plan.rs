//! What is asked for, with everything decided.

use std::time::Duration;

use clap::ValueEnum;

use super::cpu::Daemons;
use super::payload::BYTES_MIN;
use crate::exit::Failure;
use crate::global::Global;

/// Jobs to choose from where jobs are read.
const READ: u64 = 10_000;

/// What is done again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    /// Enqueue only
    Enqueue,
    /// Enqueue, deliver, acknowledge
    E2e,
    /// The same at a fixed rate
    Mixed,
    /// Read single jobs over REST, of those that --preload enqueued
    Read,
    /// Start workflows from the template `crud` over REST, as a web page would
    Workflow,
}

impl Mode {
    /// Whether jobs are enqueued.
    pub(super) fn enqueues(self) -> bool {
        !matches!(self, Self::Read | Self::Workflow)
    }
}

/// How the cluster is talked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Transport {
    /// The client library: streams
    Grpc,
    /// HTTP/1.1, a call per batch
    Rest,
}

/// Load a cluster and measure it.
///
/// With --rate the loop is open: jobs are meant to start at fixed times, and latency counts from
/// then, so that a stall is charged for everything that it held up. Without, it is closed: as fast
/// as it goes. The run ends by itself.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// What is done
    #[arg(long, value_enum, default_value_t = Mode::E2e)]
    pub(crate) mode: Mode,
    /// Jobs a second (open loop); as fast as it goes unless given
    #[arg(long, value_name = "N", value_parser = positive)]
    rate: Option<f64>,
    /// Bytes of a payload, 18 or more
    #[arg(long, value_name = "BYTES", default_value_t = 256, value_parser = clap::value_parser!(u32).range(BYTES_MIN as i64..=1 << 20))]
    payload: u32,
    /// Jobs of one enqueue call; more than 1 also acknowledges in batches
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    batch: u32,
    /// Tasks that each await their own call (enqueue, read or start); 32, or 8 with batches
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    producers: Option<u32>,
    /// Jobs that are worked on at once; with batches, workers with a batch of credits each: 32, or 8
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    workers: Option<u32>,
    /// Clients that these share, each bound to one of the servers; one per server unless given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    connections: Option<u32>,
    /// How the cluster is talked to
    #[arg(long, value_enum, default_value_t = Transport::Grpc)]
    transport: Transport,
    /// How long it is measured
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// How long it runs before
    #[arg(long, value_name = "S", default_value_t = 2, value_parser = clap::value_parser!(u64).range(0..=3_600))]
    warmup: u64,
    /// The queue; a new one unless given
    #[arg(long)]
    queue: Option<String>,
    /// Producers pause while more jobs are open than this: 2,000, or 20,000 with batches
    #[arg(long, value_name = "N")]
    open_max: Option<u64>,
    /// Jobs to enqueue first, of low priority, for the effect of size, or to be read (then 10,000 unless given)
    #[arg(long, value_name = "N")]
    preload: Option<u64>,
    /// Measure the CPU time of these processes
    #[arg(long, value_name = "PID,..", value_delimiter = ',', conflicts_with = "daemon_cpu")]
    daemon_pids: Vec<u32>,
    /// Measure the CPU time that the servers tell in their metrics; each must be a process of its own
    #[arg(long)]
    daemon_cpu: bool,
    /// Threads of this program's own work
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) threads: u32,
}

/// What is asked for, with everything decided.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) mode: Mode,
    pub(super) transport: Transport,
    /// Calls a second.
    pub(super) calls_per_second: Option<f64>,
    pub(super) payload: usize,
    pub(super) batch: usize,
    pub(super) producers: usize,
    pub(super) workers: usize,
    pub(super) connections: usize,
    pub(super) seconds: Duration,
    pub(super) warmup: Duration,
    pub(super) queue: String,
    pub(super) open_max: u64,
    pub(super) preload: u64,
    pub(super) daemons: Option<Daemons>,
    /// Distinguishes the jobs of this run from others in the queue.
    pub(super) run: u16,
}

impl Plan {
    pub(super) fn new(args: &Args, global: &Global) -> Result<Self, Failure> {
        if args.mode == Mode::Mixed && args.rate.is_none() {
            return Err(Failure::Usage("--mode mixed needs a --rate".into()));
        }
        let jobs = args.mode.enqueues();
        if !jobs && args.batch > 1 {
            return Err(Failure::Usage("--batch is for jobs that are enqueued".into()));
        }
        let transport = if jobs { args.transport } else { Transport::Rest };
        if transport == Transport::Rest && global.servers.iter().any(|url| url.starts_with("https:")) {
            return Err(Failure::Usage("--transport rest measures http:// servers only".into()));
        }
        let urls = || global.servers.iter().map(|url| base(url)).collect();
        let daemons = match (args.daemon_pids.is_empty(), args.daemon_cpu) {
            (false, _) => Some(Daemons::Processes(args.daemon_pids.clone())),
            (true, true) => Some(Daemons::Metrics(urls())),
            (true, false) => None,
        };
        let many = args.batch > 1;
        let side = |given: Option<u32>| given.unwrap_or(if many { 8 } else { 32 }) as usize;
        let run: u16 = rand::random();
        Ok(Self {
            mode: args.mode,
            transport,
            calls_per_second: args.rate.map(|rate| rate / f64::from(args.batch)),
            payload: args.payload as usize,
            batch: args.batch as usize,
            producers: side(args.producers),
            workers: side(args.workers),
            connections: args.connections.map_or(global.servers.len(), |number| number as usize).max(1),
            seconds: Duration::from_secs(args.seconds),
            warmup: Duration::from_secs(args.warmup),
            queue: args.queue.clone().unwrap_or_else(|| format!("bench-{}-{run:04x}", std::process::id())),
            open_max: args.open_max.unwrap_or(if many { 20_000 } else { 2_000 }).max(1),
            preload: match args.mode {
                Mode::Read => args.preload.unwrap_or(READ).max(1),
                _ => args.preload.unwrap_or(0),
            },
            daemons,
            run,
        })
    }

    /// Whether jobs are worked on.
    pub(super) fn works(&self) -> bool {
        matches!(self.mode, Mode::E2e | Mode::Mixed)
    }
}

/// A server's URL as paths are appended to it.
pub(super) fn base(url: &str) -> String {
    let url = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    url.trim_end_matches('/').to_owned()
}

fn positive(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "a number")?;
    (rate.is_finite() && (0.01..=10_000_000.0).contains(&rate)).then_some(rate).ok_or_else(|| "0.01 to 10,000,000".into())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        global: Global,
        #[command(flatten)]
        args: Args,
    }

    fn plan(line: &str) -> Result<Plan, String> {
        let cli = Cli::try_parse_from(std::iter::once("bench").chain(line.split_whitespace()));
        let cli = cli.map_err(|error| error.to_string())?;
        Plan::new(&cli.args, &cli.global).map_err(|failure| format!("{failure:?}"))
    }

    #[test]
    fn defaults_depend_on_the_batch() {
        let one = plan("").unwrap();
        assert_eq!((one.batch, one.producers, one.workers, one.open_max), (1, 32, 32, 2_000));
        assert!(one.works() && one.calls_per_second.is_none() && one.daemons.is_none());
        let many = plan("--batch 64 --rate 6400 --mode enqueue --server http://a:1,b:2/ --daemon-cpu").unwrap();
        assert_eq!((many.producers, many.workers, many.open_max, many.connections), (8, 8, 20_000, 2));
        assert_eq!((many.calls_per_second, many.works()), (Some(100.0), false));
        assert!(matches!(many.daemons, Some(Daemons::Metrics(urls)) if urls == ["http://a:1", "http://b:2"]));
        assert!(matches!(plan("--daemon-pids 1,2").unwrap().daemons, Some(Daemons::Processes(pids)) if pids == [1, 2]));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in [
            "--mode mixed",
            "--mode all",
            "--mode read --batch 2",
            "--mode workflow --server https://a:1",
            "--rate 0",
            "--rate nan",
            "--payload 17",
            "--batch 1001",
            "--seconds 0",
            "--transport rest --server https://a:1",
            "--daemon-cpu --daemon-pids 1",
        ] {
            assert!(plan(line).is_err(), "{line}");
        }
        assert!(plan("--mode mixed --rate 0.5 --payload 18").is_ok());
    }

    #[test]
    fn reads_and_workflows_go_over_rest_and_nobody_works() {
        let read = plan("--mode read --rate 10000").unwrap();
        assert_eq!((read.transport, read.preload, read.works()), (Transport::Rest, 10_000, false));
        let workflow = plan("--mode workflow --producers 500").unwrap();
        assert_eq!((workflow.transport, workflow.preload, workflow.producers), (Transport::Rest, 0, 500));
    }
}
