//! What became of each question, tier by tier, for whoever counts it.

/// Hears of each question to a tier (`pages`, `memory` or `disk`) and whether it had the value. A tier is
/// asked for what the ones before it did not have.
pub type Asked = fn(tier: &'static str, hit: bool);

/// For those who do not count.
pub fn not_counted(_: &'static str, _: bool) {}

/// The tiers of the payload cache.
#[derive(Clone, Copy)]
pub(super) struct Counters {
    pub(super) asked: Asked,
    pub(super) on_disk: bool,
}

impl Counters {
    pub(super) fn found_in_memory(self) {
        (self.asked)("memory", true);
    }

    pub(super) fn found_on_disk(self) {
        (self.asked)("memory", false);
        (self.asked)("disk", true);
    }

    pub(super) fn missed(self) {
        (self.asked)("memory", false);
        if self.on_disk {
            (self.asked)("disk", false);
        }
    }
}
