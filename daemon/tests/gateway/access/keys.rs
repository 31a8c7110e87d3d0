//! API keys from their making to their end, and what the audit log says of it.

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::matrix::grpc_status;
use super::{ask, key};
use crate::harness::{call_at, get, nodes, own_node, post};

async fn status_at(node: usize, key: &str) -> u16 {
    let bearer = format!("Bearer {key}");
    let answer = call_at(nodes()[node], Method::GET, "/api/v1/jobs", &[("authorization", &bearer)], "").await;
    answer.status.as_u16()
}

#[tokio::test]
async fn a_key_holds_at_every_node_from_its_making_and_at_none_from_its_revocation() {
    for round in 0..5 {
        let made = key(None, &["read"]).await;
        for node in 0..3 {
            assert_eq!(status_at(node, &made).await, 200, "round {round}, node {node}");
        }
        let id = made.split('_').nth(1).unwrap();
        let revoked = call_at(nodes()[round % 3], Method::DELETE, &format!("/api/v1/keys/{id}"), &[], "").await;
        assert_eq!(revoked.status, StatusCode::NO_CONTENT);
        for node in 0..3 {
            assert_eq!(status_at(node, &made).await, 401, "round {round}, node {node}");
        }
    }
}

#[tokio::test]
async fn streams_end_when_their_key_does() {
    let made = key(None, &["read"]).await;
    let workflow = json!({"name": "w", "tasks": [{"id": "a", "wait_signal": "never"}]}).to_string();
    let id = post("/api/v1/workflows", workflow).await.ok()["id"].as_str().unwrap().to_owned();
    let streams = ["/api/v1/events?queue=nothing-happens".to_owned(), format!("/api/v1/workflows/{id}/events")];
    let streams = streams.map(|path| {
        let made = made.clone();
        tokio::spawn(async move { ask(&made, Method::GET, &path, "").await.status.as_u16() })
    });
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    assert!(streams.iter().all(|stream| !stream.is_finished()), "they go on while the key holds");
    let id = made.split('_').nth(1).unwrap();
    call_at(nodes()[1], Method::DELETE, &format!("/api/v1/keys/{id}"), &[], "").await;
    for stream in streams {
        let ended = tokio::time::timeout(std::time::Duration::from_secs(20), stream).await;
        assert_eq!(ended.expect("it ends").unwrap(), 200);
    }
}

