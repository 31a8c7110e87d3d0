//! TLS on the public port: who is who, and certificates that change while requests are under way.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bravo_api::certs::{self, ClientName, Files};
use bravo_api::proto::{self, jobs_client::JobsClient};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity};

use crate::harness::{get, unready_node};

/// A node whose public port has TLS, and that takes nobody without a certificate.
async fn node(dir: &Path) -> SocketAddr {
    certs::init_client_ca(dir).unwrap();
    install(dir, dir);
    let tls = |config: &mut bravo_daemon::config::Config| {
        let tls = config.tls.as_mut().unwrap();
        tls.public_cert = Some(dir.join("public.pem"));
        tls.public_key = Some(dir.join("public.key"));
        tls.client_ca = Some(dir.join("client-ca.pem"));
        config.auth.required = true;
        // Callers are as fast as the machine.
        config.rate_limits.key_burst = 1_000_000;
    };
    unready_node(tls).await.0
}

/// Makes a certificate of the CA in `ca` and puts it where the node looks.
fn install(ca: &Path, dir: &Path) {
    let fresh = tempfile::tempdir().unwrap();
    for file in ["client-ca.pem", "client-ca.key"] {
        std::fs::copy(ca.join(file), fresh.path().join(file)).unwrap();
    }
    let Files { cert, key } = certs::server_cert(fresh.path(), &["127.0.0.1".into(), "localhost".into()]).unwrap();
    // Each file whole, one after the other, as tools do it.
    for (made, name) in [(cert, "public.pem"), (key, "public.key")] {
        std::fs::copy(made, dir.join("new")).unwrap();
        std::fs::rename(dir.join("new"), dir.join(name)).unwrap();
    }
}

fn client(dir: &Path, name: &str, roles: &[&str]) -> Files {
    certs::client_cert(dir, &ClientName::new(name, Some("shop"), roles.iter().copied()).unwrap()).unwrap()
}

fn config(dir: &Path, identity: Option<&Files>) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(dir.join("client-ca.pem")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots);
    match identity {
        None => config.with_no_client_auth(),
        Some(Files { cert, key }) => {
            let chain = vec![CertificateDer::from_pem_file(cert).unwrap()];
            config.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(key).unwrap()).unwrap()
        }
    }
}

async fn connect(address: SocketAddr, config: rustls::ClientConfig) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
}

/// The certificate that the node shows now.
async fn shown(address: SocketAddr, dir: &Path) -> Vec<u8> {
    let stream = connect(address, config(dir, None)).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

/// One connection for HTTP/1.1 or HTTP/2.
async fn ask(address: SocketAddr, mut config: rustls::ClientConfig, h2: bool, path: &str) -> Response<Incoming> {
    config.alpn_protocols = vec![if h2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    let io = TokioIo::new(connect(address, config).await.unwrap());
    let request = Request::builder().uri(format!("https://localhost{path}")).header("host", "localhost");
    let request = request.body(Full::new(Bytes::new())).unwrap();
    if h2 {
        let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await.unwrap()
    } else {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await.unwrap()
    }
}

async fn until_ready(address: SocketAddr, dir: &Path) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while ask(address, config(dir, None), false, "/ready").await.status() != StatusCode::OK {
        assert!(Instant::now() < deadline, "the node is not ready");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_client_certificate_stands_for_a_key() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let address = node(dir).await;
    until_ready(address, dir).await;
    let known = client(dir, "ci", &["read"]);
    for h2 in [false, true] {
        let refused = ask(address, config(dir, None), h2, "/api/v1/queues").await;
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED, "nobody without one");
        let taken = ask(address, config(dir, Some(&known)), h2, "/api/v1/queues").await;
        assert_eq!(taken.status(), StatusCode::OK);
        // A certificate has its own limit, whatever address it comes from.
        assert_eq!(taken.headers()["ratelimit-policy"], "\"key\";q=1000;w=1");
    }
    // One of another CA is no certificate, be it the CA of the nodes.
    let other = tempfile::tempdir().unwrap();
    certs::init_client_ca(other.path()).unwrap();
    let stranger = config(dir, Some(&client(other.path(), "ci", &["admin"])));
    let refused = async {
        let io = TokioIo::new(connect(address, stranger).await?);
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(io).await.map_err(std::io::Error::other)?;
        tokio::spawn(connection);
        let request = Request::builder().uri("/health").header("host", "x").body(Full::new(Bytes::new())).unwrap();
        sender.send_request(request).await.map_err(std::io::Error::other)
    };
    assert!(refused.await.is_err(), "the handshake fails");
}

#[tokio::test]
async fn grpc_goes_over_the_same_port() {
    let dir = tempfile::tempdir().unwrap();
    let address = node(dir.path()).await;
    until_ready(address, dir.path()).await;
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    let Files { cert, key } = client(dir.path(), "ci", &["enqueue"]);
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(read(&dir.path().join("client-ca.pem"))))
        .identity(Identity::from_pem(read(&cert), read(&key)));
    let endpoint = Channel::from_shared(format!("https://{address}")).unwrap().tls_config(tls).unwrap();
    let mut jobs = JobsClient::new(endpoint.connect().await.unwrap());
    let job = proto::NewJob { queue: "tls".into(), ..Default::default() };
    let made = jobs.enqueue(proto::EnqueueRequest { jobs: vec![job], ..Default::default() }).await.unwrap();
    assert_eq!(made.into_inner().jobs.len(), 1);
}

