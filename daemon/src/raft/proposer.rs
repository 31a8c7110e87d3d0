//! Makes one Raft entry of whatever commands arrived while the last one was on its way.
//!
//! Batches form by themselves, and grow under load, bounded by count and bytes. Large entries may be in flight several at once, so that the next one
//! is on disk while the last one is being answered. An entry costs much the same however little it carries,
//! so a small one waits for the last, and where commands come faster than entries, a moment longer for
//! company. Whoever is alone, and waits for each answer before the next command, never waits for a timer.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bravo_model::Reply;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use openraft::impls::ProgressResponder;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::group::{GroupState, RaftHandle};
use super::types::{Applied, Batch};
use crate::tasks::Tasks;

/// Why a proposal has no reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// This node does not lead the group, so nothing was proposed. Carries who does, if known.
    #[error("this node does not lead the group")]
    NotLeader(Option<u64>),
    /// Too much is waiting here; nothing was proposed.
    #[error("too many commands wait for this partition")]
    Overloaded,
    /// It may or may not have been proposed, and may still be applied.
    #[error("the outcome is unknown: {0}")]
    Unknown(String),
}

/// Bounds of batching; see the `raft` section of the configuration.
#[derive(Clone, Copy, Debug)]
pub struct ProposerOptions {
    /// Commands of one entry.
    pub batch_commands_max: usize,
    /// Bytes of one entry.
    pub batch_bytes_max: usize,
    /// Entries in flight.
    pub inflight_max: usize,
    /// Commands that may wait.
    pub waiting_max: usize,
}

impl Default for ProposerOptions {
    fn default() -> Self {
        Self { batch_commands_max: 1_024, batch_bytes_max: 4 << 20, inflight_max: 2, waiting_max: 8_192 }
    }
}

/// A batch of this many commands need not wait for the entry before it.
const LARGE_COMMANDS: usize = 64;
/// Nor does one of this many bytes.
const LARGE_BYTES: usize = 64 << 10;
/// A batch of this many commands need not wait for company.
const COMPANY: usize = 8;
/// Where commands waited for an entry to be done, the next one begins this long after it began.
const COMPANY_WAIT: Duration = Duration::from_millis(2);

type ReplySender = oneshot::Sender<Result<Reply, ProposeError>>;

struct Proposal {
    command: Bytes,
    reply: ReplySender,
}

/// Where commands of one group are handed in. Cheap to clone.
#[derive(Clone)]
pub struct Proposer {
    sender: mpsc::Sender<Proposal>,
}

impl Proposer {
    /// Starts the group's batching task; it ends when the last handle is gone.
    pub fn start(raft: RaftHandle, shared: Arc<GroupState>, options: ProposerOptions, tasks: &Tasks) -> Self {
        let (sender, receiver) = mpsc::channel(options.waiting_max);
        tasks.spawn(run(raft, shared, options, receiver));
        Self { sender }
    }

    /// Proposes an encoded envelope on this node.
    pub async fn propose(&self, command: Bytes) -> Result<Reply, ProposeError> {
        let (reply, answer) = oneshot::channel();
        self.sender.try_send(Proposal { command, reply }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => ProposeError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => ProposeError::NotLeader(None),
        })?;
        answer.await.unwrap_or_else(|_| Err(ProposeError::Unknown("the node is stopping".into())))
    }
}

async fn run(
    raft: RaftHandle,
    shared: Arc<GroupState>,
    options: ProposerOptions,
    mut receiver: mpsc::Receiver<Proposal>,
) {
    let mut inflight = FuturesOrdered::new();
    let mut waiting: VecDeque<Vec<ReplySender>> = VecDeque::new();
    let mut arrived: Vec<Proposal> = Vec::new();
    let mut last_began = Instant::now();
    let mut company_until = None;
    loop {
        let may_go = match company_until {
            _ if arrived.is_empty() => false,
            _ if is_large(&arrived) => inflight.len() < options.inflight_max,
            Some(_) if arrived.len() < COMPANY => false,
            _ => inflight.is_empty(),
        };
        if may_go {
            company_until = None;
            last_began = Instant::now();
            if let Some(leader) = shared.foreign_leader() {
                for proposal in arrived.drain(..) {
                    let _ = proposal.reply.send(Err(ProposeError::NotLeader(leader)));
                }
                continue;
            }
            let batch = cut(&mut arrived, &options);
            let (commands, replies): (Vec<_>, Vec<_>) = batch.into_iter().map(|p| (p.command, p.reply)).unzip();
            let data = Batch::encode(shared.clock.now(), &commands);
            let (responder, answer) = ProgressResponder::complete_only();
            match raft.write(data).responder(responder).await {
                Ok(()) => {
                    inflight.push_back(answer);
                    waiting.push_back(replies);
                }
                Err(fatal) => answer_all(replies, Err(ProposeError::Unknown(fatal.to_string()))),
            }
            continue;
        }
        let room = options.batch_commands_max.saturating_sub(arrived.len());
        tokio::select! {
            biased;
            Some(result) = inflight.next(), if !inflight.is_empty() => {
                let replies = waiting.pop_front().unwrap_or_default();
                let result = match result {
                    Ok(Ok(response)) => Ok(response.data),
                    Ok(Err(error)) => Err(ProposeError::Unknown(error.to_string())),
                    Err(_) => Err(ProposeError::Unknown("the leader stepped down".into())),
                };
                answer_all(replies, result);
                if inflight.is_empty() && !arrived.is_empty() {
                    company_until = Some(last_began + COMPANY_WAIT);
                }
            }
            () = tokio::time::sleep_until(company_until.unwrap_or(last_began)), if company_until.is_some() => {
                company_until = None;
            }
            count = receiver.recv_many(&mut arrived, room), if room > 0 => {
                if count == 0 {
                    break;
                }
            }
        }
    }
}

fn is_large(arrived: &[Proposal]) -> bool {
    arrived.len() >= LARGE_COMMANDS
        || arrived.iter().map(|proposal| proposal.command.len()).sum::<usize>() >= LARGE_BYTES
}

/// Takes the longest front of `arrived` that one entry may hold.
fn cut(arrived: &mut Vec<Proposal>, options: &ProposerOptions) -> Vec<Proposal> {
    let mut bytes = 0;
    let end = arrived
        .iter()
        .take(options.batch_commands_max)
        .position(|proposal| {
            bytes += proposal.command.len();
            bytes > options.batch_bytes_max
        })
        .unwrap_or(arrived.len().min(options.batch_commands_max));
    let rest = arrived.split_off(end.max(1));
    std::mem::replace(arrived, rest)
}

fn answer_all(replies: Vec<ReplySender>, result: Result<Applied, ProposeError>) {
    match result {
        Ok(Applied(answers)) => {
            let mut answers = answers.into_iter();
            for reply in replies {
                let answer =
                    answers.next().ok_or_else(|| ProposeError::Unknown("the entry's format is unknown here".into()));
                let _ = reply.send(answer);
            }
        }
        Err(error) => {
            for reply in replies {
                let _ = reply.send(Err(error.clone()));
            }
        }
    }
}
