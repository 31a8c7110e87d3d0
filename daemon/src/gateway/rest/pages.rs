//! The dashboard and the description of the interface: fixed texts.

use axum::body::Body;
use axum::response::Response;
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};

/// The page asks its own origin and nobody else, and nobody frames it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(super) async fn openapi() -> Response {
    page("application/json", include_str!("openapi.json"))
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    /// Every `.route(…)` of the router as `(method, path)`, read off its source.
    fn routed() -> BTreeSet<(String, String)> {
        let source = include_str!("mod.rs");
        let mut found = BTreeSet::new();
        for part in source.split(".route(").skip(1) {
            let path = part.split('"').nth(1).unwrap().replace("{*", "{");
            let call = part.split("\n        .").next().unwrap();
            for method in ["get", "post", "put", "delete"] {
                if call.contains(&format!("{method}(")) {
                    found.insert((method.to_owned(), path.clone()));
                }
            }
        }
        found
    }

    fn documented() -> BTreeSet<(String, String)> {
        let page: serde_json::Value = serde_json::from_str(include_str!("openapi.json")).unwrap();
        let paths = page["paths"].as_object().unwrap();
        let methods = |path: &serde_json::Value| path.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        paths.iter().flat_map(|(path, of)| methods(of).into_iter().map(|method| (method, path.clone()))).collect()
    }

    #[test]
    fn what_is_documented_is_routed_and_the_other_way_round() {
        let mut routed = routed();
        routed.retain(|(_, path)| path != "/" && !path.starts_with("/dashboard."));
        assert_eq!(routed, documented());
    }

    #[test]
    fn every_reference_of_the_description_leads_somewhere() {
        let text = include_str!("openapi.json");
        let page: serde_json::Value = serde_json::from_str(text).unwrap();
        for reference in text.split("\"$ref\": \"#").skip(1).map(|rest| rest.split('"').next().unwrap()) {
            assert!(page.pointer(reference).is_some(), "{reference}");
        }
    }
}
