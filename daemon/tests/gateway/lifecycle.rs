//! Lifecycle rules over REST: versions go to the cold tier, to the archive and away, and are read from there.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use serde_json::json;

use crate::harness::{Answer, bytes_at, call_at, data_dirs, nodes, own_node};

async fn rules(node: usize, method: Method, project: &str, body: &str) -> Answer {
    call_at(nodes()[node], method, &format!("/api/v1/lifecycle/{project}"), &[], body.to_owned()).await
}

async fn put(path: &str, body: Vec<u8>) -> String {
    let path = format!("/api/v1/artifacts/{path}");
    let answer = call_at(nodes()[0], Method::PUT, &path, &[("content-type", "text/plain")], body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    answer.json()["etag"].as_str().unwrap().to_owned()
}

/// Status, class and bytes.
async fn get(node: usize, path: &str) -> (StatusCode, String, bytes::Bytes) {
    let (status, headers, bytes) =
        bytes_at(nodes()[node], Method::GET, &format!("/api/v1/artifacts/{path}"), &[], "").await;
    (status, headers.get("x-storage-class").map_or("", |value| value.to_str().unwrap()).to_owned(), bytes)
}

async fn becomes(path: &str, class: &str) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let (status, found, _) = get(1, path).await;
        if found == class {
            return;
        }
        assert!(Instant::now() < deadline, "{path} is {found} ({status}), not {class}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The files below a folder of a node's data.
fn files(node: usize, folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![data_dirs()[node].join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.path().is_dir() { folders.push(entry.path()) } else { found.push(entry.path()) }
        }
    }
    found
}

#[tokio::test]
async fn rules_are_put_read_and_deleted() {
    let body = json!({"rules": [{"prefix": "logs/", "archive_after_days": null}, {"cold_after_ms": 5000}]});
    let put = rules(0, Method::PUT, "ruled", &body.to_string()).await.ok();
    let day = 86_400_000_u64;
    let expected = json!([
        {"prefix": "logs/", "cold_after_ms": 30 * day, "archive_after_ms": null, "expire_after_ms": 365 * day},
        {"prefix": "", "cold_after_ms": 5000, "archive_after_ms": 90 * day, "expire_after_ms": 365 * day},
    ]);
    assert_eq!((&put["project_id"], &put["rules"]), (&json!("ruled"), &expected));
    assert_eq!(rules(1, Method::GET, "ruled", "").await.ok(), put);
    for bad in [
        json!({}),
        json!({"rules": []}),
        json!({"rules": [{"prefix": "a"}, {"prefix": "a"}]}),
        json!({"rules": [{"cold_after_days": 100}]}),
        json!({"rules": [{"cold_after_ms": 0}]}),
        json!({"rules": [{"hot": 1}]}),
    ] {
        assert_eq!(rules(2, Method::PUT, "ruled", &bad.to_string()).await.code(), "invalid_argument", "{bad}");
    }
    assert_eq!(rules(1, Method::GET, "ruled", "").await.ok(), put, "a refused change changes nothing");
    assert_eq!(rules(2, Method::DELETE, "ruled", "").await.status, StatusCode::NO_CONTENT);
    for method in [Method::GET, Method::DELETE] {
        assert_eq!(rules(0, method, "ruled", "").await.code(), "not_found");
    }
}

#[tokio::test]
async fn an_old_version_is_read_from_the_cold_tier_and_then_from_the_archive() {
    let whole: Vec<u8> = (0..1_200_000).flat_map(|n: u32| format!("{n} ").into_bytes()).collect();
    let etag = put("aging/a/b", whole.clone()).await;
    put("aging/other", whole.clone()).await;
    let body = json!({"rules": [{"prefix": "a/", "cold_after_ms": 1, "archive_after_days": null}]});
    rules(0, Method::PUT, "aging", &body.to_string()).await.ok();
    becomes("aging/a/b", "cold").await;
    let chunks = whole.len().div_ceil(4 << 20);
    let cold = |node| files(node, "cold/cold").into_iter().filter(|path| path.to_str().unwrap().contains("-")).count();
    let having = (0..3).filter(|node| cold(*node) >= chunks).count();
    assert!(having >= 2, "a majority of the nodes has it in its cold tier: {having}");
    assert_eq!(get(2, "aging/other").await.1, "hot");

    // What a node's folder lacks, or has damaged, comes back from the others'.
    let deadline = Instant::now() + Duration::from_secs(30);
    while cold(0) < chunks || cold(1) < chunks {
        assert!(Instant::now() < deadline, "{} and {} of {chunks}", cold(0), cold(1));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let lost = files(0, "cold/cold").remove(0);
    let sound = std::fs::read(&lost).unwrap();
    std::fs::remove_file(&lost).unwrap();
    let relative = lost.strip_prefix(&data_dirs()[0]).unwrap();
    let damaged = data_dirs()[1].join(relative);
    std::fs::write(&damaged, b"damaged").unwrap();
    for file in [&lost, &damaged] {
        while std::fs::read(file).ok().as_ref() != Some(&sound) {
            assert!(Instant::now() < deadline, "{} is not mended", file.display());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    // As after the sweep: no node has the chunks hot, but for those of the other.
    let remove = async || {
        let deleted = call_at(nodes()[0], Method::DELETE, "/api/v1/artifacts/aging/other", &[], "").await;
        assert!(deleted.status == StatusCode::NO_CONTENT || deleted.code() == "not_found");
        for chunk in whole.chunks(4 << 20) {
            let name = blake3::hash(chunk).to_hex();
            for dir in data_dirs() {
                let _ = std::fs::remove_file(dir.join("blobs").join(&name[..2]).join(name.as_str()));
            }
        }
    };
    remove().await;
    for node in 0..3 {
        let (status, class, bytes) = get(node, "aging/a/b").await;
        assert!(status == StatusCode::OK && bytes == whole, "node {node}: {status} {} bytes", bytes.len());
        assert_eq!(class, "cold");
    }
    let (status, headers, bytes) =
        bytes_at(nodes()[2], Method::GET, "/api/v1/artifacts/aging/a/b", &[("range", "bytes=4194300-4194309")], "")
            .await;
    assert_eq!((status, &bytes[..]), (StatusCode::PARTIAL_CONTENT, &whole[4_194_300..4_194_310]));
    assert_eq!(headers["etag"], etag, "it is the same version");

    let body = json!({"rules": [{"prefix": "a/", "cold_after_ms": 1, "archive_after_ms": 2}]});
    rules(0, Method::PUT, "aging", &body.to_string()).await.ok();
    becomes("aging/a/b", "archive").await;
    remove().await;
    for node in 0..3 {
        let (status, class, bytes) = get(node, "aging/a/b").await;
        assert!(status == StatusCode::OK && bytes == whole && class == "archive", "node {node}: {status} {class}");
    }

    let body = json!({"rules": [{"prefix": "a/", "cold_after_ms": 1, "archive_after_ms": 2, "expire_after_ms": 3}]});
    rules(0, Method::PUT, "aging", &body.to_string()).await.ok();
    becomes("aging/a/b", "").await;
    assert_eq!(get(0, "aging/a/b").await.0, StatusCode::NOT_FOUND);
}

/// Objects by path, with the storage class that they were put with.
type Objects = BTreeMap<String, (Bytes, Option<String>)>;

#[derive(Default)]
struct Bucket {
    objects: Mutex<Objects>,
    /// How often one was got.
    gets: AtomicUsize,
}

/// As much of S3 as the cold tier asks for. Nobody's signature is checked; that there is one is.
async fn serve(State(bucket): State<Arc<Bucket>>, request: Request<Body>) -> Response<Body> {
    let objects = &bucket.objects;
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let answer = |status: u16, body: Bytes| {
        let now = "Wed, 21 Oct 2015 07:28:00 GMT";
        let builder = Response::builder().status(status).header("etag", "\"x\"").header("last-modified", now);
        builder.header("content-length", body.len()).body(Body::from(body)).unwrap()
    };
    assert!(parts.headers["authorization"].to_str().unwrap().starts_with("AWS4-HMAC-SHA256 Credential=id/"));
    let query = parts.uri.query().unwrap_or_default();
    match parts.method {
        Method::PUT => {
            let class = parts.headers.get("x-amz-storage-class").map(|value| value.to_str().unwrap().to_owned());
            let bytes = body.collect().await.unwrap().to_bytes();
            objects.lock().insert(path, (bytes, class));
            answer(200, Bytes::new())
        }
        Method::GET if query.contains("list-type=2") => {
            let prefix = query.split('&').find_map(|part| part.strip_prefix("prefix=")).unwrap_or_default();
            let prefix = format!("/old/{}", prefix.replace("%2F", "/"));
            let objects = objects.lock();
            let found = objects.keys().filter(|path| path.starts_with(&prefix)).map(|path| {
                let key = path.trim_start_matches("/old/");
                let about = "<LastModified>2015-10-21T07:28:00.000Z</LastModified><ETag>x</ETag><Size>1</Size>";
                format!("<Contents><Key>{key}</Key>{about}</Contents>")
            });
            let found: String = found.collect();
            let list = format!("<ListBucketResult><IsTruncated>false</IsTruncated>{found}</ListBucketResult>");
            answer(200, list.into())
        }
        Method::POST => {
            // Several deletes in one.
            let text = String::from_utf8(body.collect().await.unwrap().to_bytes().into()).unwrap();
            let keys: Vec<_> = text.split("<Key>").skip(1).map(|rest| rest.split('<').next().unwrap()).collect();
            for key in &keys {
                objects.lock().remove(&format!("/old/{key}"));
            }
            let gone: String = keys.iter().map(|key| format!("<Deleted><Key>{key}</Key></Deleted>")).collect();
            answer(200, format!("<DeleteResult>{gone}</DeleteResult>").into())
        }
        Method::DELETE => {
            objects.lock().remove(&path);
            answer(204, Bytes::new())
        }
        _ => match objects.lock().get(&path) {
            Some((bytes, _)) => {
                bucket.gets.fetch_add(1, Ordering::Relaxed);
                answer(200, bytes.clone())
            }
            None => answer(404, "<Error><Code>NoSuchKey</Code></Error>".into()),
        },
    }
}

#[tokio::test]
async fn a_bucket_may_be_the_cold_tier() {
    let bucket = Arc::new(Bucket::default());
    let objects = &bucket.objects;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(serve).with_state(bucket.clone());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "secret\n").unwrap();
    let (address, data) = own_node(|config| {
        config.artifacts.move_interval_ms = 100;
        config.artifacts.sweep_interval_ms = 200;
        config.artifacts.orphan_age_ms = 1_000;
        config.cold.bucket = Some("old".into());
        config.cold.endpoint = Some(endpoint);
        config.cold.prefix = Some("bravo".into());
        config.cold.access_key_id = Some("id".into());
        config.cold.secret_access_key_file = Some(secret.path().to_owned());
        config.cold.archive_class = Some("GLACIER_IR".into());
    })
    .await;
    let at = async |method: Method, path: &str, body: Vec<u8>| {
        bytes_at(address, method, &format!("/api/v1/{path}"), &[("accept-encoding", "identity")], body).await
    };
    let whole: Vec<u8> = (0..900_000).flat_map(|n: u32| format!("{n} ").into_bytes()).collect();
    assert_eq!(at(Method::PUT, "artifacts/s/x", whole.clone()).await.0, StatusCode::CREATED);
    let age = |ages: &str| format!(r#"{{"rules":[{{{ages}}}]}}"#).into_bytes();
    assert_eq!(at(Method::PUT, "lifecycle/s", age(r#""cold_after_ms":1"#)).await.0, StatusCode::OK);
    let becomes = async |class: &str| {
        let deadline = Instant::now() + Duration::from_secs(30);
        while at(Method::HEAD, "artifacts/s/x", Vec::new()).await.1.get("x-storage-class").is_none_or(|is| is != class)
        {
            assert!(Instant::now() < deadline, "not {class}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    becomes("cold").await;
    let keys = |class: &str| {
        let objects = objects.lock();
        let of = |(path, _): &(&String, &(Bytes, Option<String>))| path.starts_with(&format!("/old/bravo/{class}/"));
        objects.iter().filter(of).map(|(_, (_, class))| class.clone()).collect::<Vec<_>>()
    };
    assert_eq!(keys("cold"), [None, None]);
    // The node's own chunks go with the sweep.
    let blobs = || walk(&data.join("blobs"));
    let deadline = Instant::now() + Duration::from_secs(30);
    while blobs() > 0 {
        assert!(Instant::now() < deadline, "{} chunks are left", blobs());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let before = bucket.gets.load(Ordering::Relaxed);
    for _ in 0..3 {
        assert!(at(Method::GET, "artifacts/s/x", Vec::new()).await.2 == whole);
    }
    let got = bucket.gets.load(Ordering::Relaxed) - before;
    assert_eq!((got, blobs()), (2, 0), "each chunk once: then the cache has it");

    let ages = age(r#""cold_after_ms":1,"archive_after_ms":2"#);
    assert_eq!(at(Method::PUT, "lifecycle/s", ages).await.0, StatusCode::OK);
    becomes("archive").await;
    assert_eq!(keys("archive"), [Some("GLACIER_IR".to_owned()), Some("GLACIER_IR".to_owned())]);
    assert!(at(Method::GET, "artifacts/s/x", Vec::new()).await.2 == whole);
    assert_eq!(at(Method::DELETE, "artifacts/s/x", Vec::new()).await.0, StatusCode::NO_CONTENT);
    let deadline = Instant::now() + Duration::from_secs(30);
    while !objects.lock().is_empty() {
        assert!(Instant::now() < deadline, "{:?} are left in the bucket", objects.lock().keys());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn walk(folder: &std::path::Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { walk(&entry.path()) } else { 1 }).sum()
}
