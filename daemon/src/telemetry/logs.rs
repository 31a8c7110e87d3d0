//! Log lines: to standard error, as text or JSON.

use super::TelemetryError;
use crate::config::{Format, Level, Log};
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

/// Installs the subscriber of the process. `rust_log` is the content of `RUST_LOG`, which wins over
/// the configuration where it is set.
pub(super) fn init(log: &Log, rust_log: Option<&str>) -> Result<(), TelemetryError> {
    let filter = filter(log.level, rust_log)?;
    let lines = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let installed = match log.format {
        Format::Text => lines.with_ansi(std::io::stderr().is_terminal()).try_init(),
        Format::Json => lines.json().flatten_event(true).with_current_span(false).try_init(),
    };
    installed.map_err(|_| TelemetryError::AlreadyInstalled)
}

fn filter(level: Level, rust_log: Option<&str>) -> Result<EnvFilter, TelemetryError> {
    let chosen = rust_log.map(str::trim).filter(|text| !text.is_empty());
    let directives = chosen.map_or_else(|| directives(level), Into::into);
    EnvFilter::try_new(&directives).map_err(|error| TelemetryError::Filter { directives, error })
}

/// Libraries are one step quieter than Bravo, and never wordier than `info`: at `debug` they write
/// lines for single packets. openraft is two steps quieter: it warns of every heartbeat that a dead node
/// does not answer, and what matters of that is told by the transport and by changes of leaders.
fn directives(level: Level) -> String {
    const LIBRARIES: [&str; 9] =
        ["foyer", "h2", "hyper", "hyper_util", "quinn", "quinn_proto", "rustls", "sled", "zbus"];
    let quiet = match level {
        Level::Error => Level::Error,
        Level::Warn | Level::Info => Level::Warn,
        Level::Debug | Level::Trace => Level::Info,
    };
    let mut directives = level.as_str().to_string();
    for library in LIBRARIES {
        directives.push_str(&format!(",{library}={}", quiet.as_str()));
    }
    let openraft = if matches!(quiet, Level::Info) { Level::Warn } else { Level::Error };
    directives.push_str(&format!(",openraft={}", openraft.as_str()));
    directives
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rust_log_wins_where_it_says_something() {
        assert_eq!(filter(Level::Info, Some("trace")).unwrap().to_string(), "trace");
        assert!(filter(Level::Info, Some(" ")).unwrap().to_string().contains("openraft=error"));
        assert!(matches!(filter(Level::Info, Some("a=b=c")), Err(TelemetryError::Filter { .. })));
    }
}
