//! Streaming the rows out of a snapshot.

use std::fs::File;
use std::io::{self, BufReader, Read, Take};
use std::path::{Path, PathBuf};

use bravo_model::{Key, Value};

use super::error::SnapshotError;

const BUFFER_BYTES: usize = 256 << 10;
/// A value is read in pieces of this size, so that a damaged length cannot ask for gigabytes at once.
const PIECE_BYTES: u64 = 1 << 20;

type Stream = zstd::Decoder<'static, BufReader<Take<File>>>;

/// The rows of a snapshot in key order. After an error it ends.
pub struct SnapshotRows {
    stream: BufReader<Stream>,
    path: PathBuf,
    left: u64,
    done: bool,
}

impl SnapshotRows {
    pub(super) fn new(body: Take<File>, rows: u64, path: &Path) -> Result<Self, SnapshotError> {
        let body = BufReader::with_capacity(BUFFER_BYTES, body);
        let stream = zstd::Decoder::with_buffer(body).map_err(SnapshotError::io("read", path))?;
        let stream = BufReader::with_capacity(BUFFER_BYTES, stream);
        Ok(Self { stream, path: path.to_owned(), left: rows, done: false })
    }

    fn read_row(&mut self) -> io::Result<(Key, Value)> {
        let mut length = [0];
        self.stream.read_exact(&mut length)?;
        let mut key = [0; Key::BYTES_MAX];
        let key = key.get_mut(..length[0] as usize).ok_or_else(|| io::Error::other("a key is too long"))?;
        self.stream.read_exact(key)?;
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let length = u64::from(u32::from_le_bytes(length));
        let mut value = Vec::with_capacity(length.min(PIECE_BYTES) as usize);
        if (&mut self.stream).take(length).read_to_end(&mut value)? as u64 != length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok((Key::new(key), value.into()))
    }

    fn read_end(&mut self) -> io::Result<()> {
        match self.stream.read(&mut [0])? {
            0 => Ok(()),
            _ => Err(io::Error::other("there are more rows than its trailer says")),
        }
    }
}

impl Iterator for SnapshotRows {
    type Item = Result<(Key, Value), SnapshotError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let row = if self.left > 0 { self.read_row().map(Some) } else { self.read_end().map(|()| None) };
        self.left = self.left.saturating_sub(1);
        match row {
            Ok(Some(row)) => Some(Ok(row)),
            Ok(None) => {
                self.done = true;
                None
            }
            Err(error) => {
                self.done = true;
                Some(Err(SnapshotError::damaged(&self.path, error.to_string())))
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, usize::try_from(self.left).ok())
    }
}
