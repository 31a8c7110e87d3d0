//! A program that is told: it gets the recommendation as JSON on its standard input and does what it likes with it.
//! One node of those that have it runs it, when the recommendation changes and every few minutes.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::{Duration, Instant};

use bravo_api::Timestamp;
use futures_util::future::BoxFuture;
use serde::Serialize;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

use super::{ActError, Actuator, group};
use crate::config::Pool;
use crate::transport::wire::Share;

/// It is told again after this long, in case that what it did was undone.
const AGAIN_EVERY: Duration = Duration::from_secs(300);
/// Longest time that it may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The program.
pub(super) struct Program {
    command: Vec<String>,
    env: BTreeMap<String, String>,
    told: Option<(u32, Instant)>,
    patience: Duration,
}

/// The program while it runs. If nobody waits for it any more it is ended, with all that it started.
struct Running {
    child: Child,
    has_ended: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.has_ended {
            group::kill(&self.child);
        }
    }
}

/// What it is told.
#[derive(Serialize)]
struct Told<'a> {
    agent_type: &'a str,
    current: u32,
    recommended: u32,
    min: u32,
    max: u32,
    why: &'a str,
    at: Timestamp,
}

impl Program {
    pub(super) fn new(pool: &Pool) -> Self {
        Self { command: pool.command.clone(), env: pool.env.clone(), told: None, patience: PATIENCE }
    }

    async fn tell(&mut self, share: &Share) -> Result<(), ActError> {
        if self.told.is_some_and(|(agents, at)| agents == share.agents && at.elapsed() < AGAIN_EVERY) {
            return Ok(());
        }
        let of = &share.of;
        let told = Told {
            agent_type: of.policy.agent_type.as_str(),
            current: of.current,
            recommended: share.agents,
            min: of.policy.min,
            max: of.policy.max,
            why: &of.why,
            at: Timestamp(of.at),
        };
        let program = self.command.first().cloned().unwrap_or_default();
        let failed = |error: std::io::Error| ActError::Program(program.clone(), error);
        let text = serde_json::to_vec(&told).map_err(|error| failed(error.into()))?;
        let run = async {
            let mut command = Command::new(&program);
            command.args(self.command.iter().skip(1)).envs(&self.env).stdin(Stdio::piped());
            let child = command.process_group(0).kill_on_drop(true).spawn().map_err(failed)?;
            let mut running = Running { child, has_ended: false };
            if let Some(mut input) = running.child.stdin.take() {
                // One that does not listen may end well all the same.
                let _ = input.write_all(&text).await;
            }
            let status = running.child.wait().await.map_err(failed)?;
            // What it left behind, it left on purpose.
            running.has_ended = true;
            Ok(status)
        };
        let ended = tokio::time::timeout(self.patience, run).await;
        let status = ended.map_err(|_| ActError::Slow(program.clone(), self.patience))??;
        if !status.success() {
            return Err(ActError::Ended(program, status));
        }
        self.told = Some((share.agents, Instant::now()));
        Ok(())
    }
}

impl Actuator for Program {
    fn apply<'a>(&'a mut self, share: Option<&'a Share>) -> BoxFuture<'a, Result<(), ActError>> {
        Box::pin(async move {
            match share {
                Some(share) => self.tell(share).await,
                None => Ok(()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ActuatorKind;
    use crate::scaling::pool::smallest;
    use bravo_model::scaling::ScalingPolicy;

    fn share(agents: u32) -> Share {
        let policy = ScalingPolicy::of(bravo_model::Name::parse("name", "coder").unwrap());
        Share { agents, of: smallest(policy, 1_000) }
    }

    fn program(script: &str) -> Program {
        let agent_type = bravo_model::Name::parse("name", "coder").unwrap();
        let command = ["sh", "-c", script].map(str::to_owned).to_vec();
        Program::new(&Pool { actuator: ActuatorKind::Command, command, ..Pool::of(agent_type) })
    }

    #[tokio::test]
    async fn a_program_is_told_each_recommendation_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("told");
        let mut program = program(&format!("cat >> {0}; echo >> {0}", file.display()));
        for agents in [3, 3, 5] {
            program.apply(Some(&share(agents))).await.unwrap();
        }
        program.apply(None).await.unwrap();
        let text = std::fs::read_to_string(file).unwrap();
        let told: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(told.iter().map(|one| one["recommended"].clone()).collect::<Vec<_>>(), [3, 5]);
        assert_eq!(told[0]["agent_type"], "coder");
        assert_eq!(told[0]["at"], "1970-01-01T00:00:01.000Z");
    }

    #[tokio::test]
    async fn a_program_that_hangs_is_ended_with_all_that_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let mut program = program(&format!("sleep 600 & echo $! > {}.new; mv {0}.new {0}; wait", file.display()));
        // On a busy machine it may take a while until it has started what is to be ended with it.
        for seconds in [1, 8, 64] {
            program.patience = Duration::from_secs(seconds);
            assert!(matches!(program.apply(Some(&share(3))).await, Err(ActError::Slow(_, _))));
            if file.exists() {
                break;
            }
        }
        group::tests::until_gone(&file).await;
    }

    #[tokio::test]
    async fn what_a_program_leaves_behind_is_let_work() {
        let folder = tempfile::tempdir().unwrap();
        let (go, done) = (folder.path().join("go"), folder.path().join("done"));
        let wait = format!("while [ ! -e {} ]; do sleep 0.02; done; touch {}", go.display(), done.display());
        let mut program = program(&format!("({wait}) &"));
        program.apply(Some(&share(3))).await.unwrap();
        std::fs::write(go, "").unwrap();
        for _ in 0..500 {
            if done.exists() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it was ended");
    }

    #[tokio::test]
    async fn a_program_that_fails_is_told_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("once");
        let mut program = program(&format!("test -e {0} || {{ touch {0}; exit 3; }}", file.display()));
        assert!(matches!(program.apply(Some(&share(3))).await, Err(ActError::Ended(_, _))));
        assert!(program.apply(Some(&share(3))).await.is_ok());
    }
}
