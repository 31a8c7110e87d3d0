//! Conditional requests: `If-Match`, `If-None-Match`, `ETag` (RFC 9110, section 13).

use bravo_model::template::{Expected, Tags};
use bravo_model::{Code, Refusal};
use http::header::{ETAG, IF_MATCH, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::telemetry::events::CacheAsked;

/// What a write demands of what is there.
pub(super) fn expected(headers: &HeaderMap) -> Result<Expected, Refusal> {
    // A weak tag never matches where the bytes matter.
    Ok(Expected { matches: tags(headers, IF_MATCH, false)?, differs: tags(headers, IF_NONE_MATCH, true)? })
}

/// Whether what the caller holds is still what there is, if it asks; counted as the hits and misses of callers' caches.
pub(super) fn is_fresh(headers: &HeaderMap, etag: &str) -> Result<bool, Refusal> {
    let known = is_known(headers, etag)?;
    if headers.contains_key(IF_NONE_MATCH) {
        CacheAsked { cache: "callers", tier: "edge", hit: known }.emit();
    }
    Ok(known)
}

/// Whether the caller has what it asks for already.
fn is_known(headers: &HeaderMap, etag: &str) -> Result<bool, Refusal> {
    Ok(tags(headers, IF_NONE_MATCH, true)?.is_some_and(|tags| tags.hold(etag)))
}

/// The header that tells a tag.
pub(super) fn etag(headers: &mut HeaderMap, etag: &str) {
    // Tags are made of digits and dashes.
    if let Ok(value) = HeaderValue::from_str(&format!("\"{etag}\"")) {
        headers.insert(ETAG, value);
    }
}

/// The same for bytes that were packed or unpacked on their way: what they say is the same, they are not.
pub(super) fn weak_etag(headers: &mut HeaderMap, etag: &str) {
    if let Ok(value) = HeaderValue::from_str(&format!("W/\"{etag}\"")) {
        headers.insert(ETAG, value);
    }
}

fn tags(headers: &HeaderMap, header: HeaderName, weak: bool) -> Result<Option<Tags>, Refusal> {
    let malformed = || {
        let detail = format!("{header}: a star, or tags in quotes with commas between them");
        Refusal::new(Code::InvalidArgument, detail)
    };
    let mut found = Vec::new();
    let mut any = false;
    let mut given = false;
    for value in headers.get_all(&header) {
        given = true;
        let mut rest = value.to_str().map_err(|_| malformed())?.trim();
        if rest == "*" {
            any = true;
            continue;
        }
        loop {
            let (is_weak, quoted) = rest.strip_prefix("W/").map_or((false, rest), |rest| (true, rest));
            let (tag, behind) = quoted.strip_prefix('"').and_then(|text| text.split_once('"')).ok_or_else(malformed)?;
            if weak || !is_weak {
                found.push(tag.to_owned());
            }
            rest = behind.trim_start();
            match rest.strip_prefix(',') {
                Some(next) => rest = next.trim_start(),
                None if rest.is_empty() => break,
                None => return Err(malformed()),
            }
        }
    }
    Ok(if any { Some(Tags::Any) } else { given.then_some(Tags::These(found)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn tags_are_read_from_all_lines_and_weak_ones_count_where_they_may() {
        let these = |tags: &[&str]| Some(Tags::These(tags.iter().map(ToString::to_string).collect()));
        let read = |lines: &[_]| expected(&headers(lines)).unwrap();
        assert_eq!(read(&[]), Expected::default());
        assert_eq!(read(&[("if-match", r#""a" , W/"b","c,d""#)]).matches, these(&["a", "c,d"]));
        assert_eq!(read(&[("if-match", r#"W/"b""#)]).matches, these(&[]));
        let differs = read(&[("if-none-match", r#"W/"a""#), ("if-none-match", r#""b""#)]).differs;
        assert_eq!(differs, these(&["a", "b"]));
        assert_eq!(read(&[("if-none-match", "*")]), Expected::absent());
        for bad in ["", "a", "\"a", "\"a\" \"b\"", "\"a\",", "*,\"a\""] {
            assert!(expected(&headers(&[("if-match", bad)])).is_err(), "{bad}");
        }
        assert!(is_known(&headers(&[("if-none-match", r#"W/"a""#)]), "a").unwrap());
        assert!(!is_known(&headers(&[]), "a").unwrap());
    }
}
