//! `bravo job enqueue --lines`: one job per line of stdin.

use std::collections::VecDeque;
use std::time::Instant;

use bravo_client::{Client, NewJob, Pending};
use tokio::io::{AsyncBufReadExt, BufReader};

use super::enqueue::{Args, is_json};
use crate::exit::Failure;

/// Lines that go together, when they are there together.
const CHUNK_LINES: usize = 250;
const CHUNK_BYTES: usize = 1 << 20;
/// Chunks without an answer, beyond which reading waits.
const PENDING_MAX: usize = 256;

pub(super) async fn run(args: &Args, client: &Client) -> Result<(), Failure> {
    let template = args.job()?;
    let producer = client.producer();
    let mut lines = BufReader::with_capacity(1 << 20, tokio::io::stdin());
    let start = Instant::now();
    let mut pending: VecDeque<Pending> = VecDeque::new();
    let (mut count, mut number, mut at_end) = (0, 0, false);
    let result = async {
        while !at_end {
            let (mut chunk, mut bytes) = (Vec::new(), 0);
            while chunk.len() < CHUNK_LINES && bytes < CHUNK_BYTES && !at_end {
                let mut line = Vec::new();
                let read = lines.read_until(b'\n', &mut line).await;
                at_end = read.map_err(|error| Failure::Usage(format!("stdin: {error}")))? == 0;
                number += 1;
                if !at_end {
                    bytes += line.len();
                    chunk.extend(job_of(args, &template, line, number)?);
                }
                // An interactive writer does not wait for more lines.
                if lines.buffer().is_empty() {
                    break;
                }
            }
            if !chunk.is_empty() {
                pending.push_back(producer.submit(chunk).await?);
            }
            while pending.len() > PENDING_MAX || (at_end && !pending.is_empty()) {
                let Some(first) = pending.pop_front() else { break };
                count += first.await?.len();
            }
        }
        Ok(())
    }
    .await;
    if result.is_err() {
        // What was handed over goes its way, and counts.
        for rest in pending {
            count += rest.await.map_or(0, |jobs| jobs.len());
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    #[allow(clippy::cast_precision_loss)]
    let rate = count as f64 / seconds.max(1e-9);
    eprintln!("{count} jobs in {seconds:.2} s, {rate:.0} jobs/s");
    result
}

/// The job of a line; none of an empty one.
fn job_of(args: &Args, template: &NewJob, mut line: Vec<u8>, number: u64) -> Result<Option<NewJob>, Failure> {
    while line.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
        line.pop();
    }
    if line.is_empty() {
        return Ok(None);
    }
    if args.json_lines {
        return match is_json(&line) {
            true => Ok(Some(template.clone().json_text(line))),
            false => Err(Failure::Usage(format!("line {number}: not JSON"))),
        };
    }
    let text = String::from_utf8(line).map_err(|_| Failure::Usage(format!("line {number}: not UTF-8")))?;
    Ok(Some(template.clone().json(&text)?))
}
