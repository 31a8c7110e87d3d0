//! Which content coding an answer gets (RFC 9110, section 12.5.3).

use bravo_model::artifact::Manifest;
use http::HeaderMap;
use http::header::ACCEPT_ENCODING;

use crate::gateway::service::artifacts::{Coding, Turn};

/// Smaller ones would hardly get smaller.
pub(super) const PACKED_BYTES_MIN: u64 = 1_024;
/// Types of text, beside `text/…`, `…+json`, `…+xml` and `…+yaml`. Others are mostly packed already.
const TEXTS: [&str; 9] = [
    "application/json",
    "application/x-ndjson",
    "application/javascript",
    "application/xml",
    "application/yaml",
    "application/toml",
    "application/sql",
    "application/wasm",
    "application/x-sh",
];

/// What is to be done with an artifact's bytes for this caller; none: they go out as they were sent. Whoever
/// does not say what it accepts takes anything, and is given what was sent.
pub(super) fn turn(headers: &HeaderMap, manifest: &Manifest) -> Option<Turn> {
    let accepted = Accepted::read(headers)?;
    match manifest.content_encoding.as_deref() {
        None => {
            let worth = manifest.size >= PACKED_BYTES_MIN && is_text(manifest.content_type.as_deref());
            accepted.best().filter(|_| worth).map(Turn::Pack)
        }
        Some(name) => Coding::named(name).filter(|coding| accepted.quality(coding.token()) == 0).map(Turn::Unpack),
    }
}

pub(super) fn is_text(content_type: Option<&str>) -> bool {
    let Some(media) = content_type.and_then(|value| value.split(';').next()) else { return false };
    let media = media.trim().to_ascii_lowercase();
    let suffixed = ["+json", "+xml", "+yaml"].iter().any(|suffix| media.ends_with(suffix));
    // An event stream would not be one if it came in lumps.
    (media.starts_with("text/") && media != "text/event-stream") || suffixed || TEXTS.contains(&media.as_str())
}

/// What a caller accepts: names, and how much it likes each, from 0 (not at all) to 1,000.
pub(crate) struct Accepted(Vec<(String, u16)>);

impl Accepted {
    pub(super) fn read(headers: &HeaderMap) -> Option<Self> {
        let lines = headers.get_all(ACCEPT_ENCODING).into_iter().filter_map(|value| value.to_str().ok());
        let mut given = lines.peekable();
        given.peek()?;
        let items = given.flat_map(|line| line.split(',')).map(|item| {
            let (name, weight) = item.split_once(';').unwrap_or((item, ""));
            let weight = weight.trim().trim_start_matches(['q', 'Q']).trim_start().trim_start_matches('=').trim();
            let quality = weight.parse::<f32>().unwrap_or(1.0).clamp(0.0, 1.0);
            (name.trim().to_ascii_lowercase(), (quality * 1_000.0) as u16)
        });
        Some(Self(items.collect()))
    }

    fn quality(&self, token: &str) -> u16 {
        let of = |wanted: &str| self.0.iter().find(|(name, _)| name == wanted).map(|(_, quality)| *quality);
        let alias = if token == "gzip" { of("x-gzip") } else { None };
        of(token).or(alias).or_else(|| of("*")).unwrap_or(0)
    }

    /// What the caller likes best, if it likes it no less than the plain bytes, where it speaks of these.
    pub(super) fn best(&self) -> Option<Coding> {
        let plain = self.0.iter().find(|(name, _)| name == "identity").map_or(0, |(_, quality)| *quality);
        let liked = Coding::ALL.into_iter().map(|coding| (self.quality(coding.token()), coding));
        // Of two that are liked alike, the first.
        let best = liked.rev().max_by_key(|(quality, _)| *quality);
        best.filter(|(quality, _)| *quality > 0 && *quality >= plain).map(|(_, coding)| coding)
    }
}

#[cfg(test)]
mod tests {
    use bravo_model::artifact::Content;

    use super::*;

    fn asked(accept: Option<&'static str>, kind: Option<&str>, encoding: Option<&str>, size: u64) -> Option<Turn> {
        let mut headers = HeaderMap::new();
        if let Some(accept) = accept {
            headers.insert(ACCEPT_ENCODING, accept.parse().unwrap());
        }
        let [content_type, content_encoding] = [kind, encoding].map(|text| text.map(str::to_owned));
        let content = Content::Chunks(Vec::new());
        turn(&headers, &Manifest { size, content_type, content_encoding, blake3: [0; 32], content })
    }

    #[test]
    fn text_is_packed_as_the_caller_likes_it_best() {
        let packed = |accept| asked(Some(accept), Some("text/plain; charset=utf-8"), None, 2_000);
        let as_ = |coding| Some(Turn::Pack(coding));
        for (accept, coding) in [
            ("gzip, deflate, br, zstd", as_(Coding::Zstd)),
            ("gzip, br", as_(Coding::Brotli)),
            ("x-gzip", as_(Coding::Gzip)),
            ("br;q=0.5, GZIP;q=0.8", as_(Coding::Gzip)),
            ("*", as_(Coding::Zstd)),
            ("*;q=0.1, zstd;q=0", as_(Coding::Brotli)),
            ("identity, gzip;q=0.5", None),
            ("gzip;q=0", None),
            ("deflate", None),
            ("", None),
        ] {
            assert_eq!(packed(accept), coding, "{accept}");
        }
        assert_eq!(asked(None, Some("text/plain"), None, 2_000), None);
        assert_eq!(asked(Some("gzip"), Some("text/plain"), None, 100), None);
        for (kind, is) in [("application/vnd.x+json", true), ("image/svg+xml", true), ("image/png", false)] {
            assert_eq!(asked(Some("gzip"), Some(kind), None, 2_000).is_some(), is, "{kind}");
        }
        assert_eq!(asked(Some("gzip"), None, None, 2_000), None);
    }

    #[test]
    fn what_was_sent_packed_is_unpacked_only_for_who_does_not_take_it() {
        let of = |accept, encoding| asked(accept, Some("text/css"), Some(encoding), 2_000);
        assert_eq!(of(None, "br"), None);
        assert_eq!(of(Some("gzip, br"), "br"), None);
        assert_eq!(of(Some("gzip"), "br"), Some(Turn::Unpack(Coding::Brotli)));
        assert_eq!(of(Some("identity"), "x-gzip"), Some(Turn::Unpack(Coding::Gzip)));
        assert_eq!(of(Some("br;q=0, *"), "br"), Some(Turn::Unpack(Coding::Brotli)));
        assert_eq!(of(Some("identity"), "compress"), None, "what is not known cannot be unpacked");
    }
}
