//! Bravo's public contract: protobuf services, JSON bodies, error codes. Neutral ground for the
//! daemon and its clients.
//!
//! ```text
//!   JSON body ──► proto message ──► model command        (requests: checked on the way)
//!   JSON body ◄── proto message ◄── model record         (answers)
//! ```
//!
//! The protobuf messages ([`proto`]) are the hub: each thing has one message, one check that turns
//! it into what the model knows ([`convert`]), and one JSON form ([`json`]). A refusal names the
//! field it is about by its path in the request, such as `jobs[3].priority`.

#[cfg(feature = "certs")]
pub mod certs;
pub mod convert;
pub mod json;
pub mod keys;
pub mod problem;
mod schema;
#[cfg(feature = "templates")]
pub mod template;
pub mod time;
pub mod workflow;

/// Generated from `proto/bravo/v1/*.proto`.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::unwrap_used)]
pub mod proto {
    tonic::include_proto!("bravo.v1");
}

/// Generated from `proto/externalscaler/externalscaler.proto`: what KEDA asks.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::unwrap_used)]
pub mod keda {
    tonic::include_proto!("externalscaler");
}

pub use bravo_model::code::{Code, Refusal};
pub use bravo_model::{JobId, limits};
pub use problem::{FieldError, Problem, Rejection};
pub use time::Timestamp;

/// The encoded `FileDescriptorSet` of `bravo.v1` and of KEDA's `externalscaler`, for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/bravo.v1.bin"));

/// The largest gRPC message that either side must take: a full batch and its overhead. Give it to
/// `max_decoding_message_size` and `max_encoding_message_size` on both sides; tonic's default is 4 MiB.
pub const MESSAGE_BYTES_MAX: usize = 2 * limits::ENQUEUE_BYTES_MAX;

/// The longest `wait_ms` of a lease.
pub const WAIT_MS_MAX: u64 = 300_000;

/// The project of a caller that names none.
pub const DEFAULT_PROJECT: &str = "default";
