//! REST calls over the connections that all calls go over: tries, answers, refusals.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bravo_api::{Code, Problem, Refusal};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use tonic::body::Body;

use crate::net::Backoff;
use crate::{Client, Error};

/// Answers other than an artifact's bytes are smaller.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// A put that breaks each time moves bytes each time, and ends all the same.
const TRIES_MAX: u32 = 30;

impl Client {
    /// Reads, at any node.
    pub(crate) async fn read(&self, at: &str) -> Result<(Arc<str>, Response<Body>), Error> {
        let mut tries = Tries::default();
        loop {
            match self.ask(Request::get(at), Body::empty(), &tries.moved).await {
                Ok(answer) => return Ok(answer),
                Err(error) => tries.again(self, error).await?,
            }
        }
    }

    /// One try at one node: its answer, if it is a success.
    pub(crate) async fn ask(
        &self,
        request: http::request::Builder,
        body: Body,
        moved: &Moved,
    ) -> Result<(Arc<str>, Response<Body>), Error> {
        moved.now();
        let late = |_| Error::Unreachable("no connection in time".into());
        let link = tokio::time::timeout(self.deadline(), self.nodes.connect()).await.map_err(late)??;
        let url = link.url.clone();
        let request = request.body(body).map_err(|error| Error::Invalid(error.to_string()))?;
        let mut sending = pin!(link.send(request));
        let answer = loop {
            let left = self.deadline().saturating_sub(moved.since());
            match tokio::time::timeout(left.max(Duration::from_millis(10)), &mut sending).await {
                Ok(answer) => break answer.map_err(|error| Error::Broken(format!("{url}: {error}"))),
                Err(_) if moved.since() < self.deadline() => (),
                Err(_) => break Err(Error::TimedOut(format!("{url} did not answer"))),
            }
        };
        let answer = match answer {
            Ok(answer) => refused(answer).await,
            Err(error) => Err(error),
        };
        if let Err(error) = &answer {
            match error {
                Error::Broken(_) | Error::TimedOut(_) => self.nodes.failed(&url),
                error if error.is_of_the_node() => self.nodes.leave(&url),
                _ => (),
            }
        }
        answer.map(|answer| (url, answer))
    }
}

/// The tries of one call.
pub(crate) struct Tries {
    count: u32,
    backoff: Backoff,
    /// When this try began.
    begun: Instant,
    /// When tries began to get nowhere.
    failing: Option<Instant>,
    pub(crate) moved: Moved,
}

impl Default for Tries {
    fn default() -> Self {
        let (backoff, moved) = (Backoff::default(), Moved::default());
        Self { count: 0, backoff, begun: Instant::now(), failing: None, moved }
    }
}

impl Tries {
    /// Waits for the next try; the error, if waiting does not mend it or tries have got nowhere for as long as the
    /// deadline. One that moved bytes for longer than that got somewhere.
    pub(crate) async fn again(&mut self, client: &Client, error: Error) -> Result<(), Error> {
        if self.begun.elapsed() > client.deadline() && !matches!(error, Error::TimedOut(_)) {
            self.failing = Some(Instant::now());
        }
        let failing = self.failing.get_or_insert(self.begun).elapsed();
        let pause = error.retry_after_ms().map_or_else(|| self.backoff.pause(), Duration::from_millis);
        let impatient = matches!(error, Error::Unreachable(_)) && failing >= client.patience();
        self.count += 1;
        if !error.is_retryable() || impatient || self.count == TRIES_MAX || failing + pause >= client.deadline() {
            return Err(error);
        }
        tracing::debug!(%error, ?pause, "trying again");
        tokio::time::sleep(pause).await;
        self.begun = Instant::now();
        Ok(())
    }
}

/// When a byte moved last.
#[derive(Clone)]
pub(crate) struct Moved(Arc<Mutex<Instant>>);

impl Default for Moved {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }
}

impl Moved {
    pub(crate) fn now(&self) {
        *self.0.lock() = Instant::now();
    }

    fn since(&self) -> Duration {
        self.0.lock().elapsed()
    }
}

/// An answer that is a success, or the refusal that it is.
async fn refused(answer: Response<Body>) -> Result<Response<Body>, Error> {
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let headers: HeaderMap = answer.headers().clone();
    let text = collected(answer.into_body()).await?;
    let problem: Option<Problem> = serde_json::from_slice(&text).ok();
    let code = problem.as_ref().and_then(|problem| Code::parse(&problem.code));
    Err(match (problem, code) {
        (Some(problem), Some(code)) => {
            Error::Refused(Refusal { code, detail: problem.detail, retry_after_ms: problem.retry_after_ms })
        }
        // Not from a Bravo gateway, or from a newer one.
        (_, None) | (None, _) if status.is_client_error() => {
            let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("no type");
            Error::Invalid(format!("{status} ({kind})"))
        }
        _ => Error::Broken(status.to_string()),
    })
}

/// An answer's JSON.
pub(crate) async fn json<T: DeserializeOwned>(answer: Response<Body>) -> Result<T, Error> {
    serde_json::from_slice(&collected(answer.into_body()).await?)
        .map_err(|error| Error::Broken(format!("the answer: {error}")))
}

async fn collected(body: Body) -> Result<Bytes, Error> {
    let collected = http_body_util::Limited::new(body, ANSWER_BYTES_MAX).collect().await;
    Ok(collected.map_err(|error| Error::Broken(error.to_string()))?.to_bytes())
}

/// All but what stands for itself in every part of a URL (RFC 3986, unreserved).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Text as a part of a URL.
pub(crate) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}