#[tokio::test]
async fn plain_text_and_silence_do_not_hold_a_connection() {
    let dir = tempfile::tempdir().unwrap();
    let address = node(dir.path()).await;
    for said in [&b""[..], b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n", b"\x16\x03\x01"] {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(said).await.unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut Vec::new())).await;
        assert!(ended.is_ok(), "still open after {said:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_change_under_traffic_and_no_request_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let address = node(dir).await;
    until_ready(address, dir).await;
    let first = shown(address, dir).await;
    let known = client(dir, "ci", &["read"]);
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut traffic = tokio::task::JoinSet::new();

    // Connections that stay, each asking again and again; and connections that are made for one request.
    for h2 in [true, false] {
        let (config, stop, done) = (config(dir, Some(&known)), stop.clone(), done.clone());
        traffic.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let answer = ask(address, config.clone(), h2, "/api/v1/queues").await;
                assert_eq!(answer.status(), StatusCode::OK);
                answer.into_body().collect().await.unwrap();
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let io = TokioIo::new(connect(address, config(dir, Some(&known))).await.unwrap());
    let (mut kept, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    tokio::spawn(connection);
    let (stopping, counting) = (stop.clone(), done.clone());
    traffic.spawn(async move {
        while !stopping.load(Ordering::Relaxed) {
            let request = Request::builder().method(Method::GET).uri("/api/v1/queues").header("host", "x");
            let answer = kept.send_request(request.body(Full::new(Bytes::new())).unwrap()).await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK);
            answer.into_body().collect().await.unwrap();
            counting.fetch_add(1, Ordering::Relaxed);
        }
    });

    // A new certificate, then a broken one, then another good one.
    let until = async |changed: &dyn Fn(&[u8]) -> bool| {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let now = shown(address, dir).await;
            if changed(&now) {
                return now;
            }
            assert!(Instant::now() < deadline, "the certificate did not change");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    install(dir, dir);
    let second = until(&|now| now != first).await;
    std::fs::write(dir.join("public.pem"), "no certificate").unwrap();
    let refused = || async {
        get("/metrics").await.text.contains("bravo_certificates_read_total{what=\"public\",outcome=\"refused\"}")
    };
    let deadline = Instant::now() + Duration::from_secs(30);
    while !refused().await {
        assert!(Instant::now() < deadline, "nothing tells that the file is broken");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(shown(address, dir).await == second, "the old one stays in use");
    install(dir, dir);
    until(&|now| now != first && now != second).await;

    let before = done.load(Ordering::Relaxed);
    while done.load(Ordering::Relaxed) < before + 20 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = traffic.join_next().await {
        ended.unwrap();
    }
}