#[tokio::test]
async fn a_lease_call_that_waits_gets_nothing_when_its_key_has_ended() {
    let made = key(None, &["work"]).await;
    let waiting = {
        let made = made.clone();
        let body = json!({"worker_id": "ended-key", "max": 1, "wait_ms": 25_000}).to_string();
        tokio::spawn(async move { ask(&made, Method::POST, "/api/v1/queues/ended-key/lease", body).await })
    };
    let mut is_there = false;
    for _ in 0..200 {
        is_there = get("/api/v1/workers").await.text.contains("ended-key");
        if is_there {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(is_there, "it waits");
    let id = made.split('_').nth(1).unwrap();
    call_at(nodes()[1], Method::DELETE, &format!("/api/v1/keys/{id}"), &[], "").await;
    post("/api/v1/jobs", json!({"queue": "ended-key", "project_id": "p", "payload": 1}).to_string()).await.ok();
    let answer = waiting.await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (401, "unauthenticated"), "{}", answer.text);
    let again = json!({"worker_id": "holding-key", "max": 1, "wait_ms": 20_000}).to_string();
    let leased = post("/api/v1/queues/ended-key/lease", again).await.ok();
    assert_eq!(leased["jobs"].as_array().map(Vec::len), Some(1), "the job was given back: {leased}");
}

#[tokio::test]
async fn an_artifact_whose_key_is_revoked_while_it_comes_is_not_made() {
    let made = key(None, &["enqueue"]).await;
    let mut stream = TcpStream::connect(nodes()[0]).await.unwrap();
    let head = format!(
        "PUT /api/v1/artifacts/p/revoked HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {made}\r\n\
         content-length: 2\r\nconnection: close\r\nexpect: 100-continue\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).await.unwrap();
    assert!(go_on.starts_with(b"HTTP/1.1 100 "), "its key was looked at");
    let id = made.split('_').nth(1).unwrap();
    call_at(nodes()[1], Method::DELETE, &format!("/api/v1/keys/{id}"), &[], "").await;
    assert_eq!(status_at(0, &made).await, 401);
    stream.write_all(b"ab").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    assert_eq!(get("/api/v1/artifacts/p/revoked").await.code(), "not_found");
}

#[tokio::test]
async fn a_wrong_secret_is_refused_like_a_key_that_never_was() {
    let made = key(None, &["admin"]).await;
    let (start, last) = made.split_at(made.len() - 1);
    let wrong = format!("{start}{}", if last == "0" { "1" } else { "0" });
    let never = format!("bravo_000000000000_{}", "0".repeat(64));
    let answers =
        [ask(&wrong, Method::GET, "/api/v1/jobs", "").await, ask(&never, Method::GET, "/api/v1/jobs", "").await];
    for answer in &answers {
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (401, "unauthenticated"));
    }
    assert_eq!(answers[0].text, answers[1].text);
    // In the other header too.
    let headers = [("x-api-key", made.as_str())];
    assert!(call_at(nodes()[0], Method::GET, "/api/v1/jobs", &headers, "").await.status.is_success());
}

#[tokio::test]
async fn a_key_ends_when_it_expires() {
    // The first to ask waits for the cluster to start.
    nodes();
    let soon = bravo_api::Timestamp(now_ms() + 3_000);
    let body = json!({"name": "short", "roles": ["read"], "expires_at": soon}).to_string();
    let made = post("/api/v1/keys", body).await.ok()["key"].as_str().unwrap().to_owned();
    assert_eq!(status_at(0, &made).await, 200);
    let mut status = 200;
    for _ in 0..100 {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        status = status_at(0, &made).await;
        if status == 401 {
            break;
        }
    }
    assert_eq!(status, 401);
    let past = json!({"name": "late", "roles": ["read"], "expires_at": "2020-01-01T00:00:00Z"}).to_string();
    assert_eq!(post("/api/v1/keys", past).await.code(), "invalid_argument");
}

fn now_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(now.as_millis()).unwrap()
}

#[tokio::test]
async fn secrets_are_told_once_and_are_nowhere_after() {
    let body = json!({"name": "once", "project_id": "once", "roles": ["work", "read"]}).to_string();
    let headers = [("idempotency-key", "once-key")];
    let first = call_at(nodes()[0], Method::POST, "/api/v1/keys", &headers, body.clone()).await;
    assert_eq!(first.headers["cache-control"], "no-store");
    let first = first.ok();
    let again = call_at(nodes()[1], Method::POST, "/api/v1/keys", &headers, body).await.ok();
    assert_eq!(first["id"], again["id"], "the call was repeated");
    assert!(again.get("key").is_none() && again.get("secret").is_none());
    let secret = first["key"].as_str().unwrap().rsplit('_').next().unwrap().to_owned();
    let listed = get("/api/v1/keys?project_id=once").await;
    assert!(!listed.text.contains(&secret));
    let keys = listed.ok()["keys"].as_array().unwrap().clone();
    assert_eq!((keys.len(), &keys[0]["roles"], &keys[0]["name"]), (1, &json!(["work", "read"]), &json!("once")));
    for path in ["/api/v1/audit?limit=1000", "/metrics"] {
        assert!(!get(path).await.text.contains(&secret), "{path}");
    }
}

#[tokio::test]
async fn what_no_key_can_be_is_refused_by_name() {
    for (body, word) in [
        (json!({"roles": ["read"]}), "name"),
        (json!({"name": "x", "roles": []}), "roles"),
        (json!({"name": "x", "roles": ["root"]}), "roles"),
        (json!({"name": "x", "roles": ["read"], "project_id": "a b"}), "project_id"),
        (json!({"name": "x", "roles": ["read"], "owner": "me"}), "owner"),
    ] {
        let refused = post("/api/v1/keys", body.to_string()).await;
        assert_eq!(refused.code(), "invalid_argument", "{body}");
        assert!(refused.json()["detail"].as_str().unwrap().contains(word), "{}", refused.text);
    }
    assert_eq!(call_at(nodes()[0], Method::DELETE, "/api/v1/keys/none", &[], "").await.code(), "not_found");
}

