//! Artifacts: bytes by project and path. Sent and read as streams, over the connections that calls go over.
//!
//! A put is sent again, from its first byte, when a node is lost; the same bytes make no second version. A read
//! goes on with another node where it broke off. The client's deadline is how long either may go without a byte
//! moving; how long it takes in all depends on the size.

use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bravo_api::json::{ArtifactAnswer, ArtifactListAnswer};
use bravo_api::{Code, Problem, Refusal};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderName, RANGE};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use parking_lot::Mutex;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;
use tonic::body::Body;

use crate::net::Backoff;
use crate::{Client, Error};

/// Bytes that are read from a file at a time.
const PART_BYTES: usize = 256 << 10;
/// Answers other than an artifact's bytes are smaller.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// A put that breaks each time moves bytes each time, and ends all the same.
const TRIES_MAX: u32 = 30;
const VERSION: HeaderName = HeaderName::from_static("x-version");

/// What is put: bytes, or a file, which is opened anew for each try.
#[derive(Clone, Debug)]
pub enum Source {
    /// These bytes.
    Bytes(Bytes),
    /// What the file holds; it must not change meanwhile.
    File(PathBuf),
}

impl<T: Into<Bytes>> From<T> for Source {
    fn from(bytes: T) -> Self {
        Self::Bytes(bytes.into())
    }
}

/// An artifact that is being read.
pub struct Artifact {
    client: Client,
    /// With the number of its version, so that every part is of the same one.
    path: String,
    version: u32,
    etag: String,
    content_type: String,
    size: u64,
    at: u64,
    body: Option<Opened>,
}

/// A node's answer that is being read.
struct Opened {
    url: Arc<str>,
    body: Body,
}

impl std::fmt::Debug for Artifact {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} ({} of {} bytes)", self.path, self.at, self.size)
    }
}

impl Client {
    /// Makes an artifact, or its next version if these bytes or their type differ from the newest one.
    pub async fn put_artifact(
        &self,
        project: &str,
        path: &str,
        source: impl Into<Source>,
        content_type: Option<&str>,
    ) -> Result<ArtifactAnswer, Error> {
        let source = source.into();
        let at = place(project, Some(path));
        let mut tries = Tries::default();
        loop {
            let answer = self.put_once(&at, &source, content_type, &tries.moved).await;
            match answer {
                Ok(answer) => return json(answer).await,
                Err(error) => tries.again(self, error).await?,
            }
        }
    }

    async fn put_once(
        &self,
        at: &str,
        source: &Source,
        content_type: Option<&str>,
        moved: &Moved,
    ) -> Result<Response<Body>, Error> {
        let (body, length) = opened(source, moved.clone()).await?;
        let mut request = Request::builder().method(Method::PUT).uri(at).header(CONTENT_LENGTH, length);
        if let Some(value) = content_type {
            request = request.header(CONTENT_TYPE, value);
        }
        self.ask(request, body, moved).await.map(|(_, answer)| answer)
    }

    /// Begins to read an artifact: one version of it, the newest if none is named.
    pub async fn artifact(&self, project: &str, path: &str, version: Option<u32>) -> Result<Artifact, Error> {
        let at = place(project, Some(path));
        let asked = version.map_or_else(|| at.clone(), |version| format!("{at}?version={version}"));
        let (url, response) = self.read(&asked).await?;
        let text = |name: HeaderName| {
            response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
        };
        let number = |name: HeaderName| {
            text(name).parse::<u64>().map_err(|_| Error::Broken("an artifact without a size or version".into()))
        };
        let version = u32::try_from(number(VERSION)?).map_err(|error| Error::Broken(error.to_string()))?;
        Ok(Artifact {
            client: self.clone(),
            path: format!("{at}?version={version}"),
            version,
            etag: text(ETAG),
            content_type: text(CONTENT_TYPE),
            size: number(CONTENT_LENGTH)?,
            at: 0,
            body: Some(Opened { url, body: response.into_body() }),
        })
    }

