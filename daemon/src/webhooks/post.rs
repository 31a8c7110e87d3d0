//! Sends one request: to exactly the address that was checked, over one connection that is not used again.
//!
//! Redirects are answers like any other. Of an answer's body only a little is read, and none of it is kept:
//! whoever makes a webhook must not be able to read through it what they could not reach.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::address::{Target, is_public, private};

/// Longest time to connect to one of a name's addresses.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Bytes of an answer's head.
const HEAD_BYTES_MAX: usize = 32 << 10;
/// Bytes of an answer's body that are read, so that the receiver is not cut off while it writes a short one.
const BODY_BYTES_MAX: usize = 16 << 10;
/// Longest time for that.
const BODY_MAX: Duration = Duration::from_secs(1);

/// Sends requests.
pub(super) struct Poster {
    allow_private: bool,
    tls: TlsConnector,
}

/// An answer, as far as it matters.
#[derive(Debug)]
pub(super) struct Answered {
    /// Its status.
    pub(super) status: StatusCode,
    /// How long the receiver wants to be left alone, with a 429 or 503.
    pub(super) retry_after_ms: Option<u64>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failed {
    /// It would have gone to a private address.
    Refused(String),
    /// Names, network, TLS or HTTP.
    Broken(String),
}

impl Poster {
    /// Trusts the certificate authorities of the operating system.
    pub(super) async fn new(allow_private: bool) -> Self {
        let roots = tokio::task::spawn_blocking(|| {
            let found = rustls_native_certs::load_native_certs();
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(found.certs);
            roots
        });
        Self::trusting(roots.await.unwrap_or_else(|_| RootCertStore::empty()), allow_private)
    }

    fn trusting(roots: RootCertStore, allow_private: bool) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        // Ring has what the default versions need.
        let builder = builder.unwrap_or_else(|error| unreachable!("{error}"));
        let config = builder.with_root_certificates(roots).with_no_client_auth();
        Self { allow_private, tls: TlsConnector::from(Arc::new(config)) }
    }

