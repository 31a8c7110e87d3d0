//! What a controller learned, and what is remembered of the nodes, as it is kept in meta: a format number, then postcard,
//! packed. Both know how long their ticks are: with others they mean nothing.

use bravo_model::Time;
use bravo_model::limits::SCALING_MEMORY_BYTES_MAX;
use bravo_scaling::{History, State};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::look::Totals;
use super::own;

/// The first byte. A memory of another format is not read: the controller begins anew.
const FORMAT: u8 = 3;
/// The first byte of what is remembered of the nodes.
const FORMAT_OWN: u8 = 4;
/// Bytes of a memory once it is unpacked.
const UNPACKED_MAX: usize = 4 << 20;
const LEVEL: i32 = 3;

/// Packs what was learned, and what had gone through the queues by then; none if it is too large to be kept.
pub(super) fn pack(tick_ms: u64, state: &State, totals: &Totals) -> Option<Bytes> {
    packed(FORMAT, &(tick_ms, state, totals))
}

/// Unpacks it; none if it is of other ticks.
pub(super) fn unpack(tick_ms: u64, bytes: &[u8]) -> Option<(State, Totals)> {
    let (of_ms, state, totals) = unpacked::<(u64, State, Totals)>(FORMAT, bytes)?;
    (of_ms == tick_ms).then_some((state, totals))
}

/// Packs what is remembered of the nodes, and when they were looked at last.
pub(super) fn pack_own(tick_ms: u64, at: Time, memory: [&History; 3]) -> Option<Bytes> {
    packed(FORMAT_OWN, &(tick_ms, at, memory))
}

/// Unpacks it; none if it is of other ticks.
pub(super) fn unpack_own(tick_ms: u64, bytes: &[u8]) -> Option<own::Memory> {
    let (of_ms, at, gauges) = unpacked::<(u64, Time, [History; 3])>(FORMAT_OWN, bytes)?;
    (of_ms == tick_ms).then_some(own::Memory { at: Some(at), gauges })
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
            state.history.push(tick.wrapping_mul(2_654_435_761));
        }
        controller = Controller::resume(controller.settings().clone(), state);
        controller.step(&Observation { t: 15.0, arrivals: 3, ..Observation::default() });
        let totals = Totals::default();
        let bytes = pack(15_000, controller.state(), &totals).unwrap();
        assert!(bytes.len() > 30_000, "{} bytes", bytes.len());
        assert_eq!(unpack(15_000, &bytes), Some((controller.state().clone(), totals)));
        assert_eq!(unpack(1_000, &bytes), None, "of other ticks");
    }

    #[test]
    fn what_is_remembered_of_the_nodes_fits_and_comes_back_and_is_no_controllers_memory() {
        let mut history = History::default();
        for tick in 0..170_000_u32 {
            history.push(tick.wrapping_mul(2_654_435_761));
        }
        let bytes = pack_own(15_000, 7, [&history; 3]).unwrap();
        let memory = unpack_own(15_000, &bytes).unwrap();
        assert_eq!((memory.at, memory.gauges), (Some(7), [history.clone(), history.clone(), history]));
        assert!(unpack_own(1_000, &bytes).is_none(), "of other ticks");
        assert_eq!(unpack(15_000, &bytes), None);
    }

    #[test]
    fn what_is_no_memory_is_not_taken_for_one() {
        for bytes in [&b""[..], b"\x04abc", b"\x03not packed"] {
            assert_eq!(unpack(15_000, bytes), None);
            assert!(unpack_own(15_000, bytes).is_none());
        }
    }
}
