//! Frames on a stream: u32 LE length of what follows, u64 LE id, body.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use quinn::RecvStream;

use super::TransportError;

/// Longest body: a batch of entries and its overhead.
pub const BODY_BYTES_MAX: usize = 64 << 20;
const HEADER_BYTES: usize = 12;

/// Appends one frame to `buffer`.
pub fn put(buffer: &mut BytesMut, id: u64, body: &[u8]) {
    buffer.reserve(HEADER_BYTES + body.len());
    buffer.put_u32_le((8 + body.len()) as u32);
    buffer.put_u64_le(id);
    buffer.put_slice(body);
}

/// Reads frames off a stream, many per read.
pub struct FrameReader {
    stream: RecvStream,
    buffer: BytesMut,
}

impl FrameReader {
    /// Reads frames from `stream`.
    pub fn new(stream: RecvStream) -> Self {
        Self { stream, buffer: BytesMut::with_capacity(16 << 10) }
    }

    /// The next frame; `None` at the end of the stream.
    pub async fn next(&mut self) -> Result<Option<(u64, Bytes)>, TransportError> {
        loop {
            if let Some(frame) = self.take()? {
                return Ok(Some(frame));
            }
            match self.stream.read_chunk(256 << 10, true).await {
                Ok(Some(chunk)) => self.buffer.extend_from_slice(&chunk.bytes),
                Ok(None) => return Ok(None),
                Err(_) => return Err(TransportError::Closed),
            }
        }
    }

    fn take(&mut self) -> Result<Option<(u64, Bytes)>, TransportError> {
        if self.buffer.len() < HEADER_BYTES {
            return Ok(None);
        }
        let len = (&self.buffer[..4]).get_u32_le() as usize;
        if !(8..=BODY_BYTES_MAX + 8).contains(&len) {
            return Err(TransportError::Malformed(format!("a frame of {len} bytes")));
        }
        if self.buffer.len() < 4 + len {
            self.buffer.reserve(4 + len - self.buffer.len());
            return Ok(None);
        }
        self.buffer.advance(4);
        let mut frame = self.buffer.split_to(len).freeze();
        let id = frame.get_u64_le();
        Ok(Some((id, frame)))
    }
}
