//! Gives an artifact out in another coding than it has: packed for callers who like that better, unpacked
//! for those who do not know what its writer packed it with.
//!
//! ```text
//!   chunks ──► feed (a task) ──► coder (a thread) ──► answer
//! ```
//!
//! Coders are plain readers that take their time, so that each has a thread; there are few of them at a
//! time, and each holds a few parts and its window (16 MiB at most), however large the artifact is.

use std::io::{self, BufRead, Read};
use std::sync::Arc;

use bravo_model::{Code, Refusal, limits};
use bytes::{Buf, Bytes};
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::gateway::app::App;

/// Bytes that a coder gives out at a time.
const PART_BYTES: usize = 64 << 10;
/// Parts that wait before and behind a coder.
const PARTS: usize = 2;
/// How far back a zstd stream may refer, as a power of two: what RFC 9659 allows over HTTP.
pub(crate) const ZSTD_WINDOW_LOG: u32 = 23;

/// How a brotli stream begins whose window may have a gibibyte (RFC 7932 keeps that value free).
pub(crate) const LARGE_WINDOW: u8 = 0x11;

/// A content coding that is understood here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    Zstd,
    Brotli,
    Gzip,
}

impl Coding {
    /// All of them, the ones that are liked best first.
    pub(crate) const ALL: [Self; 3] = [Self::Zstd, Self::Brotli, Self::Gzip];

    /// Their names.
    pub(crate) const NAMES: &'static str = "gzip, br, zstd";

    /// Its name in headers.
    pub(crate) fn token(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }

    /// The coding of that name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let name = if name.eq_ignore_ascii_case("x-gzip") { "gzip" } else { name };
        Self::ALL.into_iter().find(|coding| coding.token().eq_ignore_ascii_case(name))
    }
}

/// What is done with the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// They are packed.
    Pack(Coding),
    /// They are unpacked.
    Unpack(Coding),
}

type Parts = BoxStream<'static, Result<Bytes, Refusal>>;

/// The bytes in another coding, answered when the first of them are there. What comes out is bounded like an
/// artifact is ([`limits::ARTIFACT_BYTES_MAX`]): beyond that the answer breaks off.
pub(crate) async fn turned(
    app: &Arc<App>,
    bytes: Parts,
    turn: Turn,
    place: OwnedSemaphorePermit,
) -> Result<Parts, Refusal> {
    let (feed, source) = mpsc::channel(PARTS);
    let (out, given) = mpsc::channel(PARTS);
    app.cluster.tasks.spawn(pass_on(bytes, feed));
    tokio::task::spawn_blocking(move || {
        let _place = place;
        run(turn, Source { parts: source, current: Bytes::new(), ended: false }, &out);
    });
    let mut parts = stream::unfold(Some(given), async |given| {
        let mut given = given?;
        match given.recv().await {
            Some(Ok(part)) if part.is_empty() => None,
            Some(Ok(part)) => Some((Ok(part), Some(given))),
            Some(Err(refusal)) => Some((Err(refusal), None)),
            None => Some((Err(Refusal::new(Code::Internal, "a coder broke off")), None)),
        }
    })
    .boxed();
    let first = parts.try_next().await?;
    Ok(stream::iter(first.map(Ok)).chain(parts).boxed())
}

/// An empty part says that this was all: whoever just goes away has not said so.
async fn pass_on(mut bytes: Parts, feed: mpsc::Sender<Result<Bytes, Refusal>>) {
    while let Some(part) = bytes.next().await {
        if part.as_ref().is_ok_and(Bytes::is_empty) {
            continue;
        }
        if feed.send(part).await.is_err() {
            return;
        }
    }
    let _ = feed.send(Ok(Bytes::new())).await;
}

fn run(turn: Turn, source: Source, out: &mpsc::Sender<Result<Bytes, Refusal>>) {
    let mut coder = match coder(turn, source) {
        Ok(coder) => coder,
        Err(error) => return drop(out.blocking_send(Err(refusal(turn, &error)))),
    };
    let mut given = 0_u64;
    loop {
        let mut part = vec![0; PART_BYTES];
        let part = match coder.read(&mut part) {
            Ok(count) => {
                part.truncate(count);
                Ok(Bytes::from(part))
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Err(refusal(turn, &error)),
        };
        given += part.as_ref().map_or(0, |part| part.len() as u64);
        let over = given > limits::ARTIFACT_BYTES_MAX && matches!(turn, Turn::Unpack(_));
        let part = if over { Err(too_large()) } else { part };
        let last = part.as_ref().map_or(true, Bytes::is_empty);
        if out.blocking_send(part).is_err() || last {
            return;
        }
    }
}

fn coder(turn: Turn, mut source: Source) -> io::Result<Box<dyn Read>> {
    if turn == Turn::Unpack(Coding::Brotli)
        && source.fill_buf()?.first().is_some_and(|byte| byte & 0x7f == LARGE_WINDOW)
    {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "its window is larger than brotli's may be over HTTP"));
    }
    Ok(match turn {
        Turn::Pack(Coding::Gzip) => Box::new(flate2::bufread::GzEncoder::new(source, flate2::Compression::new(5))),
        Turn::Pack(Coding::Brotli) => Box::new(brotli::CompressorReader::new(source, PART_BYTES, 4, 22)),
        Turn::Pack(Coding::Zstd) => Box::new(zstd::stream::read::Encoder::with_buffer(source, 3)?),
        Turn::Unpack(Coding::Gzip) => Box::new(flate2::bufread::MultiGzDecoder::new(source)),
        Turn::Unpack(Coding::Brotli) => Box::new(brotli::Decompressor::new(source, PART_BYTES)),
        Turn::Unpack(Coding::Zstd) => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(source)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
    })
}

