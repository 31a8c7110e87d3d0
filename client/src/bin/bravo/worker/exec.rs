//! One job as one command.

use std::collections::VecDeque;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bravo_client::{Failure, JobContext, Output, limits};
use serde_json::value::RawValue;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStdin, Command};

use super::group::Group;

const STDERR_BYTES_KEPT: usize = 2 << 10;
/// How long children that outlive the command may hold its output open.
const LINGER: Duration = Duration::from_secs(1);

/// Runs the command for the job.
pub(super) async fn run(command: Arc<str>, job: JobContext, kill_after: Duration) -> Result<Output, Failure> {
    let mut child = Command::new("sh")
        .args(["-c", &command])
        .env("BRAVO_JOB_ID", job.id())
        .env("BRAVO_LEASE_TOKEN", job.lease_token().to_string())
        .env("BRAVO_ATTEMPT", job.attempt().to_string())
        .env("BRAVO_QUEUE", job.queue())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    let group = Group::new(child.id());
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());

    let mut talk = std::pin::pin!(async { tokio::join!(feed(stdin, job.payload()), head(stdout), tail(stderr)) });
    let mut said = None;
    let ended = loop {
        tokio::select! {
            status = child.wait() => break Ok(status?),
            ((), stdout, stderr) = &mut talk, if said.is_none() => said = Some((stdout, stderr)),
            () = job.cancelled() => break Err(()),
        }
    };
    let Ok(status) = ended else {
        group.end(child.wait(), kill_after).await?;
        return Err(Failure::new("cancelled"));
    };
    if said.is_none() {
        said = tokio::time::timeout(LINGER, &mut talk).await.ok().map(|((), stdout, stderr)| (stdout, stderr));
    }
    match said {
        Some((stdout, stderr)) => {
            group.release();
            outcome(status, stdout, &stderr)
        }
        // Children went on in the background, with the command's output in their hands.
        None => {
            group.kill();
            let ((), stdout, stderr) = talk.await;
            outcome(status, stdout, &stderr)
        }
    }
}

fn outcome(status: ExitStatus, stdout: Option<Vec<u8>>, stderr: &str) -> Result<Output, Failure> {
    if !status.success() {
        // As "exit status: 3", or "signal: 9 (SIGKILL)".
        return Err(Failure::new(format!("{status}: {stderr}").trim_end().trim_end_matches(':')));
    }
    let stdout = stdout.ok_or_else(|| Failure::new("stdout has more than 1 MiB"))?;
    if stdout.trim_ascii().is_empty() {
        return Ok(Output::none());
    }
    match serde_json::from_slice::<&RawValue>(&stdout) {
        Ok(json) => Ok(Output::json_text(json.get().to_owned())),
        Err(_) => Ok(Output::json(&String::from_utf8_lossy(&stdout).trim_end_matches('\n'))?),
    }
}

/// Writes the payload; a command need not read it.
async fn feed(stdin: Option<ChildStdin>, payload: &[u8]) {
    if let Some(mut stdin) = stdin {
        drop(stdin.write_all(payload).await);
    }
}

/// All that comes, unless it is too much.
async fn head(stdout: Option<impl AsyncRead + Unpin>) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    let mut stdout = stdout?;
    let limit = limits::PAYLOAD_BYTES_MAX as u64;
    (&mut stdout).take(limit + 1).read_to_end(&mut text).await.ok()?;
    // The rest is read all the same: a command must not hang on a full pipe.
    tokio::io::copy(&mut stdout, &mut tokio::io::sink()).await.ok()?;
    (text.len() <= limits::PAYLOAD_BYTES_MAX).then_some(text)
}

/// The end of what comes.
async fn tail(stderr: Option<impl AsyncRead + Unpin>) -> String {
    let mut kept: VecDeque<u8> = VecDeque::new();
    let mut buffer = [0; 1 << 10];
    if let Some(mut stderr) = stderr {
        while let Ok(count @ 1..) = stderr.read(&mut buffer).await {
            kept.extend(&buffer[..count]);
            kept.drain(..kept.len().saturating_sub(STDERR_BYTES_KEPT));
        }
    }
    String::from_utf8_lossy(kept.make_contiguous()).trim().to_owned()
}
