//! How a refusal travels: RFC 9457 problem+json over HTTP, a status with `google.rpc` details over
//! gRPC, a message inside a stream. The code is the same word everywhere.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tonic::Status;
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};
use utoipa::ToSchema;

use crate::proto;
use crate::{Code, Refusal};

/// The domain of Bravo's codes in `google.rpc.ErrorInfo`.
pub const DOMAIN: &str = "bravo";

/// The media type of a problem.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// Things wrong that a gRPC status carries at most: it travels in a header.
const STATUS_ERRORS_MAX: usize = 10;
/// Things wrong that the sentence for people names.
const TOLD_MAX: usize = 3;

/// A refusal on its way out: with all that is wrong, where a definition or an input was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{refusal}")]
pub struct Rejection {
    /// The refusal.
    pub refusal: Refusal,
    /// What is wrong, each with its place; empty where the refusal says it all.
    pub errors: Vec<FieldError>,
}

impl Rejection {
    /// `invalid_argument`, for all of these.
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        let mut detail: Vec<String> = errors.iter().take(TOLD_MAX).map(ToString::to_string).collect();
        if errors.len() > TOLD_MAX {
            detail.push(format!("and {} more", errors.len() - TOLD_MAX));
        }
        Self { refusal: Refusal::new(Code::InvalidArgument, detail.join("; ")), errors }
    }
}

impl From<Refusal> for Rejection {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, errors: Vec::new() }
    }
}

/// An `application/problem+json` body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// A URI that names the kind of problem; one per code.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind of problem for people.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What was wrong and with what.
    pub detail: String,
    /// The kind of problem for programs.
    pub code: String,
    /// Where waiting helps: how long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// Where a definition was refused: all that is wrong with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
}

/// One of several things that are wrong with a definition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldError {
    /// Where, such as `tasks[2].depends_on[0]`.
    pub path: String,
    /// What.
    pub detail: String,
}

impl FieldError {
    /// What is wrong at a place.
    pub fn new(path: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { path: path.into(), detail: detail.into() }
    }
}

impl std::fmt::Display for FieldError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.path, self.detail)
    }
}

impl From<FieldError> for proto::FieldError {
    fn from(error: FieldError) -> Self {
        Self { path: error.path, detail: error.detail }
    }
}

impl From<proto::FieldError> for FieldError {
    fn from(error: proto::FieldError) -> Self {
        Self { path: error.path, detail: error.detail }
    }
}

impl From<Rejection> for Problem {
    fn from(rejection: Rejection) -> Self {
        Self { errors: rejection.errors, ..Self::from(rejection.refusal) }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self {
            kind: format!("urn:bravo:problem:{}", refusal.code),
            title: title(refusal.code).into(),
            status: refusal.code.http_status(),
            detail: refusal.detail,
            code: refusal.code.as_str().into(),
            retry_after_ms: refusal.retry_after_ms,
            errors: Vec::new(),
        }
    }
}

impl Problem {
    /// The value of the `Retry-After` header: whole seconds, rounded up.
    pub fn retry_after_s(&self) -> Option<u64> {
        self.retry_after_ms.map(|ms| ms.div_ceil(1_000))
    }

    /// The refusal that this tells of; an unknown code, of a newer daemon, is `internal`.
    pub fn into_refusal(self) -> Refusal {
        let code = Code::parse(&self.code).unwrap_or(Code::Internal);
        Refusal { code, detail: self.detail, retry_after_ms: self.retry_after_ms }
    }
}

impl From<Refusal> for proto::Problem {
    fn from(refusal: Refusal) -> Self {
        Self { code: refusal.code.as_str().into(), detail: refusal.detail, retry_after_ms: refusal.retry_after_ms }
    }
}

impl From<proto::Problem> for Refusal {
    fn from(problem: proto::Problem) -> Self {
        let code = Code::parse(&problem.code).unwrap_or(Code::Internal);
        Self { code, detail: problem.detail, retry_after_ms: problem.retry_after_ms }
    }
}

/// The status that ends a refused gRPC call.
pub fn status_of(rejection: impl Into<Rejection>) -> Status {
    let Rejection { refusal, errors } = rejection.into();
    let mut details = ErrorDetails::new();
    details.set_error_info(refusal.code.as_str(), DOMAIN, []);
    if let Some(ms) = refusal.retry_after_ms {
        details.set_retry_info(Some(Duration::from_millis(ms)));
    }
    if !errors.is_empty() {
        let first = errors.into_iter().take(STATUS_ERRORS_MAX);
        details.set_bad_request(first.map(|error| FieldViolation::new(error.path, error.detail)).collect::<Vec<_>>());
    }
    Status::with_error_details(grpc_code(refusal.code), refusal.detail, details)
}

