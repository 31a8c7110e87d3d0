//! The audit log: who did what, when, to what, and how it ended.
//!
//! Entries are numbered and chained: the hash of each covers its own fields and the hash before it, so that
//! none can be changed, left out or put in without every later hash being another one. The meta group keeps the
//! newest [`limits::AUDIT_ENTRIES_MAX`]; the oldest go one by one, and the chain can be checked from any entry on.

use serde::{Deserialize, Serialize};

use crate::Time;
use crate::limits;

/// BLAKE3 of an entry and the one before it.
pub type Link = [u8; 32];

/// What is to be noted. Longer texts are cut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewEntry {
    /// Who: `key:<id>`, `cert:<name>` or `anonymous`.
    pub actor: String,
    /// What: the name of a call, such as `queue.put`.
    pub action: String,
    /// To what.
    pub target: String,
    /// How it ended: `ok`, or the code of a refusal.
    pub result: String,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// From 1, without gaps.
    pub seq: u64,
    /// The state's time.
    pub at: Time,
    /// What was noted.
    pub of: NewEntry,
    /// Covers all of it, and the hash of the entry before.
    pub hash: Link,
}

/// Where the chain stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The newest entry.
    pub seq: u64,
    /// The oldest entry that is kept.
    pub first: u64,
    /// The newest entry's hash; zeros before there is one.
    pub hash: Link,
}

impl NewEntry {
    /// No text longer than it may be.
    pub(crate) fn clipped(mut self) -> Self {
        for text in [&mut self.actor, &mut self.action, &mut self.target, &mut self.result] {
            let mut end = text.len().min(limits::AUDIT_TEXT_BYTES_MAX);
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            text.truncate(end);
        }
        self
    }
}

impl Entry {
    /// The next entry behind a chain that ends with this hash.
    pub(crate) fn behind(last: &Link, seq: u64, at: Time, of: NewEntry) -> Self {
        let hash = link(last, seq, at, &of);
        Self { seq, at, of, hash }
    }

    /// Whether this is what followed an entry with that hash.
    pub fn follows(&self, last: &Link) -> bool {
        link(last, self.seq, self.at, &self.of) == self.hash
    }
}

/// The hash over length-prefixed fields: none can lend bytes to its neighbour.
fn link(last: &Link, seq: u64, at: Time, of: &NewEntry) -> Link {
    let mut hasher = blake3::Hasher::new_derive_key("bravo audit log, format 1");
    hasher.update(last).update(&seq.to_le_bytes()).update(&at.to_le_bytes());
    for text in [&of.actor, &of.action, &of.target, &of.result] {
        hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
    }
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(actor: &str, target: &str) -> NewEntry {
        NewEntry { actor: actor.into(), action: "queue.put".into(), target: target.into(), result: "ok".into() }
    }

    #[test]
    fn an_entry_that_was_touched_does_not_follow() {
        let first = Entry::behind(&Link::default(), 1, 5, of("a", "b"));
        let second = Entry::behind(&first.hash, 2, 6, of("a", "c"));
        assert!(first.follows(&Link::default()) && second.follows(&first.hash));
        assert!(!second.follows(&Link::default()), "one was left out");
        for touched in [
            Entry { at: 7, ..second.clone() },
            Entry { seq: 3, ..second.clone() },
            Entry { of: of("b", "c"), ..second.clone() },
            Entry { of: of("ac", ""), ..second.clone() },
        ] {
            assert!(!touched.follows(&first.hash), "{touched:?}");
        }
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let long = "ä".repeat(limits::AUDIT_TEXT_BYTES_MAX);
        let clipped = of(&long, "b").clipped();
        assert_eq!(clipped.actor, "ä".repeat(limits::AUDIT_TEXT_BYTES_MAX / 2));
    }
}
