//! Artifacts over REST: what is put at one node is read at another, whole or in part, as it was.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{Answer, bytes_at, call_at, data_dirs, nodes};

/// Text that is nowhere the same, of so many bytes.
fn text(bytes: usize, seed: u32) -> String {
    let letter = |n: u32| char::from(b'a' + (n.wrapping_mul(2_654_435_761) >> 24) as u8 % 26);
    (0..bytes as u32).map(|n| letter(n.wrapping_add(seed << 8))).collect()
}

async fn at(
    node: usize,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<bytes::Bytes>,
) -> Answer {
    call_at(nodes()[node], method, &format!("/api/v1/artifacts/{path}"), headers, body).await
}

async fn put(node: usize, path: &str, body: &str) -> Answer {
    at(node, Method::PUT, path, &[("content-type", "text/plain")], body.to_owned()).await
}

async fn get(node: usize, path: &str) -> Answer {
    at(node, Method::GET, path, &[], "").await
}

fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer.headers.get(name).map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn ten_mebibytes_come_back_from_every_node() {
    let whole = text(10 << 20, 1);
    let answer = put(0, "large/a/b.txt", &whole).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    let hash = blake3::hash(whole.as_bytes()).to_hex().to_string();
    let expected = json!({"project_id": "large", "path": "a/b.txt", "version": 1, "size": 10 << 20,
        "etag": header(&answer, "etag"), "blake3": hash});
    assert_eq!(answer.json(), expected);
    for node in 0..3 {
        let got = get(node, "large/a/b.txt").await;
        assert!(got.text == whole, "node {node}: {} bytes", got.text.len());
        assert_eq!((header(&got, "x-version"), header(&got, "etag")), ("1", header(&answer, "etag")));
        assert_eq!((header(&got, "content-type"), header(&got, "content-length")), ("text/plain", "10485760"));
    }
    // Over the border of two chunks.
    let part = at(1, Method::GET, "large/a/b.txt", &[("range", "bytes=4194300-4194309")], "").await;
    assert_eq!((part.status, part.text.as_str()), (StatusCode::PARTIAL_CONTENT, &whole[4_194_300..4_194_310]));
    assert_eq!(header(&part, "content-range"), "bytes 4194300-4194309/10485760");
}

#[tokio::test]
async fn versions_stay_as_they_were() {
    assert_eq!(put(0, "v/x", "one").await.status, StatusCode::CREATED);
    let second = put(1, "v/x", "two").await;
    assert_eq!((second.status, &second.json()["version"]), (StatusCode::OK, &json!(2)));
    assert_eq!(put(2, "v/x", "two").await.json()["version"], 2, "the same again is no other version");
    let (newest, old) = (get(2, "v/x").await, get(0, "v/x?version=1").await);
    assert_eq!((newest.text.as_str(), header(&newest, "cache-control")), ("two", "no-cache"));
    assert_eq!((old.text.as_str(), header(&old, "cache-control")), ("one", "max-age=86400, immutable"));
    assert_eq!((header(&newest, "x-version"), header(&old, "x-version")), ("2", "1"));
    assert_eq!(get(0, "v/x?version=3").await.code(), "not_found");

    assert_eq!(at(1, Method::DELETE, "v/x", &[], "").await.status, StatusCode::NO_CONTENT);
    for path in ["v/x", "v/x?version=1"] {
        assert_eq!(get(2, path).await.code(), "not_found");
    }
    assert_eq!(at(1, Method::DELETE, "v/x", &[], "").await.code(), "not_found");
    let again = put(0, "v/x", "two").await;
    assert_eq!((again.status, &again.json()["version"]), (StatusCode::CREATED, &json!(3)));
}

