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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_gets_a_line_with_its_key() {
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        let text = "[node]\nidd = 1\n";
        let outcome = Config::parse(text, std::iter::empty(), Path::new("/"));
        report(outcome, Path::new("f.toml"), &mut good, &mut bad);
        let bad = String::from_utf8(bad).unwrap();
        assert!(good.is_empty() && bad.lines().count() == 4, "{bad}");
        assert!(bad.lines().any(|line| line == "node.idd: unknown key; did you mean node.id?"), "{bad}");
    }
}