    /// Lists a page of a project's artifacts by path: those whose paths begin with `prefix`.
    pub async fn artifacts(
        &self,
        project: &str,
        prefix: &str,
        limit: Option<u32>,
        cursor: Option<&str>,
    ) -> Result<ArtifactListAnswer, Error> {
        let limit = limit.map(|limit| format!("&limit={limit}")).unwrap_or_default();
        let cursor = cursor.map(|cursor| format!("&cursor={}", encoded(cursor))).unwrap_or_default();
        let at = format!("{}?prefix={}{limit}{cursor}", place(project, None), encoded(prefix));
        json(self.read(&at).await?.1).await
    }

    /// Deletes an artifact with all its versions.
    pub async fn delete_artifact(&self, project: &str, path: &str) -> Result<(), Error> {
        let at = place(project, Some(path));
        let (mut tries, mut unknown) = (Tries::default(), false);
        loop {
            let answer = self.ask(Request::delete(&at), Body::empty(), &tries.moved).await;
            match answer {
                Ok(_) => return Ok(()),
                // An earlier try did it, as far as anybody can tell.
                Err(Error::Refused(refusal)) if unknown && refusal.code == Code::NotFound => return Ok(()),
                Err(error) => {
                    unknown |= error.outcome_unknown();
                    tries.again(self, error).await?;
                }
            }
        }
    }

    async fn read(&self, at: &str) -> Result<(Arc<str>, Response<Body>), Error> {
        let mut tries = Tries::default();
        loop {
            match self.ask(Request::get(at), Body::empty(), &tries.moved).await {
                Ok(answer) => return Ok(answer),
                Err(error) => tries.again(self, error).await?,
            }
        }
    }

    /// One try at one node: its answer, if it is a success.
    async fn ask(
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

impl Artifact {
    /// Which version this is.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Its entity tag, as the header has it.
    pub fn etag(&self) -> &str {
        &self.etag
    }

    /// Its type, as it was sent.
    pub fn content_type(&self) -> &str {
        &self.content_type
    }

    /// Its bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The next bytes; none at the end. A part that cannot be had from one node comes from another.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        if self.at >= self.size {
            return Ok(None);
        }
        let mut tries = Tries::default();
        loop {
            match self.part(&tries.moved).await {
                Ok(part) => {
                    self.at += part.len() as u64;
                    return Ok(Some(part));
                }
                Err(error) => {
                    self.body = None;
                    tries.again(&self.client, error).await?;
                }
            }
        }
    }

    /// The next bytes from the node that is being read from, or from another one.
    async fn part(&mut self, moved: &Moved) -> Result<Bytes, Error> {
        let mut opened = match self.body.take() {
            Some(opened) => opened,
            None => self.open(moved).await?,
        };
        let part = tokio::time::timeout(self.client.deadline(), part(&mut opened.body)).await;
        let part = part.unwrap_or_else(|_| Err(Error::TimedOut("no more bytes came".into())));
        if part.is_err() {
            self.client.nodes.failed(&opened.url);
        }
        self.body = Some(opened);
        part
    }

    /// All that is left, if it is not more than so many bytes.
    pub async fn bytes(mut self, max: usize) -> Result<Bytes, Error> {
        let left = usize::try_from(self.size - self.at).unwrap_or(usize::MAX);
        if left > max {
            return Err(Error::Invalid(format!("the artifact has {} bytes, and {max} are taken", self.size)));
        }
        let mut all = BytesMut::with_capacity(left);
        while let Some(part) = self.chunk().await? {
            all.extend_from_slice(&part);
        }
        Ok(all.freeze())
    }

    /// Writes all that is left. The error is the cluster's, or the writer's as [`Error::Invalid`].
    pub async fn write_to(mut self, mut out: impl AsyncWrite + Unpin) -> Result<(), Error> {
        let failed = |error: std::io::Error| Error::Invalid(error.to_string());
        while let Some(part) = self.chunk().await? {
            out.write_all(&part).await.map_err(failed)?;
        }
        out.flush().await.map_err(failed)
    }

