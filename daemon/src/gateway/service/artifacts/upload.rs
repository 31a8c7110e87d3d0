//! Takes an artifact in, chunk by chunk: however large it is, no more than a few chunks are held.

use std::sync::Arc;
use std::time::Duration;

use bravo_model::artifact::{Chunk, Content, Manifest, Part};
use bravo_model::{Code, Refusal, limits};
use bravo_storage::blob::{self, Effort};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Place, group_of, turn};
use crate::gateway::app::App;
use crate::raft::types::GroupId;
use crate::telemetry::events::{ArtifactBytes, Evicted};

/// Chunks that are on their way to the nodes while the next one is taken in.
const SENT_MAX: usize = 4;

/// Bytes that must come in each `limits.read_timeout_ms` for which a body is waited for, or the rest of it.
const WINDOW_BYTES_MIN: u64 = 64 << 10;

/// How a body comes: a byte now and then does not keep the place of a request.
struct Pace {
    window: Duration,
    /// Since as many bytes came as must.
    waited: Duration,
    came: u64,
}

impl Pace {
    fn new(window: Duration) -> Self {
        Self { window, waited: Duration::ZERO, came: 0 }
    }

    /// What comes next of the body, if it is in time. What is done with it takes none of its time.
    async fn next(
        &mut self,
        body: &mut (impl Stream<Item = Result<Bytes, Refusal>> + Unpin),
    ) -> Option<Result<Bytes, Refusal>> {
        let began = Instant::now();
        let next = tokio::time::timeout(self.left(), body.next()).await;
        let Ok(next) = next else {
            Evicted { reason: "read" }.emit();
            let detail = format!(
                "of the body came less than {WINDOW_BYTES_MIN} bytes in {} ms (limits.read_timeout_ms)",
                self.window.as_millis()
            );
            return Some(Err(Refusal::new(Code::DeadlineExceeded, detail)));
        };
        let bytes = next.as_ref().and_then(|bytes| bytes.as_ref().ok()).map_or(0, Bytes::len);
        self.note(began.elapsed(), bytes);
        next
    }

    /// How long the body may be waited for.
    fn left(&self) -> Duration {
        self.window.saturating_sub(self.waited)
    }

    fn note(&mut self, waited: Duration, bytes: usize) {
        self.waited += waited;
        self.came += bytes as u64;
        if self.came >= WINDOW_BYTES_MIN {
            (self.waited, self.came) = (Duration::ZERO, 0);
        }
    }
}

/// An artifact that is coming in. Dropped, it leaves chunks that nobody refers to, which go by themselves.
pub(crate) struct Upload {
    app: Arc<App>,
    group: GroupId,
    whole: blake3::Hasher,
    size: u64,
    buffer: BytesMut,
    turn: Option<Arc<OwnedSemaphorePermit>>,
    /// How each is kept is known when it was sent.
    parts: Vec<Part>,
    sent: JoinSet<Result<(usize, Part), Refusal>>,
    renewed: Instant,
}

impl Upload {
    /// Takes a whole body in; when this answers, every chunk outlives the loss of any node.
    pub(crate) async fn take(
        app: &Arc<App>,
        place: &Place,
        mut body: impl Stream<Item = Result<Bytes, Refusal>> + Unpin,
    ) -> Result<Manifest, Refusal> {
        let mut upload = Self {
            app: app.clone(),
            group: group_of(app, place),
            whole: blake3::Hasher::new(),
            size: 0,
            buffer: BytesMut::new(),
            turn: None,
            parts: Vec::new(),
            sent: JoinSet::new(),
            renewed: Instant::now(),
        };
        let mut pace = Pace::new(Duration::from_millis(app.limits.read_timeout_ms));
        while let Some(bytes) = pace.next(&mut body).await {
            upload.add(bytes?).await?;
        }
        upload.finish().await
    }

    async fn add(&mut self, mut bytes: Bytes) -> Result<(), Refusal> {
        self.size += bytes.len() as u64;
        ArtifactBytes::In(bytes.len() as u64).emit();
        check_size(self.size)?;
        self.whole.update(&bytes);
        while !bytes.is_empty() {
            let room = limits::CHUNK_BYTES - self.buffer.len();
            let part = bytes.split_to(bytes.len().min(room));
            if self.turn.is_none() && self.buffer.len() + part.len() > limits::INLINE_BYTES_MAX {
                self.turn = Some(Arc::new(turn(&self.app.artifacts.writes).await?));
            }
            self.buffer.extend_from_slice(&part);
            if self.buffer.len() == limits::CHUNK_BYTES {
                self.send().await?;
            }
        }
        self.renew_if_due().await
    }