#[tokio::test]
async fn lists_of_keys_go_on_page_after_page() {
    for _ in 0..3 {
        key(Some("paged"), &["read"]).await;
    }
    let first = get("/api/v1/keys?project_id=paged&limit=2").await.ok();
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = get(&format!("/api/v1/keys?project_id=paged&limit=2&cursor={cursor}")).await.ok();
    assert_eq!((first["keys"].as_array().unwrap().len(), second["keys"].as_array().unwrap().len()), (2, 1));
    assert_eq!(second["next_cursor"], Value::Null);
    assert_eq!(get("/api/v1/keys?cursor=x").await.code(), "invalid_argument");
    assert_eq!(get("/api/v1/keys?limit=0").await.code(), "invalid_argument");
}

#[tokio::test]
async fn the_audit_log_says_who_did_what_and_who_was_turned_away() {
    let admin = key(None, &["admin"]).await;
    let actor = format!("key:{}", admin.split('_').nth(1).unwrap());
    let config = json!({"max_attempts": 3}).to_string();
    assert!(ask(&admin, Method::PUT, "/api/v1/queues/audited", config).await.status.is_success());
    assert_eq!(ask(&admin, Method::POST, "/api/v1/queues/audited/pause", "").await.status, StatusCode::OK);
    assert_eq!(ask(&admin, Method::DELETE, "/api/v1/templates/absent", "").await.code(), "not_found");
    let entries = get(&format!("/api/v1/audit?actor={actor}")).await.ok()["entries"].as_array().unwrap().clone();
    let told: Vec<_> =
        entries.iter().map(|e| [&e["action"], &e["target"], &e["result"]].map(|v| v.as_str().unwrap())).collect();
    let expected =
        [["queue.put", "audited", "ok"], ["queue.pause", "audited", "ok"], ["template.delete", "absent", "not_found"]];
    assert_eq!(told, expected, "what only an administrator may change, before it was answered");

    let reader = key(None, &["read"]).await;
    let denied = async || {
        assert_eq!(ask(&reader, Method::PUT, "/api/v1/queues/audited", "{}").await.status, StatusCode::FORBIDDEN);
    };
    assert_eq!(told_of_denied(&reader, denied).await, ["queue.put", "permission_denied"]);
    let reader = key(None, &["read"]).await;
    let denied = async || {
        assert_eq!(grpc_status("/bravo.v1.Jobs/Enqueue", &reader).await.as_deref(), Some("7"));
    };
    assert_eq!(told_of_denied(&reader, denied).await, ["job.enqueue", "permission_denied"]);
}

/// What the audit log tells of somebody who is denied a call until it does: other tests are denied much at a time.
async fn told_of_denied(reader: &str, denied: impl AsyncFn()) -> [String; 2] {
    let actor = format!("key:{}", reader.split('_').nth(1).unwrap());
    for _ in 0..200 {
        denied().await;
        let entries = get(&format!("/api/v1/audit?actor={actor}")).await.ok()["entries"].as_array().unwrap().clone();
        if let Some(entry) = entries.first() {
            return ["action", "result"].map(|key| entry[key].as_str().unwrap().to_owned());
        }
        tokio::time::sleep(std::time::Duration::from_millis(250)).await;
    }
    panic!("nothing is told of {actor}");
}

