//! Workers that are on their way: agents that a pool was told to start and that are not there yet.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bravo_model::Name;

/// What is known of a pool that grows.
pub(crate) struct Growing {
    /// The type of its agents.
    pub(crate) agent_type: Name,
    /// Agents that were asked for and are not there.
    pub(crate) missing: u32,
    /// How long one takes to start.
    pub(crate) boot: Duration,
}

/// Since when how many agents of each type are missing; of as many types as pools are told of.
#[derive(Default)]
pub(crate) struct OnTheWay(BTreeMap<Name, (u32, Instant)>);

impl OnTheWay {
    /// Agents of each type that are expected, and in how many milliseconds. Those that are late are not counted on.
    pub(crate) fn look(&mut self, pools: Vec<Growing>, now: Instant) -> BTreeMap<Name, (u32, f64)> {
        let mut expected = BTreeMap::new();
        let mut known = std::mem::take(&mut self.0);
        for Growing { agent_type, missing, boot } in pools.into_iter().filter(|pool| pool.missing > 0) {
            // Further ones were asked for just now; when some have come, the rest is as old as it was.
            let since =
                known.remove(&agent_type).filter(|(before, _)| missing <= *before).map_or(now, |(_, since)| since);
            self.0.insert(agent_type.clone(), (missing, since));
            let left = boot.saturating_sub(now.saturating_duration_since(since));
            if !left.is_zero() {
                expected.insert(agent_type, (missing, left.as_secs_f64() * 1e3));
            }
        }
        expected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_are_expected_until_they_should_be_there_and_others_anew() {
        let (start, mut way) = (Instant::now(), OnTheWay::default());
        let coder = Name::parse("name", "coder").unwrap();
        let mut look = |missing: u32, second: u64| {
            let pools = vec![Growing { agent_type: coder.clone(), missing, boot: Duration::from_secs(60) }];
            way.look(pools, start + Duration::from_secs(second)).get(&coder).copied()
        };
        assert_eq!(look(0, 0), None);
        assert_eq!(look(4, 10), Some((4, 60_000.0)));
        assert_eq!(look(4, 30), Some((4, 40_000.0)));
        assert_eq!(look(2, 40), Some((2, 30_000.0)), "two have come, the others are on their way as before");
        assert_eq!(look(2, 70), None, "they are late, and may never come");
        assert_eq!(look(5, 71), Some((5, 60_000.0)), "more were asked for");
        assert_eq!((look(0, 72), look(1, 73)), (None, Some((1, 60_000.0))));
    }
}
