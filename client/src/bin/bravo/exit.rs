//! How a command ends.

use std::process::ExitCode;

use bravo_client::Error;

/// Why a command failed; decides the exit code.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The server said no: 1.
    No(String),
    /// What was asked cannot be: 2.
    Usage(String),
    /// No server, or no answer: 3.
    Unreachable(String),
}

impl Failure {
    /// Says why on stderr.
    pub(crate) fn report(self) -> ExitCode {
        let (code, text) = match self {
            Self::No(text) => (1, text),
            Self::Usage(text) => (2, text),
            Self::Unreachable(text) => (3, text),
        };
        eprintln!("bravo: {text}");
        ExitCode::from(code)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match error {
            Error::Refused(_) => Self::No(text),
            Error::Invalid(_) => Self::Usage(text),
            Error::Unreachable(_) | Error::Broken(_) | Error::TimedOut(_) | Error::Stopped => Self::Unreachable(text),
        }
    }
}
