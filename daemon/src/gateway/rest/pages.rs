//! The dashboard and the description of the interface: fixed texts.

use axum::body::Body;
use axum::response::Response;
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};

/// The page asks its own origin and nobody else, and nobody frames it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// This description.
#[utoipa::path(
    get,
    path = "/api/openapi.json",
    tag = "node",
    operation_id = "openapi",
    responses((status = 200, description = "OpenAPI 3.1.", body = Object)),
)]
pub(super) async fn openapi() -> Response {
    page("application/json", super::openapi::text())
}

pub(super) async fn dashboard() -> Response {
    page("text/html; charset=utf-8", include_str!("dashboard/index.html"))
}

pub(super) async fn script() -> Response {
    page("text/javascript; charset=utf-8", include_str!("dashboard/dashboard.js"))
}

pub(super) async fn style() -> Response {
    page("text/css; charset=utf-8", include_str!("dashboard/dashboard.css"))
}

fn page(media: &'static str, text: &'static str) -> Response {
    let mut response = Response::new(Body::from(text));
    let fixed = [
        (CONTENT_TYPE, media),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-cache"),
    ];
    for (name, value) in fixed {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
