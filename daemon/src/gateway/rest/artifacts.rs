//! `/api/v1/artifacts…`: put, read, list, delete. Bodies are streams of any type, and may take their time.

use std::ops::Range;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bravo_api::json::{ArtifactAnswer, ArtifactListAnswer, ArtifactQuery, ListArtifactsQuery};
use bravo_model::artifact::Manifest;
use bravo_model::{Code, Refusal};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, IF_RANGE, RANGE, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use tokio::sync::OwnedSemaphorePermit;

use super::extract::{Artifact, Asked, Project};
use super::{coding, conditions};
use crate::gateway::app::App;
use crate::gateway::call::Call;
use crate::gateway::incoming;
use crate::gateway::problem::{self, Answered, Refused};
use crate::gateway::service::artifacts::{self, Source, Turn, Upload};

const VERSION: HeaderName = HeaderName::from_static("x-version");
/// Where the version's chunks are: `hot`, `cold` or `archive`.
const CLASS: HeaderName = HeaderName::from_static("x-storage-class");
/// The newest version may be another one the next time.
const NEWEST: HeaderValue = HeaderValue::from_static("no-cache");
/// A number never stands for other content.
const NUMBERED: HeaderValue = HeaderValue::from_static("max-age=86400, immutable");
/// What bytes are of which nobody said it.
const UNTYPED: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// Make an artifact, or its next version if the content is another. Up to 5 GiB; Content-Type and Content-Encoding are kept.
#[utoipa::path(
    put,
    path = "/api/v1/artifacts/{project_id}/{path}",
    tag = "artifacts",
    operation_id = "putArtifact",
    params(("project_id" = String, Path, description = "The project."), ("path" = String, Path, description = "With / in it; no segment is empty, . or ..."), ("If-Match" = Option<String>, Header), ("If-None-Match" = Option<String>, Header), ("Idempotency-Key" = Option<String>, Header)),
    request_body(content = Vec<u8>, content_type = "*/*"),
    responses((status = 200, description = "It was there; as it is now.", body = ArtifactAnswer, headers(("ETag" = String), ("X-Version" = String))), (status = 201, description = "It is new.", body = ArtifactAnswer, headers(("ETag" = String), ("X-Version" = String)))),
)]
pub(super) async fn put(
    State(app): State<Arc<App>>,
    call: Call,
    Artifact(place): Artifact,
    headers: HeaderMap,
    body: Body,
) -> Answered {
    let expected = conditions::expected(&headers)?;
    call.caller.may_write(&place.project)?;
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    artifacts::check_size(announced.unwrap_or(0))?;
    let (content_type, content_encoding) = (text(&headers, CONTENT_TYPE)?, text(&headers, CONTENT_ENCODING)?);
    let body = body.into_data_stream().map(|part| part.map_err(|error| incoming::refusal(&error)));
    let taken = Upload::take(&app, &place, body);
    let taken = if call.timeout_given {
        let late = |_| Refusal::new(Code::DeadlineExceeded, "the body did not come in time");
        tokio::time::timeout_at(call.deadline.into(), taken).await.map_err(late)??
    } else {
        taken.await?
    };
    let manifest = Manifest { content_type, content_encoding, ..taken };
    let (size, etag, blake3) = (manifest.size, manifest.etag(), blake3::Hash::from_bytes(manifest.blake3).to_string());
    let (project_id, path) = (place.project.to_string(), place.path.to_string());
    let (version, created) = artifacts::put(&app, &call, place, manifest, expected).await?;
    let answer = ArtifactAnswer { project_id, path, version, size, etag: format!("\"{etag}\""), blake3 };
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    let mut response = problem::json(status, &answer)?;
    conditions::etag(response.headers_mut(), &etag);
    response.headers_mut().insert(VERSION, version.into());
    Ok(response)
}