#[tokio::test]
async fn conditions_guard_reads_and_writes() {
    let created = at(0, Method::PUT, "c/x", &[("if-none-match", "*")], "one").await;
    let tag = header(&created, "etag").to_owned();
    for (name, value) in [("if-none-match", "*"), ("if-match", "\"other\"")] {
        let refused = at(1, Method::PUT, "c/x", &[(name, value)], "two").await;
        assert_eq!((refused.status.as_u16(), refused.code().as_str()), (412, "precondition_failed"));
    }
    assert_eq!(at(1, Method::DELETE, "c/x", &[("if-match", "\"other\"")], "").await.code(), "precondition_failed");
    let same = at(2, Method::GET, "c/x", &[("if-none-match", &tag)], "").await;
    assert_eq!((same.status, same.text.as_str(), header(&same, "etag")), (StatusCode::NOT_MODIFIED, "", &*tag));
    let metrics = call_at(nodes()[2], Method::GET, "/metrics", &[], "").await.text;
    let counted =
        metrics.lines().find(|line| line.starts_with(r#"bravo_cache_hits_total{cache="callers",tier="edge"}"#));
    assert!(counted.is_some_and(|line| !line.ends_with(" 0")), "{counted:?}");
    assert_eq!(at(1, Method::PUT, "c/x", &[("if-match", &tag)], "two").await.status, StatusCode::OK);
}

#[tokio::test]
async fn headers_and_parts_are_given_back() {
    let headers = [("content-type", "text/css"), ("content-encoding", "br")];
    assert_eq!(at(0, Method::PUT, "h/x", &headers, "0123456789").await.status, StatusCode::CREATED);
    let head = at(1, Method::HEAD, "h/x", &[], "").await;
    assert_eq!((head.status, head.text.as_str(), header(&head, "content-length")), (StatusCode::OK, "", "10"));
    assert_eq!((header(&head, "content-type"), header(&head, "content-encoding")), ("text/css", "br"));
    assert_eq!(header(&head, "accept-ranges"), "bytes");
    for (range, part) in [("bytes=0-3", "0123"), ("bytes=-2", "89"), ("bytes=8-99", "89")] {
        let got = at(2, Method::GET, "h/x", &[("range", range)], "").await;
        assert_eq!((got.status, got.text.as_str()), (StatusCode::PARTIAL_CONTENT, part), "{range}");
    }
    let beyond = at(2, Method::GET, "h/x", &[("range", "bytes=10-")], "").await;
    assert_eq!((beyond.status.as_u16(), beyond.code().as_str()), (416, "range_not_satisfiable"));
    assert_eq!(header(&beyond, "content-range"), "bytes */10");
    let empty = at(0, Method::PUT, "h/empty", &[], "").await;
    assert_eq!((empty.status, get(1, "h/empty").await.text.as_str()), (StatusCode::CREATED, ""));
}

#[tokio::test]
async fn a_list_is_by_path_and_in_pages() {
    for path in ["b/2", "a", "b/1", "b/3", "c"] {
        put(0, &format!("l/{path}"), path).await;
    }
    let list = async |query: &str| get(1, &format!("l?{query}")).await.ok();
    let paths = |list: &Value| -> Vec<String> {
        list["artifacts"].as_array().unwrap().iter().map(|one| one["path"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(paths(&list("").await), ["a", "b/1", "b/2", "b/3", "c"]);
    let first = list("prefix=b/&limit=2").await;
    assert_eq!(paths(&first), ["b/1", "b/2"]);
    let cursor = first["next_cursor"].as_str().unwrap();
    let last = list(&format!("prefix=b/&limit=2&cursor={cursor}")).await;
    assert_eq!((paths(&last), &last["next_cursor"]), (vec!["b/3".to_owned()], &Value::Null));
    let one = &last["artifacts"][0];
    assert_eq!((&one["size"], &one["version"], &one["content_type"]), (&json!(3), &json!(1), &json!("text/plain")));
    assert!(one["updated_at"].is_string() && last["as_of"].is_string());
    assert_eq!(get(0, "l?cursor=%25").await.code(), "invalid_argument");
}

#[tokio::test]
async fn a_body_that_ends_early_changes_nothing() {
    put(0, "t/x", "before").await;
    let mut stream = tokio::net::TcpStream::connect(nodes()[1]).await.unwrap();
    let head = "PUT /api/v1/artifacts/t/x HTTP/1.1\r\nhost: x\r\ncontent-length: 6000000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(text(5_000_000, 3).as_bytes()).await.unwrap();
    drop(stream);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let got = get(2, "t/x").await;
    assert_eq!((got.text.as_str(), header(&got, "x-version")), ("before", "1"));
}

#[tokio::test]
async fn what_cannot_be_is_refused() {
    let mut stream = tokio::net::TcpStream::connect(nodes()[1]).await.unwrap();
    let head = "PUT /api/v1/artifacts/r/x HTTP/1.1\r\nhost: x\r\ncontent-length: 5368709121\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 1_024];
    let count = stream.read(&mut answer).await.unwrap();
    assert!(answer[..count].starts_with(b"HTTP/1.1 413"), "{}", String::from_utf8_lossy(&answer[..count]));
    assert_eq!(put(0, "r/a/../b", "x").await.code(), "invalid_argument");
    assert_eq!(get(0, "r/none").await.code(), "not_found");
}

#[tokio::test]
async fn a_damaged_chunk_does_not_reach_the_reader() {
    let whole = text(100_000, 7);
    put(0, "d/x", &whole).await;
    let name = blake3::hash(whole.as_bytes()).to_hex();
    let files = data_dirs().iter().map(|dir| dir.join("blobs").join(&name[..2]).join(name.as_str()));
    let files: Vec<_> = files.collect();
    let deadline = Instant::now() + Duration::from_secs(10);
    while !files.iter().all(|file| file.exists()) {
        assert!(Instant::now() < deadline, "not every node has the chunk");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let sound = std::fs::read(&files[1]).unwrap();
    assert!(sound.len() < whole.len(), "{} bytes: text is kept compressed", sound.len());
    std::fs::write(&files[0], b"damaged").unwrap();
    assert!(get(0, "d/x").await.text == whole);
    assert!(std::fs::read(&files[0]).unwrap() == sound, "mended on the way");
    std::fs::remove_file(&files[1]).unwrap();
    assert!(get(1, "d/x").await.text == whole);

    // A node that lacks a chunk fetches it without being asked.
    std::fs::remove_file(&files[2]).unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while !files[2].exists() {
        assert!(Instant::now() < deadline, "the chunk did not come back");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// What is packed here as other programs do it.
fn packed(coding: &str, plain: &str) -> Vec<u8> {
    let mut out = Vec::new();
    match coding {
        "gzip" => {
            let mut coder = flate2::write::GzEncoder::new(&mut out, flate2::Compression::default());
            coder.write_all(plain.as_bytes()).unwrap();
            coder.finish().unwrap();
        }
        "br" => {
            brotli::BrotliCompress(&mut plain.as_bytes(), &mut out, &Default::default()).unwrap();
        }
        _ => out = zstd::bulk::compress(plain.as_bytes(), 3).unwrap(),
    }
    out
}

fn unpacked(coding: &str, bytes: &[u8]) -> String {
    let mut out = Vec::new();
    match coding {
        "gzip" => drop(flate2::read::GzDecoder::new(bytes).read_to_end(&mut out).unwrap()),
        "br" => drop(brotli::Decompressor::new(bytes, 4_096).read_to_end(&mut out).unwrap()),
        _ => out = zstd::stream::decode_all(bytes).unwrap(),
    }
    String::from_utf8(out).unwrap()
}

async fn raw(node: usize, path: &str, headers: &[(&str, &str)]) -> (StatusCode, http::HeaderMap, bytes::Bytes) {
    bytes_at(nodes()[node], Method::GET, &format!("/api/v1/artifacts/{path}"), headers, "").await
}

#[tokio::test]
async fn text_is_packed_for_those_who_like_that() {
    let lines = |count: u32| (0..count).map(|n| format!("line {n} of many\n")).collect::<String>();
    for (path, whole) in [("pk/large.txt", lines(500_000)), ("pk/small.txt", lines(1_000))] {
        let tag = header(&put(0, path, &whole).await, "etag").to_owned();
        for coding in ["gzip", "br", "zstd"] {
            let (status, headers, bytes) = raw(1, path, &[("accept-encoding", coding)]).await;
            assert_eq!((status, &headers["content-encoding"]), (StatusCode::OK, &coding.parse().unwrap()));
            assert!(bytes.len() < whole.len() / 4, "{coding}: {} bytes", bytes.len());
            assert!(unpacked(coding, &bytes) == whole, "{coding}");
            assert_eq!((&headers["vary"], headers.get("content-length")), (&"accept-encoding".parse().unwrap(), None));
            assert_eq!(headers["etag"], format!("W/{tag}"), "other bytes than those that were put");
            let known = [("accept-encoding", coding), ("if-none-match", headers["etag"].to_str().unwrap())];
            let (status, headers, _) = raw(2, path, &known).await;
            assert_eq!((status, headers.contains_key("vary")), (StatusCode::NOT_MODIFIED, true));
        }
        let (status, headers, bytes) = raw(2, path, &[("accept-encoding", "gzip"), ("range", "bytes=3-8")]).await;
        assert_eq!((status, &bytes[..]), (StatusCode::PARTIAL_CONTENT, &whole.as_bytes()[3..9]), "parts are plain");
        assert_eq!((headers.get("content-encoding"), headers["etag"].to_str().unwrap()), (None, &*tag));
        let (_, headers, bytes) = raw(1, path, &[("accept-encoding", "identity")]).await;
        assert!(headers.get("content-encoding").is_none() && bytes == whole.as_bytes());
    }
    let head = at(1, Method::HEAD, "pk/large.txt", &[("accept-encoding", "gzip")], "").await;
    assert_eq!((header(&head, "content-encoding"), header(&head, "content-length")), ("gzip", ""));
    let picture = [("content-type", "image/png")];
    assert_eq!(at(0, Method::PUT, "pk/x.png", &picture, text(5_000, 1)).await.status, StatusCode::CREATED);
    assert!(raw(0, "pk/x.png", &[("accept-encoding", "gzip")]).await.1.get("content-encoding").is_none());
}

#[tokio::test]
async fn what_was_sent_packed_is_given_back_so_or_unpacked() {
    let whole = text(6 << 20, 11);
    for coding in ["gzip", "br", "zstd"] {
        let (sent, path) = (packed(coding, &whole), format!("sent/{coding}.txt"));
        let headers = [("content-type", "text/plain"), ("content-encoding", coding)];
        let made = at(0, Method::PUT, &path, &headers, sent.clone()).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
        for accepted in [&[("accept-encoding", "gzip, br, zstd")][..], &[]] {
            let (_, headers, bytes) = raw(1, &path, accepted).await;
            assert!(bytes == sent && headers["content-encoding"] == coding, "{coding}");
            assert_eq!(headers["etag"], header(&made, "etag"));
        }
        for range in ["", "bytes=0-9"] {
            let (status, headers, bytes) = raw(2, &path, &[("accept-encoding", "identity"), ("range", range)]).await;
            assert!(status == StatusCode::OK && bytes == whole.as_bytes(), "{coding}: {status} {} bytes", bytes.len());
            assert!(headers.get("content-encoding").is_none() && headers["accept-ranges"] == "none");
            assert_eq!(headers["etag"], format!("W/{}", header(&made, "etag")));
        }
    }
    let lie = [("content-encoding", "gzip")];
    assert_eq!(at(0, Method::PUT, "sent/lie", &lie, "this is no gzip").await.status, StatusCode::CREATED);
    let refused = at(1, Method::GET, "sent/lie", &[("accept-encoding", "identity")], "").await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (415, "unsupported_media_type"));
    assert_eq!(get(1, "sent/lie").await.text, "this is no gzip");
}
