//! `bravo scaling history`: the arrivals that forecasts rest on, carried out of a cluster and into one.

use std::path::{Path, PathBuf};

use bravo_client::json::{ScalingHistoryAnswer, ScalingHistoryBody};
use bravo_client::proto;
use bravo_scaling::Past;
use bravo_scaling::sim::Trace;
use clap::Subcommand;

use crate::exit::Failure;
use crate::global::Global;
use crate::output::show;

/// Bytes of a file that are read at most.
const BYTES_MAX: u64 = 256 << 20;
/// Milliseconds of a tick where none is named.
const TICK_MS: u64 = 15_000;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Write what is remembered to stdout, as JSON
    Export(Export),
    /// Replace what is remembered; what is given ends now
    Import(Import),
}

#[derive(clap::Args)]
pub(super) struct Export {
    /// The type of agents
    agent_type: String,
}

#[derive(clap::Args)]
pub(super) struct Import {
    /// The type of agents
    agent_type: String,
    /// What was exported; or CSV with the columns timestamp_s, arrivals and, if known, service_mean_s, evenly spaced
    file: PathBuf,
    /// Milliseconds between two looks of the cluster at its load, where the file does not say so
    #[arg(long, value_name = "MS")]
    tick_ms: Option<u64>,
    /// How long a job takes in the mean, instead of what the file says
    #[arg(long, value_name = "MS")]
    service_ms: Option<u64>,
    /// How long an agent takes to start, instead of what the file says
    #[arg(long, value_name = "MS")]
    boot_ms: Option<u64>,
}

pub(super) async fn run(command: Command, global: &Global) -> Result<(), Failure> {
    match command {
        Command::Export(export) => {
            let history = ScalingHistoryAnswer::from(global.client()?.scaling_history(&export.agent_type).await?);
            let line = |of: &ScalingHistoryAnswer| serde_json::to_string(of).unwrap_or_default() + "\n";
            show(global.output, &history, line);
            Ok(())
        }
        Command::Import(import) => {
            let body = import.body(&read(&import.file)?)?;
            let request = body.into_message(import.agent_type);
            Ok(global.client()?.put_scaling_history(request.history.unwrap_or_default()).await?)
        }
    }
}

impl Import {
    fn body(&self, text: &str) -> Result<ScalingHistoryBody, Failure> {
        let unusable = |why: String| Failure::Usage(format!("{}: {why}", self.file.display()));
        let mut body = if text.trim_start().starts_with('{') {
            let told: ScalingHistoryAnswer = serde_json::from_str(text).map_err(|error| unusable(error.to_string()))?;
            let ScalingHistoryAnswer { tick_ms, older, arrivals, service_ms, boot_ms, .. } = told;
            ScalingHistoryBody { tick_ms: Some(self.tick_ms.unwrap_or(tick_ms)), older, arrivals, service_ms, boot_ms }
        } else {
            let trace = Trace::parse(text).map_err(|error| unusable(error.to_string()))?;
            let tick_ms = self.tick_ms.unwrap_or(TICK_MS).max(1);
            let past = Past::of_trace(&trace, tick_ms as f64 / 1000.0);
            let service_ms = past.service_s.map(|mean| (mean * 1000.0).round().max(1.0) as u64);
            let (older, arrivals) = (past.older, past.ticks);
            ScalingHistoryBody { tick_ms: Some(tick_ms), older, arrivals, service_ms, boot_ms: None }
        };
        body.service_ms = self.service_ms.or(body.service_ms);
        body.boot_ms = self.boot_ms.or(body.boot_ms);
        Ok(body)
    }
}

/// What a cluster remembers, as it is replayed.
pub(super) fn past(history: proto::ScalingHistory) -> Past {
    let seconds = |ms: u64| ms as f64 / 1000.0;
    Past {
        tick_s: seconds(history.tick_ms.filter(|ms| *ms > 0).unwrap_or(TICK_MS)),
        older: history.older,
        ticks: history.arrivals,
        service_s: history.service_ms.map(seconds),
        boot_s: history.boot_ms.map(seconds),
    }
}

/// The text of a file that is not too long.
pub(super) fn read(path: &Path) -> Result<String, Failure> {
    let unusable = |why: String| Failure::Usage(format!("{}: {why}", path.display()));
    let bytes = std::fs::metadata(path).map_err(|error| unusable(error.to_string()))?.len();
    if bytes > BYTES_MAX {
        return Err(unusable(format!("longer than {BYTES_MAX} bytes")));
    }
    std::fs::read_to_string(path).map_err(|error| unusable(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn import() -> Import {
        let file = PathBuf::from("past");
        Import { agent_type: "coder".into(), file, tick_ms: None, service_ms: None, boot_ms: None }
    }

    #[test]
    fn what_was_exported_is_taken_and_options_go_before_the_file() {
        let text = r#"{"agent_type":"old","tick_ms":1000,"older":[40],"arrivals":[1,2],"service_ms":7,"boot_ms":null,"at":"2026-01-01T00:00:00Z"}"#;
        let body = import().body(text).unwrap_or_default();
        assert_eq!((body.tick_ms, body.older, body.arrivals), (Some(1_000), vec![40], vec![1, 2]));
        assert_eq!((body.service_ms, body.boot_ms), (Some(7), None));
        let told = Import { service_ms: Some(9), boot_ms: Some(8), ..import() }.body(text).unwrap_or_default();
        assert_eq!((told.service_ms, told.boot_ms), (Some(9), Some(8)));
    }

    #[test]
    fn a_trace_is_spread_over_ticks_and_anything_else_is_bad_usage() {
        let body = import().body("timestamp_s,arrivals,service_mean_s\n0,4,1.5\n60,8,\n").unwrap_or_default();
        assert_eq!((body.tick_ms, body.arrivals.len(), body.service_ms), (Some(15_000), 8, Some(1_500)));
        for text in ["", "{}", "timestamp_s\n1\n"] {
            assert!(matches!(import().body(text), Err(Failure::Usage(why)) if why.starts_with("past:")));
        }
    }
}