    /// Posts JSON. The caller sees to it that this does not take for ever.
    pub(super) async fn post(
        &self,
        url: &str,
        headers: &[(&'static str, String)],
        body: Bytes,
    ) -> Result<Answered, Failed> {
        let target = Target::parse(url).map_err(Failed::Broken)?;
        let mut request = Request::post(&target.path)
            .header(HOST, &target.authority)
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("bravo/", env!("CARGO_PKG_VERSION")))
            .header(CONNECTION, "close");
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let request = request.body(Full::new(body)).map_err(|error| broken("the request", &error))?;
        let stream = self.connect(&target).await?;
        if !target.tls {
            return exchange(stream, request).await;
        }
        let name = ServerName::try_from(target.host.clone()).map_err(|error| broken("the host's name", &error))?;
        let stream = self.tls.connect(name, stream).await.map_err(|error| broken("TLS", &error))?;
        exchange(stream, request).await
    }

    /// Connects to one of the host's addresses, if it may be sent to all of them: a name that also leads into
    /// the private network is not one to be sent to. No name is asked for after the check.
    async fn connect(&self, target: &Target) -> Result<TcpStream, Failed> {
        let found = tokio::net::lookup_host((target.host.as_str(), target.port)).await;
        let addresses: Vec<SocketAddr> = found.map_err(|error| broken("the host's name", &error))?.collect();
        if !self.allow_private
            && let Some(address) = addresses.iter().find(|address| !is_public(address.ip()))
        {
            return Err(Failed::Refused(private(address.ip())));
        }
        let mut last = Failed::Broken("the host's name has no address".into());
        for address in addresses {
            match tokio::time::timeout(CONNECT_MAX, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = broken("the connection", &error),
                Err(_) => last = Failed::Broken("the connection took too long".into()),
            }
        }
        Err(last)
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<Answered, Failed> {
    let handshake = http1::Builder::new().max_buf_size(HEAD_BYTES_MAX).handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(|error| broken("the connection", &error))?;
    let work = async {
        let response = sender.send_request(request).await.map_err(|error| broken("the answer", &error))?;
        let (head, body) = response.into_parts();
        let rest = Limited::new(body, BODY_BYTES_MAX).collect();
        let _ = tokio::time::timeout(BODY_MAX, rest).await;
        let waits = matches!(head.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
        let retry_after_ms = if waits { retry_after_ms(&head.headers, SystemTime::now()) } else { None };
        Ok(Answered { status: head.status, retry_after_ms })
    };
    // The connection is driven here, not in a task of its own: what ends this call ends it.
    tokio::pin!(work);
    tokio::select! {
        biased;
        answered = &mut work => answered,
        ended = connection => match ended {
            Err(error) => Err(broken("the connection", &error)),
            Ok(()) => work.await,
        },
    }
}

/// Seconds, or a date.
fn retry_after_ms(headers: &HeaderMap, now: SystemTime) -> Option<u64> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(seconds.saturating_mul(1_000));
    }
    let until = httpdate::parse_http_date(text).ok()?;
    let left = until.duration_since(now).unwrap_or_default();
    Some(u64::try_from(left.as_millis()).unwrap_or(u64::MAX))
}

/// With the innermost cause: the outer ones only say where it came up.
fn broken(what: &str, error: &(dyn std::error::Error + 'static)) -> Failed {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    Failed::Broken(format!("{what}: {cause}"))
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use http::HeaderValue;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers one connection with this text; tells what was sent.
    async fn receiver(answer: &'static str) -> (SocketAddr, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut seen = vec![0; 64 << 10];
            let mut length = 0;
            while !seen[..length].ends_with(b"{}") {
                let read = stream.read(&mut seen[length..]).await.unwrap();
                if read == 0 {
                    break;
                }
                length += read;
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8(seen[..length].to_vec()).unwrap()
        });
        (address, task)
    }

    async fn post(url: &str, allow_private: bool) -> Result<Answered, Failed> {
        let poster = Poster::trusting(RootCertStore::empty(), allow_private);
        let headers = [("webhook-id", "msg_1".to_owned())];
        let sent = poster.post(url, &headers, Bytes::from_static(b"{}"));
        tokio::time::timeout(Duration::from_secs(10), sent).await.unwrap()
    }

    #[tokio::test]
    async fn a_private_address_is_not_even_connected_to() {
        for host in ["127.0.0.1", "localhost", "[::1]", "0x7f.1", "2130706433"] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{host}:{}/", listener.local_addr().unwrap().port());
            match post(&url, false).await {
                Err(Failed::Refused(detail)) => assert!(detail.contains("private address"), "{detail}"),
                // Not every resolver reads numbers in odd forms; then there is no address at all.
                Err(Failed::Broken(_)) if host.starts_with('0') || host.starts_with('2') => {}
                other => panic!("{host}: {other:?}"),
            }
            let came = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
            assert!(came.is_err(), "{host}: somebody connected");
        }
    }

    #[tokio::test]
    async fn the_request_carries_its_headers_and_a_redirect_is_an_answer() {
        let answer = "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";
        let (address, seen) = receiver(answer).await;
        let answered = post(&format!("http://{address}/hook?a=b"), true).await.unwrap();
        assert_eq!((answered.status, answered.retry_after_ms), (StatusCode::FOUND, None));
        let seen = seen.await.unwrap();
        assert!(seen.starts_with("POST /hook?a=b HTTP/1.1\r\n"), "{seen}");
        for line in [&format!("host: {address}"), "content-type: application/json", "webhook-id: msg_1"] {
            assert!(seen.contains(line), "{line} in {seen}");
        }
    }

    #[tokio::test]
    async fn what_a_busy_receiver_says_about_waiting_is_heard() {
        let (address, _) = receiver("HTTP/1.1 503 Busy\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n").await;
        assert_eq!(post(&format!("http://{address}/"), true).await.unwrap().retry_after_ms, Some(7_000));
        let (address, _) = receiver("HTTP/1.1 500 Broken\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n").await;
        assert_eq!(post(&format!("http://{address}/"), true).await.unwrap().retry_after_ms, None);
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_static("Thu, 01 Jan 1970 00:01:00 GMT"));
        assert_eq!(retry_after_ms(&headers, UNIX_EPOCH + Duration::from_secs(20)), Some(40_000));
        assert_eq!(retry_after_ms(&headers, UNIX_EPOCH + Duration::from_secs(90)), Some(0));
    }

    #[tokio::test]
    async fn an_endless_answer_is_not_read_to_its_end() {
        let (address, _) = receiver("HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\nbut this is all").await;
        assert_eq!(post(&format!("http://{address}/"), true).await.unwrap().status, StatusCode::OK);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
            while stream.write_all(b"x-filler: yes, more and more of it\r\n").await.is_ok() {}
        });
        assert!(matches!(post(&format!("http://{address}/"), true).await, Err(Failed::Broken(_))));
    }

    #[tokio::test]
    async fn a_receiver_that_does_not_speak_tls_is_not_sent_anything() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { listener.accept().await.unwrap().0.write_all(b"no TLS here").await });
        assert!(matches!(post(&format!("https://{address}/"), true).await, Err(Failed::Broken(_))));
    }
}
