//! Reads of one group: at its leader, or on a replica if that is fresh enough.

use std::sync::Arc;

use bravo_api::convert::reads::Freshness;
use bravo_model::{Code, Refusal, Time};
use futures_util::FutureExt;

use crate::gateway::app::App;
use crate::gateway::call::Call;
use crate::raft::types::GroupId;
pub(crate) use crate::reads::Kind;
use crate::reads::Seen;
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
        && app.cluster.staleness_ms(group) <= max_ms.unwrap_or(app.limits.max_staleness_ms)
    {
        return app.cluster.read_stale(group, &query).await;
    }
    app.cluster.read(group, query, call.deadline).await
}

/// Reads as fresh as asked, and tells of when the answer is. What may be stale is shared among the replicas as
/// the kind's weight has it.
pub(crate) async fn read_shared(
    app: &Arc<App>,
    call: &Call,
    kind: Kind,
    group: GroupId,
    query: Query,
    freshness: Freshness,
) -> Result<Seen, Refusal> {
    let Freshness::Stale { max_ms } = freshness else {
        let as_of = app.cluster.as_of(group);
        return Ok((app.cluster.read(group, query, call.deadline).await?, as_of));
    };
    let bounds = (max_ms.unwrap_or(app.limits.max_staleness_ms), call.deadline);
    // Boxed, as what it may set off on this node is deep.
    app.cluster.read_shared(&app.reads, kind, group, query, bounds).boxed().await
}

/// Lists are stale unless the caller says otherwise.
pub(crate) fn or_stale(freshness: Freshness) -> Freshness {
    match freshness {
        Freshness::Default => Freshness::Stale { max_ms: None },
        other => other,
    }
}

/// The earlier of two moments: of that one the parts of an answer hold everything together.
pub(crate) fn earlier(oldest: Option<Time>, as_of: Time) -> Option<Time> {
    Some(oldest.map_or(as_of, |oldest| oldest.min(as_of)))
}

/// An answer of the wrong kind: a fault of this program.
pub(crate) fn wrong_answer() -> Refusal {
    Refusal::new(Code::Internal, "a read was answered with the wrong kind")
}