/// Once, what was changed was noted by the connection's own task, which ends when the caller hangs up.
#[tokio::test]
async fn what_an_administrator_changed_is_noted_even_if_they_hang_up() {
    let admin = key(None, &["admin"]).await;
    let actor = format!("key:{}", admin.split('_').nth(1).unwrap());
    let names: Vec<_> = (0..20).map(|n| format!("hung-up-{n}")).collect();
    for name in &names {
        let mut stream = tokio::net::TcpStream::connect(nodes()[0]).await.unwrap();
        let ask = format!("PUT /api/v1/queues/{name} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {admin}\r\n");
        let ask = format!("{ask}content-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}");
        tokio::io::AsyncWriteExt::write_all(&mut stream, ask.as_bytes()).await.unwrap();
        // Half a moment, so that the call has begun.
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        drop(stream);
    }
    let is_there = async |name: &String| get(&format!("/api/v1/queues/{name}")).await.status == StatusCode::OK;
    for _ in 0..100 {
        let entries = get(&format!("/api/v1/audit?actor={actor}")).await.ok()["entries"].as_array().unwrap().clone();
        let is_noted = |name: &String| entries.iter().any(|entry| entry["target"] == **name);
        let mut there = Vec::new();
        for name in &names {
            there.push(is_there(name).await);
        }
        if there.iter().any(|there| *there) && names.iter().zip(&there).all(|(name, there)| !there || is_noted(name)) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("queues were made that the audit log says nothing of");
}

#[tokio::test]
async fn the_audit_log_is_a_chain_that_can_be_checked_page_after_page() {
    for name in ["chain-a", "chain-b", "chain-c"] {
        key(Some(name), &["read"]).await;
    }
    let (mut cursor, mut last, mut seq) = (String::new(), None::<String>, 0);
    loop {
        let page = get(&format!("/api/v1/audit?limit=2{cursor}")).await.ok();
        for entry in page["entries"].as_array().unwrap() {
            assert_eq!(entry["seq"].as_u64().unwrap(), seq + 1, "without gaps");
            seq += 1;
            let hash = hash_of(last.as_deref().unwrap_or(&"0".repeat(64)), entry);
            assert_eq!(entry["hash"].as_str().unwrap(), hash, "as docs/operations.md says");
            last = Some(hash);
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert!(seq >= 3);
    let behind = get(&format!("/api/v1/audit?since={}", seq - 1)).await.ok();
    assert!(behind["entries"][0]["seq"].as_u64().unwrap() >= seq);
    assert_eq!(get("/api/v1/audit?since=2199-01-01T00:00:00Z").await.ok()["entries"], json!([]));
    assert_eq!(get("/api/v1/audit?since=yesterday").await.code(), "invalid_argument");
}

/// What an auditor computes from an entry and the hash before it.
fn hash_of(last: &str, entry: &Value) -> String {
    let bytes: Vec<u8> =
        (0..32).map(|place| u8::from_str_radix(&last[place * 2..place * 2 + 2], 16).unwrap()).collect();
    let at: bravo_api::Timestamp = serde_json::from_value(entry["at"].clone()).unwrap();
    let mut hasher = blake3::Hasher::new_derive_key("bravo audit log, format 1");
    hasher.update(&bytes).update(&entry["seq"].as_u64().unwrap().to_le_bytes()).update(&at.0.to_le_bytes());
    for field in ["actor", "action", "target", "result"] {
        let text = entry[field].as_str().unwrap();
        hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
    }
    hasher.finalize().to_string()
}

#[tokio::test]
async fn where_keys_are_required_the_configured_one_makes_the_first() {
    let admin = format!("bravo_{}_{}", "a1".repeat(6), "b2".repeat(32));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{admin}\n")).unwrap();
    let (node, _) = own_node(|config| {
        config.auth.required = true;
        config.auth.admin_key_file = Some(file.path().to_owned());
    })
    .await;
    let at = |key: Option<String>, method: Method, path: &'static str, body: String| async move {
        let bearer = key.map(|key| format!("Bearer {key}"));
        let headers: Vec<_> = bearer.iter().map(|bearer| ("authorization", bearer.as_str())).collect();
        call_at(node, method, path, &headers, body).await
    };
    let nobody = at(None, Method::GET, "/api/v1/jobs", String::new()).await;
    assert_eq!((nobody.status.as_u16(), nobody.code().as_str()), (401, "unauthenticated"));
    assert!(nobody.headers.contains_key("www-authenticate"));
    for open in ["/health", "/ready", "/metrics", "/", "/api/openapi.json"] {
        assert_eq!(at(None, Method::GET, open, String::new()).await.status, StatusCode::OK, "{open}");
    }
    let body = json!({"name": "first", "roles": ["enqueue"]}).to_string();
    let made = at(Some(admin), Method::POST, "/api/v1/keys", body).await.ok();
    let made = made["key"].as_str().unwrap().to_owned();
    let job = json!({"queue": "q", "payload": 1}).to_string();
    assert_eq!(at(Some(made.clone()), Method::POST, "/api/v1/jobs", job).await.status, StatusCode::CREATED);
    assert_eq!(at(Some(made), Method::GET, "/api/v1/jobs", String::new()).await.status, StatusCode::FORBIDDEN);
}
