//! The processes that a pool of this node started as agents, written down in the data folder: a node that was killed
//! knows them again when it comes back.
//!
//! A number alone may be another process's by then; together with the time of its start it is not.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bravo_model::Name;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use crate::dispatch::rendezvous::stable;

/// The folder in the data folder: a file for each pool.
pub(super) const FOLDER: &str = "agents";
/// Bytes of a file that are read; a pool's are far fewer.
const BYTES_MAX: u64 = 64 << 10;

/// A process that was started as an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Process {
    pid: i32,
    /// When it was started, in the kernel's ticks since the machine was.
    started: u64,
    /// Whether it was asked to leave.
    pub(super) leaves: bool,
}

impl Process {
    /// The process that has this number now; none if there is no such process.
    pub(super) fn of(pid: Pid) -> Option<Self> {
        let pid = pid.as_raw_nonzero().get();
        Some(Self { pid, started: started(&stat(pid)?)?, leaves: false })
    }

    /// The same, asked to leave or not.
    pub(super) fn with(self, leaves: bool) -> Self {
        Self { leaves, ..self }
    }

    /// Its number.
    pub(super) fn pid(self) -> u32 {
        self.pid.unsigned_abs()
    }

    /// Whether it is there, as more than an entry that nobody has waited for.
    pub(super) fn lives(self) -> bool {
        stat(self.pid).and_then(|stat| started(&stat)) == Some(self.started)
    }

    /// Asks it to leave, it alone and not what it started for its jobs.
    pub(super) fn ask_to_leave(&mut self) {
        self.leaves = true;
        // Whoever is held by this is who is looked at next, and who is told.
        let Some(held) = Pid::from_raw(self.pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) else {
            return;
        };
        if self.lives() {
            let _ = pidfd_send_signal(held, Signal::TERM);
        }
    }

    /// Ends it with all that it started.
    pub(super) fn kill(self) {
        if let Some(pid) = Pid::from_raw(self.pid).filter(|_| self.lives()) {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

fn stat(pid: i32) -> Option<String> {
    fs::read(format!("/proc/{pid}/stat")).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// The 22nd field, the second one being a name that may hold anything; none of a process that has ended.
fn started(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    fields.next().filter(|state| !matches!(*state, "Z" | "X"))?;
    fields.nth(18)?.parse().ok()
}

/// Where the processes of one pool are written down.
#[derive(Clone, Debug)]
pub(super) struct Roll(PathBuf);

impl Roll {
    /// That of a type of agents.
    pub(super) fn of(data_dir: &Path, agent_type: &Name) -> Self {
        // Names may be long and have slashes in them.
        Self(data_dir.join(FOLDER).join(format!("{:016x}.json", stable(agent_type.as_str()))))
    }

    /// Those that are written down and there. A file that cannot be read has none.
    pub(super) fn read(&self) -> Vec<Process> {
        let read = || -> io::Result<Vec<Process>> {
            let mut bytes = Vec::new();
            fs::File::open(&self.0)?.take(BYTES_MAX).read_to_end(&mut bytes)?;
            Ok(serde_json::from_slice(&bytes)?)
        };
        match read() {
            Ok(processes) => processes.into_iter().filter(|process| process.lives()).collect(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                tracing::warn!(path = %self.0.display(), %error, "agents of an earlier run are not known");
                Vec::new()
            }
        }
    }

    /// Writes them down, all or none. It need not outlive the machine, since they do not.
    pub(super) fn write(&self, processes: &[Process]) -> io::Result<()> {
        if let Some(folder) = self.0.parent() {
            fs::create_dir_all(folder)?;
        }
        let next = self.0.with_extension("new");
        fs::write(&next, serde_json::to_vec(processes)?)?;
        fs::rename(&next, &self.0)
    }

    /// Asks those to leave whose pools are not in the configuration any more. They are written down until they are gone.
    pub(super) fn dismiss_all_but(data_dir: &Path, kept: &[Self]) {
        for entry in fs::read_dir(data_dir.join(FOLDER)).into_iter().flatten().flatten() {
            let roll = Self(entry.path());
            let is_roll = roll.0.extension().is_some_and(|extension| extension == "json");
            if !is_roll || kept.iter().any(|kept| kept.0 == roll.0) {
                continue;
            }
            let mut there = roll.read();
            there.iter_mut().filter(|process| !process.leaves).for_each(Process::ask_to_leave);
            let noted = if there.is_empty() { fs::remove_file(&roll.0) } else { roll.write(&there) };
            if let Err(error) = noted {
                tracing::warn!(path = %roll.0.display(), %error, "agents that were asked to leave are not written down");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse("name", text).unwrap()
    }

    #[test]
    fn a_number_that_is_another_processs_by_now_is_nobody_who_was_written_down() {
        let folder = tempfile::tempdir().unwrap();
        let roll = Roll::of(folder.path(), &name("moved/coder"));
        let own = Process::of(rustix::process::getpid()).unwrap();
        let earlier = Process { started: own.started - 1, ..own };
        let gone = Process { pid: i32::MAX, ..own };
        roll.write(&[own, earlier, gone]).unwrap();
        assert_eq!(roll.read(), [own]);
        assert_eq!(Roll::of(folder.path(), &name("tester")).read(), []);
        fs::write(&roll.0, "[{").unwrap();
        assert_eq!(roll.read(), []);
    }

    #[test]
    fn a_process_name_with_spaces_and_brackets_is_no_trouble_and_who_has_ended_is_gone() {
        let stat = |state| format!("7 (a) b) {state} 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 1 0 4711 0 0");
        assert_eq!(started(&stat("S")), Some(4711));
        assert_eq!(started(&stat("Z")), None);
    }

    #[test]
    fn agents_of_a_pool_that_is_configured_no_more_are_asked_to_leave_once() {
        let folder = tempfile::tempdir().unwrap();
        let (told, ready) = (folder.path().join("told"), |agent: u32| folder.path().join(format!("ready-{agent}")));
        let start = |agent: u32| {
            let (told, ready) = (told.display(), ready(agent));
            let wait = "while :; do sleep 0.02; done";
            let script = format!("trap 'echo >> {told}' TERM; touch {}; {wait}", ready.display());
            std::process::Command::new("sh").args(["-c", &script]).spawn().unwrap()
        };
        let mut agents = [start(0), start(1)];
        let of = |child: &std::process::Child| Process::of(Pid::from_child(child)).unwrap();
        let (kept, other) = (Roll::of(folder.path(), &name("kept")), Roll::of(folder.path(), &name("other")));
        kept.write(&[of(&agents[0])]).unwrap();
        other.write(&[of(&agents[1])]).unwrap();
        let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
        let wait = |what: &str, holds: &dyn Fn() -> bool| {
            while !holds() {
                assert!(std::time::Instant::now() < until, "never {what}");
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
        };
        wait("ready", &|| ready(0).exists() && ready(1).exists());
        for _ in 0..2 {
            Roll::dismiss_all_but(folder.path(), std::slice::from_ref(&kept));
        }
        assert_eq!((kept.read()[0].leaves, other.read()[0].leaves), (false, true));
        wait("told", &|| fs::read_to_string(&told).is_ok_and(|told| told == "\n"));
        for agent in &mut agents {
            agent.kill().unwrap();
            agent.wait().unwrap();
        }
        Roll::dismiss_all_but(folder.path(), &[kept]);
        assert!(!other.0.exists(), "it is gone");
    }
}
