//! Takes in request bodies: of a known form, never more than the limit, and not all memory together.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use bravo_model::{Code, Refusal};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::app::App;
use super::call::Call;
use super::problem::Refused;
use super::service::artifacts::Coding;
use super::unpack::{Room, Unpacker};
use super::{depth, incoming};
use crate::telemetry::events::RequestShed;

/// Bytes of bodies that may be held at a time, over all requests.
const HELD_BYTES_MAX: usize = 256 << 20;
/// What one permit stands for.
const UNIT_BYTES: usize = 4 << 10;
/// A body that is too large is read this much further, so that its sender gets to see the answer.
const LINGER_BYTES: u64 = 64 << 20;
/// And no longer than this.
const LINGER: Duration = Duration::from_secs(3);

/// Memory for bodies.
#[derive(Clone)]
pub(crate) struct Budget(Arc<Semaphore>);

impl Default for Budget {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(HELD_BYTES_MAX / UNIT_BYTES)))
    }
}

/// A body that was taken in, and its place in the budget.
pub(crate) struct Taken {
    /// The bytes.
    pub(crate) bytes: Bytes,
    _held: Option<OwnedSemaphorePermit>,
}

impl FromRequest<Arc<App>> for Taken {
    type Rejection = Refused;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Refused> {
        let (parts, body) = request.into_parts();
        check_type(&parts.headers)?;
        let coding = coding(&parts.headers).map_err(Refused::coding)?;
        let take = take(app, &parts.headers, coding, body);
        let Some(call) = parts.extensions.get::<Call>() else { return Ok(take.await?) };
        match tokio::time::timeout_at(call.deadline.into(), take).await {
            Ok(taken) => Ok(taken?),
            Err(_) => Err(Refusal::new(Code::DeadlineExceeded, "the body did not come in time").into()),
        }
    }
}

/// Only JSON. A body without a type is taken for JSON.
fn check_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(()) };
    let media = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let json = media.eq_ignore_ascii_case(b"application/json") || media.to_ascii_lowercase().ends_with(b"+json");
    let refuse = || format!("Content-Type: {value:?} is not supported, application/json is");
    if json { Ok(()) } else { Err(Refusal::new(Code::UnsupportedMediaType, refuse())) }
}

/// What the body is packed with.
fn coding(headers: &HeaderMap) -> Result<Option<Coding>, Refusal> {
    let mut values = headers.get_all(CONTENT_ENCODING).into_iter();
    let (Some(value), more) = (values.next(), values.next()) else { return Ok(None) };
    let name = value.to_str().unwrap_or("?").trim();
    match Coding::named(name) {
        Some(coding) if more.is_none() => Ok(Some(coding)),
        None if more.is_none() && name.eq_ignore_ascii_case("identity") => Ok(None),
        _ => {
            let detail = format!("Content-Encoding: {value:?} is not supported, one of {} is", Coding::NAMES);
            Err(Refusal::new(Code::UnsupportedMediaType, detail))
        }
    }
}

async fn take(app: &App, headers: &HeaderMap, coding: Option<Coding>, body: Body) -> Result<Taken, Refusal> {
    let limit = app.limits.request_body_bytes_max;
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let mut stream = body.into_data_stream();
    if announced.is_some_and(|bytes| bytes > limit) {
        if !headers.contains_key(EXPECT) {
            linger(stream).await;
        }
        return Err(too_large(limit));
    }
    let announced = announced.unwrap_or(0) as usize;
    let held = Held { bytes: BytesMut::new(), place: None, limit, announced, budget: app.bodies.clone() };
    let mut unpacker = Unpacker::new(coding, held)?;
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|error| incoming::refusal(&error))?;
        if let Err(refusal) = unpacker.push(&chunk) {
            drop(unpacker);
            linger(stream).await;
            return Err(refusal);
        }
    }
    let Held { bytes, place, .. } = unpacker.finish()?;
    depth::check_body(&bytes)?;
    Ok(Taken { bytes: bytes.freeze(), _held: place })
}

/// A body as far as it came.
struct Held {
    bytes: BytesMut,
    place: Option<OwnedSemaphorePermit>,
    limit: u64,
    announced: usize,
    budget: Budget,
}

impl Room for Held {
    fn add(&mut self, part: &[u8]) -> Result<(), Refusal> {
        let wanted = self.bytes.len() + part.len();
        if wanted as u64 > self.limit {
            return Err(too_large(self.limit));
        }
        hold(&self.budget, &mut self.place, wanted)?;
        if self.bytes.is_empty() {
            self.bytes.reserve(self.announced.min(wanted.max(64 << 10)));
        }
        self.bytes.extend_from_slice(part);
        Ok(())
    }
}

fn hold(budget: &Budget, held: &mut Option<OwnedSemaphorePermit>, bytes: usize) -> Result<(), Refusal> {
    let units = bytes.div_ceil(UNIT_BYTES);
    let more = units.saturating_sub(held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits));
    if more == 0 {
        return Ok(());
    }
    let Ok(permit) = budget.0.clone().try_acquire_many_owned(u32::try_from(more).unwrap_or(u32::MAX)) else {
        RequestShed { reason: "bodies" }.emit();
        return Err(Refusal::retry_after(Code::Shed, "too many bytes of request bodies are held", 500));
    };
    match held {
        Some(held) => held.merge(permit),
        None => *held = Some(permit),
    }
    Ok(())
}

async fn linger(mut stream: axum::body::BodyDataStream) {
    let mut left = LINGER_BYTES;
    let read = async {
        while let Some(Ok(chunk)) = stream.next().await {
            left = left.saturating_sub(chunk.len() as u64);
            if left == 0 {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(LINGER, read).await;
}

fn too_large(limit: u64) -> Refusal {
    Refusal::new(Code::PayloadTooLarge, format!("the body is larger than {limit} bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_gets_in_packed_with_what_is_understood() {
        let with = |name: http::HeaderName, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.append(name, value.parse().unwrap());
            headers
        };
        let check = |value| check_type(&with(CONTENT_TYPE, value)).map_err(|refusal| refusal.code);
        for good in ["application/json; charset=utf-8", "Application/JSON", "application/vnd.x+json"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["text/plain", "application/x-www-form-urlencoded", ""] {
            assert_eq!(check(bad), Err(Code::UnsupportedMediaType), "{bad}");
        }
        let packed = |value| coding(&with(CONTENT_ENCODING, value)).map_err(|refusal| refusal.code);
        assert_eq!((check_type(&HeaderMap::new()).is_ok(), coding(&HeaderMap::new())), (true, Ok(None)));
        assert_eq!((packed("identity"), packed("GZIP")), (Ok(None), Ok(Some(Coding::Gzip))));
        assert_eq!((packed("br"), packed("zstd")), (Ok(Some(Coding::Brotli)), Ok(Some(Coding::Zstd))));
        for bad in ["deflate", "gzip, br", ""] {
            assert_eq!(packed(bad), Err(Code::UnsupportedMediaType), "{bad}");
        }
    }

    #[test]
    fn bodies_share_a_budget() {
        let budget = Budget::default();
        let mut first = None;
        hold(&budget, &mut first, 10).unwrap();
        hold(&budget, &mut first, HELD_BYTES_MAX).unwrap();
        assert_eq!(hold(&budget, &mut None, 1).map_err(|refusal| refusal.code), Err(Code::Shed));
        drop(first);
        hold(&budget, &mut None, 1).unwrap();
    }
}
