//! One connection: TLS where the port has it, HTTP/1 or HTTP/2, an eye on peers that keep it waiting, and its end.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::Watcher;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;

use super::crowd::Place;
use super::front::Front;
use super::incoming::Coming;
use super::outgoing::Outgoing;
use super::peer::{ClientCertificate, Peer};
use super::tls::PublicTls;
use super::wire::Wire;
use crate::config::Limits;
use crate::telemetry::events::Evicted;

/// Streams that a peer may make this node take back by its own mistakes; with one more, the connection is closed.
const ERROR_RESETS_MAX: usize = 128;
/// Bytes of one HTTP/2 frame.
const FRAME_BYTES: u32 = 16 << 10;

/// What all connections share.
pub(super) struct Shared {
    front: Arc<Front>,
    builder: Builder<TokioExecutor>,
    tls: Option<Arc<PublicTls>>,
    patience: Patience,
}

/// How long peers are waited for.
struct Patience {
    connect: Duration,
    read: Duration,
    send: Duration,
}

/// A connection that was taken in.
pub(super) struct Connection {
    pub(super) shared: Arc<Shared>,
    pub(super) from: SocketAddr,
    pub(super) _places: (OwnedSemaphorePermit, Place),
}

impl Shared {
    pub(super) fn new(front: Arc<Front>, limits: &Limits, tls: Option<Arc<PublicTls>>) -> Arc<Self> {
        let [connect, read, send] =
            [limits.connect_timeout_ms, limits.read_timeout_ms, limits.send_timeout_ms].map(Duration::from_millis);
        Arc::new(Self { front, builder: builder(limits), tls, patience: Patience { connect, read, send } })
    }
}

impl Connection {
    pub(super) async fn run(self, stream: TcpStream, watcher: Watcher) {
        let _ = stream.set_nodelay(true);
        let send = self.shared.patience.send;
        match self.shared.tls.clone() {
            None => {
                let greeting = async { anyhow::Ok(Wire::greet(stream, send).await?.map(|wire| (wire, None))) };
                self.greet(greeting, watcher).await;
            }
            Some(tls) => {
                let greeting = async {
                    let (stream, certificate) = tls.accept(stream).await?;
                    anyhow::Ok(Wire::greet(stream, send).await?.map(|wire| (wire, certificate)))
                };
                self.greet(greeting, watcher).await;
            }
        }
    }

    /// Who says nothing, or half a greeting, is not waited for.
    async fn greet<T>(
        &self,
        greeting: impl Future<Output = anyhow::Result<Option<(Wire<T>, Option<ClientCertificate>)>>>,
        watcher: Watcher,
    ) where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        match tokio::time::timeout(self.shared.patience.connect, greeting).await {
            Ok(Ok(Some((wire, certificate)))) => self.serve(wire, certificate, watcher).await,
            Ok(Ok(None)) => {}
            Ok(Err(error)) => tracing::debug!(from = %self.from, %error, "a handshake failed"),
            Err(_) => Evicted { reason: "connect" }.emit(),
        }
    }

    async fn serve<T>(&self, wire: Wire<T>, certificate: Option<ClientCertificate>, watcher: Watcher)
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let Shared { front, patience, .. } = &*self.shared;
        let peer = Peer { address: self.from };
        let (front, read, outgoing) = (front.clone(), patience.read, Outgoing::new());
        let going = outgoing.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let (front, going, certificate) = (front.clone(), going.clone(), certificate.clone());
            async move {
                let mut request = Coming::watch(request, read).map(Body::new);
                request.extensions_mut().insert(peer);
                if let Some(certificate) = certificate {
                    request.extensions_mut().insert(certificate);
                }
                Ok::<_, Infallible>(front.answer(request).await.map(|body| going.watch(body)))
            }
        });
        let connection = self.shared.builder.serve_connection(TokioIo::new(wire), service).into_owned();
        tokio::select! {
            ended = watcher.watch(connection) => match ended {
                Err(error) if is_stall(&*error) => Evicted { reason: "send" }.emit(),
                Err(error) => tracing::trace!(%error, "a connection broke"),
                Ok(()) => {}
            },
            () = outgoing.stuck(patience.send) => Evicted { reason: "send" }.emit(),
        }
    }
}

/// Whether a connection ended since its peer took nothing.
fn is_stall(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::TimedOut) {
            return true;
        }
        cause = error.source();
    }
    false
}

fn builder(limits: &Limits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    // Room beyond the limit, so that a little too much is refused with a problem of ours.
    let header_bytes = usize::try_from(limits.header_bytes_max * 2).unwrap_or(usize::MAX).max(64 << 10);
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(limits.header_read_timeout_ms))
        .max_buf_size(header_bytes);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.http2_streams_max)
        .max_pending_accept_reset_streams(limits.http2_resets_max as usize)
        .max_local_error_reset_streams(ERROR_RESETS_MAX)
        .max_header_list_size(u32::try_from(header_bytes).unwrap_or(u32::MAX))
        .max_frame_size(FRAME_BYTES)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10))
        .max_send_buf_size(1 << 20);
    builder
}
