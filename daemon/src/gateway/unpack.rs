//! Bodies that come packed (`Content-Encoding`) are unpacked as they come in, never to more than the limit.

use std::io::{self, Write};

use bravo_model::{Code, Refusal};
use brotli::DecompressorWriter;
use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use zstd::stream::{raw, zio};
use zstd::zstd_safe::DParameter;

use super::service::artifacts::{Coding, LARGE_WINDOW, ZSTD_WINDOW_LOG};

/// Bytes that a decoder gives on at a time.
const PART_BYTES: usize = 32 << 10;

/// Takes in the bytes of a body.
pub(super) trait Room: Send {
    /// These come next; refused when there are too many.
    fn add(&mut self, part: &[u8]) -> Result<(), Refusal>;
}

/// Unpacks into a room.
pub(super) struct Unpacker<R: Room> {
    decoder: Decoder<R>,
    began: bool,
}

enum Decoder<R: Room> {
    Plain(Sink<R>),
    Gzip(Box<MultiGzDecoder<Sink<R>>>),
    Brotli(Box<DecompressorWriter<Sink<R>>>),
    Zstd(Box<zio::Writer<Sink<R>, raw::Decoder<'static>>>),
}

/// The room as a decoder sees it; it keeps why the room refused.
struct Sink<R> {
    /// Taken out when everything is in it.
    room: Option<R>,
    refusal: Option<Refusal>,
}

impl<R: Room> Write for Sink<R> {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        // Not an error after which a decoder would try again.
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let room = self.room.as_mut().filter(|_| self.refusal.is_none()).ok_or_else(full)?;
        self.refusal = room.add(part).err();
        if self.refusal.is_none() { Ok(part.len()) } else { Err(full()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<R: Room> Unpacker<R> {
    /// For a body in this coding; none: as it is.
    pub(super) fn new(coding: Option<Coding>, room: R) -> Result<Self, Refusal> {
        let sink = Sink { room: Some(room), refusal: None };
        let decoder = match coding {
            None => Decoder::Plain(sink),
            Some(Coding::Gzip) => Decoder::Gzip(Box::new(MultiGzDecoder::new(sink))),
            Some(Coding::Brotli) => Decoder::Brotli(Box::new(DecompressorWriter::new(sink, PART_BYTES))),
            Some(Coding::Zstd) => {
                let mut decoder = raw::Decoder::new().map_err(|error| broken(&error))?;
                decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG)).map_err(|error| broken(&error))?;
                Decoder::Zstd(Box::new(zio::Writer::new(sink, decoder)))
            }
        };
        Ok(Self { decoder, began: false })
    }

    /// Takes the next bytes as they came.
    pub(super) fn push(&mut self, part: &Bytes) -> Result<(), Refusal> {
        let first = !self.began;
        self.began |= !part.is_empty();
        let written = match &mut self.decoder {
            Decoder::Plain(sink) => sink.write_all(part),
            Decoder::Gzip(decoder) => decoder.write_all(part),
            Decoder::Brotli(_) if first && part.first().is_some_and(|byte| byte & 0x7f == LARGE_WINDOW) => {
                Err(io::Error::new(io::ErrorKind::InvalidData, "its window is larger than brotli's may be over HTTP"))
            }
            Decoder::Brotli(decoder) => decoder.write_all(part),
            Decoder::Zstd(decoder) => decoder.write_all(part),
        };
        self.judge(written)
    }

    /// The room, once everything came.
    pub(super) fn finish(mut self) -> Result<R, Refusal> {
        let ended = match &mut self.decoder {
            Decoder::Plain(_) => Ok(()),
            // A body of no bytes has no end either.
            _ if !self.began => Ok(()),
            Decoder::Gzip(decoder) => decoder.try_finish(),
            Decoder::Brotli(decoder) => decoder.close(),
            Decoder::Zstd(decoder) => decoder.finish(),
        };
        self.judge(ended)?;
        self.sink().room.take().ok_or_else(|| Refusal::new(Code::Internal, "a body was taken twice"))
    }

    fn sink(&mut self) -> &mut Sink<R> {
        match &mut self.decoder {
            Decoder::Plain(sink) => sink,
            Decoder::Gzip(decoder) => decoder.get_mut(),
            Decoder::Brotli(decoder) => decoder.get_mut(),
            Decoder::Zstd(decoder) => decoder.writer_mut(),
        }
    }

    fn judge(&mut self, outcome: io::Result<()>) -> Result<(), Refusal> {
        match self.sink().refusal.take() {
            Some(refusal) => Err(refusal),
            None => outcome.map_err(|error| broken(&error)),
        }
    }
}

fn broken(error: &io::Error) -> Refusal {
    Refusal::new(Code::InvalidArgument, format!("body: not what its Content-Encoding says: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Vessel(Vec<u8>, usize);

    impl Room for Vessel {
        fn add(&mut self, part: &[u8]) -> Result<(), Refusal> {
            if self.0.len() + part.len() > self.1 {
                return Err(Refusal::new(Code::PayloadTooLarge, "full"));
            }
            self.0.extend_from_slice(part);
            Ok(())
        }
    }

    fn pack(coding: Coding, bytes: &[u8]) -> Vec<u8> {
        let mut packed = Vec::new();
        match coding {
            Coding::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(&mut packed, flate2::Compression::new(5));
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap();
            }
            Coding::Brotli => {
                brotli::CompressorWriter::new(&mut packed, 4_096, 5, 22).write_all(bytes).unwrap();
            }
            Coding::Zstd => packed = zstd::encode_all(bytes, 3).unwrap(),
        }
        packed
    }

    fn unpack(coding: Option<Coding>, packed: &[u8], step: usize, limit: usize) -> Result<Vec<u8>, Code> {
        let mut unpacker = Unpacker::new(coding, Vessel(Vec::new(), limit)).unwrap();
        for part in packed.chunks(step) {
            unpacker.push(&Bytes::copy_from_slice(part)).map_err(|refusal| refusal.code)?;
        }
        unpacker.finish().map(|vessel| vessel.0).map_err(|refusal| refusal.code)
    }

    #[test]
    fn what_was_packed_comes_out_however_it_is_cut() {
        let text = r#"{"queue":"q","payload":[1,2,3]}"#.repeat(5_000);
        for coding in Coding::ALL {
            let packed = pack(coding, text.as_bytes());
            for step in [7, 1_000, packed.len()] {
                assert!(unpack(Some(coding), &packed, step, 1 << 20).unwrap() == text.as_bytes(), "{coding:?} {step}");
            }
            assert_eq!(unpack(Some(coding), b"", 1, 1), Ok(Vec::new()), "{coding:?}");
        }
        assert_eq!(unpack(None, b"plain", 2, 5).unwrap(), b"plain");
        assert_eq!(unpack(None, b"plain", 2, 4), Err(Code::PayloadTooLarge));
    }

    #[test]
    fn a_bomb_is_given_up_at_the_limit() {
        let zeros = vec![0; 64 << 20];
        for coding in Coding::ALL {
            let packed = pack(coding, &zeros);
            assert!(packed.len() < zeros.len() / 500, "{coding:?}: {}", packed.len());
            assert_eq!(unpack(Some(coding), &packed, 4_096, 1 << 20), Err(Code::PayloadTooLarge), "{coding:?}");
        }
    }

    #[test]
    fn what_is_cut_off_or_something_else_is_refused() {
        for coding in Coding::ALL {
            let packed = pack(coding, "some text, some text, some text".repeat(50).as_bytes());
            let half = &packed[..packed.len() / 2];
            assert_eq!(unpack(Some(coding), half, 9, 1 << 20), Err(Code::InvalidArgument), "{coding:?}");
            assert_eq!(
                unpack(Some(coding), b"{\"queue\":\"q\"}", 9, 1 << 20),
                Err(Code::InvalidArgument),
                "{coding:?}"
            );
        }
    }

    #[test]
    fn a_window_that_would_take_all_memory_is_refused() {
        let mut zstd = zstd::Encoder::new(Vec::new(), 1).unwrap();
        zstd.window_log(27).unwrap();
        zstd.long_distance_matching(true).unwrap();
        zstd.write_all(&vec![7; 9 << 20]).unwrap();
        let long = zstd.finish().unwrap();
        for (coding, bytes) in [(Coding::Brotli, vec![0x11, 0x1e, 0, 0, 0, 0]), (Coding::Zstd, long)] {
            assert_eq!(unpack(Some(coding), &bytes, 64, 64 << 20), Err(Code::InvalidArgument), "{coding:?}");
        }
    }
}