fn refusal(turn: Turn, error: &io::Error) -> Refusal {
    match turn {
        Turn::Unpack(coding) if error.kind() != io::ErrorKind::BrokenPipe => {
            let token = coding.token();
            let detail = format!(
                "the artifact is not the {token} that its writer said ({error}); take it as it was sent, with Accept-Encoding: {token}"
            );
            Refusal::new(Code::UnsupportedMediaType, detail)
        }
        _ => Refusal::retry_after(Code::NoLeader, format!("the artifact's bytes ended early: {error}"), 1_000),
    }
}

fn too_large() -> Refusal {
    let detail = format!("unpacked, the artifact has more than {} bytes", limits::ARTIFACT_BYTES_MAX);
    Refusal::new(Code::PayloadTooLarge, detail)
}

/// The artifact's bytes for a thread that may wait for them.
struct Source {
    parts: mpsc::Receiver<Result<Bytes, Refusal>>,
    current: Bytes,
    ended: bool,
}

impl BufRead for Source {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.current.is_empty() && !self.ended {
            let gone = |detail: String| io::Error::new(io::ErrorKind::BrokenPipe, detail);
            self.current = match self.parts.blocking_recv() {
                Some(Ok(part)) => part,
                Some(Err(refusal)) => return Err(gone(refusal.detail)),
                None => return Err(gone("nobody sends them any more".into())),
            };
            self.ended = self.current.is_empty();
        }
        Ok(&self.current)
    }

    fn consume(&mut self, count: usize) {
        self.current.advance(count);
    }
}

impl Read for Source {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.len().min(out.len());
        out[..count].copy_from_slice(&self.current[..count]);
        self.consume(count);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(turn: Turn, parts: Vec<Result<Bytes, Refusal>>) -> Vec<Result<Bytes, Refusal>> {
        let (feed, source) = mpsc::channel(1_000);
        let (out, mut given) = mpsc::channel(100_000);
        parts.into_iter().for_each(|part| feed.try_send(part).unwrap());
        drop(feed);
        run(turn, Source { parts: source, current: Bytes::new(), ended: false }, &out);
        drop(out);
        std::iter::from_fn(|| given.blocking_recv()).collect()
    }

    fn whole(parts: Vec<Result<Bytes, Refusal>>) -> Vec<u8> {
        assert!(parts.last().unwrap().as_ref().unwrap().is_empty(), "the end is said");
        parts.into_iter().flat_map(|part| part.unwrap()).collect()
    }

    #[test]
    fn what_is_packed_comes_back_in_every_coding() {
        let text = Bytes::from("a line of text, again and again\n".repeat(20_000));
        for coding in Coding::ALL {
            let mut parts: Vec<_> = (0..10).map(|n| Ok(text.slice(n * 64_000..(n + 1) * 64_000))).collect();
            parts.push(Ok(Bytes::new()));
            let packed = whole(through(Turn::Pack(coding), parts));
            assert!(packed.len() < text.len() / 10, "{coding:?}: {}", packed.len());
            let end = Ok(Bytes::new());
            let back = through(Turn::Unpack(coding), vec![Ok(packed.clone().into()), end]);
            assert!(whole(back) == text[..640_000], "{coding:?}");
            let half = Bytes::from(packed.clone()).slice(..packed.len() / 2);
            let cut = through(Turn::Unpack(coding), vec![Ok(half), Ok(Bytes::new())]);
            let code = cut.last().unwrap().as_ref().unwrap_err().code;
            assert_eq!(code, Code::UnsupportedMediaType, "{coding:?}: what is cut off is not all");
        }
    }

    #[test]
    fn a_window_that_would_take_all_memory_is_refused() {
        let end = || Ok(Bytes::new());
        let large = Bytes::from_static(&[0x11, 0x1e, 0, 0, 0, 0, 0, 0]);
        let mut zstd = zstd::Encoder::new(Vec::new(), 1).unwrap();
        zstd.window_log(27).unwrap();
        zstd.long_distance_matching(true).unwrap();
        io::Write::write_all(&mut zstd, &vec![7; 9 << 20]).unwrap();
        let long = Bytes::from(zstd.finish().unwrap());
        for (coding, bytes) in [(Coding::Brotli, large), (Coding::Zstd, long)] {
            let given = through(Turn::Unpack(coding), vec![Ok(bytes), end()]);
            assert!(matches!(&given[..], [Err(refusal)] if refusal.code == Code::UnsupportedMediaType), "{coding:?}");
        }
    }

    #[test]
    fn a_source_that_goes_away_is_not_taken_for_an_end() {
        for coding in Coding::ALL {
            for turn in [Turn::Pack(coding), Turn::Unpack(coding)] {
                let given = through(turn, Vec::new());
                assert_eq!(given.last().unwrap().as_ref().unwrap_err().code, Code::NoLeader, "{turn:?}");
            }
        }
    }

    #[test]
    fn names_are_those_of_the_registry() {
        assert_eq!(["GZIP", "x-gzip", "br", "zstd"].map(|name| Coding::named(name).is_some()), [true; 4]);
        assert_eq!(["", "deflate", "gzip, br"].map(Coding::named), [None; 3]);
    }
}
