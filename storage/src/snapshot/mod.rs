//! Snapshots: with the log since, the truth about a group's state.
//!
//! ```text
//!   snapshot/<group>/<index>-<term>.snap
//!   header   magic, version, length of meta, meta, crc32c of the header
//!   body     zstd stream of rows: key length u8, key, value length u32, value
//!   trailer  magic, rows u64, bytes before the trailer u64, blake3 of all before the hash
//! ```
//!
//! A file gets its name only when it is whole, checked and durable; until then it has a temporary
//! name, whose lock tells a file being written from one that a crash left behind. The log is purged
//! behind the newest snapshot, so a damaged newest one is an error: an older one would silently lose
//! what came between.

mod error;
mod file;
mod format;
mod name;
mod receiver;
mod rows;
mod temp;
mod writer;

#[cfg(test)]
mod tests;

pub use error::SnapshotError;
pub use file::SnapshotFile;
pub use name::SnapshotName;
pub use receiver::SnapshotReceiver;
pub use rows::SnapshotRows;
pub use writer::SnapshotWriter;
