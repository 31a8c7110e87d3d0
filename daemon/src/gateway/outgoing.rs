//! Bodies of answers as they go out: a caller that takes nothing of what there is for it is not waited for.
//!
//! ```text
//!   hyper asks for a part ──► the body has none yet: our turn, however long it takes
//!                        └──► it has one: the caller's turn, until hyper asks again
//! ```
//!
//! hyper asks for the next part when it has room for it, so that a body which is not asked for long waits for its
//! caller. It cannot notice that itself: its connection looks.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::time::Instant;

/// Stands for: it is our turn.
const OURS: u64 = 0;
/// A part goes out in pieces of this size at most. What was handed over is held until the caller takes it.
const PIECE_BYTES: usize = 64 << 10;

/// The answers that are on their way over one connection: as many as it may have streams.
pub(super) struct Outgoing {
    began: Instant,
    /// Since when it is the caller's turn, in milliseconds, for each body.
    turns: Mutex<Vec<Arc<AtomicU64>>>,
}

/// The body of an answer under watch.
pub(super) struct Going<B> {
    inner: B,
    rest: Bytes,
    turn: Arc<AtomicU64>,
    all: Arc<Outgoing>,
}

impl Outgoing {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { began: Instant::now(), turns: Mutex::default() })
    }

    /// Puts a body under watch.
    pub(super) fn watch<B>(self: &Arc<Self>, inner: B) -> Going<B> {
        let turn = Arc::new(AtomicU64::new(self.now()));
        self.turns.lock().push(turn.clone());
        Going { inner, rest: Bytes::new(), turn, all: self.clone() }
    }

    /// Comes back when a caller has taken nothing for so long.
    pub(super) async fn stuck(&self, patience: Duration) {
        loop {
            tokio::time::sleep(patience / 4).await;
            if self.is_stuck(self.now(), patience) {
                return;
            }
        }
    }

    fn is_stuck(&self, now: u64, patience: Duration) -> bool {
        let since = now.saturating_sub(u64::try_from(patience.as_millis()).unwrap_or(u64::MAX));
        self.turns.lock().iter().any(|turn| (OURS + 1..=since).contains(&turn.load(Ordering::Relaxed)))
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(OURS + 1)
    }
}

impl<B> Drop for Going<B> {
    fn drop(&mut self) {
        let mut turns = self.all.turns.lock();
        if let Some(index) = turns.iter().position(|turn| Arc::ptr_eq(turn, &self.turn)) {
            turns.swap_remove(index);
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Going<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = &mut *self;
        if this.rest.is_empty() {
            this.turn.store(OURS, Ordering::Relaxed);
            match std::task::ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => this.rest = data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                end => return Poll::Ready(end),
            }
        }
        this.turn.store(this.all.now(), Ordering::Relaxed);
        let piece = this.rest.split_to(this.rest.len().min(PIECE_BYTES));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.len() as u64;
        let inner = self.inner.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower().saturating_add(rest));
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body as AnyBody;
    use futures_util::{FutureExt, StreamExt, stream};
    use http_body_util::BodyExt;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn is_stuck_in(outgoing: &Outgoing, seconds: u64) -> bool {
        outgoing.is_stuck(outgoing.now() + seconds * 1_000, PATIENCE)
    }

    #[tokio::test]
    async fn a_body_that_nobody_asks_for_is_stuck_and_one_that_waits_for_us_is_not() {
        let outgoing = Outgoing::new();
        let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Bytes, std::io::Error>>(1);
        let silent = stream::unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver)));
        let mut waits = outgoing.watch(AnyBody::from_stream(silent.boxed()));
        assert!(waits.frame().now_or_never().is_none());
        assert!(!is_stuck_in(&outgoing, 6_000), "it is our turn");

        sender.send(Ok(Bytes::from_static(b"event"))).await.unwrap();
        assert!(waits.frame().await.unwrap().unwrap().is_data());
        assert!(!is_stuck_in(&outgoing, 30), "the caller has some time");
        assert!(is_stuck_in(&outgoing, 90), "but not for ever");
        assert!(waits.frame().now_or_never().is_none());
        assert!(!is_stuck_in(&outgoing, 90), "it took what there was");
        drop(waits);
        assert!(outgoing.turns.lock().is_empty(), "what is gone leaves nothing behind");
    }

    #[tokio::test]
    async fn an_answer_that_is_never_asked_for_is_stuck_too() {
        let outgoing = Outgoing::new();
        let _kept = outgoing.watch(AnyBody::from("answer"));
        assert!(is_stuck_in(&outgoing, 90));
    }

    #[tokio::test]
    async fn a_large_part_goes_out_in_pieces_and_whole() {
        let outgoing = Outgoing::new();
        let mut body = outgoing.watch(AnyBody::from(vec![7; PIECE_BYTES * 2 + 1]));
        assert_eq!(body.size_hint().exact(), Some(PIECE_BYTES as u64 * 2 + 1));
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!((first.len(), body.is_end_stream()), (PIECE_BYTES, false));
        assert_eq!(body.size_hint().exact(), Some(PIECE_BYTES as u64 + 1));
        assert_eq!(body.collect().await.unwrap().to_bytes().len(), PIECE_BYTES + 1);
    }
}
