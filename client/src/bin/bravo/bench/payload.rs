//! What jobs carry: a JSON string whose head says when the job was meant to start.

use bytes::Bytes;

/// Hexadecimal digits of the run's number, and of the start in microseconds.
const TAG: usize = 4;
const START: usize = 12;
/// The shortest payload: both, in quotes.
pub(super) const BYTES_MIN: usize = TAG + START + 2;

/// Makes and reads the payloads of one run.
#[derive(Clone, Debug)]
pub(super) struct Payload {
    tag: [u8; TAG],
    bytes: usize,
}

impl Payload {
    /// Payloads of this many bytes, of the run with this number.
    pub(super) fn new(run: u16, bytes: usize) -> Self {
        let mut tag = [0; TAG];
        digits(run.into(), &mut tag);
        Self { tag, bytes: bytes.max(BYTES_MIN) }
    }

    /// The payload of a job that was meant to start then.
    pub(super) fn at(&self, start_us: u64) -> Bytes {
        let mut text = vec![b'x'; self.bytes];
        text[0] = b'"';
        text[self.bytes - 1] = b'"';
        text[1..=TAG].copy_from_slice(&self.tag);
        digits(start_us, &mut text[TAG + 1..BYTES_MIN - 1]);
        text.into()
    }

    /// When the job was meant to start; none if it is of another run.
    pub(super) fn start_us(&self, text: &[u8]) -> Option<u64> {
        let (tag, rest) = text.strip_prefix(b"\"")?.split_at_checked(TAG)?;
        let start = std::str::from_utf8(rest.get(..START)?).ok()?;
        (tag == self.tag).then(|| u64::from_str_radix(start, 16).ok()).flatten()
    }
}

fn digits(mut number: u64, text: &mut [u8]) {
    for place in text.iter_mut().rev() {
        *place = b"0123456789abcdef"[(number & 15) as usize];
        number >>= 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_comes_back() {
        for bytes in [0, BYTES_MIN, 256, 4_096] {
            let payload = Payload::new(0xbeef, bytes);
            for start in [0, 1, 123_456_789, (1 << 48) - 1] {
                let text = payload.at(start);
                assert_eq!(text.len(), bytes.max(BYTES_MIN));
                assert!(serde_json::from_slice::<String>(&text).is_ok());
                assert_eq!(payload.start_us(&text), Some(start));
                assert_eq!(Payload::new(1, bytes).start_us(&text), None);
            }
        }
        for foreign in [&b"null"[..], b"", b"\"beef", b"\"beefxxxxxxxxxxxx\""] {
            assert_eq!(Payload::new(0xbeef, 18).start_us(foreign), None);
        }
    }
}
