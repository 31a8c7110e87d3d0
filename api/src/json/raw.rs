//! JSON text that is carried and not looked into, and bytes as base64.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::ser::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::proto;

/// JSON text as a caller wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawJson(pub Bytes);

impl RawJson {
    /// The text, or an empty object where there is none.
    pub fn object(text: Bytes) -> Self {
        if text.is_empty() { Self(Bytes::from_static(b"{}")) } else { Self(text) }
    }

    /// The text, if there is any.
    pub fn some(text: Bytes) -> Option<Self> {
        (!text.is_empty()).then_some(Self(text))
    }
}

impl Serialize for RawJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Scanned once more, not copied: a daemon's broken row must not break the whole answer's syntax.
        let raw: &RawValue = serde_json::from_slice(&self.0).map_err(S::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for RawJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Ok(Self(Box::<str>::from(raw).into_boxed_bytes().into_vec().into()))
    }
}

/// A payload or result as the two fields it is in JSON: text, or else base64.
pub(crate) fn split(payload: Option<proto::Payload>) -> (Option<RawJson>, Option<String>) {
    match payload {
        Some(payload) if payload.json => (Some(RawJson(payload.data)), None),
        Some(payload) => (None, Some(STANDARD.encode(payload.data))),
        None => (None, None),
    }
}

/// The payload or result that two fields name; what is wrong with them, by the field's name.
pub(crate) fn join(
    field: &'static str,
    text: Option<RawJson>,
    base64: Option<String>,
) -> Result<Option<proto::Payload>, (String, String)> {
    match (text, base64) {
        (Some(text), None) => Ok(Some(proto::Payload { data: text.0, json: true })),
        (None, Some(base64)) => match STANDARD.decode(&base64) {
            Ok(data) => Ok(Some(proto::Payload { data: data.into(), json: false })),
            Err(error) => Err((format!("{field}_base64"), error.to_string())),
        },
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err((format!("{field}_base64"), format!("{field} is given too; one of them is enough"))),
    }
}
