//! Artifacts: bytes by project and path. Sent and read as streams, over the connections that calls go over.
//!
//! A put is sent again, from its first byte, when a node is lost; the same bytes make no second version. A read
//! goes on with another node where it broke off. The client's deadline is how long either may go without a byte
//! moving; how long it takes in all depends on the size.

use std::path::PathBuf;
use std::sync::Arc;

use bravo_api::Code;
use bravo_api::json::{ArtifactAnswer, ArtifactListAnswer};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderName, RANGE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tonic::body::Body;

use crate::rest::{Moved, Tries, encoded, json};
use crate::{Client, Error};

/// Bytes that are read from a file at a time.
const PART_BYTES: usize = 256 << 10;
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

fn place(project: &str, path: Option<&str>) -> String {
    let path = path.map_or_else(String::new, |path| {
        let segments: Vec<String> = path.split('/').map(encoded).collect();
        format!("/{}", segments.join("/"))
    });
    format!("/api/v1/artifacts/{}{path}", encoded(project))
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
