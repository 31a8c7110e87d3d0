//! What a request says about itself beside its body: how long it may take, and the key it comes under.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bravo_model::command::Idempotency;
use bravo_model::{Code, Command, Envelope, Refusal, limits};
use http::HeaderMap;

use super::auth::Caller;
use crate::config::Limits;

/// Longest time that a caller may ask for.
const TIMEOUT_MS_MAX: u64 = 600_000;
/// How long a write without a key of its caller's is remembered, so that trying it again changes nothing more.
const REMEMBERED_MS: u64 = 60_000;
/// Longest idempotency key.
const KEY_BYTES_MAX: usize = 512;

/// The circumstances of one call.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// When the caller stops waiting.
    pub(crate) deadline: Instant,
    /// Whether the caller said so itself.
    pub(crate) timeout_given: bool,
    /// The key it came under.
    pub(crate) key: Option<Key>,
    /// Who it is from.
    pub(crate) caller: Caller,
    /// What it is about, for the audit log.
    target: Arc<OnceLock<String>>,
}

/// An idempotency key with its path.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    path: String,
    text: String,
    kept_ms: u64,
}

impl Call {
    /// Reads the headers of a request to `path`.
    pub(crate) fn read(headers: &HeaderMap, path: &str, limits: &Limits, caller: Caller) -> Result<Self, Refusal> {
        let given = timeout(headers)?;
        let timeout = given.unwrap_or(Duration::from_millis(limits.request_timeout_ms));
        let key = match headers.get("idempotency-key") {
            None => None,
            Some(value) => {
                let text = value.to_str().map_err(|_| invalid("Idempotency-Key: visible ASCII characters only"))?;
                Some(Key::new(path, text)?)
            }
        };
        let deadline = Instant::now() + timeout;
        Ok(Self { deadline, timeout_given: given.is_some(), key, caller, target: Arc::default() })
    }

    /// A part of this call that begins now, without a key.
    pub(crate) fn part(&self, timeout: Duration) -> Self {
        Self { deadline: Instant::now() + timeout, timeout_given: false, key: None, ..self.clone() }
    }

    /// Notes what the call is about.
    pub(crate) fn names(&self, target: impl fmt::Display) {
        let _ = self.target.set(target.to_string());
    }

    /// What the call said that it is about.
    pub(crate) fn target(&self) -> Option<&str> {
        self.target.get().map(String::as_str)
    }

    /// A command of this call: what belongs to other projects is not there for a caller who is bound to one.
    pub(crate) fn envelope(&self, idempotency: Option<Idempotency>, command: Command) -> Envelope {
        Envelope { scope: self.caller.project.clone(), ..Envelope::new(idempotency, command) }
    }

    /// The same call under a key that its message carries.
    pub(crate) fn keyed(&self, path: &str, text: &str) -> Result<Self, Refusal> {
        let key = if text.is_empty() { self.key.clone() } else { Some(Key::new(path, text)?) };
        Ok(Self { key, ..self.clone() })
    }

    /// The same call, its key kept no longer than that; 0 for as long as may be.
    pub(crate) fn kept(mut self, ms: u64) -> Self {
        if let Some(key) = self.key.as_mut().filter(|_| ms > 0) {
            key.kept_ms = ms.min(limits::IDEMPOTENCY_KEPT_MS);
        }
        self
    }

    /// What the state keeps of the key, if there is one; `part` tells apart several writes of one call.
    pub(crate) fn idempotency(&self, scope: &str, body: [u8; 16], part: &str) -> Option<Idempotency> {
        let Key { path, text, kept_ms } = self.key.as_ref()?;
        // No key of one project's callers meets one of another's.
        let own = self.caller.project.as_ref().map_or("", |project| project.as_str());
        let key = hash(&[own, scope, path, text, part].map(str::as_bytes));
        Some(Idempotency { key, body, kept_ms: *kept_ms })
    }
}

impl Call {
    /// The caller's key, or one for this call alone: a write that was done and whose answer was lost would
    /// otherwise be done twice, or refuse its own repetition.
    pub(crate) fn remembered(&self, scope: &str, body: [u8; 16]) -> Idempotency {
        let own = || Idempotency { key: uuid::Uuid::new_v4().into_bytes(), body, kept_ms: REMEMBERED_MS };
        self.idempotency(scope, body, "").unwrap_or_else(own)
    }
}

impl Key {
    fn new(path: &str, text: &str) -> Result<Self, Refusal> {
        if text.is_empty() || text.len() > KEY_BYTES_MAX {
            return Err(invalid(&format!("Idempotency-Key: 1 to {KEY_BYTES_MAX} bytes")));
        }
        Ok(Self { path: path.into(), text: text.into(), kept_ms: limits::IDEMPOTENCY_KEPT_MS })
    }

    /// The key as the caller wrote it.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

/// The first 16 bytes of BLAKE3 over length-prefixed parts.
pub(crate) fn hash(parts: &[&[u8]]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let mut first = [0; 16];
    hasher.finalize_xof().fill(&mut first);
    first
}

fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, Refusal> {
    if let Some(value) = headers.get("x-timeout-ms") {
        let ms = value.to_str().ok().and_then(|text| text.trim().parse::<u64>().ok()).filter(|ms| *ms > 0);
        let ms = ms.ok_or_else(|| invalid("X-Timeout-Ms: a number of milliseconds above 0"))?;
        return Ok(Some(Duration::from_millis(ms.min(TIMEOUT_MS_MAX))));
    }
    let Some(value) = headers.get("grpc-timeout") else { return Ok(None) };
    let parsed = value.to_str().ok().and_then(grpc_timeout);
    parsed.map(|span| Some(span.min(Duration::from_millis(TIMEOUT_MS_MAX)))).ok_or_else(|| invalid("grpc-timeout"))
}

/// A number of at most eight digits and a unit.
fn grpc_timeout(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number = number.parse::<u64>().ok().filter(|_| number.len() <= 8)?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3_600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

fn invalid(detail: &str) -> Refusal {
    Refusal::new(Code::InvalidArgument, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(headers: &[(&'static str, &'static str)]) -> Result<Call, Refusal> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        Call::read(&map, "/api/v1/jobs", &Limits::default(), Caller::anybody())
    }

    #[test]
    fn a_key_is_scoped_to_caller_and_path() {
        let call = call(&[("idempotency-key", "k")]).unwrap();
        let key = |call: &Call, scope: &str, part: &str| call.idempotency(scope, [0; 16], part).unwrap().key;
        let here = key(&call, "a", "");
        assert_eq!(here, key(&call, "a", ""));
        assert_ne!(here, key(&call, "b", ""));
        assert_ne!(here, key(&call, "a", "part"));
        assert_ne!(here, key(&call.keyed("/other", "k").unwrap(), "a", ""));
    }

    #[test]
    fn parts_of_a_hash_do_not_run_into_each_other() {
        assert_ne!(hash(&[b"ab", b"c"]), hash(&[b"a", b"bc"]));
    }

    #[test]
    fn a_time_limit_is_read_from_either_header() {
        let left = |call: Call| call.deadline - Instant::now();
        assert!(left(call(&[("x-timeout-ms", "250")]).unwrap()) <= Duration::from_millis(250));
        assert!(left(call(&[("grpc-timeout", "3S")]).unwrap()) <= Duration::from_secs(3));
        for bad in ["0", "-1", "soon", ""] {
            assert!(call(&[("x-timeout-ms", bad)]).is_err(), "{bad}");
        }
        assert!(call(&[("grpc-timeout", "3x")]).is_err());
        assert!(call(&[("idempotency-key", "")]).is_err());
    }
}
