//! What is the same for every request: its id, who it is from, how large it may be, how many there may
//! be, how long it took.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::MatchedPath;
use axum::response::IntoResponse;
use bravo_api::problem::status_of;
use bravo_model::audit::NewEntry;
use bravo_model::{Code, Refusal};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use parking_lot::Mutex;
use tokio::sync::OwnedSemaphorePermit;
use tower::ServiceExt;

use super::app::App;
use super::auth::access::{self, Access};
use super::auth::{Caller, Found, noted};
use super::call::Call;
use super::problem::Refused;
use super::rate::{Rates, Standings};
use super::rest;
use super::rest::pack;
use crate::telemetry::events::{RequestDone, RequestShed};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest request id that is taken over from a caller.
const REQUEST_ID_BYTES_MAX: usize = 128;
/// Answered to anybody at any time: what operators and their machines ask.
const OPEN_PATHS: [&str; 3] = ["/health", "/ready", "/metrics"];
/// Answered to anybody: fixed texts, of which one asks for a key.
const PAGES: [&str; 4] = ["/", "/dashboard.js", "/dashboard.css", "/api/openapi.json"];
/// As [`OPEN_PATHS`] over gRPC.
const OPEN_SERVICE: &str = "/grpc.health.v1.Health/";

/// The door of the gateway.
pub(crate) struct Front {
    app: Arc<App>,
    rest: Router,
    grpc: Router,
    rates: Rates,
}

/// The pattern of the route that answered, for the metric's label.
#[derive(Clone)]
pub(crate) struct Endpoint(pub(crate) MatchedPath);

/// A request's place among those under way; given up early by calls that only wait.
#[derive(Clone)]
pub(crate) struct InFlight(Arc<Mutex<Option<OwnedSemaphorePermit>>>);

impl InFlight {
    /// The request waits from here on.
    pub(crate) fn leave(&self) {
        self.0.lock().take();
    }
}

impl Front {
    /// Over the services' routes.
    pub(crate) fn new(app: Arc<App>, grpc: Router) -> Self {
        let rest = rest::router(app.clone());
        let rates = Rates::new(&app.rate_limits);
        Self { app, rest, grpc, rates }
    }

    /// Answers one request.
    pub(crate) async fn answer(&self, mut request: Request<Body>) -> Response<Body> {
        let began = Instant::now();
        let method = request.method().clone();
        let id = request_id(request.headers());
        let is_grpc = is_grpc(request.headers());
        let uri = request.uri().path().to_owned();
        let path = is_grpc.then_some(&uri);
        let accepts = if is_grpc { None } else { pack::accepts(request.headers()) };
        let source = self.rates.client((request.extensions(), request.headers()));
        let (standings, admitted) = self.admit(&mut request).await;
        let mut response = match admitted {
            Ok((call, _in_flight)) => {
                let response = self.serve(&call, request, is_grpc).await;
                if is_grpc { response } else { pack::packed(accepts, response).await }
            }
            Err(refusal) => {
                if refusal.code == Code::Unauthenticated {
                    self.app.audit.refused(NewEntry {
                        actor: source.map_or_else(String::new, |address| format!("address:{address}")),
                        action: "authenticate".into(),
                        target: format!("{method} {uri}"),
                        result: refusal.code.as_str().into(),
                    });
                }
                refused(refusal, is_grpc)
            }
        };
        let endpoint = response.extensions_mut().remove::<Endpoint>();
        let endpoint = match &path {
            Some(path) => access::grpc(path).and_then(Access::grpc),
            None => endpoint.as_ref().map(|endpoint| endpoint.0.as_str()),
        };
        let request_id = id.to_str().unwrap_or_default();
        RequestDone { method: &method, endpoint, status: response.status(), took: began.elapsed(), request_id }.emit();
        standings.tell(response.headers_mut());
        response.headers_mut().insert(REQUEST_ID, id);
        response
    }

