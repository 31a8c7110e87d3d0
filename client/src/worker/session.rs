//! A Work stream to one node.

use std::sync::Arc;
use std::time::Duration;

use bravo_api::proto;
use bravo_api::proto::work_request::Message;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::Error;
use crate::net::Nodes;

const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
const DEPTH: usize = 32;

/// A Work stream to one node.
pub(super) struct Session {
    pub(super) url: Arc<str>,
    pub(super) requests: mpsc::Sender<proto::WorkRequest>,
    pub(super) responses: Streaming<proto::WorkResponse>,
    /// Credits that the daemon has and did not use.
    pub(super) credits: usize,
    /// No jobs come any more.
    pub(super) stopped: bool,
    /// When stop was sent.
    pub(super) stop_sent: Option<Instant>,
    /// Something came in: the node is worth coming back to without a pause.
    pub(super) proven: bool,
}

impl Session {
    /// Opens a stream to any node that answers.
    pub(super) async fn open(nodes: Arc<Nodes>, hello: proto::Hello) -> Result<Box<Self>, Error> {
        let link = nodes.connect().await?;
        let (requests, outgoing) = mpsc::channel(DEPTH);
        let hello = proto::WorkRequest { message: Some(Message::Hello(hello)) };
        requests.try_send(hello).map_err(|_| Error::Stopped)?;
        let mut jobs = link.jobs();
        let opening = jobs.work(ReceiverStream::new(outgoing));
        let error = match tokio::time::timeout(OPEN_TIMEOUT, opening).await {
            Ok(Ok(responses)) => {
                return Ok(Box::new(Self {
                    url: link.url,
                    requests,
                    responses: responses.into_inner(),
                    credits: 0,
                    stopped: false,
                    stop_sent: None,
                    proven: false,
                }));
            }
            Ok(Err(status)) => Error::from(status),
            Err(_) => Error::Unreachable(format!("{} did not open a stream", link.url)),
        };
        nodes.failed(&link.url);
        Err(error)
    }
}
