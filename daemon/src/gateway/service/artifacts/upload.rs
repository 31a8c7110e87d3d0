//! Takes an artifact in, chunk by chunk: however large it is, no more than a few chunks are held.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bravo_model::artifact::{Chunk, Content, Manifest};
use bravo_model::{Code, Refusal, limits};
use bravo_storage::blob::{self, Effort};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;

use super::{Place, group_of, turn};
use crate::gateway::app::App;
use crate::raft::types::GroupId;
use crate::telemetry::events::ArtifactBytes;

/// A sender that is silent for longer is not waited for.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// Chunks that are on their way to the nodes while the next one is taken in.
const SENT_MAX: usize = 2;

/// An artifact that is coming in. Dropped, it leaves chunks that nobody refers to, which go by themselves.
pub(crate) struct Upload {
    app: Arc<App>,
    group: GroupId,
    whole: blake3::Hasher,
    size: u64,
    buffer: BytesMut,
    turn: Option<Arc<OwnedSemaphorePermit>>,
    chunks: Vec<Chunk>,
    sent: JoinSet<Result<(), Refusal>>,
    renewed: Instant,
}

impl Upload {
    /// Takes a whole body in; when this answers, a majority has every chunk on disk.
    pub(crate) async fn take(
        app: &Arc<App>,
        place: &Place,
        mut body: impl Stream<Item = Result<Bytes, String>> + Unpin,
    ) -> Result<Manifest, Refusal> {
        let mut upload = Self {
            app: app.clone(),
            group: group_of(app, place),
            whole: blake3::Hasher::new(),
            size: 0,
            buffer: BytesMut::new(),
            turn: None,
            chunks: Vec::new(),
            sent: JoinSet::new(),
            renewed: Instant::now(),
        };
        loop {
            match tokio::time::timeout(SILENCE_MAX, body.next()).await {
                Ok(Some(Ok(bytes))) => upload.add(bytes).await?,
                Ok(Some(Err(detail))) => {
                    return Err(Refusal::new(Code::InvalidArgument, format!("body: {detail}; nothing was changed")));
                }
                Ok(None) => return upload.finish().await,
                Err(_) => return Err(Refusal::new(Code::DeadlineExceeded, "the body did not come in time")),
            }
        }
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
        self.chunks.push(Chunk { hash, bytes: length });
        let (cluster, group, turn) = (self.app.cluster.clone(), self.group, self.turn.clone());
        self.sent.spawn(async move { cluster.spread_chunk(group, hash, form, turn).await });
        Ok(())
    }

    async fn sent_one(&mut self) -> Result<bool, Refusal> {
        let failed = |error| Refusal::new(Code::Internal, format!("a chunk was not sent: {error}"));
        match self.sent.join_next().await {
            Some(sent) => sent.map_err(failed)?.map(|()| true),
            None => Ok(false),
        }
    }

    /// However slowly a body comes, its chunks are not taken for left over.
    async fn renew_if_due(&mut self) -> Result<(), Refusal> {
        let due = self.renewed.elapsed() > self.app.cluster.pace.renew_every();
        if due && !self.chunks.is_empty() { self.renew().await } else { Ok(()) }
    }

    async fn renew(&mut self) -> Result<(), Refusal> {
        while self.sent_one().await? {}
        let hashes: Vec<_> = self.chunks.iter().map(|chunk| chunk.hash).collect();
        if !self.app.cluster.renew_chunks(self.group, &hashes).await {
            return Err(Refusal::retry_after(
                Code::NoLeader,
                "a part of the artifact is not on a majority any more",
                500,
            ));
        }
        self.renewed = Instant::now();
        Ok(())
    }

    async fn finish(mut self) -> Result<Manifest, Refusal> {
        let content = if self.chunks.is_empty() && self.buffer.len() <= limits::INLINE_BYTES_MAX {
            Content::Inline(std::mem::take(&mut self.buffer).freeze())
        } else {
            if !self.buffer.is_empty() {
                self.send().await?;
            }
            while self.sent_one().await? {}
            self.renew_if_due().await?;
            Content::Chunks(std::mem::take(&mut self.chunks))
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
