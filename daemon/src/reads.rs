//! Reads that need not hold the very last write: from any replica that is fresh enough, as configured.
//!
//! ```text
//!   weights ──► Spread ──┬── a replica that does not lead ──► not fresh enough, or silent ──┐
//!                        │                                                                  ▼
//!                        └──────────────────────────────────────────────────────────── the leader
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bravo_model::{Refusal, Time};

use crate::cluster::Cluster;
use crate::config;
use crate::query;
use crate::raft::network::COMMIT_HELD_MAX;
use crate::raft::types::{GroupId, NodeId};
use crate::telemetry::events::ReadServed;
use crate::transport::wire::{Answer, Query, Request, Response};

/// Longest wait for another node's replica before the leader is asked.
const REPLICA_PATIENCE: Duration = Duration::from_millis(250);
/// Replicas that are asked before the leader is.
const REPLICAS_TRIED: usize = 2;

/// What a read is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Lists of templates, and searches.
    TemplateSearch,
    /// Lists and counts of all else.
    Analytics,
    /// Workflows and lists of them.
    WorkflowStatus,
    /// Queues with their counts: what waits for which agents.
    AgentMetrics,
}

impl Kind {
    /// Every kind, in the order of its number.
    pub const ALL: [Self; 4] = [Self::TemplateSearch, Self::Analytics, Self::WorkflowStatus, Self::AgentMetrics];

    /// Its name in the configuration and the metric.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TemplateSearch => "template_search",
            Self::Analytics => "analytics",
            Self::WorkflowStatus => "workflow_status",
            Self::AgentMetrics => "agent_metrics",
        }
    }
}

/// Decides which reads go to replicas: of any hundred of one kind and group exactly as many as configured, as
/// evenly as can be.
#[derive(Debug)]
pub struct Spread {
    percent: [u64; Kind::ALL.len()],
    /// By group and kind: hundredths of a read that replicas are owed, summed up.
    owed: Vec<[AtomicU64; Kind::ALL.len()]>,
    /// Whose turn it is among the replicas.
    turn: AtomicUsize,
}

impl Spread {
    /// For so many groups.
    pub fn new(config: &config::Reads, groups: usize) -> Self {
        let percent = [config.template_search, config.analytics, config.workflow_status, config.agent_metrics];
        // Groups begin at different places, so that the parts of one list do not all go to leaders at once.
        let owed = (0..groups as u64).map(|group| std::array::from_fn(|_| AtomicU64::new(group * 37 % 100)));
        Self { percent: percent.map(u64::from), owed: owed.collect(), turn: AtomicUsize::new(0) }
    }

    fn goes_to_replica(&self, kind: Kind, group: GroupId) -> bool {
        let percent = self.percent.get(kind as usize).copied().unwrap_or_default();
        let Some(owed) = self.owed.get(group as usize).and_then(|kinds| kinds.get(kind as usize)) else { return false };
        let before = owed.fetch_add(percent, Ordering::Relaxed);
        before.wrapping_add(percent) / 100 > before / 100
    }
}

/// An answer, and a moment of which it holds everything that was acknowledged before it.
pub type Seen = (Answer, Time);

impl Cluster {
    /// Reads at a replica that does not lead or at the leader, as the weights have it. A replica answers if it
    /// is no older than `max_ms`; else the leader does.
    pub async fn read_shared(
        self: &Arc<Self>,
        spread: &Spread,
        kind: Kind,
        group: GroupId,
        query: Query,
        (max_ms, deadline): (u64, Instant),
    ) -> Result<Seen, Refusal> {
        if spread.goes_to_replica(kind, group)
            && let Some(seen) = self.read_replica(spread, group, &query, max_ms).await
        {
            ReadServed { kind: kind.as_str(), served_by: "replica" }.emit();
            return Ok(seen);
        }
        let as_of = self.as_of(group);
        let answer = self.read(group, query, deadline).await?;
        ReadServed { kind: kind.as_str(), served_by: "leader" }.emit();
        Ok((answer, as_of))
    }

