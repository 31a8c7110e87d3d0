//! Answers that are worth it go out packed, in the coding that the caller likes best (RFC 9110, section 12.5.3).
//! Artifacts have their own ways, and streams of events go out event by event.

use std::io::{self, Write};

use axum::body::{Body, HttpBody};
use axum::response::Response;
use bytes::Bytes;
use http::HeaderMap;
use http::HeaderValue;
use http::header::{ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, VARY};
use http_body_util::BodyExt;

use super::coding::{Accepted, PACKED_BYTES_MIN, is_text};
use crate::gateway::service::artifacts::Coding;

/// Larger answers are packed by a thread that may take its time.
const AT_ONCE_BYTES_MAX: usize = 64 << 10;

/// The answer as a caller that sent these headers gets it. Its `ETag` stays what it is: it names what the answer says,
/// and caches keep the forms apart by `Vary`.
pub(crate) async fn packed(accepts: Option<Accepted>, mut response: Response) -> Response {
    let Some(size) = response.body().size_hint().exact() else { return response };
    let headers = response.headers_mut();
    let media = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let foreign = headers.contains_key(CONTENT_ENCODING) || headers.contains_key(ACCEPT_RANGES);
    if size < PACKED_BYTES_MIN || foreign || !is_text(media) {
        return response;
    }
    headers.append(VARY, HeaderValue::from_static("accept-encoding"));
    let Some(coding) = accepts.and_then(|accepts| accepts.best()) else { return response };
    let (mut parts, body) = response.into_parts();
    // The bytes are in memory: this waits for nothing.
    let Ok(plain) = body.collect().await.map(http_body_util::Collected::to_bytes) else {
        return Response::from_parts(parts, Body::empty());
    };
    let packed = if plain.len() > AT_ONCE_BYTES_MAX {
        let plain = plain.clone();
        tokio::task::spawn_blocking(move || pack(coding, &plain))
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)))
    } else {
        pack(coding, &plain)
    };
    let body = match packed {
        Ok(packed) if packed.len() < plain.len() => {
            parts.headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.token()));
            Bytes::from(packed)
        }
        _ => plain,
    };
    parts.headers.remove(CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(body))
}

/// What a caller accepts, read before its request is given away.
pub(crate) fn accepts(headers: &HeaderMap) -> Option<Accepted> {
    Accepted::read(headers)
}

fn pack(coding: Coding, plain: &[u8]) -> io::Result<Vec<u8>> {
    let mut packed = Vec::with_capacity(plain.len() / 4);
    match coding {
        Coding::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(&mut packed, flate2::Compression::new(5));
            encoder.write_all(plain)?;
            encoder.finish()?;
        }
        // The writer ends its stream when it goes.
        Coding::Brotli => brotli::CompressorWriter::new(&mut packed, 32 << 10, 4, 20).write_all(plain)?,
        Coding::Zstd => zstd::stream::copy_encode(plain, &mut packed, 3)?,
    }
    Ok(packed)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn sent(accept: Option<&'static str>, media: &'static str, size: usize) -> (HeaderMap, Bytes) {
        let mut asked = HeaderMap::new();
        if let Some(accept) = accept {
            asked.insert("accept-encoding", HeaderValue::from_static(accept));
        }
        let mut response = Response::new(Body::from("x".repeat(size)));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media));
        let (parts, body) = packed(accepts(&asked), response).await.into_parts();
        (parts.headers, body.collect().await.unwrap().to_bytes())
    }

    #[tokio::test]
    async fn answers_are_packed_as_the_caller_likes() {
        for (accept, coding) in
            [("gzip", "gzip"), ("br, gzip;q=0.5", "br"), ("zstd;q=0.1, br;q=0.2", "br"), ("*", "zstd")]
        {
            for size in [2_000, 200_000] {
                let (headers, body) = sent(Some(accept), "application/json", size).await;
                assert!(headers[CONTENT_ENCODING] == coding && headers[VARY] == "accept-encoding", "{accept}");
                assert!(body.len() < size / 10);
            }
        }
    }

    #[tokio::test]
    async fn what_is_not_worth_it_or_not_liked_goes_out_as_it_is() {
        for (accept, media, size) in [
            (None, "application/json", 2_000),
            (Some("identity"), "application/json", 2_000),
            (Some("gzip;q=0"), "application/problem+json", 2_000),
            (Some("gzip"), "application/json", 1_000),
            (Some("gzip"), "application/octet-stream", 2_000),
            (Some("gzip"), "text/event-stream", 2_000),
        ] {
            let (headers, body) = sent(accept, media, size).await;
            assert!(!headers.contains_key(CONTENT_ENCODING) && body.len() == size, "{accept:?} {media}");
        }
    }
}
