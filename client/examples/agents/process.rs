//! Child processes, each the leader of a group that ends with the job.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use bravo_client::{Failure, JobContext};
use rustix::process::{Pid, Signal, kill_process_group, setpriority_process};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};

/// Below everything else on the machine: nodes that wait for a processor lose their leadership.
const NICE: i32 = 10;
/// What is kept of each output: its end.
const OUTPUT_BYTES_KEPT: usize = 256 << 10;
/// What of it an error tells.
const TAIL_BYTES: usize = 3 << 10;

/// What a process said.
pub(crate) struct Ran {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// Its last words.
    pub(crate) fn tail(&self) -> String {
        let all = format!("{}\n{}", self.stderr, self.stdout);
        let all = all.trim();
        let mut from = all.len().saturating_sub(TAIL_BYTES);
        while !all.is_char_boundary(from) {
            from += 1;
        }
        all[from..].to_owned()
    }
}

/// A process and all that it started. Dropping it kills them.
pub(crate) struct Group {
    pub(crate) child: Child,
    leader: Option<Pid>,
}

impl Group {
    /// Starts a command as a group of its own.
    pub(crate) async fn start(command: &mut Command) -> std::io::Result<Self> {
        let mut tries = 0;
        loop {
            match command.stdin(Stdio::null()).process_group(0).kill_on_drop(true).spawn() {
                Ok(child) => {
                    let leader = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
                    if let Some(leader) = leader {
                        // What it starts is as nice. A system that does not know that does without.
                        let _ = setpriority_process(Some(leader), NICE);
                    }
                    return Ok(Self { child, leader });
                }
                // A program that was just written is busy while another child, which got the open file, begins.
                Err(error) if error.kind() == ErrorKind::ExecutableFileBusy && tries < 40 => tries += 1,
                Err(error) => return Err(error),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Kills all, and waits for the leader's end.
    pub(crate) async fn kill(mut self) {
        self.signal();
        drop(self.child.wait().await);
        self.leader = None;
    }

    fn signal(&self) {
        if let Some(leader) = self.leader {
            // It may have ended by itself.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal();
    }
}

/// Runs a command to its end, unless the job is cancelled before.
pub(crate) async fn run(command: &mut Command, job: &JobContext) -> Result<Ran, Failure> {
    let name = command.as_std().get_program().to_string_lossy().into_owned();
    let started = Group::start(command.stdout(Stdio::piped()).stderr(Stdio::piped())).await;
    let mut group = started.map_err(|error| match error.kind() {
        ErrorKind::NotFound => Failure::new(format!("{name} is not installed here")).dead(),
        _ => Failure::new(format!("{name}: {error}")),
    })?;
    let (stdout, stderr) = (group.child.stdout.take(), group.child.stderr.take());
    let ended = async { tokio::join!(tail(stdout), tail(stderr), group.child.wait()) };
    tokio::select! {
        (stdout, stderr, status) = ended => Ok(Ran { status: status?, stdout, stderr }),
        () = job.cancelled() => Err(Failure::new("cancelled")),
    }
}

/// The end of what comes.
async fn tail(output: Option<impl AsyncRead + Unpin>) -> String {
    let mut kept: VecDeque<u8> = VecDeque::new();
    let mut buffer = [0; 8 << 10];
    if let Some(mut output) = output {
        while let Ok(count @ 1..) = output.read(&mut buffer).await {
            kept.extend(&buffer[..count]);
            kept.drain(..kept.len().saturating_sub(OUTPUT_BYTES_KEPT));
        }
    }
    String::from_utf8_lossy(kept.make_contiguous()).into_owned()
}
