//! `bravo scaling`: how pools of agents stand; and what their scaling would have done with a trace, without a server.

mod pools;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use bravo_scaling::Settings;
use bravo_scaling::sim::{Backtest, Making, Report, Trace, backtest, svg};
use clap::Subcommand;

use crate::exit::Failure;
use crate::global::Global;
use crate::output::{Table, show};

/// Bytes of a trace that are read at most.
const TRACE_BYTES_MAX: u64 = 256 << 20;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List pools: how many agents there are and should be
    List,
    /// Show one pool: how many agents there should be, why, and what is expected
    Get(pools::Named),
    /// Make a policy, or replace it
    Put(pools::Put),
    /// Delete a policy: the defaults count, which act on nothing
    Delete(pools::Named),
    /// Replay a trace of arrivals: late jobs and cost beside the rule of Kubernetes and beside hindsight
    Backtest(Question),
}

#[derive(clap::Args)]
struct Question {
    /// CSV with the columns timestamp_s, arrivals and, if known, service_mean_s; evenly spaced
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// Draw the course of it into this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Agents' worth of load at the trace's 99.5th percentile; 0 leaves the counts as they are
    #[arg(long, default_value_t = 14.0)]
    peak: f64,
    /// Mean service of a job in seconds
    #[arg(long, value_name = "S", default_value_t = 20.0)]
    service_mean: f64,
    /// Its coefficient of variation
    #[arg(long, default_value_t = 1.0)]
    service_cv: f64,
    /// Seconds that agents take to start
    #[arg(long, value_name = "S", default_value_t = 60.0)]
    boot: f64,
    /// The wait in milliseconds from which a job is late
    #[arg(long, value_name = "MS", default_value_t = 30_000)]
    start_delay_p95_ms: u32,
    /// The smallest pool
    #[arg(long, default_value_t = 2)]
    min: u32,
    /// The largest pool
    #[arg(long, default_value_t = 20)]
    max: u32,
    /// What the draws depend on
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl Question {
    fn backtest(&self) -> Result<Backtest, Failure> {
        let sane = [self.peak, self.service_cv, self.boot].iter().all(|n| (0.0..=1e5).contains(n));
        if !sane || !(0.01..=1e6).contains(&self.service_mean) {
            return Err(Failure::Usage("--peak, --service-mean, --service-cv and --boot are numbers up to 100000".to_owned()));
        }
        let (min, max, start_delay_p95_ms) = (self.min, self.max, self.start_delay_p95_ms);
        let settings = Settings { min, max, start_delay_p95_ms, ..Settings::default() }.within_limits();
        let Self { peak, service_mean: service_s, service_cv, seed, .. } = *self;
        let making = Making { peak, service_s, service_cv, seed };
        Ok(Backtest { settings, making, boot_s: self.boot, ..Backtest::default() })
    }
}

fn read(path: &Path) -> Result<Trace, Failure> {
    let unusable = |why: String| Failure::Usage(format!("{}: {why}", path.display()));
    let bytes = std::fs::metadata(path).map_err(|error| unusable(error.to_string()))?.len();
    if bytes > TRACE_BYTES_MAX {
        return Err(unusable(format!("longer than {TRACE_BYTES_MAX} bytes")));
    }
    let csv = std::fs::read_to_string(path).map_err(|error| unusable(error.to_string()))?;
    Trace::parse(&csv).map_err(|error| unusable(error.to_string()))
}

fn table(report: &Report) -> String {
    let mut table = Table::new(&["rule", "late %", "agent-seconds", "of kubernetes"]);
    for (name, score) in [("bravo", &report.ours), ("kubernetes", &report.reactive), ("hindsight", &report.clairvoyant)] {
        table.row([
            name.to_owned(),
            format!("{:.3}", score.late_fraction() * 100.0),
            format!("{:.0}", score.agent_seconds),
            format!("{:.3}", score.agent_seconds / report.reactive.agent_seconds.max(1.0)),
        ]);
    }
    let mut text = table.render();
    // Writing to a string does not fail.
    let _ = writeln!(
        text,
        "{} jobs; {:.1} % of windows below the upper quantile; {:.1} % of decisions by the plain rule\nlast: {}",
        report.ours.jobs,
        report.coverage * 100.0,
        report.fallback * 100.0,
        report.why
    );
    text
}

pub(crate) async fn run(args: Args, global: &Global) -> Result<(), Failure> {
    match args.command {
        Command::List => pools::list(global).await,
        Command::Get(named) => pools::get(named, global).await,
        Command::Put(put) => pools::put(put, global).await,
        Command::Delete(named) => pools::delete(named, global).await,
        Command::Backtest(question) => replay(&question, global),
    }
}

fn replay(question: &Question, global: &Global) -> Result<(), Failure> {
    let trace = read(&question.from)?;
    let report = backtest(&trace, &question.backtest()?).map_err(|error| Failure::Usage(error.to_string()))?;
    if let Some(path) = &question.svg {
        let name = question.from.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let written = std::fs::write(path, svg(&report, &name));
        written.map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))?;
    }
    show(global.output, &report, table);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(from: PathBuf, peak: f64) -> Question {
        let (service_mean, service_cv, boot, start_delay_p95_ms) = (20.0, 1.0, 60.0, 30_000);
        Question { from, svg: None, peak, service_mean, service_cv, boot, start_delay_p95_ms, min: 9, max: 4, seed: 1 }
    }

    #[test]
    fn a_trace_is_read_and_its_table_names_all_three_rules() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trace.csv");
        std::fs::write(&path, "timestamp_s,arrivals\n0,30\n60,40\n120,30\n180,20\n").unwrap();
        let backtest_of = ask(path.clone(), 3.0).backtest().unwrap();
        assert!(backtest_of.settings.min <= backtest_of.settings.max);
        let text = table(&backtest(&read(&path).unwrap(), &backtest_of).unwrap());
        assert!(["bravo", "kubernetes", "hindsight"].iter().all(|name| text.contains(name)), "{text}");
    }

    #[test]
    fn what_cannot_be_replayed_is_bad_usage() {
        assert!(matches!(ask(PathBuf::new(), f64::NAN).backtest(), Err(Failure::Usage(_))));
        assert!(matches!(read(Path::new("/nowhere/trace.csv")), Err(Failure::Usage(text)) if text.contains("nowhere")));
    }
}
