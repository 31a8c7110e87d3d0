//! Testing: cargo compiles the source and runs its tests; each test that was planned must have been run, and passed.

use std::path::{Path, PathBuf};
use std::time::Instant;

use bravo_client::{Client, Failure, JobContext, Source};
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use crate::codegen::Code;
use crate::planning::Plan;
use crate::stored::{self, Stored};
use crate::{pack, process, progress};

/// The result of testing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Tests {
    pub(crate) passed: usize,
    /// Of compiling and testing together.
    pub(crate) seconds: f64,
    /// The program.
    pub(crate) binary: Stored,
}

/// Compiles and tests; stores the program.
pub(crate) async fn test(client: &Client, job: &JobContext, plan: &Plan, code: &Code) -> Result<Tests, Failure> {
    progress(job, "fetching", 0, 4);
    let archive = stored::get(client, job, &code.source).await?;
    let dir = tempfile::Builder::new().prefix("bravo-testing-").tempdir()?;
    pack::unpack(&archive, dir.path())?;

    progress(job, "compiling", 1, 4);
    let start = Instant::now();
    // The program and the tests at once: both stand on nothing but the crate itself.
    let built = process::run(&mut cargo(dir.path(), &["build", "--all-targets"]), job).await?;
    if !built.status.success() {
        return Err(Failure::new(format!("it does not compile: {}", built.tail())));
    }
    progress(job, "testing", 2, 4);
    let tested = process::run(&mut cargo(dir.path(), &["test", "--lib"]), job).await?;
    let outcome = Outcome::of(&tested.stdout);
    if !tested.status.success() || !outcome.failed.is_empty() {
        return Err(Failure::new(format!("tests failed: {}: {}", outcome.failed.join(", "), tested.tail())));
    }
    let missing: Vec<&String> = plan.tests.iter().filter(|test| !outcome.passed.contains(test)).collect();
    if !missing.is_empty() {
        return Err(Failure::new(format!("tests were planned and not run: {missing:?}")).dead());
    }
    let seconds = start.elapsed().as_secs_f64();

    progress(job, "storing", 3, 4);
    let program = Source::File(program(dir.path(), &plan.model.crate_name));
    let binary = stored::put(client, job, "program", program, "application/octet-stream").await?;
    Ok(Tests { passed: outcome.passed.len(), seconds, binary })
}

/// Cargo in a folder, with a target folder of its own in there.
pub(crate) fn cargo(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    command.args(arguments).arg("--offline").current_dir(folder);
    command.env("CARGO_TARGET_DIR", folder.join("target")).env("CARGO_TERM_COLOR", "never");
    command
}

/// Where cargo puts the program.
pub(crate) fn program(folder: &Path, crate_name: &str) -> PathBuf {
    folder.join("target/debug").join(crate_name)
}

/// What became of each test, as the harness tells it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) passed: Vec<String>,
    pub(crate) failed: Vec<String>,
}

impl Outcome {
    pub(crate) fn of(output: &str) -> Self {
        let mut outcome = Self::default();
        for line in output.lines() {
            let Some((name, end)) = line.strip_prefix("test ").and_then(|line| line.split_once(" ... ")) else {
                continue;
            };
            match end {
                "ok" => outcome.passed.push(name.to_owned()),
                "FAILED" => outcome.failed.push(name.to_owned()),
                _ => (),
            }
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::analysis::{analyse, offered};
    use crate::catalogue::{KINDS, REFUSED};
    use crate::{planning, render};

    #[test]
    fn the_harness_is_understood() {
        let output = "running 3 tests\ntest a::b ... ok\ntest c ... FAILED\ntest d ... ignored\n\ntest result: FAILED. 1 passed; 1 failed";
        assert_eq!(Outcome::of(output), Outcome { passed: vec!["a::b".into()], failed: vec!["c".into()] });
    }

    /// A rendered application of each type with all that it can have: no warnings, and every planned test passes.
    #[test]
    fn all_features_together_compile_and_pass() {
        let shown = |output: std::process::Output| {
            let text = |bytes| String::from_utf8(bytes).unwrap();
            (output.status.success(), text(output.stdout), text(output.stderr))
        };
        for kind in &KINDS {
            let features: Vec<String> = offered(kind)
                .unwrap()
                .0
                .into_iter()
                .filter(|name| REFUSED.iter().all(|(refused, _)| refused != name))
                .collect();
            let requirements =
                json!({"type": kind.name, "app_name": format!("all of {}", kind.name), "features": features});
            let plan = planning::plan(analyse(&serde_json::from_value(requirements).unwrap(), None).unwrap());
            let dir = tempfile::tempdir().unwrap();
            for (path, text) in render::render(&plan).unwrap() {
                let path = dir.path().join(path);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, text).unwrap();
            }
            let (ok, _, stderr) = shown(cargo(dir.path(), &["build", "--all-targets"]).as_std_mut().output().unwrap());
            assert!(ok && !stderr.contains("warning"), "{}: {stderr}", kind.name);
            let (ok, stdout, stderr) = shown(cargo(dir.path(), &["test", "--lib"]).as_std_mut().output().unwrap());
            assert!(ok, "{}: {stdout}\n{stderr}", kind.name);
            let outcome = Outcome::of(&stdout);
            for test in &plan.tests {
                assert!(outcome.passed.contains(test), "{}: {test} was not run", kind.name);
            }
        }
    }
}
