//! Where in a request a thing stands, and what was checked before.

use std::collections::BTreeMap;

use bravo_model::{Name, Payload};
use bytes::Bytes;
use serde_json::value::RawValue;

use crate::{Code, Refusal, limits, proto};

/// The place of an item in its request: at its root, or in a list.
#[derive(Clone, Copy)]
pub(crate) enum At {
    /// The request itself.
    Root,
    /// An item of the list with this name.
    Item(&'static str, usize),
}

/// Whether JSON text was parsed already, by whoever read the body around it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// It was: look at its size alone.
    Parsed,
    /// It was not: see that it is JSON.
    Unseen,
}

impl At {
    /// Refuses a field of the item.
    pub(crate) fn refuse(self, code: Code, field: &str, what: impl std::fmt::Display) -> Refusal {
        self.place(Refusal::new(code, format!("{field}: {what}")))
    }

    /// Refuses a field of the item as not valid.
    pub(crate) fn invalid(self, field: &str, what: impl std::fmt::Display) -> Refusal {
        self.refuse(Code::InvalidArgument, field, what)
    }

    /// Puts the item's place in front of a refusal that starts with a field's name.
    pub(crate) fn place(self, mut refusal: Refusal) -> Refusal {
        if let Self::Item(list, index) = self {
            refusal.detail.insert_str(0, &format!("{list}[{index}]."));
        }
        refusal
    }

    /// A name in the item.
    pub(crate) fn name(self, field: &str, text: &str) -> Result<Name, Refusal> {
        Name::parse(field, text).map_err(|refusal| self.place(refusal))
    }

    /// A number between bounds.
    pub(crate) fn within(self, field: &str, value: u64, min: u64, max: u64) -> Result<u64, Refusal> {
        if (min..=max).contains(&value) { Ok(value) } else { Err(self.invalid(field, format_args!("{min} to {max}"))) }
    }

    /// A key: any text of bounded length.
    pub(crate) fn key(self, field: &str, key: Option<String>) -> Result<Option<String>, Refusal> {
        match &key {
            Some(text) if text.is_empty() || text.len() > limits::NAME_BYTES_MAX => {
                Err(self.invalid(field, format_args!("1 to {} bytes", limits::NAME_BYTES_MAX)))
            }
            _ => Ok(key),
        }
    }

    /// Labels with their values.
    pub(crate) fn labels(
        self,
        field: &str,
        labels: BTreeMap<String, String>,
        max: usize,
    ) -> Result<BTreeMap<String, String>, Refusal> {
        if labels.len() > max {
            return Err(self.invalid(field, format_args!("at most {max}, these are {}", labels.len())));
        }
        let fits = |text: &str| !text.is_empty() && text.len() <= limits::LABEL_BYTES_MAX && !text.contains('\0');
        match labels.iter().find(|(label, value)| !fits(label) || !fits(value)) {
            Some((label, _)) => {
                let bytes = limits::LABEL_BYTES_MAX;
                Err(self.invalid(field, format_args!("{label:?}: a label and its value have 1 to {bytes} bytes each")))
            }
            None => Ok(labels),
        }
    }

    /// A payload or result.
    pub(crate) fn payload(self, field: &str, payload: proto::Payload, trust: Trust) -> Result<Payload, Refusal> {
        let bytes = payload.data.len();
        if bytes > limits::PAYLOAD_BYTES_MAX {
            let what = format_args!("{bytes} bytes, at most {} are taken", limits::PAYLOAD_BYTES_MAX);
            return Err(self.refuse(Code::PayloadTooLarge, field, what));
        }
        if payload.json && trust == Trust::Unseen {
            self.json(field, &payload.data)?;
        }
        Ok(Payload { json: payload.json, bytes: payload.data })
    }

    /// JSON text; what it is without the space around it.
    pub(crate) fn json<'a>(self, field: &str, text: &'a [u8]) -> Result<&'a str, Refusal> {
        let raw: &RawValue = serde_json::from_slice(text).map_err(|error| self.invalid(field, error))?;
        Ok(raw.get())
    }

    /// Metadata: a JSON object, or nothing.
    pub(crate) fn metadata(self, metadata: Bytes, trust: Trust) -> Result<Bytes, Refusal> {
        const FIELD: &str = "metadata";
        if metadata.len() > limits::METADATA_BYTES_MAX {
            let what = format_args!("{} bytes, at most {} are taken", metadata.len(), limits::METADATA_BYTES_MAX);
            return Err(self.refuse(Code::PayloadTooLarge, FIELD, what));
        }
        if metadata.is_empty() {
            return Ok(metadata);
        }
        let first = match trust {
            Trust::Parsed => metadata.first().copied(),
            Trust::Unseen => self.json(FIELD, &metadata)?.bytes().next(),
        };
        if first == Some(b'{') { Ok(metadata) } else { Err(self.invalid(FIELD, "not a JSON object")) }
    }
}
