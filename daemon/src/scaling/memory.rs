//! What a controller learned, and what is remembered of the nodes, as it is kept in meta: a format number, then postcard,
//! packed.

use bravo_model::limits::SCALING_MEMORY_BYTES_MAX;
use bravo_model::row::Flow;
use bravo_scaling::{History, State};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::own;

/// The first byte. A memory of another format is not read: the controller begins anew.
const FORMAT: u8 = 1;
/// The first byte of what is remembered of the nodes.
const FORMAT_OWN: u8 = 2;
/// Bytes of a memory once it is unpacked.
const UNPACKED_MAX: usize = 4 << 20;
const LEVEL: i32 = 3;

/// Packs what was learned, and what had gone through the queues by then; none if it is too large to be kept.
pub(super) fn pack(state: &State, totals: &Flow) -> Option<Bytes> {
    packed(FORMAT, &(state, totals))
}

/// Unpacks it.
pub(super) fn unpack(bytes: &[u8]) -> Option<(State, Flow)> {
    unpacked(FORMAT, bytes)
}

/// Packs what is remembered of the nodes.
pub(super) fn pack_own(memory: [&History; 3]) -> Option<Bytes> {
    packed(FORMAT_OWN, &memory)
}

/// Unpacks it.
pub(super) fn unpack_own(bytes: &[u8]) -> Option<own::Memory> {
    unpacked(FORMAT_OWN, bytes)
}

fn packed(format: u8, what: &impl Serialize) -> Option<Bytes> {
    let mut bytes = vec![format];
    bytes.extend(zstd::bulk::compress(&postcard::to_stdvec(what).ok()?, LEVEL).ok()?);
    (bytes.len() <= SCALING_MEMORY_BYTES_MAX).then(|| bytes.into())
}

fn unpacked<T: DeserializeOwned>(format: u8, bytes: &[u8]) -> Option<T> {
    let packed = bytes.strip_prefix(&[format])?;
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
    fn what_is_remembered_of_the_nodes_fits_and_comes_back_and_is_no_controllers_memory() {
        let mut history = History::default();
        for tick in 0..170_000_u32 {
            history.push(tick.wrapping_mul(2_654_435_761) >> 16);
        }
        let bytes = pack_own([&history; 3]).unwrap();
        assert_eq!(unpack_own(&bytes), Some([history.clone(), history.clone(), history]));
        assert_eq!(unpack(&bytes), None);
    }

    #[test]
    fn what_is_no_memory_is_not_taken_for_one() {
        for bytes in [&b""[..], b"\x02abc", b"\x01not packed"] {
            assert_eq!(unpack(bytes), None);
            assert_eq!(unpack_own(bytes), None);
        }
    }
}
