//! Takes an artifact in, chunk by chunk: however large it is, no more than a few chunks are held.

use std::sync::Arc;
use std::time::Instant;

use bravo_model::artifact::{Chunk, Content, Manifest, Part};
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

/// Chunks that are on their way to the nodes while the next one is taken in.
const SENT_MAX: usize = 4;

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
        while let Some(bytes) = body.next().await {
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