/// Read an artifact, or a part of it. HEAD tells the same without the bytes.
#[utoipa::path(
    get,
    path = "/api/v1/artifacts/{project_id}/{path}",
    tag = "artifacts",
    operation_id = "getArtifact",
    params(("project_id" = String, Path, description = "The project."), ("path" = String, Path, description = "With / in it; no segment is empty, . or ..."), ("Range" = Option<String>, Header), ("If-None-Match" = Option<String>, Header), ArtifactQuery),
    responses((status = 200, description = "Its bytes, with the type that they were put with.", body = Vec<u8>, content_type = "*/*", headers(("ETag" = String), ("X-Version" = String), ("Cache-Control" = String), ("X-Storage-Class" = String), ("Vary" = String))), (status = 206, description = "The part.", body = Vec<u8>, content_type = "*/*", headers(("ETag" = String), ("X-Version" = String), ("Cache-Control" = String), ("Content-Range" = String), ("X-Storage-Class" = String), ("Vary" = String))), (status = 304, description = "The caller has it.", headers(("ETag" = String), ("X-Version" = String), ("Cache-Control" = String), ("X-Storage-Class" = String), ("Vary" = String)))),
)]
pub(super) async fn read(
    State(app): State<Arc<App>>,
    method: Method,
    call: Call,
    Artifact(place): Artifact,
    Asked(query): Asked<ArtifactQuery>,
    headers: HeaderMap,
) -> Answered {
    let (asked, freshness) = query.into_parts()?;
    let found = artifacts::find(&app, &call, &place, asked, freshness).await?;
    let (version, class, source) = (found.id.version, found.stay.class, artifacts::source(&app, &place, &found));
    let manifest = found.of.manifest;
    let etag = manifest.etag();
    // A part is one of the bytes as they were sent.
    let asking = range(&headers, &etag, manifest.size);
    let turn = coding::turn(&headers, &manifest).filter(|turn| match turn {
        Turn::Pack(_) => asking == Asking::All,
        Turn::Unpack(_) => true,
    });
    let coder = match turn {
        Some(turn) => app.artifacts.coder(turn).await?.map(|place| (turn, place)),
        None => None,
    };
    let recoded = coder.is_some();
    let mut response = if conditions::is_fresh(&headers, &etag)? {
        let mut unchanged = Response::new(Body::empty());
        *unchanged.status_mut() = StatusCode::NOT_MODIFIED;
        unchanged
    } else {
        match (coder, asking) {
            (Some((turn, place)), _) => turned(&app, &method, (&source, &manifest), turn, place).await?,
            (None, Asking::All) => content(&app, &method, (&source, &manifest), 0..manifest.size).await?,
            (None, Asking::Part(part)) => {
                let shown = format!("bytes {}-{}/{}", part.start, part.end - 1, manifest.size);
                let mut response = content(&app, &method, (&source, &manifest), part).await?;
                *response.status_mut() = StatusCode::PARTIAL_CONTENT;
                set(response.headers_mut(), CONTENT_RANGE, &shown);
                response
            }
            (None, Asking::Nothing) => {
                let detail = format!("the artifact has {} bytes", manifest.size);
                let mut response = Refused::from(Refusal::new(Code::RangeNotSatisfiable, detail)).into_response();
                set(response.headers_mut(), CONTENT_RANGE, &format!("bytes */{}", manifest.size));
                return Ok(response);
            }
        }
    };
    let headers = response.headers_mut();
    if recoded {
        conditions::weak_etag(headers, &etag);
    } else {
        conditions::etag(headers, &etag);
    }
    headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    headers.insert(VERSION, version.into());
    headers.insert(CLASS, HeaderValue::from_static(class.as_str()));
    headers.insert(CACHE_CONTROL, if asked.is_some() { NUMBERED } else { NEWEST });
    Ok(response)
}

/// List a project's artifacts by path.
#[utoipa::path(
    get,
    path = "/api/v1/artifacts/{project_id}",
    tag = "artifacts",
    operation_id = "listArtifacts",
    params(("project_id" = String, Path, description = "The project."), ListArtifactsQuery),
    responses((status = 200, description = "A page.", body = ArtifactListAnswer)),
)]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    call: Call,
    Project(project): Project,
    Asked(query): Asked<ListArtifactsQuery>,
) -> Answered {
    let (prefix, page) = query.into_parts()?;
    problem::ok(&artifacts::list(&app, &call, &project, &prefix, &page).await?)
}

