//! What a worker does with a file.

use std::path::Path;

use serde::{Deserialize, Serialize};

/// How hard zstd tries: hard enough that the work, and not the queue, is most of a job.
const LEVEL: i32 = 12;

/// The payload of a job.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    /// Below the root.
    pub(super) path: String,
    /// Its size when the job was made.
    pub(super) bytes: u64,
    /// From the start of the run to the call that enqueued this, in microseconds.
    pub(super) sent_us: u64,
}

/// The result of a job.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Facts {
    /// The hash of the content.
    pub(super) blake3: String,
    pub(super) bytes: usize,
    pub(super) lines: usize,
    pub(super) words: usize,
    /// What is left after compression.
    pub(super) zstd_bytes: usize,
}

/// Reads a file and finds out about it.
pub(super) fn work(path: &Path) -> std::io::Result<Facts> {
    facts(&std::fs::read(path)?)
}

fn facts(content: &[u8]) -> std::io::Result<Facts> {
    Ok(Facts {
        blake3: blake3::hash(content).to_hex().to_string(),
        bytes: content.len(),
        lines: content.split_inclusive(|byte| *byte == b'\n').count(),
        words: content.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).count(),
        zstd_bytes: zstd::bulk::compress(content, LEVEL)?.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_right() {
        let found = facts(b"one two\n three\nfour").unwrap();
        assert_eq!((found.bytes, found.lines, found.words), (19, 3, 4));
        assert_eq!(found.blake3, blake3::hash(b"one two\n three\nfour").to_hex().to_string());
        let empty = facts(b"").unwrap();
        assert_eq!((empty.bytes, empty.lines, empty.words), (0, 0, 0));
        assert!(facts(&[b'a'; 10_000]).unwrap().zstd_bytes < 100);
    }
}
