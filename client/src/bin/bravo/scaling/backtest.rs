//! `bravo scaling backtest`: what scaling would have done with a trace, without a server, or with what a cluster remembers.

use std::fmt::Write as _;
use std::path::PathBuf;

use bravo_client::proto;
use bravo_scaling::{Behaviour, Block, Settings};
use bravo_scaling::sim::{Backtest, Making, Report, Trace, backtest, svg};

use super::history::{past, read};
use crate::exit::Failure;
use crate::global::Global;
use crate::output::{Table, show};

#[derive(clap::Args)]
pub(super) struct Question {
    /// CSV with the columns timestamp_s, arrivals and, if known, service_mean_s; evenly spaced
    #[arg(long, value_name = "FILE", required_unless_present = "from_history", conflicts_with = "from_history")]
    from: Option<PathBuf>,
    /// What the cluster remembers of the jobs for agents of this type
    #[arg(long, value_name = "TYPE")]
    from_history: Option<String>,
    /// Draw the course of it into this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Agents' worth of load at the trace's 99.5th percentile; 0 leaves the counts as they are. 14 if absent, and 0 for
    /// a history
    #[arg(long)]
    peak: Option<f64>,
    /// Mean service of a job in seconds; 20 if absent, and what was seen for a history
    #[arg(long, value_name = "S")]
    service_mean: Option<f64>,
    /// Its coefficient of variation
    #[arg(long, default_value_t = 1.0)]
    service_cv: f64,
    /// Seconds that agents take to start; 60 if absent, and what was seen for a history
    #[arg(long, value_name = "S")]
    boot: Option<f64>,
    /// The wait in milliseconds from which a job is late; 30000 if absent, and what the policy says for a history
    #[arg(long, value_name = "MS")]
    start_delay_p95_ms: Option<u32>,
    /// The smallest pool; 2 if absent, and the policy's for a history
    #[arg(long)]
    min: Option<u32>,
    /// The largest pool; 20 if absent, and the policy's for a history
    #[arg(long)]
    max: Option<u32>,
    /// What the draws depend on
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// What is replayed, and what counts unless the question says otherwise.
struct Subject {
    name: String,
    trace: Trace,
    peak: f64,
    service_s: f64,
    boot_s: f64,
    settings: Settings,
}

impl Question {
    async fn subject(&self, global: &Global) -> Result<Subject, Failure> {
        match (&self.from_history, &self.from) {
            (Some(agent_type), _) => remembered(agent_type, global).await,
            (None, Some(path)) => {
                let unusable = |why: String| Failure::Usage(format!("{}: {why}", path.display()));
                let trace = Trace::parse(&read(path)?).map_err(|error| unusable(error.to_string()))?;
                let name = path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                let (Making { peak, service_s, .. }, settings) = (Making::default(), Settings::default());
                Ok(Subject { name, trace, peak, service_s, boot_s: settings.boot_s, settings })
            }
            (None, None) => Err(Failure::Usage("--from or --from-history says what is replayed".to_owned())),
        }
    }

