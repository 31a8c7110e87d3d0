//! The agents: one `bravo-agent` process each, killed with all that it has started, and started again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use rustix::process::{Pid, Signal, kill_process};

use crate::demo::spawn;

/// The pools in the order of the work, and how many agents each has.
const POOLS: [(&str, usize); 5] = [("analysis", 1), ("planning", 1), ("codegen", 1), ("testing", 2), ("deployment", 1)];

/// An agent. Dropping it ends its process, and the processes that it started.
pub(super) struct Agent {
    /// Also its worker id.
    pub(super) name: String,
    command: Vec<String>,
    program: PathBuf,
    folder: PathBuf,
    process: Option<Child>,
}

/// All agents.
pub(super) struct Agents(pub(super) Vec<Agent>);

impl Agents {
    /// Starts all pools; they log to, and work in, this folder.
    pub(super) fn start(program: &Path, folder: &Path, urls: &[String]) -> Result<Self, String> {
        let folder = folder.join("agents");
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let mut agents = Self(Vec::new());
        for (pool, count) in POOLS {
            for number in 1..=count {
                let name = format!("{pool}-{number}");
                let command = ["--type", pool, "--worker-id", &name, "--server", &urls.join(",")].map(str::to_owned).to_vec();
                let mut agent = Agent { name, command, program: program.into(), folder: folder.clone(), process: None };
                agent.start()?;
                agents.0.push(agent);
            }
        }
        Ok(agents)
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// The agent with this name.
    pub(super) fn named(&mut self, name: &str) -> Option<&mut Agent> {
        self.0.iter_mut().find(|agent| agent.name == name)
    }

    /// The first agent that ended though nobody killed it, in its last words.
    pub(super) fn ended(&mut self) -> Option<String> {
        self.0.iter_mut().find_map(Agent::ended)
    }
}

impl Agent {
    /// Starts the process.
    pub(super) fn start(&mut self) -> Result<u32, String> {
        // What it leaves behind when it is killed goes with the folder.
        let child = spawn(Command::new(&self.program).args(&self.command).env("TMPDIR", &self.folder), &self.log())?;
        let pid = child.id();
        self.process = Some(child);
        Ok(pid)
    }

    /// Kills it (SIGKILL) with all that it has started, as the end of its machine would; its pid, unless it had
    /// ended before.
    pub(super) fn kill(&mut self) -> Option<u32> {
        let mut process = self.process.take()?;
        let running = matches!(process.try_wait(), Ok(None));
        let family = if running { family(process.id()) } else { Vec::new() };
        for pid in family {
            // It may have ended by itself.
            let _ = kill_process(pid, Signal::KILL);
        }
        drop(process.kill());
        drop(process.wait());
        running.then(|| process.id())
    }

    fn log(&self) -> PathBuf {
        self.folder.join(format!("{}.log", self.name))
    }

    fn ended(&mut self) -> Option<String> {
        let status = self.process.as_mut()?.try_wait().ok()??;
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        Some(format!("agent {} ended ({status}): {}", self.name, log.lines().last().unwrap_or_default()))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A process and all that it and its children have started. Where the system does not tell, there is only itself.
fn family(leader: u32) -> Vec<Pid> {
    let processes = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    let parents: Vec<(u32, u32)> = processes
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            Some((pid, parent(&fs::read_to_string(entry.path().join("stat")).ok()?)?))
        })
        .collect();
    let mut family = vec![leader];
    let mut at = 0;
    while let Some(parent) = family.get(at).copied() {
        family.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        at += 1;
    }
    family.into_iter().filter_map(|pid| Pid::from_raw(i32::try_from(pid).ok()?)).collect()
}

/// The parent's id: the second field behind the name, which stands in brackets and may hold anything.
fn parent(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_is_found_behind_any_name() {
        assert_eq!(parent("17 (a) (b c)) S 4 17 17 0"), Some(4));
        assert_eq!(parent("nonsense"), None);
    }

    #[test]
    fn children_of_children_are_killed() {
        let dir = tempfile::tempdir().unwrap();
        let (program, file) = (dir.path().join("agent"), dir.path().join("alive"));
        let script = format!("#!/bin/sh\nsetsid sh -c 'while :; do date > {}; sleep 0.05; done' &\nwait\n", file.display());
        fs::write(&program, script).unwrap();
        let command = vec!["-c".to_owned(), format!("exec sh {}", program.display())];
        let mut agent = Agent { name: "a".into(), command, program: "sh".into(), folder: dir.path().into(), process: None };
        agent.start().unwrap();
        let begun = std::time::Instant::now();
        while !file.exists() {
            assert!(begun.elapsed().as_secs() < 10);
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        assert!(agent.kill().is_some());
        assert!(agent.kill().is_none());
        std::thread::sleep(std::time::Duration::from_millis(200));
        fs::remove_file(&file).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(300));
        assert!(!file.exists(), "a child is still alive");
    }
}
