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
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
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
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-:/@".contains(c);
        match text.chars().find(|&c| !allowed(c)) {
            Some(bad) => Err(Refusal::new(
                Code::InvalidArgument,
                format!("{what}: {bad:?} is not allowed in a name (letters, digits and . _ - : / @ are)"),
            )),
            None => Ok(Self(text.into())),
        }
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

fn clip(text: &str) -> &str {
    text.char_indices().nth(64).map_or(text, |(end, _)| &text[..end])
}