/// The refusal that a status carries; none if it is not Bravo's (a broken connection, a proxy).
pub fn refusal_of(status: &Status) -> Option<Refusal> {
    let info = status.get_details_error_info().filter(|info| info.domain == DOMAIN)?;
    let delay = status.get_details_retry_info().and_then(|retry| retry.retry_delay);
    Some(Refusal {
        code: Code::parse(&info.reason).unwrap_or(Code::Internal),
        detail: status.message().into(),
        retry_after_ms: delay.map(|delay| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)),
    })
}

/// All that is wrong, as far as a status carries it.
pub fn errors_of(status: &Status) -> Vec<FieldError> {
    let violations = status.get_details_bad_request().map(|bad| bad.field_violations).unwrap_or_default();
    violations.into_iter().map(|violation| FieldError::new(violation.field, violation.description)).collect()
}

/// The gRPC code that stands for a code.
pub fn grpc_code(code: Code) -> tonic::Code {
    match code {
        Code::InvalidArgument | Code::PayloadTooLarge | Code::UnsupportedMediaType | Code::IdempotencyKeyReuse => {
            tonic::Code::InvalidArgument
        }
        Code::Unauthenticated => tonic::Code::Unauthenticated,
        Code::PermissionDenied => tonic::Code::PermissionDenied,
        Code::NotFound => tonic::Code::NotFound,
        Code::MethodNotAllowed => tonic::Code::Unimplemented,
        Code::LeaseLost | Code::Conflict | Code::PreconditionFailed => tonic::Code::FailedPrecondition,
        Code::RangeNotSatisfiable => tonic::Code::OutOfRange,
        Code::RateLimited | Code::QueueFull | Code::HeadersTooLarge => tonic::Code::ResourceExhausted,
        Code::Shed | Code::NoLeader => tonic::Code::Unavailable,
        Code::DeadlineExceeded => tonic::Code::DeadlineExceeded,
        Code::Internal => tonic::Code::Internal,
    }
}

fn title(code: Code) -> &'static str {
    match code {
        Code::InvalidArgument => "The request is not valid",
        Code::Unauthenticated => "The caller is not known",
        Code::PermissionDenied => "The caller may not do this",
        Code::NotFound => "There is no such thing",
        Code::MethodNotAllowed => "The method is not allowed here",
        Code::LeaseLost => "The lease is lost",
        Code::Conflict => "The present state does not allow this",
        Code::PreconditionFailed => "The precondition does not hold",
        Code::PayloadTooLarge => "The payload is too large",
        Code::UnsupportedMediaType => "The media type is not supported",
        Code::RangeNotSatisfiable => "The range is not there",
        Code::IdempotencyKeyReuse => "The idempotency key was used for another request",
        Code::RateLimited => "Too many requests",
        Code::HeadersTooLarge => "The headers are too large",
        Code::QueueFull => "The queue is full",
        Code::Shed => "The node refused work early",
        Code::NoLeader => "No leader is known",
        Code::DeadlineExceeded => "The deadline passed",
        Code::Internal => "The node failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_travels_every_way() {
        for code in Code::ALL {
            for retry_after_ms in [None, Some(1_500)] {
                let refusal = Refusal { code, detail: "priority: 0 to 9".into(), retry_after_ms };
                assert_eq!(refusal_of(&status_of(refusal.clone())), Some(refusal.clone()));
                assert_eq!(Refusal::from(proto::Problem::from(refusal.clone())), refusal);
                let json = serde_json::to_vec(&Problem::from(refusal.clone())).unwrap();
                let back: Problem = serde_json::from_slice(&json).unwrap();
                assert_eq!(back.status, code.http_status());
                assert_eq!(back.retry_after_s(), retry_after_ms.map(|_| 2));
                assert_eq!(back.into_refusal(), refusal);
            }
        }
    }

    #[test]
    fn all_that_is_wrong_travels_every_way() {
        let errors: Vec<_> = (0..5).map(|n| FieldError::new(format!("tasks[{n}].id"), "twice")).collect();
        let rejection = Rejection::invalid(errors.clone());
        assert_eq!(rejection.refusal.detail, "tasks[0].id: twice; tasks[1].id: twice; tasks[2].id: twice; and 2 more");
        assert_eq!(errors_of(&status_of(rejection.clone())), errors);
        let json = serde_json::to_value(Problem::from(rejection)).unwrap();
        assert_eq!(json["errors"][4], serde_json::json!({"path": "tasks[4].id", "detail": "twice"}));
    }

    #[test]
    fn a_foreign_status_is_not_a_refusal() {
        assert_eq!(refusal_of(&Status::unavailable("connection reset")), None);
    }
}
