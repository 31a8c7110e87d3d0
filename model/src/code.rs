//! Codes of refusals: the words of the public contract. A code is for ever.

use serde::{Deserialize, Serialize};

/// Why a command was refused. A refusal is a reply, the same on every replica; nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Code {
    InvalidArgument,
    Unauthenticated,
    PermissionDenied,
    NotFound,
    MethodNotAllowed,
    LeaseLost,
    Conflict,
    PreconditionFailed,
    PayloadTooLarge,
    UnsupportedMediaType,
    RangeNotSatisfiable,
    IdempotencyKeyReuse,
    RateLimited,
    HeadersTooLarge,
    QueueFull,
    Shed,
    NoLeader,
    DeadlineExceeded,
    /// A fault of the node itself: the outcome is unknown.
    Internal,
}

impl Code {
    /// Every code, for tables and tests.
    pub const ALL: [Self; 19] = [
        Self::InvalidArgument,
        Self::Unauthenticated,
        Self::PermissionDenied,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::LeaseLost,
        Self::Conflict,
        Self::PreconditionFailed,
        Self::PayloadTooLarge,
        Self::UnsupportedMediaType,
        Self::RangeNotSatisfiable,
        Self::IdempotencyKeyReuse,
        Self::RateLimited,
        Self::HeadersTooLarge,
        Self::QueueFull,
        Self::Shed,
        Self::NoLeader,
        Self::DeadlineExceeded,
        Self::Internal,
    ];

    /// The code's name in the public contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidArgument => "invalid_argument",
            Self::Unauthenticated => "unauthenticated",
            Self::PermissionDenied => "permission_denied",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::LeaseLost => "lease_lost",
            Self::Conflict => "conflict",
            Self::PreconditionFailed => "precondition_failed",
            Self::PayloadTooLarge => "payload_too_large",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::RangeNotSatisfiable => "range_not_satisfiable",
            Self::IdempotencyKeyReuse => "idempotency_key_reuse",
            Self::RateLimited => "rate_limited",
            Self::HeadersTooLarge => "headers_too_large",
            Self::QueueFull => "queue_full",
            Self::Shed => "shed",
            Self::NoLeader => "no_leader",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::Internal => "internal",
        }
    }

    /// The code with this name, if there is one.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == name)
    }

    /// The HTTP status that carries this code.
    pub const fn http_status(self) -> u16 {
        match self {
            Self::InvalidArgument => 400,
            Self::Unauthenticated => 401,
            Self::PermissionDenied => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::LeaseLost | Self::Conflict => 409,
            Self::PreconditionFailed => 412,
            Self::PayloadTooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::RangeNotSatisfiable => 416,
            Self::IdempotencyKeyReuse => 422,
            Self::RateLimited | Self::QueueFull => 429,
            Self::HeadersTooLarge => 431,
            Self::Internal => 500,
            Self::Shed | Self::NoLeader => 503,
            Self::DeadlineExceeded => 504,
        }
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A refusal: the code for programs, a sentence for people, and when to come back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct Refusal {
    /// For programs.
    pub code: Code,
    /// For people: what was wrong and with what.
    pub detail: String,
    /// Where waiting helps: how long.
    pub retry_after_ms: Option<u64>,
}

impl Refusal {
    /// A refusal that waiting does not mend.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), retry_after_ms: None }
    }

    /// A refusal that may be mended by coming back after `ms`.
    pub fn retry_after(code: Code, detail: impl Into<String>, ms: u64) -> Self {
        Self { code, detail: detail.into(), retry_after_ms: Some(ms) }
    }
}
