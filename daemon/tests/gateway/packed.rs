//! Bodies that come and go packed, over real sockets.

use std::io::{Read, Write};

use bravo_api::proto::{self, jobs_client::JobsClient};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tonic::codec::CompressionEncoding;
use tonic::transport::Channel;

use crate::harness::{bytes_at, call_at, nodes, post};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn brotli(bytes: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    brotli::CompressorWriter::new(&mut packed, 4_096, 9, 22).write_all(bytes).unwrap();
    packed
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

fn unpacked(coding: &str, bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    match coding {
        "gzip" => drop(flate2::read::GzDecoder::new(bytes).read_to_end(&mut plain).unwrap()),
        "br" => drop(brotli::Decompressor::new(bytes, 4_096).read_to_end(&mut plain).unwrap()),
        "zstd" => plain = zstd::decode_all(bytes).unwrap(),
        other => panic!("{other}"),
    }
    plain
}

type Packer = fn(&[u8]) -> Vec<u8>;

const PACKERS: [(&str, Packer); 3] = [("gzip", gzip), ("br", brotli), ("zstd", zstd)];

#[tokio::test]
async fn a_packed_body_is_taken_as_what_it_says() {
    for (coding, pack) in PACKERS {
        let queue = format!("packed-{coding}");
        let body = json!({"jobs": vec![json!({"queue": queue, "payload": "x".repeat(5_000)}); 50]}).to_string();
        let packed = pack(body.as_bytes());
        assert!(packed.len() < body.len() / 20);
        let headers = [("content-encoding", coding)];
        let made = call_at(nodes()[0], Method::POST, "/api/v1/jobs", &headers, packed).await;
        assert_eq!(made.ok()["jobs"].as_array().unwrap().len(), 50, "{coding}");
        let leased =
            post(&format!("/api/v1/queues/{queue}/lease"), r#"{"worker_id":"w","max":1,"wait_ms":2000}"#).await.ok();
        assert_eq!(leased["jobs"][0]["payload"], json!("x".repeat(5_000)), "{coding}");
    }
}

#[tokio::test]
async fn a_bomb_is_refused_at_the_limit() {
    for (coding, pack) in PACKERS {
        // The nodes of these tests take 2 MiB; this says much more in a few kilobytes.
        let packed = pack(&vec![b' '; 200 << 20]);
        assert!(packed.len() < 1 << 20);
        let headers = [("content-encoding", coding)];
        let refused = call_at(nodes()[0], Method::POST, "/api/v1/jobs", &headers, packed).await;
        assert_eq!((refused.status.as_u16(), refused.code().as_str()), (413, "payload_too_large"), "{coding}");
    }
}

#[tokio::test]
async fn a_body_that_is_not_what_it_says_is_refused() {
    let send = |coding: &'static str, body: Vec<u8>| async move {
        call_at(nodes()[0], Method::POST, "/api/v1/jobs", &[("content-encoding", coding)], body).await
    };
    for (coding, pack) in PACKERS {
        let refused = send(coding, br#"{"queue":"q"}"#.to_vec()).await;
        assert_eq!(refused.code(), "invalid_argument", "{coding}");
        let whole = pack(br#"{"queue":"q","payload":"some text"}"#);
        assert_eq!(send(coding, whole[..whole.len() - 6].to_vec()).await.code(), "invalid_argument", "{coding}");
    }
    for coding in ["deflate", "gzip, br", "none"] {
        let refused = send(coding, b"{}".to_vec()).await;
        assert_eq!((refused.status.as_u16(), refused.code().as_str()), (415, "unsupported_media_type"));
        assert_eq!(refused.headers["accept-encoding"], "gzip, br, zstd");
    }
    let refused = call_at(nodes()[0], Method::POST, "/api/v1/jobs", &[("content-type", "text/plain")], "{}").await;
    assert!(refused.code() == "unsupported_media_type" && !refused.headers.contains_key("accept-encoding"));
}

#[tokio::test]
async fn a_large_answer_is_packed_as_the_caller_likes() {
    let jobs = vec![json!({"queue": "many"}); 200];
    post("/api/v1/jobs", json!({"jobs": jobs}).to_string()).await.ok();
    let path = "/api/v1/jobs?queue=many&limit=200&consistency=linearizable";
    for (accept, coding) in [("gzip", "gzip"), ("br;q=0.9, gzip;q=0.1", "br"), ("gzip, br, zstd", "zstd")] {
        let (status, headers, body) = bytes_at(nodes()[0], Method::GET, path, &[("accept-encoding", accept)], "").await;
        assert_eq!((status, &headers["content-encoding"]), (StatusCode::OK, &coding.parse().unwrap()));
        assert_eq!(headers["vary"], "accept-encoding");
        let list: Value = serde_json::from_slice(&unpacked(coding, &body)).unwrap();
        assert_eq!(list["jobs"].as_array().unwrap().len(), 200);
    }
    let (_, headers, body) = bytes_at(nodes()[0], Method::GET, path, &[], "").await;
    assert!(!headers.contains_key("content-encoding") && headers["vary"] == "accept-encoding");
    assert!(serde_json::from_slice::<Value>(&body).is_ok());
    let (_, headers, _) = bytes_at(nodes()[0], Method::GET, "/health", &[("accept-encoding", "gzip")], "").await;
    assert!(!headers.contains_key("content-encoding"), "not worth it");
}

#[tokio::test]
async fn a_tag_says_the_same_packed_or_not() {
    let tasks: Vec<Value> = (0..40).map(|n| json!({"id": format!("t{n}"), "queue": "q"})).collect();
    let template = json!({"description": "x", "tasks": tasks}).to_string();
    call_at(nodes()[0], Method::PUT, "/api/v1/templates/packed", &[], template.clone()).await.ok();
    let read = async |accept: &str| {
        let headers = [("accept-encoding", accept)];
        bytes_at(nodes()[0], Method::GET, "/api/v1/templates/packed", &headers, "").await
    };
    let (_, plain, _) = read("identity").await;
    let (_, packed, _) = read("gzip").await;
    assert_eq!((&packed["content-encoding"], &packed["etag"]), (&"gzip".parse().unwrap(), &plain["etag"]));
    let tag = packed["etag"].to_str().unwrap();
    let known = [("if-none-match", tag), ("accept-encoding", "br")];
    let unchanged = call_at(nodes()[0], Method::GET, "/api/v1/templates/packed", &known, "").await;
    assert_eq!(unchanged.status, StatusCode::NOT_MODIFIED);
    let replaced = call_at(nodes()[0], Method::PUT, "/api/v1/templates/packed", &[("if-match", tag)], template).await;
    assert!(replaced.status.is_success(), "{}", replaced.text);
}

#[tokio::test]
async fn grpc_messages_are_packed_both_ways_and_bounded_unpacked() {
    let channel = Channel::from_shared(format!("http://{}", nodes()[0])).unwrap().connect().await.unwrap();
    for coding in [CompressionEncoding::Gzip, CompressionEncoding::Zstd] {
        let mut jobs = JobsClient::new(channel.clone()).send_compressed(coding).accept_compressed(coding);
        let payload = proto::Payload { data: format!("\"{}\"", "x".repeat(100_000)).into(), json: true };
        let job = proto::NewJob { queue: "packed-grpc".into(), payload: Some(payload), ..Default::default() };
        let request = proto::EnqueueRequest { jobs: vec![job], ..Default::default() };
        let made = jobs.enqueue(request).await.unwrap();
        assert_eq!(made.into_inner().jobs.len(), 1);
        let lease =
            proto::LeaseRequest { queue: "packed-grpc".into(), max: Some(1), wait_ms: 2_000, ..Default::default() };
        let leased = jobs.lease(lease).await.unwrap();
        assert!(leased.metadata().contains_key("grpc-encoding"));
        assert_eq!(leased.into_inner().jobs[0].payload.as_ref().unwrap().data.len(), 100_002);

        let payload = proto::Payload { data: vec![b'1'; 64 << 20].into(), json: true };
        let bomb = proto::NewJob { queue: "packed-grpc".into(), payload: Some(payload), ..Default::default() };
        let refused = jobs.enqueue(proto::EnqueueRequest { jobs: vec![bomb], ..Default::default() }).await.unwrap_err();
        assert!(refused.message().contains("limit"), "{refused:?}");
    }
}
