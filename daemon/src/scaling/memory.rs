//! What a controller learned, as it is kept in meta: a format number, then postcard, packed.

use bravo_model::limits::SCALING_MEMORY_BYTES_MAX;
use bravo_model::row::Flow;
use bravo_scaling::State;
use bytes::Bytes;

/// The first byte. A memory of another format is not read: the controller begins anew.
const FORMAT: u8 = 1;
/// Bytes of a memory once it is unpacked.
const UNPACKED_MAX: usize = 4 << 20;
const LEVEL: i32 = 3;

/// Packs what was learned, and what had gone through the queues by then; none if it is too large to be kept.
pub(super) fn pack(state: &State, totals: &Flow) -> Option<Bytes> {
    let plain = postcard::to_stdvec(&(state, totals)).ok()?;
    let mut bytes = vec![FORMAT];
    bytes.extend(zstd::bulk::compress(&plain, LEVEL).ok()?);
    (bytes.len() <= SCALING_MEMORY_BYTES_MAX).then(|| bytes.into())
}

/// Unpacks it.
pub(super) fn unpack(bytes: &[u8]) -> Option<(State, Flow)> {
    let (FORMAT, packed) = bytes.split_first().map(|(format, rest)| (*format, rest))? else { return None };
    let plain = zstd::bulk::decompress(packed, UNPACKED_MAX).ok()?;
    postcard::from_bytes(&plain).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bravo_scaling::{Controller, Observation, Settings};

    #[test]
    fn the_memory_of_four_weeks_fits_and_comes_back_as_it_was() {
        let mut controller =
            Controller::new(Settings { policy: bravo_scaling::Policy::Reactive, ..Settings::default() });
        let mut state = controller.state().clone();
        for tick in 0..170_000_u32 {
            // As hard to pack as can be.
            state.history.push(tick.wrapping_mul(2_654_435_761) >> 16);
        }
        controller = Controller::resume(controller.settings().clone(), state);
        controller.step(&Observation { t: 15.0, arrivals: 3, ..Observation::default() });
        let totals = Flow { arrived: 7, service_ms2: u128::MAX, ..Flow::default() };
        let bytes = pack(controller.state(), &totals).unwrap();
        assert!(bytes.len() > 30_000, "{} bytes", bytes.len());
        assert_eq!(unpack(&bytes), Some((controller.state().clone(), totals)));
    }

    #[test]
    fn what_is_no_memory_is_not_taken_for_one() {
        for bytes in [&b""[..], b"\x02abc", b"\x01not packed"] {
            assert_eq!(unpack(bytes), None);
        }
    }
}
