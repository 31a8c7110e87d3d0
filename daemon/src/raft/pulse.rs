//! Heartbeats and elections of all groups of a node, on one clock.
//!
//! openraft would run a clock for each group, some 25 times a second; with those disabled, the heartbeats of
//! all groups leave together and share packets, and an idle node sleeps. A follower that hears nothing from
//! its leader asks for an election (with a pre-vote) after a silence that it draws for itself. The draws of a
//! group's voters do not overlap, so that two of them rarely stand against each other; who draws the
//! shortest differs from group to group, so that a dead node's groups spread over those that are left.

use std::time::{Duration, Instant};

use rand::Rng;

use super::group::Group;
use super::types::{GroupId, NodeId};

/// Longest sleep: a group that was just formed, or has lost its leader, is noticed within this.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The times of elections.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Between two heartbeats of a leader.
    pub heartbeat: Duration,
    /// Shortest silence after which a follower asks for an election; a leader's lease ends a little before.
    pub silence_min: Duration,
    /// Longest such silence.
    pub silence_max: Duration,
}

impl Timing {
    /// How long a voter bears silence: a part of the span between the bounds that no other voter draws from.
    fn patience(&self, group: GroupId, node: NodeId, voters: &[NodeId], rng: &mut impl Rng) -> Duration {
        let count = voters.len().max(1) as u32;
        let place = voters.iter().position(|voter| *voter == node).unwrap_or(0) as u32;
        let turn = (place + count - group % count) % count;
        let share = self.silence_max.saturating_sub(self.silence_min) / count;
        // Half of the share stays free between two voters' draws.
        self.silence_min + share * turn + share.mul_f64(rng.random_range(0.0..0.5))
    }
}

/// One group's next election, while this node follows.
struct Watched {
    group: Group,
    patience: Duration,
    /// Not before then: an election that was asked for is given some time.
    not_before: Instant,
}

/// Beats for the groups that `node` leads and watches over the leaders of the others, until they end.
pub async fn run(node: NodeId, groups: Vec<Group>, timing: Timing) {
    let draw = |group: &Group| timing.patience(group.shared.group, node, &group.voters(), &mut rand::rng());
    let mut watched: Vec<Watched> =
        groups.into_iter().map(|group| Watched { patience: draw(&group), group, not_before: Instant::now() }).collect();
    let mut next_beat = Instant::now();
    while !watched.is_empty() {
        let now = Instant::now();
        let beats = now >= next_beat;
        if beats {
            next_beat = now + timing.heartbeat;
        }
        let mut wake = next_beat.min(now + LOOK_EVERY);
        for one in &mut watched {
            if one.group.raft.is_leader() {
                if beats {
                    let _ = one.group.raft.trigger().heartbeat().await;
                }
                continue;
            }
            let voters = one.group.voters();
            if !voters.contains(&node) {
                continue;
            }
            let alone = voters.len() == 1;
            let patience = if alone { Duration::ZERO } else { one.patience };
            let due = (one.group.shared.heard() + patience).max(one.not_before);
            if due > now {
                wake = wake.min(due);
                continue;
            }
            let _ = one.group.raft.trigger().elect(!alone).await;
            one.patience = draw(&one.group);
            one.not_before = now + one.patience / 2;
        }
        watched.retain(|one| one.group.metrics().running_state.is_ok());
        tokio::time::sleep_until(wake.into()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_voters_of_a_group_draw_the_same_patience_and_each_is_first_somewhere() {
        let ms = Duration::from_millis;
        let timing = Timing { heartbeat: ms(200), silence_min: ms(500), silence_max: ms(700) };
        let voters = [1, 2, 3];
        let mut first = std::collections::BTreeSet::new();
        for group in 0..9 {
            for _ in 0..100 {
                let mut draws = voters.map(|node| (timing.patience(group, node, &voters, &mut rand::rng()), node));
                draws.sort_unstable();
                assert!(draws.windows(2).all(|pair| pair[1].0 - pair[0].0 > ms(30)), "{draws:?}");
                assert!(draws[0].0 >= ms(500) && draws[2].0 < ms(700), "{draws:?}");
                first.insert(draws[0].1);
            }
        }
        assert_eq!(first.len(), 3);
    }
}
