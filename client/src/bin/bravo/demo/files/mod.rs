//! `bravo demo files`: a cluster that does real work, loses a node in the middle, and proves that no job
//! was lost or acknowledged twice.
//!
//! ```text
//!   files ──► producer ──► 3 × bravod (files, QUIC, fsync) ──► workers: hash, compress, count
//!                              ▲          ▲                          │
//!          probers, one per partition   SIGKILL of the leader      results ──► proof over REST
//! ```

mod proof;
mod report;
mod stats;
mod traffic;
mod walk;
mod work;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::fault::{Fault, Scene};
use super::nodes::Nodes;
use super::probe::Probes;
use super::screen::Screen;
use super::view::Leaders;
use super::{Setting, client};
use crate::bench::http::Http;
use crate::exit::Failure;
use crate::global::Global;
use crate::output::show;
use proof::{Claim, Proof};
use report::Report;
use stats::Stats;
use traffic::{Sent, Workers};

/// From the first job to the fault.
const FAULT_AFTER: Duration = Duration::from_secs(4);
/// How long the last jobs may take.
const LAST_JOBS_MAX: Duration = Duration::from_secs(30);
const FEW_FILES: usize = 50;

/// Run a cluster of three, give it work, kill its leader, and prove that nothing was lost.
///
/// Each file of a directory is a job, round after round; workers hash, compress and count. In the
/// middle the node that leads most partitions is killed with SIGKILL and comes back. Then every
/// node is asked over REST for what it knows, which is compared with the files.
#[derive(clap::Args, Clone, Debug)]
#[group(id = "files-demo")]
pub(crate) struct Args {
    /// The directory whose files are worked on
    #[arg(default_value = ".")]
    dir: PathBuf,
    #[command(flatten)]
    setting: Setting,
    /// Workers, each with a connection of its own
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    workers: u16,
    /// Jobs per file; as many as fit into the time unless given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000))]
    rounds: Option<u64>,
    /// How long new rounds are begun
    #[arg(long, value_name = "S", default_value_t = 12, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// At most this many files
    #[arg(long, value_name = "N", default_value_t = 4_000, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    files_max: u64,
}

pub(super) async fn run(args: &Args, global: &Global) -> Result<(), Failure> {
    let screen = Screen::new(global.output);
    let program = args.setting.bravod()?;
    let unreadable = |error: std::io::Error| Failure::Usage(format!("{}: {error}", args.dir.display()));
    let root = args.dir.canonicalize().map_err(unreadable)?;
    let files = walk::walk(&root, usize::try_from(args.files_max).unwrap_or(usize::MAX)).map_err(unreadable)?;
    let bytes: u64 = files.iter().map(|file| file.bytes).sum();
    match files.len() {
        0 => return Err(Failure::Usage(format!("{}: no files to work on; name a directory", root.display()))),
        few @ 1..FEW_FILES => screen.event(&format!("only {few} files in {}: a small demo", root.display())),
        many => screen.event(&format!("{many} files, {bytes} bytes in {}", root.display())),
    }

    // Dropped after the nodes, which write into it.
    let folder = args.setting.folder()?;
    let http = Http::new(32, None, Duration::from_secs(10)).map_err(Failure::Usage)?;
    screen.event(&format!("starting {} nodes in {}", args.setting.nodes, folder.path().display()));
    let mut nodes = Nodes::start(&program, folder.path(), args.setting.nodes).map_err(Failure::No)?;
    let run = Run { args, screen: &screen, http: &http, root: &root, files: Arc::new(files), bytes };
    let outcome = run.all(&mut nodes).await;
    let ended = nodes.ended();
    drop(nodes);
    let report = outcome.map_err(|error| Failure::No(ended.map_or(error.clone(), |words| format!("{error}\n{words}"))))?;
    show(global.output, &report, report::render);
    match report.pass {
        true => Ok(()),
        false => Err(Failure::No("the demo found something wrong".into())),
    }
}

/// One run on a cluster that was started.
struct Run<'a> {
    args: &'a Args,
    screen: &'a Screen,
    http: &'a Http,
    root: &'a Path,
    files: Arc<Vec<walk::File>>,
    bytes: u64,
}

