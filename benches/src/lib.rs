//! What the benches share: jobs to feed to the parts that are measured.

use bravo_model::command::NewJob;
use bravo_model::{Command, Envelope, Name, Payload};
use bytes::Bytes;

/// A checked name.
///
/// # Panics
/// If `text` is no name.
pub fn name(text: &str) -> Name {
    Name::parse("name", text).expect("a good name")
}

/// A job with a payload of `bytes` bytes and no keys.
pub fn job(bytes: usize) -> NewJob {
    let payload = Payload { json: false, bytes: Bytes::from(vec![b'x'; bytes]) };
    NewJob::new(name("bench"), name("default"), payload)
}

/// An encoded enqueue of `jobs` jobs of 256 bytes.
pub fn enqueue(jobs: usize) -> Bytes {
    Envelope::plain(Command::Enqueue(vec![job(256); jobs])).encode()
}
