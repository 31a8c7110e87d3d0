//! What can go wrong, sorted by what a caller can do about it.

use bravo_api::problem::refusal_of;
use bravo_api::{Code, Refusal};
use tonic::Status;

/// Why a call did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The cluster said no. Whether something may have changed: see [`Error::outcome_unknown`].
    #[error("{0}")]
    Refused(Refusal),
    /// No node could be reached: nothing was sent.
    #[error("no server can be reached: {0}")]
    Unreachable(String),
    /// The connection broke before the answer came: the outcome is unknown.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// The answer did not come in time: the outcome is unknown.
    #[error("no answer in time: {0}")]
    TimedOut(String),
    /// What was given cannot be used: nothing was sent.
    #[error("{0}")]
    Invalid(String),
    /// The producer's task is gone, with the runtime that it ran on: the outcome is unknown.
    #[error("the producer was stopped")]
    Stopped,
}

impl Error {
    /// The code of the contract, where the cluster gave one.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Refused(refusal) => Some(refusal.code),
            _ => None,
        }
    }

    /// Whether the same call may succeed later, or on another node.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Refused(refusal) => matches!(
                refusal.code,
                Code::RateLimited
                    | Code::QueueFull
                    | Code::Shed
                    | Code::NoLeader
                    | Code::DeadlineExceeded
                    | Code::Internal
            ),
            Self::Unreachable(_) | Self::Broken(_) | Self::TimedOut(_) => true,
            Self::Invalid(_) | Self::Stopped => false,
        }
    }

    /// Whether the call may have been carried out all the same: repeat it under the same
    /// idempotency key, or look.
    pub fn outcome_unknown(&self) -> bool {
        match self {
            Self::Refused(refusal) => {
                matches!(refusal.code, Code::NoLeader | Code::DeadlineExceeded | Code::Internal)
            }
            Self::Broken(_) | Self::TimedOut(_) | Self::Stopped => true,
            Self::Unreachable(_) | Self::Invalid(_) => false,
        }
    }

    /// How long the cluster asked to wait before the next try.
    pub fn retry_after_ms(&self) -> Option<u64> {
        match self {
            Self::Refused(refusal) => refusal.retry_after_ms,
            _ => None,
        }
    }

    /// Whether the node that gave this answer should be left alone for a while.
    pub(crate) fn is_of_the_node(&self) -> bool {
        match self {
            Self::Refused(refusal) => matches!(refusal.code, Code::Shed | Code::NoLeader | Code::Internal),
            Self::Unreachable(_) | Self::Broken(_) | Self::TimedOut(_) => true,
            Self::Invalid(_) | Self::Stopped => false,
        }
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        if let Some(refusal) = refusal_of(&status) {
            return Self::Refused(refusal);
        }
        // Not from a Bravo gateway: a proxy, an older node, or the transport itself.
        let refused = |code| Self::Refused(Refusal::new(code, status.message()));
        match status.code() {
            tonic::Code::InvalidArgument => refused(Code::InvalidArgument),
            tonic::Code::Unauthenticated => refused(Code::Unauthenticated),
            tonic::Code::PermissionDenied => refused(Code::PermissionDenied),
            tonic::Code::NotFound => refused(Code::NotFound),
            tonic::Code::Unimplemented => refused(Code::MethodNotAllowed),
            tonic::Code::OutOfRange => refused(Code::PayloadTooLarge),
            tonic::Code::ResourceExhausted => refused(Code::RateLimited),
            tonic::Code::DeadlineExceeded => Self::TimedOut(status.message().into()),
            _ => Self::Broken(describe(&status)),
        }
    }
}

/// A status of the transport, with the cause that its own words leave out.
fn describe(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        let cause = error.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_4xx_or_shed_changed_nothing() {
        for code in Code::ALL {
            let error = Error::Refused(Refusal::new(code, ""));
            let changed_nothing = code.http_status() < 500 || code == Code::Shed;
            assert_eq!(error.outcome_unknown(), !changed_nothing, "{code}");
        }
    }

    #[test]
    fn a_foreign_status_is_sorted_by_its_code() {
        assert!(matches!(Error::from(Status::unavailable("reset")), Error::Broken(_)));
        assert!(matches!(Error::from(Status::deadline_exceeded("late")), Error::TimedOut(_)));
        assert_eq!(Error::from(Status::unauthenticated("who?")).code(), Some(Code::Unauthenticated));
    }
}
