//! An enqueue stream to one node.

use std::sync::Arc;
use std::time::Duration;

use bravo_api::proto;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::Error;
use crate::net::Nodes;

const OPEN_TIMEOUT: Duration = Duration::from_secs(5);

/// An enqueue stream to one node.
pub(super) struct Session {
    pub(super) url: Arc<str>,
    pub(super) batches: mpsc::Sender<proto::EnqueueBatch>,
    pub(super) answers: Streaming<proto::EnqueueResult>,
    /// Something was answered: the node is worth coming back to without a pause.
    pub(super) proven: bool,
}

impl Session {
    /// Opens a stream to any node that answers; `depth` batches can be sent without waiting.
    pub(super) async fn open(nodes: Arc<Nodes>, depth: usize) -> Result<Box<Self>, Error> {
        let link = nodes.connect().await?;
        let (batches, outgoing) = mpsc::channel(depth);
        let mut jobs = link.jobs();
        let opening = jobs.enqueue_stream(ReceiverStream::new(outgoing));
        let error = match tokio::time::timeout(OPEN_TIMEOUT, opening).await {
            Ok(Ok(answers)) => {
                let answers = answers.into_inner();
                return Ok(Box::new(Self { url: link.url, batches, answers, proven: false }));
            }
            Ok(Err(status)) => Error::from(status),
            // Nothing was sent yet.
            Err(_) => Error::Unreachable(format!("{} did not open a stream", link.url)),
        };
        nodes.failed(&link.url);
        Err(match error {
            Error::Broken(detail) | Error::TimedOut(detail) => Error::Unreachable(format!("{}: {detail}", link.url)),
            error => error,
        })
    }
}
