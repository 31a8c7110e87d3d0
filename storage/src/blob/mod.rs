//! Chunks of artifacts, each a file that is named by what it hashes to.
//!
//! ```text
//!   blobs/ab/abcd…    a chunk: whole and durable, since it came here by a rename
//!   blobs/tmp/        what is being written; emptied at the start
//! ```
//!
//! A name says what must be in the file once it is unpacked (`form`), so that a chunk is checked on each read
//! and can be had from any other node. A damaged one stays until good bytes take its place. A large chunk may be
//! kept in shards instead (`shard`), each of which is such a file.

mod error;
mod form;
mod shard;
mod store;
#[cfg(test)]
mod tests;

pub use error::BlobError;
pub use form::{Effort, as_it_is, encode, open};
pub use shard::{cut, join};
pub use store::{BlobStore, Hash};