    /// Has the call done, if its caller may make it.
    async fn serve(&self, call: &Call, request: Request<Body>, is_grpc: bool) -> Response<Body> {
        if !is_grpc {
            return route(self.rest.clone(), request).await;
        }
        let Some(access) = access::grpc(request.uri().path()) else {
            return tonic::Status::unimplemented("there is no such call").into_http();
        };
        let (path, allowed, routes) = (request.uri().path().to_owned(), access.check(&call.caller), self.grpc.clone());
        let work = async move {
            match allowed {
                Ok(()) => route(routes, request).await,
                Err(refusal) => refused(refusal, true),
            }
        };
        noted(&self.app, access, call, &path, work, |refusal| refused(refusal, true)).await
    }

    /// Refuses what must not get further; notes what the handlers need to know.
    async fn admit(&self, request: &mut Request<Body>) -> (Standings, Result<(Call, InFlight), Refusal>) {
        let mut standings = Standings::default();
        let admitted = self.check(request, &mut standings).await;
        (standings, admitted)
    }

    async fn check(&self, request: &mut Request<Body>, standings: &mut Standings) -> Result<(Call, InFlight), Refusal> {
        let headers = request.headers();
        let lines: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        let bytes = lines + request.uri().path_and_query().map_or(0, |path| path.as_str().len());
        let limit = self.app.limits.header_bytes_max;
        if bytes as u64 > limit {
            let detail = format!("header lines of {bytes} bytes, at most {limit} are taken");
            return Err(Refusal::new(Code::HeadersTooLarge, detail));
        }
        let path = request.uri().path();
        let open = OPEN_PATHS.contains(&path) || path.starts_with(OPEN_SERVICE);
        let caller = if open {
            Caller::anybody()
        } else {
            let parts = (request.extensions(), headers);
            let found = match PAGES.contains(&path) {
                true => Ok(Found::Caller(Caller::anybody())),
                false => self.app.door.look(&self.app.cluster, headers, request.extensions()),
            };
            // A wrong key is no key, and one that is not known here may be wrong: whoever tries some out is counted
            // by its address, before the leader is asked.
            let known = match &found {
                Ok(Found::Caller(caller)) => caller.known(),
                _ => None,
            };
            let counted;
            (*standings, counted) = self.rates.count(parts, known);
            counted?;
            match found? {
                Found::Caller(caller) => caller,
                Found::New(key) => self.app.door.ask(&self.app.cluster, &key).await?,
            }
        };
        let permit = if open { None } else { Some(self.enter()?) };
        let in_flight = InFlight(Arc::new(Mutex::new(permit)));
        let call = Call::read(headers, path, &self.app.limits, caller)?;
        request.extensions_mut().insert(call.clone());
        request.extensions_mut().insert(in_flight.clone());
        Ok((call, in_flight))
    }

    fn enter(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        self.app.in_flight.clone().try_acquire_owned().map_err(|_| {
            RequestShed { reason: "limits.requests_in_flight_max" }.emit();
            Refusal::retry_after(Code::Shed, "this node works on as many requests as it may", 100)
        })
    }
}

fn refused(refusal: Refusal, is_grpc: bool) -> Response<Body> {
    if is_grpc { status_of(refusal).into_http() } else { Refused::from(refusal).into_response() }
}

async fn route(routes: Router, request: Request<Body>) -> Response<Body> {
    match routes.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// The caller's id if it is a decent one, else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let decent = |value: &&HeaderValue| {
        let bytes = value.as_bytes();
        (1..=REQUEST_ID_BYTES_MAX).contains(&bytes.len()) && bytes.iter().all(|byte| byte.is_ascii_graphic())
    };
    let made = || HeaderValue::from_str(&uuid::Uuid::now_v7().to_string());
    headers.get(REQUEST_ID).filter(decent).cloned().map_or_else(made, Ok).unwrap_or(HeaderValue::from_static("none"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decent_request_id_is_taken_over() {
        let id_of = |value: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_bytes(value).unwrap());
            request_id(&headers)
        };
        assert_eq!(id_of(b"abc-1"), "abc-1");
        for bad in [&b""[..], b"a b", b"\xff", &[b'x'; 200]] {
            assert_eq!(id_of(bad).len(), 36);
        }
    }
}