    fn backtest(&self, of: &Subject) -> Result<Backtest, Failure> {
        let peak = self.peak.unwrap_or(of.peak);
        let service_s = self.service_mean.unwrap_or(of.service_s);
        let boot_s = self.boot.unwrap_or(of.boot_s);
        let sane = [peak, self.service_cv, boot_s].iter().all(|n| (0.0..=1e5).contains(n));
        if !sane || !(0.001..=1e6).contains(&service_s) {
            let detail = "--peak, --service-mean, --service-cv and --boot are numbers up to 100000";
            return Err(Failure::Usage(detail.to_owned()));
        }
        let settings = Settings {
            min: self.min.unwrap_or(of.settings.min),
            max: self.max.unwrap_or(of.settings.max),
            start_delay_p95_ms: self.start_delay_p95_ms.unwrap_or(of.settings.start_delay_p95_ms),
            ..of.settings.clone()
        };
        let making = Making { peak, service_s, service_cv: self.service_cv, seed: self.seed };
        Ok(Backtest { settings: settings.within_limits(), making, boot_s, ..Backtest::default() })
    }
}

fn behaviour(told: proto::ScalingBehaviour) -> Behaviour {
    let block = |told: Option<proto::ScalingBlock>| {
        let told = told.unwrap_or_default();
        let seconds = |ms: Option<u32>| f64::from(ms.unwrap_or_default()) / 1000.0;
        let percent = told.percent.unwrap_or_default().into();
        Block { stabilisation_s: seconds(told.stabilisation_ms), percent, period_s: seconds(told.period_ms) }
    };
    Behaviour { up: block(told.up), down: block(told.down) }
}

/// What a cluster remembers of a type, under the policy that counts there.
async fn remembered(agent_type: &str, global: &Global) -> Result<Subject, Failure> {
    let client = global.client()?;
    let past = past(client.scaling_history(agent_type).await?);
    let policy = client.scaling(agent_type).await?.policy.unwrap_or_default();
    let usual = Settings::default();
    let settings = Settings {
        min: policy.min.unwrap_or(usual.min),
        max: policy.max.unwrap_or(usual.max),
        start_delay_p95_ms: policy.start_delay_p95_ms.unwrap_or(usual.start_delay_p95_ms),
        behaviour: policy.behaviour.map(behaviour),
        tick_s: past.tick_s,
        ..usual
    };
    let trace = past.trace();
    if trace.counts.len() < 2 {
        return Err(Failure::No(format!("{agent_type}: too little is remembered to be replayed")));
    }
    let service_s = past.service_s.unwrap_or(settings.service_s);
    let boot_s = past.boot_s.unwrap_or(settings.boot_s);
    Ok(Subject { name: agent_type.to_owned(), trace, peak: 0.0, service_s, boot_s, settings })
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

pub(super) async fn run(question: &Question, global: &Global) -> Result<(), Failure> {
    let subject = question.subject(global).await?;
    let ask = question.backtest(&subject)?;
    let report = backtest(&subject.trace, &ask).map_err(|error| Failure::Usage(error.to_string()))?;
    if let Some(path) = &question.svg {
        let written = std::fs::write(path, svg(&report, &subject.name));
        written.map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))?;
    }
    show(global.output, &report, table);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(peak: Option<f64>) -> Question {
        Question {
            from: None,
            from_history: None,
            svg: None,
            peak,
            service_mean: None,
            service_cv: 1.0,
            boot: None,
            start_delay_p95_ms: None,
            min: Some(9),
            max: Some(4),
            seed: 1,
        }
    }

    fn subject() -> Subject {
        let trace = Trace::parse("timestamp_s,arrivals\n0,30\n60,40\n120,30\n180,20\n").unwrap_or_default();
        let settings = Settings { start_delay_p95_ms: 5_000, ..Settings::default() };
        Subject { name: "t".into(), trace, peak: 7.0, service_s: 3.0, boot_s: 4.0, settings }
    }

    #[test]
    fn a_trace_is_replayed_and_its_table_names_all_three_rules() {
        let (subject, question) = (subject(), ask(Some(3.0)));
        let ask = question.backtest(&subject).ok().unwrap_or_default();
        assert!(ask.settings.min <= ask.settings.max);
        let text = backtest(&subject.trace, &ask).map(|report| table(&report)).unwrap_or_default();
        assert!(["bravo", "kubernetes", "hindsight"].iter().all(|name| text.contains(name)), "{text}");
    }

    #[test]
    fn what_the_question_leaves_open_the_subject_says() {
        let open = ask(None).backtest(&subject()).ok().unwrap_or_default();
        assert!((open.making.peak - 7.0).abs() < 1e-9 && (open.making.service_s - 3.0).abs() < 1e-9);
        assert!((open.boot_s - 4.0).abs() < 1e-9 && open.settings.start_delay_p95_ms == 5_000);
        let told = Question { boot: Some(9.0), service_mean: Some(8.0), ..ask(Some(0.0)) };
        let told = told.backtest(&subject()).ok().unwrap_or_default();
        assert!(told.making.peak.abs() < 1e-9 && (told.boot_s + told.making.service_s - 17.0).abs() < 1e-9);
    }

    #[test]
    fn what_cannot_be_replayed_is_bad_usage() {
        assert!(matches!(ask(Some(f64::NAN)).backtest(&subject()), Err(Failure::Usage(_))));
        let missing = read(std::path::Path::new("/nowhere/trace.csv"));
        assert!(matches!(missing, Err(Failure::Usage(text)) if text.contains("nowhere")));
    }
}
