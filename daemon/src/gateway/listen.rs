//! Sockets: takes connections in up to a bound, gives each HTTP/1 or HTTP/2, and ends them in good order.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::app::App;
use super::front::Front;
use crate::config::Limits;
use crate::telemetry::events::RequestShed;

/// What an HTTP/2 connection begins with.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// After a failed accept (no descriptors left) the loop rests this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// What a connection beyond the bound is told before it is closed.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\n\
    retry-after: 1\r\nconnection: close\r\ncontent-length: 166\r\n\r\n\
    {\"type\":\"urn:bravo:problem:shed\",\"title\":\"The node refused work early\",\"status\":503,\
    \"detail\":\"limits.connections_max is met\",\"code\":\"shed\",\"retry_after_ms\":1000}     ";

/// Connections that the kernel keeps until they are taken in: as many as Linux allows unless told otherwise. What
/// comes beyond them is dropped, and who sent it tries again after a second.
const BACKLOG: u32 = 4_096;

/// Binds an address and listens there.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A node that is started again does not wait for its former connections to be forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves connections until `shutdown`, then gives them `drain` to end.
pub(crate) async fn serve(
    app: Arc<App>,
    front: Arc<Front>,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
    drain: Duration,
) {
    let builder = Arc::new(builder(&app.limits));
    let places = Arc::new(Semaphore::new(app.limits.connections_max as usize));
    let patience = Duration::from_millis(app.limits.header_read_timeout_ms);
    let graceful = GracefulShutdown::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            RequestShed { reason: "limits.connections_max" }.emit();
            let _ = stream.try_write(FULL);
            continue;
        };
        let connection = Connection { front: front.clone(), builder: builder.clone(), patience, _place: place };
        tokio::spawn(connection.run(stream, graceful.watcher()));
    }
    drop(listener);
    app.drain.cancel();
    if tokio::time::timeout(drain, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests were still under way after shutdown.drain_ms");
    }
}

struct Connection {
    front: Arc<Front>,
    builder: Arc<Builder<TokioExecutor>>,
    patience: Duration,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    async fn run(self, stream: TcpStream, watcher: Watcher) {
        let _ = stream.set_nodelay(true);
        // Who says nothing, or half a greeting, is not waited for: hyper itself would.
        match tokio::time::timeout(self.patience, greeting(&stream)).await {
            Ok(Ok(true)) => {}
            _ => return,
        }
        let front = self.front.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let front = front.clone();
            async move { Ok::<_, std::convert::Infallible>(front.answer(request.map(Body::new)).await) }
        });
        let connection = self.builder.serve_connection(TokioIo::new(stream), service).into_owned();
        if let Err(error) = watcher.watch(connection).await {
            tracing::trace!(%error, "a connection broke");
        }
    }
}

/// Waits until it is clear which version of HTTP the peer speaks; false if it left.
async fn greeting(stream: &TcpStream) -> std::io::Result<bool> {
    let mut first = [0; PREFACE.len()];
    loop {
        let count = stream.peek(&mut first).await?;
        if count == 0 {
            return Ok(false);
        }
        if count == PREFACE.len() || !PREFACE.starts_with(&first[..count]) {
            return Ok(true);
        }
        // A peek answers at once while these bytes are unread.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
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
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(128)
        .max_header_list_size(u32::try_from(header_bytes).unwrap_or(u32::MAX))
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10))
        .max_send_buf_size(1 << 20);
    builder
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_of_a_connection_is_well_formed() {
        let text = std::str::from_utf8(FULL).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        assert_eq!(length.parse::<usize>().unwrap(), body.len());
        let problem: bravo_api::Problem = serde_json::from_str(body).unwrap();
        assert_eq!((problem.status, problem.code.as_str()), (503, "shed"));
    }
}
