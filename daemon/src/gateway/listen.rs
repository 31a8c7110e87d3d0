//! The public socket: takes connections in up to the bounds, and ends them in good order.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bravo_api::Problem;
use bravo_api::problem::MEDIA_TYPE;
use bravo_model::{Code, Refusal};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;

use super::app::App;
use super::connection::{Connection, Shared};
use super::crowd::Crowd;
use super::front::Front;
use super::tls::PublicTls;
use crate::telemetry::events::RequestShed;

/// After a failed accept (no descriptors left) the loop rests this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

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
    (listener, tls): (TcpListener, Option<Arc<PublicTls>>),
    shutdown: impl Future<Output = ()>,
    drain: Duration,
) {
    let plain = tls.is_none();
    let shared = Shared::new(front, &app.limits, tls);
    let places = Arc::new(Semaphore::new(app.limits.connections_max as usize));
    let crowd = Crowd::new(&app.limits, &app.rate_limits);
    let graceful = GracefulShutdown::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, from)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            turn_away(&stream, plain, "limits.connections_max");
            continue;
        };
        let Some(of_address) = crowd.enter(from.ip()) else {
            turn_away(&stream, plain, "limits.connections_per_address_max");
            continue;
        };
        let connection = Connection { shared: shared.clone(), from, _places: (place, of_address) };
        tokio::spawn(connection.run(stream, graceful.watcher()));
    }
    drop(listener);
    app.drain.cancel();
    if tokio::time::timeout(drain, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests were still under way after shutdown.drain_ms");
    }
}

/// A connection beyond a bound is told so where that costs nothing, and closed.
fn turn_away(stream: &TcpStream, plain: bool, reason: &'static str) {
    RequestShed { reason }.emit();
    if plain {
        let _ = stream.try_write(full(reason).as_bytes());
    }
}

fn full(reason: &str) -> String {
    let problem = Problem::from(Refusal::retry_after(Code::Shed, format!("{reason} is met"), 1_000));
    let body = serde_json::to_string(&problem).unwrap_or_default();
    format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: {MEDIA_TYPE}\r\nretry-after: 1\r\nconnection: close\r\n\
        content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_of_a_connection_is_well_formed() {
        let text = full("limits.connections_max");
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        assert_eq!(length.parse::<usize>().unwrap(), body.len());
        let problem: Problem = serde_json::from_str(body).unwrap();
        assert_eq!((problem.status, problem.code.as_str()), (503, "shed"));
    }
}
