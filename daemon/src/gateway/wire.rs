//! The bytes of a connection: gives back what was read to see what is spoken, and notices a peer that does
//! not take what is written.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// What an HTTP/2 connection begins with.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection whose first bytes are known.
pub(super) struct Wire<T> {
    inner: T,
    first: BytesMut,
    writing: Stall,
    flushing: Stall,
}

/// How long the peer has taken nothing.
struct Stall {
    patience: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Stall {
    fn new(patience: Duration) -> Self {
        Self { patience, timer: None }
    }

    /// What came of trying to give the peer something.
    fn judge<R>(&mut self, cx: &mut Context<'_>, tried: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if tried.is_ready() {
            self.timer = None;
            return tried;
        }
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.patience)));
        timer.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<T: AsyncRead + Unpin> Wire<T> {
    /// Reads until it is clear which version of HTTP the peer speaks; none if it left. Who takes its time over this
    /// is not waited for by hyper either, so that the caller has to be quick.
    pub(super) async fn greet(mut inner: T, patience: Duration) -> io::Result<Option<Self>> {
        let mut first = BytesMut::with_capacity(PREFACE.len());
        while first.is_empty() || (first.len() < PREFACE.len() && PREFACE.starts_with(&first)) {
            let mut more = [0; PREFACE.len()];
            let count = inner.read(&mut more[first.len()..]).await?;
            if count == 0 {
                return Ok(None);
            }
            let from = first.len();
            first.extend_from_slice(&more[from..from + count]);
        }
        Ok(Some(Self { inner, first, writing: Stall::new(patience), flushing: Stall::new(patience) }))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Wire<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.inner).poll_read(cx, out);
        }
        let count = self.first.len().min(out.remaining());
        out.put_slice(&self.first[..count]);
        self.first.advance(count);
        if self.first.is_empty() {
            self.first = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Wire<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let tried = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.writing.judge(cx, tried)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let tried = Pin::new(&mut self.inner).poll_write_vectored(cx, bytes);
        self.writing.judge(cx, tried)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let tried = Pin::new(&mut self.inner).poll_flush(cx);
        self.flushing.judge(cx, tried)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let tried = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.flushing.judge(cx, tried)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::io::{AsyncWriteExt, duplex};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn what_was_read_to_see_what_is_spoken_is_read_again() {
        for (said, waits_for_more) in [
            (&b"G"[..], false),
            (b"PRI * HTTP/1.1\r\n", false),
            (b"PRI * HT", true),
            (&[PREFACE, &b"more"[..]].concat(), false),
        ] {
            let (mut peer, ours) = duplex(64);
            peer.write_all(said).await.unwrap();
            drop(peer);
            let wire = Wire::greet(ours, PATIENCE).await.unwrap();
            assert_eq!(wire.is_none(), waits_for_more, "{said:?}");
            if let Some(mut wire) = wire {
                let mut back = Vec::new();
                wire.read_to_end(&mut back).await.unwrap();
                assert_eq!(back, said);
            }
        }
    }

    #[tokio::test]
    async fn a_peer_that_takes_nothing_is_given_up() {
        let (mut peer, ours) = duplex(16);
        peer.write_all(b"GET").await.unwrap();
        let mut wire = Wire::greet(ours, Duration::from_millis(20)).await.unwrap().unwrap();
        assert_eq!(wire.write_all(&[7; 1_000]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn what_a_peer_takes_gives_it_time_again() {
        let (mut peer, ours) = duplex(16);
        peer.write_all(b"GET").await.unwrap();
        let mut wire = Wire::greet(ours, PATIENCE).await.unwrap().unwrap();
        wire.write_all(&[7; 16]).await.unwrap();
        assert!(wire.write(&[7; 16]).now_or_never().is_none());
        assert!(wire.writing.timer.is_some());
        peer.read_exact(&mut [0; 16]).await.unwrap();
        wire.write_all(&[7; 16]).await.unwrap();
        assert!(wire.writing.timer.is_none());
    }
}