    /// Sends off what was gathered, when there are not too many on their way.
    async fn send(&mut self) -> Result<(), Refusal> {
        while self.sent.len() >= SENT_MAX {
            self.sent_one().await?;
        }
        let bytes = std::mem::take(&mut self.buffer).freeze();
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let made = move || (*blake3::hash(&bytes).as_bytes(), blob::encode(&bytes, Effort::Quick));
        let (hash, form) = super::super::templates::blocking(made).await?;
        let (index, chunk) = (self.parts.len(), Chunk { hash, bytes: length });
        self.parts.push(Part { chunk, shards: None });
        let (cluster, group, turn) = (self.app.cluster.clone(), self.group, self.turn.clone());
        self.sent.spawn(async move { cluster.spread(group, chunk, form, turn).await.map(|part| (index, part)) });
        Ok(())
    }

    async fn sent_one(&mut self) -> Result<bool, Refusal> {
        let failed = |error| Refusal::new(Code::Internal, format!("a chunk was not sent: {error}"));
        let Some(sent) = self.sent.join_next().await else { return Ok(false) };
        let (index, part) = sent.map_err(failed)??;
        self.parts[index] = part;
        Ok(true)
    }

    /// However slowly a body comes, its chunks are not taken for left over.
    async fn renew_if_due(&mut self) -> Result<(), Refusal> {
        let due = self.renewed.elapsed() > self.app.cluster.pace.renew_every();
        if due && !self.parts.is_empty() { self.renew().await } else { Ok(()) }
    }

    async fn renew(&mut self) -> Result<(), Refusal> {
        while self.sent_one().await? {}
        if !self.app.cluster.renew_parts(self.group, &self.parts).await {
            let detail = "a part of the artifact is not on as many nodes any more as it must be";
            return Err(Refusal::retry_after(Code::NoLeader, detail, 500));
        }
        self.renewed = Instant::now();
        Ok(())
    }

    async fn finish(mut self) -> Result<Manifest, Refusal> {
        let content = if self.parts.is_empty() && self.buffer.len() <= limits::INLINE_BYTES_MAX {
            Content::Inline(std::mem::take(&mut self.buffer).freeze())
        } else {
            if !self.buffer.is_empty() {
                self.send().await?;
            }
            while self.sent_one().await? {}
            self.renew_if_due().await?;
            Content::of(std::mem::take(&mut self.parts))
        };
        let blake3 = *self.whole.finalize().as_bytes();
        Ok(Manifest { size: self.size, content_type: None, content_encoding: None, blake3, content })
    }
}

/// Refuses what is larger than artifacts may be.
pub(crate) fn check_size(bytes: u64) -> Result<(), Refusal> {
    if bytes <= limits::ARTIFACT_BYTES_MAX {
        return Ok(());
    }
    let detail = format!("an artifact has at most {} bytes", limits::ARTIFACT_BYTES_MAX);
    Err(Refusal::new(Code::PayloadTooLarge, detail))
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    /// How many parts come of a body that brings so many bytes every so many seconds, of a thousand at most.
    fn parts(bytes: usize, every_s: u64) -> usize {
        let (mut pace, every) = (Pace::new(Duration::from_secs(60)), Duration::from_secs(every_s));
        let in_time = |_: &usize| {
            let in_time = every < pace.left();
            pace.note(every, bytes);
            in_time
        };
        (0..1_000).take_while(in_time).count()
    }

    #[test]
    fn a_body_that_drips_loses_its_turn_and_a_slow_one_that_goes_on_keeps_it() {
        assert_eq!(parts(1, 59), 1, "a byte now and then");
        assert_eq!(parts(1_000, 1), 59, "more often, and still not enough");
        assert_eq!(parts(2_000, 1), 1_000);
        assert_eq!(parts(WINDOW_BYTES_MIN as usize, 59), 1_000);
    }

    #[tokio::test]
    async fn a_body_whose_time_is_over_is_refused_and_one_that_ends_is_whole() {
        let mut pace = Pace::new(Duration::from_secs(60));
        let mut short = stream::iter([Ok(Bytes::from_static(b"x"))]);
        assert!(matches!(pace.next(&mut short).await, Some(Ok(bytes)) if bytes.len() == 1));
        assert!(pace.next(&mut short).await.is_none(), "the end of a body may be short");
        pace.note(Duration::from_secs(60), 1);
        let late = pace.next(&mut stream::pending()).await;
        assert!(matches!(late, Some(Err(refusal)) if refusal.code == Code::DeadlineExceeded));
    }
}