    /// Reads at this node's replica if it does not lead, else at another that does not.
    async fn read_replica(
        self: &Arc<Self>,
        spread: &Spread,
        group: GroupId,
        query: &Query,
        max_ms: u64,
    ) -> Option<Seen> {
        let leader = self.group(group)?.shared.leader();
        if leader != Some(self.node)
            && let Some(seen) = self.read_here(group, query, max_ms).await
        {
            return Some(seen);
        }
        let others: Vec<NodeId> = self.group(group)?.voters();
        let others: Vec<NodeId> =
            others.into_iter().filter(|node| Some(*node) != leader && *node != self.node).collect();
        let first = spread.turn.fetch_add(1, Ordering::Relaxed);
        for place in 0..others.len().min(REPLICAS_TRIED) {
            let node = others[first.wrapping_add(place) % others.len()];
            let call = self.call(node, Request::StaleQuery(group, query.clone(), max_ms));
            if let Ok(Ok(Response::Seen(Some(seen)))) = tokio::time::timeout(REPLICA_PATIENCE, call).await {
                return Some(*seen);
            }
        }
        None
    }

    /// Reads this node's replica if it is no older than that.
    pub(crate) async fn read_here(&self, group: GroupId, query: &Query, max_ms: u64) -> Option<Seen> {
        if self.staleness_ms(group) > max_ms {
            return None;
        }
        let as_of = self.as_of(group);
        let answer = query::answer(&self.group(group)?.shared, query).await;
        Some((answer, as_of))
    }

    /// How old this node's replica may be; `u64::MAX` if that cannot be told.
    pub fn staleness_ms(&self, group: GroupId) -> u64 {
        let Some(replica) = self.group(group) else { return u64::MAX };
        match replica.shared.leader() {
            None => u64::MAX,
            Some(leader) if leader == self.node => age_at_leader(replica.quorum_silence(), replica.lease()),
            // What the leader committed is told here a moment after its time is.
            Some(_) => ms(replica.shared.clock.silent_for() + COMMIT_HELD_MAX),
        }
    }

    /// How long this node has not heard of the group's time, whoever leads it; if it leads, as it believes, how long
    /// it has not heard of a majority.
    pub fn silent_ms(&self, group: GroupId) -> u64 {
        let Some(replica) = self.group(group) else { return u64::MAX };
        if replica.shared.leader() == Some(self.node) {
            return ms(replica.quorum_silence());
        }
        ms(replica.shared.clock.silent_for())
    }

    /// The group's time, as this node carries it forward.
    pub fn now(&self, group: GroupId) -> Time {
        self.group(group).map_or(0, |replica| replica.shared.clock.now())
    }

    /// A moment of which this node's replica holds everything that was acknowledged before it.
    pub fn as_of(&self, group: GroupId) -> Time {
        let now = self.now(group);
        match self.staleness_ms(group) {
            u64::MAX => 0,
            ms => now.saturating_sub(ms),
        }
    }
}

/// How old a leader's replica may be that a majority answered so long ago: nobody else leads while its lease lasts, and
/// any other node may have led since.
fn age_at_leader(quorum_silence: Duration, lease: Duration) -> u64 {
    if quorum_silence <= lease { 0 } else { ms(quorum_silence) }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_whom_no_majority_answers_does_not_take_its_replica_for_fresh() {
        let lease = Duration::from_millis(650);
        assert_eq!(age_at_leader(Duration::from_millis(200), lease), 0);
        assert_eq!(age_at_leader(lease, lease), 0);
        assert_eq!(age_at_leader(Duration::from_millis(651), lease), 651);
        assert_eq!(age_at_leader(Duration::from_secs(3_600), lease), 3_600_000);
    }

    #[test]
    fn of_a_hundred_reads_as_many_as_configured_go_to_replicas_and_evenly() {
        for percent in [0_u32, 1, 33, 60, 80, 90, 99, 100] {
            let config = config::Reads { workflow_status: percent, ..config::Reads::default() };
            let spread = Spread::new(&config, 9);
            for group in 0..9 {
                let mut sent = 0;
                for n in 1..=1_000_u32 {
                    sent += u32::from(spread.goes_to_replica(Kind::WorkflowStatus, group));
                    let fair = f64::from(n * percent) / 100.0;
                    assert!((f64::from(sent) - fair).abs() <= 1.0, "{percent} %: {sent} of {n}");
                }
                assert_eq!(sent, percent * 10);
            }
        }
    }

    #[test]
    fn kinds_have_the_weights_of_their_names() {
        let config = config::Reads { template_search: 0, analytics: 100, workflow_status: 0, agent_metrics: 100 };
        let spread = Spread::new(&config, 1);
        assert_eq!(Kind::ALL.map(|kind| spread.goes_to_replica(kind, 0)), [false, true, false, true]);
    }
}
