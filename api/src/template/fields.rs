//! An object's fields as text, so that each can be read, refused or kept for itself.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use serde::de::{DeserializeOwned, Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::read;
use crate::json::RawJson;
use crate::problem::FieldError;

/// Unknown fields that are told at most.
const UNKNOWN_MAX: usize = 20;

#[derive(Debug, Default)]
pub(super) struct Fields(BTreeMap<String, RawJson>);

impl Fields {
    pub(super) fn remove(&mut self, field: &str) -> Option<RawJson> {
        self.0.remove(field)
    }

    /// Reads a field; null is as good as none. What is wrong with it is noted.
    pub(super) fn take<T: DeserializeOwned>(&mut self, field: &str, wrong: &mut Vec<FieldError>) -> Option<T> {
        match read::<Option<T>>(self.0.get(field)?) {
            Ok(Some(value)) => Some(value),
            Ok(None) => {
                self.0.remove(field);
                None
            }
            Err(error) => {
                wrong.push(FieldError::new(field, error.to_string()));
                None
            }
        }
    }

    pub(super) fn unknown(&self, known: &[&str]) -> Vec<FieldError> {
        let unknown = self.0.keys().filter(|field| !known.contains(&field.as_str()));
        unknown.take(UNKNOWN_MAX).map(|field| FieldError::new(clip(field), unknown_of(known))).collect()
    }

    /// The fields in this order, as one object.
    pub(super) fn render(&self, order: &[&str]) -> Bytes {
        let there = order.iter().filter_map(|field| Some((field, self.0.get(*field)?)));
        let mut text = vec![b'{'];
        for (field, value) in there {
            if text.len() > 1 {
                text.push(b',');
            }
            // The names are plain words.
            text.extend_from_slice(format!("\"{field}\":").as_bytes());
            text.extend_from_slice(&value.0);
        }
        text.push(b'}');
        text.into()
    }
}

/// What to say of a field that is not among those known.
fn unknown_of(known: &[&str]) -> String {
    format!("unknown field; known are {}", known.join(", "))
}

/// A caller's text in a path, no longer than is useful.
pub(super) fn clip(text: &str) -> &str {
    text.char_indices().nth(100).map_or(text, |(end, _)| &text[..end])
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Fields::default();
                while let Some((field, value)) = map.next_entry::<String, RawJson>()? {
                    if fields.0.contains_key(&field) {
                        return Err(A::Error::custom(format!("the field {:?} comes twice", clip(&field))));
                    }
                    fields.0.insert(field, value);
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_map(Object)
    }
}
