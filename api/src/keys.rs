//! The text of an API key: `bravo_<id>_<secret>`, with an id of 12 and a secret of 64 hexadecimal digits.

use bravo_model::Name;
use bravo_model::key::SecretHash;

/// What every key begins with, so that scanners for leaked secrets find it.
const PREFIX: &str = "bravo";
/// Random bytes of a secret: 256 bits.
const SECRET_BYTES: usize = 32;
/// Random bytes of an id.
const ID_BYTES: usize = 6;
/// What the hash is for; part of its key.
const CONTEXT: &str = "bravo API key, format 1";

/// A key's text, taken apart. Never printed.
pub struct KeyText<'a> {
    id: &'a str,
    secret: &'a str,
}

impl<'a> KeyText<'a> {
    /// None: it cannot be one.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.strip_prefix('_')?.split_once('_')?;
        let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'));
        let whole = id.len() == ID_BYTES * 2 && secret.len() == SECRET_BYTES * 2;
        (whole && is_hex(id) && is_hex(secret)).then_some(Self { id, secret })
    }

    /// By which it is found.
    pub fn id(&self) -> Option<Name> {
        Name::parse("key", self.id).ok()
    }

    /// What is kept of it: BLAKE3 of the secret, keyed with the id.
    pub fn hash(&self) -> SecretHash {
        let key = blake3::derive_key(CONTEXT, self.id.as_bytes());
        SecretHash(*blake3::keyed_hash(&key, self.secret.as_bytes()).as_bytes())
    }

    /// Whether this is the key; in a time that does not depend on where they differ.
    pub fn is(&self, kept: &SecretHash) -> bool {
        blake3::Hash::from_bytes(self.hash().0) == blake3::Hash::from_bytes(kept.0)
    }
}

/// A new key's text.
pub fn generate() -> String {
    let (id, secret): ([u8; ID_BYTES], [u8; SECRET_BYTES]) = rand::random();
    format!("{PREFIX}_{}_{}", hex(&id), hex(&secret))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_is_known_by_its_hash_and_another_is_not() {
        let (one, other) = (generate(), generate());
        let (one, other) = (KeyText::parse(&one).unwrap(), KeyText::parse(&other).unwrap());
        assert!(one.is(&one.hash()) && !one.is(&other.hash()));
        let lent = KeyText { id: other.id, secret: one.secret };
        assert!(!lent.is(&one.hash()), "the hash is of this id's secret");
    }

    #[test]
    fn what_cannot_be_a_key_is_none() {
        let whole = generate();
        let short = &whole[..whole.len() - 1];
        for bad in ["", "bravo", "bravo_", "bravo__", "x", short, &whole.to_uppercase(), &whole.replace('_', "-")] {
            assert!(KeyText::parse(bad).is_none(), "{bad}");
        }
    }
}
