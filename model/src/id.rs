//! Ids and names. A name is checked once, when it is parsed; there is no other way to make one.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::code::{Code, Refusal};
use crate::limits;

/// A job's id: the partition that holds it and its sequence number there. Opaque to users,
/// written `j<partition>-<sequence>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct JobId {
    /// Job partition, from 0.
    pub partition: u16,
    /// Sequence within the partition, from 1, in enqueue order.
    pub seq: u64,
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "j{}-{}", self.partition, self.seq)
    }
}

impl FromStr for JobId {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let parse = || {
            let (partition, seq) = text.strip_prefix('j')?.split_once('-')?;
            let id = Self { partition: partition.parse().ok()?, seq: seq.parse().ok()? };
            (id.to_string() == text).then_some(id)
        };
        parse().ok_or_else(|| Refusal::new(Code::NotFound, format!("no job has the id {:?}", clip(text))))
    }
}

/// A queue, project or worker name: 1 to [`limits::NAME_BYTES_MAX`] bytes of letters, digits and
/// `. _ - : / @`, shared by reference.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// Checks and makes a name; `what` is the field it came from, for the refusal.
    pub fn parse(what: &str, text: &str) -> Result<Self, Refusal> {
        if text.is_empty() || text.len() > limits::NAME_BYTES_MAX {
            return Err(Refusal::new(
                Code::InvalidArgument,
                format!("{what}: a name has 1 to {} bytes, this one {}", limits::NAME_BYTES_MAX, text.len()),
            ));
        }
        let allowed = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-' | b':' | b'/' | b'@');
        if text.bytes().all(allowed) {
            return Ok(Self(text.into()));
        }
        match text.chars().find(|&c| !u8::try_from(c).is_ok_and(allowed)) {
            Some(bad) => Err(Refusal::new(
                Code::InvalidArgument,
                format!("{what}: {bad:?} is not allowed in a name (letters, digits and . _ - : / @ are)"),
            )),
            None => Ok(Self(text.into())),
        }
    }

    /// The name shown for a queue whose row is damaged.
    pub(crate) fn lost() -> Self {
        Self("lost".into())
    }

    /// The name's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Name {
    type Error = Refusal;

    fn try_from(text: String) -> Result<Self, Refusal> {
        Self::parse("name", &text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0.to_string()
    }
}

impl Serialize for Name {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

// By hand, since names are read with every job: one allocation and no intermediate string.
impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl serde::de::Visitor<'_> for Text {
            type Value = Name;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Name, E> {
                Name::parse("name", text).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

pub(crate) fn clip(text: &str) -> &str {
    text.char_indices().nth(64).map_or(text, |(end, _)| &text[..end])
}
