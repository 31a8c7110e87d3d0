//! Who goes first when not all can be let in: the lowest priority, and within a priority some tenants whole.
//!
//! ```text
//!  rung  159 ┐ priority 9, sixteen groups of tenants     ▲ let in
//!        ... ┘                                           │
//!         84 ─ gate: the first rung that is let in whole ┤
//!         83 ─ of this one a share                       │
//!        ... ┐                                           ▼ refused
//!          0 ┘ priority 0
//! ```

use super::PRIORITIES;

/// Groups that the tenants of a priority fall into.
const GROUPS: usize = 16;
/// All rungs.
pub(crate) const RUNGS: usize = PRIORITIES * GROUPS;
/// How long the order of the groups stays as it is: then others are served whole.
const TURN_MS: u64 = 3_600_000;

/// The rung of a tenant's job; `now_ms` is the same for all nodes, more or less.
pub(crate) fn rung(priority: usize, tenant: &str, now_ms: u64) -> usize {
    let group = (hash(tenant) ^ splitmix(now_ms / TURN_MS)) as usize % GROUPS;
    priority.min(PRIORITIES - 1) * GROUPS + group
}

/// A tenant's hash: the same on each node.
pub(crate) fn hash(tenant: &str) -> u64 {
    // FNV-1a, then mixed: names that differ in their last letter fall into any groups.
    splitmix(
        tenant
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)),
    )
}

/// Spreads the bits of a number (the last step of SplitMix64).
pub(crate) fn splitmix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// What is let in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Gate {
    /// The first rung that is let in whole.
    pub(crate) rung: usize,
    /// How much of the rung below is.
    pub(crate) share: f64,
}

impl Gate {
    /// All is let in.
    pub(crate) const OPEN: Self = Self { rung: 0, share: 0.0 };

    /// Whether all is let in.
    pub(crate) fn is_open(self) -> bool {
        self.rung == 0
    }

    /// Whether a job of this rung may pass, the `nth` that asks.
    pub(crate) fn lets_in(self, rung: usize, nth: u64) -> bool {
        if rung + 1 != self.rung {
            return rung >= self.rung;
        }
        let passed = |n: u64| (n as f64 * self.share) as u64;
        passed(nth + 1) > passed(nth)
    }

    /// The gate on its way to another place: at once if that is far, otherwise slowly, so that those near the edge
    /// stay on their side for a while.
    pub(crate) fn towards(self, to: Self) -> Self {
        let (from, to) = (self.rung as f64 - self.share, to.rung as f64 - to.share);
        let by = to - from;
        let at = if by.abs() >= GROUPS as f64 || to <= 0.0 { to } else { by.mul_add(Self::PACE, from) };
        let rung = at.max(0.0).ceil();
        Self { rung: rung as usize, share: (rung - at).clamp(0.0, 1.0) }
    }

    /// How much of the way is gone in a tick.
    const PACE: f64 = 0.03;

    /// How much is shut: 0 where all is let in, 1 where nothing is.
    pub(crate) fn shut(self) -> f64 {
        (self.rung as f64 - self.share).max(0.0) / RUNGS as f64
    }
}

/// What comes, by rung, per tick: smoothed, but a rise or fall that is no luck is believed at once.
#[derive(Clone, Debug)]
pub(crate) struct Demand {
    rungs: [f64; RUNGS],
}

impl Default for Demand {
    fn default() -> Self {
        Self { rungs: [0.0; RUNGS] }
    }
}

impl Demand {
    /// How much the newest tick counts.
    const NEWEST: f64 = 0.05;

    /// Takes a tick's counts in.
    pub(crate) fn tick(&mut self, counts: &[f64; RUNGS]) {
        let (before, newest) = (self.total(), counts.iter().sum::<f64>());
        let newest = if has_moved(before, newest) { 1.0 } else { Self::NEWEST };
        for (rung, count) in self.rungs.iter_mut().zip(counts) {
            *rung += (count - *rung) * newest;
        }
    }

    /// All that comes in a tick.
    pub(crate) fn total(&self) -> f64 {
        self.rungs.iter().sum()
    }

    /// The gate behind which just so much comes a tick as there is room for: `room` is what a priority and all
    /// above it may have together, with what is let in ungated.
    pub(crate) fn gate(&self, room: impl Fn(usize) -> f64) -> Gate {
        let mut sum = 0.0;
        for (rung, count) in self.rungs.iter().enumerate().rev() {
            let left = room(rung / GROUPS) - sum;
            if *count > left.max(0.0) {
                return Gate { rung: rung + 1, share: (left / count).clamp(0.0, 1.0) };
            }
            sum += count;
        }
        Gate::OPEN
    }
}

/// Whether a count of events rose or fell by more than luck explains.
pub(crate) fn has_moved(before: f64, newest: f64) -> bool {
    let by = (newest - before).abs();
    by > before * 0.3 && by > 3.0 * before.sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_priority_goes_first_and_tenants_stay_on_their_side() {
        let mut counts = [0.0; RUNGS];
        let tenants: Vec<String> = (0..100).map(|n| format!("tenant-{n}")).collect();
        for tenant in &tenants {
            counts[rung(2, tenant, 0)] += 1.0;
            counts[rung(7, tenant, 0)] += 1.0;
        }
        let mut demand = Demand::default();
        demand.tick(&counts);
        let gate = demand.gate(|_| 150.0);
        let let_in = |tenant: &String| (0..10).filter(|nth| gate.lets_in(rung(2, tenant, 0), *nth)).count();
        assert!(tenants.iter().all(|tenant| gate.lets_in(rung(7, tenant, 0), 0)));
        let whole = tenants.iter().filter(|tenant| let_in(tenant) == 10).count();
        let none = tenants.iter().filter(|tenant| let_in(tenant) == 0).count();
        assert!((30..=50).contains(&whole) && whole + none >= 85, "{whole} whole, {none} not at all");
    }

    #[test]
    fn within_an_hour_a_tenant_keeps_its_place_and_over_a_day_has_many() {
        assert_eq!(rung(0, "a", 1), rung(0, "a", TURN_MS - 1));
        let places: std::collections::BTreeSet<usize> = (0..24).map(|hour| rung(0, "a", hour * TURN_MS)).collect();
        assert!(places.len() > 8, "{places:?}");
    }

    #[test]
    fn of_the_rung_at_the_edge_a_share_is_let_in() {
        let gate = Gate { rung: 5, share: 0.25 };
        assert_eq!((0..100).filter(|nth| gate.lets_in(4, *nth)).count(), 25);
        assert_eq!((0..100).filter(|nth| gate.lets_in(3, *nth)).count(), 0);
        assert_eq!((0..100).filter(|nth| gate.lets_in(5, *nth)).count(), 100);
    }

    #[test]
    fn a_fall_is_believed_at_once_and_noise_is_not() {
        let mut counts = [0.0; RUNGS];
        counts[80] = 200.0;
        let mut demand = Demand::default();
        demand.tick(&counts);
        counts[80] = 180.0;
        demand.tick(&counts);
        assert!((demand.total() - 199.0).abs() < 0.01);
        counts[80] = 50.0;
        demand.tick(&counts);
        assert_eq!(demand.total(), 50.0);
    }
}
