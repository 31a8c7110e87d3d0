//! Many calls over one stream: frames carry ids, and whatever waits is written at once.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{BufMut, Bytes, BytesMut};
use parking_lot::Mutex;
use quinn::{Connection, SendStream};
use tokio::sync::{mpsc, oneshot};

use super::TransportError;
use super::frame::{self, FrameReader};
use super::wire::StreamKind;

/// Bytes after which a writer flushes what it gathered.
const WRITE_BYTES: usize = 256 << 10;

type Answer = oneshot::Sender<Bytes>;

struct Shared {
    /// Calls that await their answer; `None` once the stream is broken.
    pending: Mutex<Option<HashMap<u64, Answer>>>,
    next_id: AtomicU64,
}

/// The calling side of one stream. Cheap to clone; the stream ends with the last clone.
#[derive(Clone)]
pub struct Mux {
    shared: Arc<Shared>,
    frames: mpsc::UnboundedSender<(u64, Bytes)>,
}

impl Mux {
    /// Opens a stream of this kind and group.
    pub async fn open(connection: &Connection, kind: StreamKind, group: u32) -> Result<Self, TransportError> {
        let (mut send, receive) = connection.open_bi().await.map_err(|_| TransportError::Closed)?;
        let _ = send.set_priority(kind.priority());
        send.write_all(&kind.header(group)).await.map_err(|_| TransportError::Closed)?;
        let shared = Arc::new(Shared { pending: Mutex::new(Some(HashMap::new())), next_id: AtomicU64::new(1) });
        let (frames, queued) = mpsc::unbounded_channel();
        tokio::spawn(write_frames(send, queued));
        tokio::spawn(read_answers(FrameReader::new(receive), shared.clone()));
        Ok(Self { shared, frames })
    }

    /// Sends a call now and returns where its answer will arrive. Calls are written in the order
    /// in which this is called. Callers bound how many calls they have under way.
    pub fn send(&self, body: Bytes) -> Result<oneshot::Receiver<Bytes>, TransportError> {
        let id = self.shared.next_id.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        match self.shared.pending.lock().as_mut() {
            Some(pending) => pending.insert(id, sender),
            None => return Err(TransportError::Closed),
        };
        self.frames.send((id, body)).map_err(|_| TransportError::Closed)?;
        Ok(receiver)
    }

    /// Sends a call and awaits its answer.
    pub async fn call(&self, body: Bytes) -> Result<Bytes, TransportError> {
        self.send(body)?.await.map_err(|_| TransportError::Closed)
    }

    /// Whether the stream is broken.
    pub fn is_closed(&self) -> bool {
        self.frames.is_closed() || self.shared.pending.lock().is_none()
    }
}

/// Writes queued frames, gathering whatever waits into one write.
pub(super) async fn write_frames(mut stream: SendStream, mut queued: mpsc::UnboundedReceiver<(u64, Bytes)>) {
    let mut buffer = BytesMut::with_capacity(16 << 10);
    while let Some((id, body)) = queued.recv().await {
        frame::put(&mut buffer, id, &body);
        while buffer.len() < WRITE_BYTES {
            match queued.try_recv() {
                Ok((id, body)) => frame::put(&mut buffer, id, &body),
                Err(_) => break,
            }
        }
        if stream.write_chunk(buffer.split().freeze()).await.is_err() {
            return;
        }
        if buffer.capacity() < 4 << 10 {
            buffer.reserve(16 << 10);
        }
    }
    let _ = stream.finish();
}

async fn read_answers(mut reader: FrameReader, shared: Arc<Shared>) {
    while let Ok(Some((id, body))) = reader.next().await {
        let answer = shared.pending.lock().as_mut().and_then(|pending| pending.remove(&id));
        if let Some(answer) = answer {
            let _ = answer.send(body);
        }
    }
    // Dropping the senders tells every caller that the outcome is unknown.
    shared.pending.lock().take();
}

impl StreamKind {
    /// Streams of a higher priority are sent first.
    fn priority(self) -> i32 {
        match self {
            Self::Control => 3,
            Self::Append => 2,
            Self::Client => 1,
            Self::Snapshot | Self::Chunks => 0,
        }
    }

    /// The first bytes of a stream: kind and group.
    pub(super) fn header(self, group: u32) -> Bytes {
        let mut header = BytesMut::with_capacity(5);
        header.put_u8(self as u8);
        header.put_u32_le(group);
        header.freeze()
    }

    /// Reads the first bytes of a stream.
    pub(super) fn parse(header: [u8; 5]) -> Option<(Self, u32)> {
        let kind = match header[0] {
            1 => Self::Control,
            2 => Self::Append,
            3 => Self::Client,
            4 => Self::Snapshot,
            5 => Self::Chunks,
            _ => return None,
        };
        Some((kind, u32::from_le_bytes([header[1], header[2], header[3], header[4]])))
    }
}
