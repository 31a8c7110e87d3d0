//! Whether this node can serve: it knows a leader for every group and has caught up with it.

use std::time::Duration;

use serde::Serialize;

use crate::gateway::app::App;
use crate::raft::group::Group;
use crate::raft::types::META_GROUP;

/// A follower that heard nothing for this long does not know whether its leader still leads.
const SILENCE_MS_MAX: u64 = 3_000;
/// A leader that no majority answered for this long does not know whether it still leads.
const QUORUM_SILENCE_MAX: Duration = Duration::from_secs(3);
/// Entries that a follower may be behind.
const BEHIND_MAX: u64 = 4_096;

/// The answer to `/ready`.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Readiness {
    status: &'static str,
    /// Groups that keep the node from being ready, and why.
    waiting: Vec<Waiting>,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
struct Waiting {
    group: String,
    reason: &'static str,
}

impl Readiness {
    /// Whether the node can serve.
    pub(crate) fn is_ready(&self) -> bool {
        self.status == "ready"
    }
}

/// Looks at every group.
pub(crate) fn look(app: &App) -> Readiness {
    if app.drain.is_cancelled() {
        return Readiness { status: "draining", waiting: Vec::new() };
    }
    let waiting: Vec<Waiting> = app.cluster.groups().iter().filter_map(|group| judge(app, group)).collect();
    Readiness { status: if waiting.is_empty() { "ready" } else { "not_ready" }, waiting }
}

fn judge(app: &App, group: &Group) -> Option<Waiting> {
    let id = group.shared.group;
    let name = if id == META_GROUP { "meta".into() } else { group.shared.partition.to_string() };
    let because = |reason| Some(Waiting { group: name, reason });
    if group.shared.leader().is_none() {
        return because("no leader is known");
    }
    if app.cluster.staleness_ms(id) > SILENCE_MS_MAX {
        return because("nothing was heard of the leader lately");
    }
    let committed = group.metrics().cluster_committed.map_or(0, |id| id.index);
    if group.shared.is_leader() && group.quorum_silence() > QUORUM_SILENCE_MAX {
        return because("no majority answers");
    }
    if group.shared.applied() + BEHIND_MAX < committed {
        return because("it has not caught up");
    }
    None
}