impl Run<'_> {
    async fn all(&self, nodes: &mut Nodes) -> Result<Report, String> {
        nodes.ready(self.http).await?;
        let urls = nodes.urls();
        let leaders = Leaders::ask(self.http, &urls).await?;
        self.screen.event(&format!("{} nodes are ready; leaders: {}", urls.len(), leaders.text()));

        let client = client(&urls)?;
        let probes = Probes::start(&client, leaders.groups.saturating_sub(1)).await?;
        let stats = Arc::new(Stats::new()?);
        let workers = Workers::start(self.args.workers.into(), &urls, self.root, &stats)?;
        let (over, finished) = (AtomicBool::new(false), AtomicBool::new(false));
        let scene = Scene { http: self.http, probes: &probes, screen: self.screen, over: &over };
        let goes_on = |round: u64| match self.args.rounds {
            Some(rounds) => round < rounds,
            None => {
                let enough = stats.start.elapsed() >= Duration::from_secs(self.args.seconds);
                round == 0 || !enough || !over.load(Ordering::Relaxed)
            }
        };
        let producing = async {
            let sent = traffic::produce(client.clone(), self.files.clone(), stats.clone(), goes_on).await;
            finished.store(true, Ordering::Relaxed);
            sent
        };
        let faulting = async {
            self.halfway(&stats, &finished).await;
            scene.play(nodes).await
        };
        let both = async { tokio::try_join!(producing, faulting) };
        let ((rounds, sent), fault) = tokio::select! {
            done = both => done?,
            () = self.tell(&stats, &urls) => return Err("the display ended".into()),
        };
        self.last_jobs(&stats, &urls, sent.len() as u64).await?;
        let seconds = stats.start.elapsed().as_secs_f64();
        let summary = workers.stop().await?;
        let probes = probes.stop().await?;

        let (files, acked) = (&*self.files, summary.acked);
        self.screen.event(&format!("all {} jobs are done; asking every node for proof", sent.len()));
        let claim = Claim { root: self.root, files, jobs: &sent, rounds, acked, probes: &probes };
        let proof = proof::prove(self.http, &urls, &claim).await?;
        Ok(self.report(&stats, seconds, &claim, proof, &fault, leaders.groups))
    }

    /// The moment for the fault: some seconds in, or in the middle of a number of rounds.
    async fn halfway(&self, stats: &Stats, finished: &AtomicBool) {
        let half = self.args.rounds.map_or(u64::MAX, |rounds| rounds * self.files.len() as u64 / 2);
        let is_half = || stats.done.load(Ordering::Relaxed) >= half || finished.load(Ordering::Relaxed);
        while stats.start.elapsed() < FAULT_AFTER && !is_half() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until no job is left, as a node counts them.
    async fn last_jobs(&self, stats: &Stats, urls: &[String], jobs: u64) -> Result<(), String> {
        let work = async {
            traffic::all_done(stats, jobs).await;
            while proof::left(self.http, &urls[0]).await? > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Ok(())
        };
        let late = |_| format!("{} of {jobs} jobs were not done in time", stats.open());
        tokio::time::timeout(LAST_JOBS_MAX, work).await.map_err(late)?
    }

    /// Shows how far it is until the end.
    async fn tell(&self, stats: &Stats, urls: &[String]) {
        let pause = Duration::from_millis(if self.screen.is_terminal() { 250 } else { 2_000 });
        let (mut last, mut before) = (Instant::now(), 0);
        loop {
            tokio::time::sleep(pause).await;
            let leaders = Leaders::ask(self.http, urls).await.map_or_else(|_| "unknown".into(), |leaders| leaders.text());
            let (enqueued, done) = (stats.enqueued.load(Ordering::Relaxed), stats.done.load(Ordering::Relaxed));
            let rate = (done - before) as f64 / last.elapsed().as_secs_f64();
            (last, before) = (Instant::now(), done);
            self.screen.progress(&format!("enqueued {enqueued}  done {done}  {rate:.0} jobs/s  leaders {leaders}"));
        }
    }

    fn report(&self, stats: &Stats, seconds: f64, claim: &Claim<'_>, proof: Proof, fault: &Fault, groups: usize) -> Report {
        let jobs: &[Sent] = claim.jobs;
        let [enqueue, delivery] = stats.quantiles();
        if proof.changed > 0 {
            self.screen.event(&format!("{} files were written to meanwhile: their results prove nothing", proof.changed));
        }
        Report {
            files: self.files.len(),
            bytes: self.bytes,
            rounds: claim.rounds,
            jobs: jobs.len(),
            seconds,
            jobs_per_second: jobs.len() as f64 / seconds,
            jobs_delivered_again: proof.redelivered,
            attempts_max: proof.attempts_max,
            acks_accepted: claim.acked,
            results_checked: proof.results,
            probe_writes: claim.probes.len(),
            replicas_equal: format!("{} of {groups}", proof.groups),
            killed_node: fault.node,
            killed_node_led: fault.led,
            failover_seconds: fault.failover.as_secs_f64(),
            enqueue_ms: enqueue.into(),
            delivery_ms: delivery.into(),
            pass: proof.problems.is_empty(),
            problems: proof.problems,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn parse(line: &str) -> Result<Args, clap::Error> {
        Cli::try_parse_from(std::iter::once("demo").chain(line.split_whitespace())).map(|cli| cli.args)
    }

    #[test]
    fn the_command_alone_is_enough() {
        let args = parse("").unwrap();
        assert_eq!((args.setting.nodes, args.workers, args.rounds, &*args.dir), (3, 4, None, Path::new(".")));
        assert!(parse("DIR --nodes 5 --workers 8 --rounds 2 --keep D").is_ok());
        for bad in ["--nodes 2", "--workers 0", "--rounds 0", "A B"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
