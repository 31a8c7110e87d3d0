//! Agents as instances of a systemd unit, `bravo-agent@TYPE-1.service` and on. The unit says what they run, as whom,
//! within which bounds, and how long they may take to leave; systemd starts those again that die.
//!
//! systemd is spoken to through `systemctl`, which is its client on the bus and asks it under the rights of this node.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::process::Command;

use super::{ActError, Actuator};
use crate::config::Pool;
use crate::transport::wire::Share;

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// The instances of one pool on this machine.
pub(super) struct Units {
    systemctl: String,
    agent_type: String,
    active: BTreeSet<u32>,
}

impl Units {
    pub(super) fn new(pool: &Pool) -> Self {
        Self { systemctl: "systemctl".to_owned(), agent_type: pool.agent_type.to_string(), active: BTreeSet::new() }
    }

    fn unit(&self, number: u32) -> String {
        format!("bravo-agent@{}-{number}.service", self.agent_type)
    }

    async fn ask(&self, arguments: &[String]) -> Result<String, ActError> {
        let mut command = Command::new(&self.systemctl);
        command.arg("--no-ask-password").args(arguments).stdin(std::process::Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(PATIENCE, command.output()).await;
        let output = output.map_err(|_| ActError::Slow(self.systemctl.clone(), PATIENCE))?;
        let output = output.map_err(|error| ActError::Program(self.systemctl.clone(), error))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(ActError::Systemd(said.trim().chars().take(500).collect()));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The numbers of the instances that run or are about to.
    async fn look(&self) -> Result<BTreeSet<u32>, ActError> {
        let pattern = format!("bravo-agent@{}-*.service", self.agent_type);
        let arguments = ["list-units", "--plain", "--no-legend", "--full", "--state=active,activating,reloading"];
        let list = self.ask(&[arguments.map(str::to_owned).to_vec(), vec![pattern]].concat()).await?;
        let prefix = format!("bravo-agent@{}-", self.agent_type);
        let number = |line: &str| {
            let unit = line.split_whitespace().next()?;
            unit.strip_prefix(&prefix)?.strip_suffix(".service")?.parse().ok()
        };
        Ok(list.lines().filter_map(number).collect())
    }

    async fn follow(&mut self, share: Option<&Share>) -> Result<(), ActError> {
        let has_odd_name = self.agent_type.contains(['/', '@', ':']);
        if has_odd_name {
            return Err(ActError::Systemd(format!("{:?} cannot be the name of an instance", self.agent_type)));
        }
        let Some(share) = share else { return Ok(()) };
        self.active = self.look().await?;
        let wanted = share.agents as usize;
        let missing = wanted.saturating_sub(self.active.len());
        let started: Vec<u32> = (1..).filter(|number| !self.active.contains(number)).take(missing).collect();
        let surplus: Vec<u32> =
            self.active.iter().rev().take(self.active.len().saturating_sub(wanted)).copied().collect();
        for (verb, numbers) in [("start", &started), ("stop", &surplus)] {
            if !numbers.is_empty() {
                // Whoever leaves may take long; nobody waits for it here.
                let units = numbers.iter().map(|number| self.unit(*number)).collect();
                self.ask(&[vec!["--no-block".to_owned(), verb.to_owned()], units].concat()).await?;
            }
        }
        self.active.extend(started);
        self.active.retain(|number| !surplus.contains(number));
        Ok(())
    }
}

impl Actuator for Units {
    fn apply<'a>(&'a mut self, share: Option<&'a Share>) -> BoxFuture<'a, Result<(), ActError>> {
        Box::pin(self.follow(share))
    }

    fn running(&self) -> u32 {
        u32::try_from(self.active.len()).unwrap_or(u32::MAX)
    }

    /// They are systemd's, and work for other nodes while this one is away.
    fn stop(&mut self, _: Duration) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ActuatorKind;
    use crate::scaling::pool::unseen;
    use bravo_model::scaling::ScalingPolicy;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    /// A systemd whose units are files, and which notes what it was asked.
    fn units(folder: &Path, agent_type: &str) -> Units {
        let script = folder.join("systemctl");
        let text = format!(
            "#!/bin/sh\ncd {}\nshift\nif [ \"$1\" = list-units ]; then for unit in bravo-agent@*; do [ -e \"$unit\" ] && echo \"$unit loaded active running an agent\"; done; exit 0; fi\nshift\nverb=$1; shift\nfor unit in \"$@\"; do echo \"$verb $unit\" >> asked; if [ $verb = start ]; then touch \"$unit\"; else rm \"$unit\"; fi; done\n",
            folder.display()
        );
        std::fs::write(&script, text).unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        let agent_type = bravo_model::Name::parse("name", agent_type).unwrap();
        let pool = Pool { agent_type, actuator: ActuatorKind::Systemd, command: Vec::new(), env: Default::default() };
        Units { systemctl: script.display().to_string(), ..Units::new(&pool) }
    }

    async fn follow(units: &mut Units, agents: u32) -> Result<(), ActError> {
        let policy = ScalingPolicy::of(bravo_model::Name::parse("name", "coder").unwrap());
        let share = Share { agents, of: unseen(policy, 0) };
        units.apply(Some(&share)).await
    }

    #[tokio::test]
    async fn instances_are_started_from_the_lowest_number_and_stopped_from_the_highest() {
        let folder = tempfile::tempdir().unwrap();
        let mut units = units(folder.path(), "coder");
        follow(&mut units, 3).await.unwrap();
        assert_eq!(units.running(), 3);
        // One ended by itself; the next look sees it.
        std::fs::remove_file(folder.path().join("bravo-agent@coder-2.service")).unwrap();
        follow(&mut units, 3).await.unwrap();
        follow(&mut units, 1).await.unwrap();
        let asked = std::fs::read_to_string(folder.path().join("asked")).unwrap();
        let asked: Vec<&str> = asked.lines().collect();
        let unit = |verb: &str, number: u32| format!("{verb} bravo-agent@coder-{number}.service");
        let wanted = [("start", 1), ("start", 2), ("start", 3), ("start", 2), ("stop", 3), ("stop", 2)];
        assert_eq!(asked, wanted.map(|(verb, number)| unit(verb, number)));
    }

    #[tokio::test]
    async fn a_name_that_is_none_of_an_instance_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(follow(&mut units(folder.path(), "a/b"), 1).await.is_err());
    }
}
