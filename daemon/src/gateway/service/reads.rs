//! Reads of one group: at its leader, or on this node's replica if that is fresh enough.

use std::sync::Arc;

use bravo_api::convert::reads::Freshness;
use bravo_model::{Code, Refusal, Time};

use crate::gateway::app::App;
use crate::gateway::call::Call;
use crate::raft::network::COMMIT_HELD_MAX;
use crate::raft::types::GroupId;
use crate::transport::wire::{Answer, Query};

/// Reads as fresh as asked; what the caller left open is linearizable.
pub(crate) async fn read(
    app: &Arc<App>,
    call: &Call,
    group: GroupId,
    query: Query,
    freshness: Freshness,
) -> Result<Answer, Refusal> {
    if let Freshness::Stale { max_ms } = freshness
        && staleness_ms(app, group) <= max_ms.unwrap_or(app.limits.max_staleness_ms)
    {
        return app.cluster.read_stale(group, &query).await;
    }
    app.cluster.read(group, query, call.deadline).await
}

/// How old this node's replica may be; `u64::MAX` if that cannot be told.
pub(crate) fn staleness_ms(app: &App, group: GroupId) -> u64 {
    let Some(replica) = app.cluster.group(group) else { return u64::MAX };
    match replica.shared.leader() {
        None => u64::MAX,
        Some(leader) if leader == app.cluster.node => 0,
        // What the leader committed is told here a moment after its time is.
        Some(_) => {
            let told = replica.shared.clock.silent_for() + COMMIT_HELD_MAX;
            u64::try_from(told.as_millis()).unwrap_or(u64::MAX)
        }
    }
}

/// A moment of which this node's replica holds everything that was acknowledged before it.
pub(crate) fn as_of(app: &App, group: GroupId) -> Time {
    let now = app.cluster.group(group).map_or(0, |replica| replica.shared.clock.now());
    match staleness_ms(app, group) {
        u64::MAX => 0,
        ms => now.saturating_sub(ms),
    }
}

/// An answer of the wrong kind: a fault of this program.
pub(crate) fn wrong_answer() -> Refusal {
    Refusal::new(Code::Internal, "a read was answered with the wrong kind")
}
