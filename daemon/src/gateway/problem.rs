//! Refusals as HTTP answers.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bravo_api::problem::{MEDIA_TYPE, Problem, Rejection};
use bravo_model::{Code, Refusal};
use http::header::{ACCEPT_ENCODING, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;

use super::service::artifacts::Coding;

/// A refusal on its way out over HTTP.
#[derive(Debug)]
pub(crate) struct Refused {
    rejection: Rejection,
    /// Whether it was the coding of the body that was refused.
    coding: bool,
}

/// What a handler gives.
pub(crate) type Answered = Result<Response, Refused>;

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self::from(Rejection::from(refusal))
    }
}

impl From<Rejection> for Refused {
    fn from(rejection: Rejection) -> Self {
        Self { rejection, coding: false }
    }
}

impl Refused {
    /// A body in a coding that is not understood: the answer says which ones are (RFC 9110, section 12.5.3).
    pub(crate) fn coding(refusal: Refusal) -> Self {
        Self { coding: true, ..Self::from(refusal) }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let code = self.rejection.refusal.code;
        let problem = Problem::from(self.rejection);
        let mut response = Response::new(Body::from(serde_json::to_vec(&problem).unwrap_or_default()));
        *response.status_mut() = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response.extensions_mut().insert(code);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if let Some(seconds) = problem.retry_after_s() {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        if self.coding {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(Coding::NAMES));
        }
        if code == Code::Unauthenticated {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"bravo\""));
        }
        response
    }
}

/// A JSON answer.
pub(crate) fn json(status: StatusCode, answer: &impl Serialize) -> Answered {
    let body = serde_json::to_vec(answer).map_err(|error| Refusal::new(Code::Internal, error.to_string()))?;
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// A JSON answer with status 200.
pub(crate) fn ok(answer: &impl Serialize) -> Answered {
    json(StatusCode::OK, answer)
}
