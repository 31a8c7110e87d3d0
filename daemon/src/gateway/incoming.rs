//! Bodies of requests as they come in: who stops sending in the middle of one is not waited for.

use std::error::Error as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bravo_model::{Code, Refusal};
use bytes::Bytes;
use http::Request;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::Sleep;

use crate::telemetry::events::Evicted;

/// Calls over gRPC in whose streams callers send when they have something to send.
const SILENT_METHODS: [&str; 3] = [
    "/bravo.v1.Jobs/Work",
    "/bravo.v1.Jobs/EnqueueStream",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
];

/// Nothing of the body came for too long.
#[derive(Debug, thiserror::Error)]
#[error("nothing of the body came for {} ms (limits.read_timeout_ms)", .0.as_millis())]
pub(super) struct Silent(Duration);

/// The body of a request, given up when nothing of it comes.
pub(super) struct Coming {
    inner: Incoming,
    patience: Option<Duration>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Coming {
    /// The same request with its body under watch, unless it is a stream that may be silent.
    pub(super) fn watch(request: Request<Incoming>, patience: Duration) -> Request<Self> {
        let patience = (!SILENT_METHODS.contains(&request.uri().path())).then_some(patience);
        request.map(|inner| Self { inner, patience, timer: None })
    }
}

impl Body for Coming {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) {
            this.timer = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let Some(patience) = this.patience else { return Poll::Pending };
        let timer = this.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        if timer.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        Evicted { reason: "read" }.emit();
        Poll::Ready(Some(Err(Box::new(Silent(patience)))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Why a body did not come whole.
pub(super) fn refusal(error: &axum::Error) -> Refusal {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if inner.is::<Silent>() {
            return Refusal::new(Code::DeadlineExceeded, inner.to_string());
        }
        cause = inner.source();
    }
    Refusal::new(Code::InvalidArgument, format!("body: {error}"))
}
