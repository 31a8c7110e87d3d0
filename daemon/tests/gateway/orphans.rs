//! What a node does with its chunks by itself: orphans go, what is in use stays, damage is found and mended.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{bytes_at, call_at, data_dirs, nodes, own_node};

/// The sweep's patience on nodes of these tests.
const AGE: Duration = Duration::from_millis(1_200);

fn chunks(data: &Path) -> Vec<PathBuf> {
    let folders = std::fs::read_dir(data.join("blobs")).unwrap().flatten().filter(|entry| entry.file_name() != "tmp");
    folders.flat_map(|folder| std::fs::read_dir(folder.path()).unwrap().flatten().map(|entry| entry.path())).collect()
}

fn noise(bytes: usize, seed: u8) -> Vec<u8> {
    let mut out = vec![0; bytes];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut out);
    out
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn orphans_are_swept_and_what_is_in_use_stays() {
    let (address, data) = own_node(|config| {
        config.artifacts.sweep_interval_ms = 150;
        config.artifacts.orphan_age_ms = AGE.as_millis() as u64;
    })
    .await;
    let at = async |method: Method, path: &str, body: Vec<u8>| {
        bytes_at(address, method, &format!("/api/v1/artifacts/o/{path}"), &[], body).await
    };
    let (kept, gone) = (noise(5 << 20, 1), noise(100_000, 2));
    assert_eq!(at(Method::PUT, "kept", kept.clone()).await.0, StatusCode::CREATED);
    assert_eq!(at(Method::PUT, "gone", gone).await.0, StatusCode::CREATED);
    // One that comes to no end, and one that takes four times as long as the sweep waits.
    let begin = async |path: &str, bytes: usize| {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let head = format!("PUT /api/v1/artifacts/o/{path} HTTP/1.1\r\nhost: x\r\ncontent-length: {bytes}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream
    };
    let mut cut = begin("cut", 9 << 20).await;
    cut.write_all(&noise(5 << 20, 3)).await.unwrap();
    eventually("the chunk of the upload is there", || chunks(&data).len() == 4).await;
    drop(cut);
    let slow = noise((24 << 20) + 7, 4);
    let mut upload = begin("slow", slow.len()).await;
    let began = Instant::now();
    for part in slow.chunks(4 << 20) {
        upload.write_all(part).await.unwrap();
        tokio::time::sleep(AGE * 4 / 6).await;
    }
    assert!(began.elapsed() > AGE * 4);
    let mut answer = vec![0; 1_024];
    let count = upload.read(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer[..count]).into_owned();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    assert!(at(Method::GET, "slow", Vec::new()).await.2 == slow, "each of its chunks outlived the sweep");

    assert_eq!(at(Method::DELETE, "gone", Vec::new()).await.0, StatusCode::NO_CONTENT);
    eventually("only what versions are made of is left", || chunks(&data).len() == 2 + 7).await;
    tokio::time::sleep(AGE * 2).await;
    assert_eq!(chunks(&data).len(), 9);
    for (path, bytes) in [("kept", kept), ("slow", slow)] {
        assert!(at(Method::GET, path, Vec::new()).await.2 == bytes, "{path}");
    }
    let metrics = call_at(address, Method::GET, "/metrics", &[], "").await.text;
    assert!(metrics.contains("bravo_artifact_chunks_swept_total{tier=\"hot\"} "), "{metrics}");
}

#[tokio::test]
async fn scrubbing_finds_damage_that_nobody_asked_for_and_mends_it() {
    let whole = noise(300_000, 9);
    let put = call_at(nodes()[1], Method::PUT, "/api/v1/artifacts/scrub/x", &[], whole.clone()).await;
    assert_eq!(put.status, StatusCode::CREATED, "{}", put.text);
    let name = blake3::hash(&whole).to_hex();
    let files: Vec<_> = data_dirs().iter().map(|dir| dir.join("blobs").join(&name[..2]).join(name.as_str())).collect();
    eventually("all nodes have it", || files.iter().all(|file| file.exists())).await;
    let sound = std::fs::read(&files[0]).unwrap();
    let mut bad = sound.clone();
    bad[sound.len() / 2] ^= 1;
    std::fs::write(&files[2], &bad).unwrap();
    eventually("the chunk is as it was", || std::fs::read(&files[2]).unwrap() == sound).await;
}
