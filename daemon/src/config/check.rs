//! `bravod check`: says whether a configuration would start, and if not, all the reasons.

use super::Config;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

/// Loads the file with the process's environment and reports to standard output and error: exit code
/// 0 and one line when it is good, 1 and one line per error otherwise.
pub fn check(path: &Path) -> ExitCode {
    report(Config::load(path, std::env::vars()), path, &mut std::io::stdout(), &mut std::io::stderr())
}

fn report(
    outcome: Result<Config, Vec<super::ConfigError>>,
    path: &Path,
    good: &mut impl Write,
    bad: &mut impl Write,
) -> ExitCode {
    // Nobody is left to tell when the output is closed: the exit code still says it.
    match outcome {
        Ok(config) => {
            let node = config.node.id;
            let _ = writeln!(good, "{}: good, node {node} of cluster {:?}", path.display(), config.cluster.name);
            ExitCode::SUCCESS
        }
        Err(errors) => {
            for error in &errors {
                let _ = writeln!(bad, "{error}");
            }
            ExitCode::FAILURE
        }
    }
}
