//! Who may do what.

mod foreign;
mod keys;
mod matrix;

use http::{Method, StatusCode};
use serde_json::json;

use crate::harness::{Answer, call_at, nodes};

/// A call with a key, at the first node.
async fn ask(key: &str, method: Method, path: &str, body: impl Into<bytes::Bytes>) -> Answer {
    ask_with(key, method, path, &[], body).await
}

async fn ask_with(
    key: &str,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<bytes::Bytes>,
) -> Answer {
    let bearer = format!("Bearer {key}");
    let headers: Vec<_> = [("authorization", bearer.as_str())].into_iter().chain(headers.iter().copied()).collect();
    call_at(nodes()[0], method, path, &headers, body).await
}

/// A new key with these roles, for a project or for all.
async fn key(project: Option<&str>, roles: &[&str]) -> String {
    let body = json!({"name": "test", "project_id": project, "roles": roles}).to_string();
    let made = call_at(nodes()[1], Method::POST, "/api/v1/keys", &[], body).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    made.json()["key"].as_str().unwrap().to_owned()
}
