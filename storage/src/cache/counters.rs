//! What became of each question, tier by tier, for whoever counts it.

/// Hears of each question to a tier of a cache, and whether it had the value: the cache's name, the tier's
/// (`pages`, `memory` or `disk`). A tier is asked for what the ones before it did not have.
pub type Asked = fn(cache: &'static str, tier: &'static str, hit: bool);

/// For those who do not count.
pub fn not_counted(_: &'static str, _: &'static str, _: bool) {}

/// The tiers of one cache.
#[derive(Clone, Copy)]
pub(super) struct Counters {
    pub(super) cache: &'static str,
    pub(super) asked: Asked,
    pub(super) on_disk: bool,
}

impl Counters {
    pub(super) fn found_in_memory(self) {
        (self.asked)(self.cache, "memory", true);
    }

    pub(super) fn found_on_disk(self) {
        (self.asked)(self.cache, "memory", false);
        (self.asked)(self.cache, "disk", true);
    }

    pub(super) fn missed(self) {
        (self.asked)(self.cache, "memory", false);
        if self.on_disk {
            (self.asked)(self.cache, "disk", false);
        }
    }
}
