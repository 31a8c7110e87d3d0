//! Secrets are nowhere but with those who were told them: not in logs, not in metrics, not in the audit log, and, but
//! for a webhook's, which signs, not on the nodes' disks.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bravo_tests::process::{Options, Procs};
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

/// A part of the key that everything is done with, and a secret that no key has.
const CANARY: &str = "ca9a47ca9a47ca9a47ca9a47ca9a47ca9a47ca9a47ca9a47ca9a47ca9a47ca90";
const WRONG: &str = "badca9a4badca9a4badca9a4badca9a4badca9a4badca9a4badca9a4badca9a4";
const WEBHOOK: &str = "Y2FuYXJ5LWNhbmFyeS1jYW5hcnktY2FuYXJ5";

async fn ask(base: &str, key: &str, method: Method, path: &str, body: Value) -> (u16, String) {
    let client: Client<HttpConnector, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let request = Request::builder()
        .method(method)
        .uri(format!("{base}{path}"))
        .header("content-type", "application/json")
        .header("authorization", format!("Bearer {key}"))
        .body(Full::from(body.to_string()))
        .unwrap();
    let answer = client.request(request).await.unwrap();
    let status = answer.status().as_u16();
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8_lossy(&bytes).into_owned())
}

/// The files below a folder that hold the text.
fn holding(folder: &Path, text: &str) -> String {
    let found = Command::new("grep").args(["-r", "-l", "-a", "-F", text]).arg(folder).output().unwrap();
    assert!(matches!(found.status.code(), Some(0 | 1)), "{}", String::from_utf8_lossy(&found.stderr));
    String::from_utf8_lossy(&found.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_are_in_no_log_no_metric_and_on_no_disk() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("admin.key");
    let admin = format!("bravo_0123456789ab_{CANARY}");
    fs::write(&file, &admin).unwrap();
    let config = format!("[auth]\nrequired = true\nadmin_key_file = {:?}\n", file.to_str().unwrap());
    let loud = vec![("RUST_LOG".to_owned(), "info,openraft=error,bravo_daemon=trace".to_owned())];
    let options = Options { config, env: vec![loud; 3], ..Options::default() };
    let procs = Procs::start(options).await.unwrap();
    let base = format!("http://{}", procs.nodes[0].public);

    let made = json!({"name": "canary", "project_id": "p", "roles": ["enqueue", "work", "read"]});
    let (status, made) = ask(&base, &admin, Method::POST, "/api/v1/keys", made).await;
    assert_eq!(status, 201, "{made}");
    let made: Value = serde_json::from_str(&made).unwrap();
    let key = made["key"].as_str().unwrap().to_owned();
    let secret = key.rsplit('_').next().unwrap().to_owned();
    let other = format!("http://{}", procs.nodes[1].public);
    for (base, key, expected) in [
        (&other, key.clone(), 201),
        (&base, format!("bravo_0123456789ab_{WRONG}"), 401),
        (&base, format!("bravo_{}_{WRONG}", key.split('_').nth(1).unwrap()), 401),
        (&base, format!("{key}x"), 401),
    ] {
        let job = json!({"queue": "q", "payload": "harmless"});
        assert_eq!(ask(base, &key, Method::POST, "/api/v1/jobs", job).await.0, expected);
    }
    let webhook = json!({"project_id": "p", "url": "https://example.com/", "events": ["job.dead"],
        "secret": format!("whsec_{WEBHOOK}")});
    let (status, text) = ask(&base, &admin, Method::PUT, "/api/v1/webhooks/w?project_id=p", webhook).await;
    assert_eq!(status, 201, "{text}");
    // Refusals are written within a second.
    tokio::time::sleep(Duration::from_millis(2_500)).await;

    let (_, audit) = ask(&base, &admin, Method::GET, "/api/v1/audit?limit=1000", Value::Null).await;
    assert!(audit.contains("unauthenticated") && audit.contains("key.make"), "inconclusive: {audit}");
    let (_, metrics) = ask(&base, &admin, Method::GET, "/metrics", Value::Null).await;
    let (_, keys) = ask(&base, &admin, Method::GET, "/api/v1/keys", Value::Null).await;
    let said: String = procs.nodes.iter().map(|node| node.said()).collect();
    assert!(said.contains("DEBUG") && said.contains("request done"), "inconclusive: the logs are quiet");
    let lists = [("audit log", &audit), ("metrics", &metrics), ("keys", &keys), ("log lines", &said)];
    for canary in [CANARY, WRONG, secret.as_str(), WEBHOOK] {
        for (what, text) in lists {
            assert!(!text.contains(canary), "{canary} is in the {what}");
        }
    }
    let there = holding(&procs.nodes[0].data, "harmless");
    assert!(!there.is_empty(), "inconclusive: not even the payload is found");
    for canary in [CANARY, WRONG, secret.as_str()] {
        let found: String = procs.nodes.iter().map(|node| holding(&node.data, canary)).collect();
        assert!(found.is_empty(), "{canary} is in {found}");
    }
}
