//! One `bravod` process.

use std::fs::{self, OpenOptions};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};

/// A node that runs, or could run.
pub struct Proc {
    /// Its id.
    pub id: u64,
    /// Where it serves.
    pub public: SocketAddr,
    /// Its folder.
    pub data: PathBuf,
    /// Its configuration.
    pub config: PathBuf,
    /// Variables of its environment, from the next start on.
    pub env: Vec<(String, String)>,
    program: PathBuf,
    stderr: PathBuf,
    child: Option<Child>,
}

impl Proc {
    pub(super) fn new(id: u64, public: SocketAddr, data: PathBuf, folder: &Path, program: PathBuf) -> Self {
        let config = folder.join(format!("node-{id}.toml"));
        let stderr = folder.join(format!("node-{id}.log"));
        Self { id, public, data, config, env: Vec::new(), program, stderr, child: None }
    }

    /// Starts it; what it says is added to what it said before.
    pub fn start(&mut self) -> anyhow::Result<()> {
        anyhow::ensure!(self.child.is_none(), "node {} runs already", self.id);
        let log = OpenOptions::new().create(true).append(true).open(&self.stderr)?;
        let mut command = Command::new(&self.program);
        command.arg("--config").arg(&self.config).stdin(Stdio::null());
        command.stdout(log.try_clone()?).stderr(log);
        // openraft tells of every heartbeat that fails.
        command.env("RUST_LOG", "info,openraft=error");
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        self.child = Some(command.spawn().with_context(|| format!("{}", self.program.display()))?);
        Ok(())
    }

    /// Whether it was started and not yet seen to end.
    pub fn runs(&self) -> bool {
        self.child.is_some()
    }

    /// Its process id.
    pub fn pid(&self) -> anyhow::Result<u32> {
        Ok(self.child.as_ref().with_context(|| format!("node {} does not run", self.id))?.id())
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.pid()?)?).context("a process id")?;
        Ok(kill_process(pid, signal)?)
    }

    /// `kill -9`.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::KILL)?;
        if let Some(mut child) = self.child.take() {
            child.wait()?;
        }
        Ok(())
    }

    /// Stands still, as in a long pause of the machine.
    pub fn pause(&self) -> anyhow::Result<()> {
        self.signal(Signal::STOP)
    }

    /// Goes on after [`Self::pause`].
    pub fn resume(&self) -> anyhow::Result<()> {
        self.signal(Signal::CONT)
    }

    /// Asks it to end in good order.
    pub fn terminate(&self) -> anyhow::Result<()> {
        self.signal(Signal::TERM)
    }

    /// Waits until it ends by itself; `None` if it has not in that time.
    pub async fn ended(&mut self, patience: Duration) -> anyhow::Result<Option<ExitStatus>> {
        let deadline = Instant::now() + patience;
        loop {
            let Some(child) = self.child.as_mut() else { anyhow::bail!("node {} does not run", self.id) };
            if let Some(status) = child.try_wait()? {
                self.child = None;
                return Ok(Some(status));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// All that it has said since its first start.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    /// Bytes of memory that are its own.
    pub fn resident_bytes(&self) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()?))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
        let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kib << 10)
    }

    /// Open descriptors.
    pub fn descriptors(&self) -> anyhow::Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.pid()?))?.count())
    }
}

impl Drop for Proc {
    fn drop(&mut self) {
        if self.child.is_some() {
            let _ = self.kill();
        }
    }
}