    /// Goes on where it broke off.
    async fn open(&mut self, moved: &Moved) -> Result<Opened, Error> {
        let request = Request::get(&self.path).header(RANGE, format!("bytes={}-", self.at));
        let (url, response) = self.client.ask(request, Body::empty(), moved).await?;
        if self.at > 0 && response.status() != StatusCode::PARTIAL_CONTENT {
            return Err(Error::Invalid(format!("{url} does not give parts")));
        }
        Ok(Opened { url, body: response.into_body() })
    }
}

/// The tries of one call.
struct Tries {
    count: u32,
    backoff: Backoff,
    /// When this try began.
    begun: Instant,
    /// When tries began to get nowhere.
    failing: Option<Instant>,
    moved: Moved,
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
    async fn again(&mut self, client: &Client, error: Error) -> Result<(), Error> {
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
struct Moved(Arc<Mutex<Instant>>);

impl Default for Moved {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }
}

impl Moved {
    fn now(&self) {
        *self.0.lock() = Instant::now();
    }

    fn since(&self) -> Duration {
        self.0.lock().elapsed()
    }
}

/// The next bytes of a body that must have some.
async fn part(body: &mut Body) -> Result<Bytes, Error> {
    loop {
        let frame = body.frame().await.ok_or_else(|| Error::Broken("the bytes ended early".into()))?;
        let frame = frame.map_err(|error| Error::Broken(error.to_string()))?;
        match frame.into_data() {
            Ok(part) if !part.is_empty() => return Ok(part),
            _ => (),
        }
    }
}

/// A source as a body that tells when it moves, and its length.
async fn opened(source: &Source, moved: Moved) -> Result<(Body, u64), Error> {
    match source {
        Source::Bytes(bytes) => {
            let parts: Vec<Bytes> = (0..bytes.len())
                .step_by(PART_BYTES)
                .map(|at| bytes.slice(at..bytes.len().min(at + PART_BYTES)))
                .collect();
            let parts = stream::iter(parts).map(move |part| {
                moved.now();
                Ok::<_, std::io::Error>(Frame::data(part))
            });
            let body =
                if bytes.is_empty() { Body::new(Full::<Bytes>::default()) } else { Body::new(StreamBody::new(parts)) };
            Ok((body, bytes.len() as u64))
        }
        Source::File(path) => {
            let unreadable = |error: std::io::Error| Error::Invalid(format!("{}: {error}", path.display()));
            let file = tokio::fs::File::open(path).await.map_err(unreadable)?;
            let length = file.metadata().await.map_err(unreadable)?.len();
            let parts = stream::unfold(file.take(length), move |mut file| {
                let moved = moved.clone();
                async move {
                    let mut part = BytesMut::with_capacity(PART_BYTES);
                    let read = file.read_buf(&mut part).await;
                    moved.now();
                    match read {
                        Ok(0) => None,
                        Ok(_) => Some((Ok(Frame::data(part.freeze())), file)),
                        Err(error) => Some((Err(error), file)),
                    }
                }
            });
            Ok((Body::new(StreamBody::new(parts)), length))
        }
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

async fn json<T: DeserializeOwned>(answer: Response<Body>) -> Result<T, Error> {
    serde_json::from_slice(&collected(answer.into_body()).await?)
        .map_err(|error| Error::Broken(format!("the answer: {error}")))
}

async fn collected(body: Body) -> Result<Bytes, Error> {
    let collected = http_body_util::Limited::new(body, ANSWER_BYTES_MAX).collect().await;
    Ok(collected.map_err(|error| Error::Broken(error.to_string()))?.to_bytes())
}

fn place(project: &str, path: Option<&str>) -> String {
    let path = path.map_or_else(String::new, |path| {
        let segments: Vec<String> = path.split('/').map(encoded).collect();
        format!("/{}", segments.join("/"))
    });
    format!("/api/v1/artifacts/{}{path}", encoded(project))
}

/// All but what stands for itself in every part of a URL (RFC 3986, unreserved).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Text as a part of a URL.
fn encoded(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_keeps_its_slashes_and_nothing_else() {
        assert_eq!(place("p/q", Some("a b/ü?")), "/api/v1/artifacts/p%2Fq/a%20b/%C3%BC%3F");
        assert_eq!(place("p-._~", None), "/api/v1/artifacts/p-._~");
    }
}