/// Delete an artifact with all its versions.
#[utoipa::path(
    delete,
    path = "/api/v1/artifacts/{project_id}/{path}",
    tag = "artifacts",
    operation_id = "deleteArtifact",
    params(("project_id" = String, Path, description = "The project."), ("path" = String, Path, description = "With / in it; no segment is empty, . or ..."), ("If-Match" = Option<String>, Header), ("If-None-Match" = Option<String>, Header), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 204, description = "It is gone.")),
)]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    call: Call,
    Artifact(place): Artifact,
    headers: HeaderMap,
) -> Answered {
    artifacts::delete(&app, &call, place, conditions::expected(&headers)?).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn content(
    app: &Arc<App>,
    method: &Method,
    (source, manifest): (&Source, &Manifest),
    part: Range<u64>,
) -> Result<Response, Refused> {
    let length = part.end - part.start;
    let body = if *method == Method::HEAD || length == 0 {
        Body::empty()
    } else {
        Body::from_stream(artifacts::stream(app, source, manifest, part).await?)
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, length.into());
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    typed(headers, manifest);
    if let Some(value) = &manifest.content_encoding {
        set(headers, CONTENT_ENCODING, value);
    }
    Ok(response)
}

/// All of it in another coding, whose length nobody knows yet.
async fn turned(
    app: &Arc<App>,
    method: &Method,
    (source, manifest): (&Source, &Manifest),
    turn: Turn,
    place: OwnedSemaphorePermit,
) -> Result<Response, Refused> {
    let body = if *method == Method::HEAD {
        // An empty one would say that there are no bytes.
        Body::from_stream(stream::empty::<Result<Bytes, Refusal>>())
    } else {
        let bytes = artifacts::stream(app, source, manifest, 0..manifest.size).await?;
        Body::from_stream(artifacts::turned(app, bytes, turn, place).await?)
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("none"));
    typed(headers, manifest);
    if let Turn::Pack(coding) = turn {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.token()));
    }
    Ok(response)
}

fn typed(headers: &mut HeaderMap, manifest: &Manifest) {
    headers.insert(CONTENT_TYPE, UNTYPED);
    if let Some(value) = &manifest.content_type {
        set(headers, CONTENT_TYPE, value);
    }
}

/// What a reader wants of the bytes.
#[derive(Debug, PartialEq)]
enum Asking {
    All,
    Part(Range<u64>),
    /// A part that there is not.
    Nothing,
}

/// One range is answered with it; several, or what is not understood, with all (RFC 9110, section 14.2).
fn range(headers: &HeaderMap, etag: &str, size: u64) -> Asking {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let Some(asked) = text(RANGE).and_then(|value| value.trim().strip_prefix("bytes=")) else { return Asking::All };
    if text(IF_RANGE).is_some_and(|known| known != format!("\"{etag}\"")) {
        return Asking::All;
    }
    let Some((first, last)) = asked.split_once('-') else { return Asking::All };
    let (first, last) = (first.trim(), last.trim());
    let (start, end) = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => (first, last.saturating_add(1).min(size)),
        (Ok(first), Err(_)) if last.is_empty() => (first, size),
        (Err(_), Ok(count)) if first.is_empty() => (size - count.min(size), size),
        _ => return Asking::All,
    };
    if start < end { Asking::Part(start..end) } else { Asking::Nothing }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Result<Option<String>, Refusal> {
    let Some(value) = headers.get(&name) else { return Ok(None) };
    let refuse = |_| Refusal::new(Code::InvalidArgument, format!("{name}: visible ASCII characters only"));
    value.to_str().map(|text| Some(text.to_owned())).map_err(refuse)
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_a_part_nothing_or_not_meant() {
        let of = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(RANGE, HeaderValue::from_static(value));
            range(&headers, "tag", 10)
        };
        for (value, part) in
            [("bytes=0-0", 0..1), ("bytes=2-99", 2..10), ("bytes=7-", 7..10), ("bytes=-3", 7..10), ("bytes=-99", 0..10)]
        {
            assert_eq!(of(value), Asking::Part(part), "{value}");
        }
        for value in ["bytes=10-", "bytes=10-12", "bytes=-0"] {
            assert_eq!(of(value), Asking::Nothing, "{value}");
        }
        for value in ["bytes=5-2", "bytes=0-1,3-4", "lines=1-2", "bytes=", "bytes=x-y"] {
            assert_eq!(of(value), Asking::All, "{value}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(RANGE, HeaderValue::from_static("bytes=0-1"));
        headers.insert(IF_RANGE, HeaderValue::from_static("\"other\""));
        assert_eq!(range(&headers, "tag", 10), Asking::All);
    }
}
