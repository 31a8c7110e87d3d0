//! The cluster as this node knows it, and where leadership is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bravo_api::proto;
use bravo_model::{Code, Refusal};
use futures_util::future::join_all;

use crate::gateway::app::App;
use crate::gateway::call::Call;
use crate::raft::group::Group;
use crate::raft::types::{GroupId, META_GROUP, Member, NodeId, partition_group};
use crate::transport::wire::{NodeStatus, Request, Response};

/// Longest wait for a node to say how it is.
const PATIENCE: Duration = Duration::from_millis(500);
/// Longest wait for the new leader.
const TRANSFER: Duration = Duration::from_secs(3);

/// What each node says of itself; those that do not answer are left out.
type Statuses = BTreeMap<NodeId, NodeStatus>;

/// Nodes, partitions, leaders.
pub(crate) async fn overview(app: &Arc<App>) -> proto::ClusterView {
    let statuses = statuses(app).await;
    let mut groups = app.cluster.groups().iter().map(|group| partition(app, group, &statuses));
    let meta = groups.next();
    let partitions = groups.collect();
    proto::ClusterView { name: app.cluster.name.clone(), nodes: nodes(app, &statuses), partitions, meta }
}

async fn statuses(app: &Arc<App>) -> Statuses {
    let asks = app.cluster.members().into_keys().map(|node| async move {
        match tokio::time::timeout(PATIENCE, app.cluster.call(node, Request::Status)).await {
            Ok(Ok(Response::Status(status))) => Some((node, status)),
            _ => None,
        }
    });
    join_all(asks).await.into_iter().flatten().collect()
}

fn nodes(app: &App, statuses: &Statuses) -> Vec<proto::Node> {
    let voters: Vec<NodeId> = app.cluster.group(META_GROUP).map_or_else(Vec::new, Group::voters);
    let node = |(id, member): (NodeId, Member)| {
        let status = statuses.get(&id);
        proto::Node {
            id,
            public: member.public,
            peer: member.peer,
            role: if voters.contains(&id) { "voter" } else { "learner" }.into(),
            state: if status.is_some() { "up" } else { "down" }.into(),
            version: status.map_or_else(String::new, |status| status.version.clone()),
        }
    };
    app.cluster.members().into_iter().map(node).collect()
}

fn partition(app: &App, group: &Group, statuses: &Statuses) -> proto::Partition {
    let id = group.shared.group;
    let leader = group.shared.leader();
    let metrics = group.metrics();
    let membership = metrics.membership_config.membership();
    let applied = |node: NodeId| {
        let all = &statuses.get(&node)?.applied;
        all.iter().find(|(group, _)| *group == id).map(|(_, index)| *index)
    };
    let newest = metrics.last_log_index.into_iter().chain(leader.and_then(applied)).max();
    let voters: Vec<NodeId> = membership.voter_ids().collect();
    let member = |node: NodeId| {
        let replicated =
            metrics.replication.as_ref().and_then(|all| all.get(&node)).and_then(|at| at.map(|at| at.index));
        // Only the leader knows what is in a follower's log; what a node says it applied is there for sure.
        let matched = replicated.max(applied(node));
        proto::PartitionMember {
            node,
            role: match leader {
                Some(leader) if leader == node => "leader",
                _ if voters.contains(&node) => "follower",
                _ => "learner",
            }
            .into(),
            matched,
            lag: matched.zip(newest).map(|(matched, newest)| newest.saturating_sub(matched)),
        }
    };
    proto::Partition {
        id: if id == META_GROUP { 0 } else { group.shared.partition.into() },
        leader,
        term: metrics.current_term,
        last_applied: applied(app.cluster.node).unwrap_or_else(|| group.shared.applied()),
        members: membership.nodes().map(|(node, _)| member(*node)).collect(),
    }
}

/// The group that a caller names: a job partition, or meta.
pub(crate) fn group_of(app: &App, partition: Option<u32>) -> Result<GroupId, Refusal> {
    let Some(number) = partition else { return Ok(META_GROUP) };
    let number = u16::try_from(number).ok().filter(|number| *number < app.cluster.partitions());
    let unknown = || Refusal::new(Code::NotFound, "partition: there is no such partition");
    Ok(partition_group(number.ok_or_else(unknown)?))
}

/// Adds a node to every group; answers when it has caught up and votes where there is room.
pub(crate) async fn add_member(
    app: &Arc<App>,
    call: &Call,
    asked: proto::AddMemberRequest,
) -> Result<proto::Node, Refusal> {
    call.names(format_args!("node {}", asked.id));
    let bad = |detail: &str| Refusal::new(Code::InvalidArgument, detail);
    if asked.id == 0 {
        return Err(bad("id: a node's number is at least 1"));
    }
    for (key, address) in [("peer", &asked.peer), ("public", &asked.public)] {
        let port = address.rsplit_once(':').and_then(|(host, port)| (!host.is_empty()).then(|| port.parse::<u16>()));
        if !matches!(port, Some(Ok(_))) {
            return Err(bad(&format!("{key}: host:port")));
        }
    }
    let member = Member { peer: asked.peer, public: asked.public };
    app.cluster.add_member(asked.id, member).await?;
    let added = nodes(app, &statuses(app).await).into_iter().find(|node| node.id == asked.id);
    added.ok_or_else(|| Refusal::retry_after(Code::NoLeader, "the node is not seen among the members yet", 100))
}

/// Removes a node from every group.
pub(crate) async fn remove_member(app: &Arc<App>, call: &Call, node: NodeId) -> Result<(), Refusal> {
    call.names(format_args!("node {node}"));
    if !app.cluster.members().contains_key(&node) {
        return Err(Refusal::new(Code::NotFound, format!("there is no node {node}")));
    }
    if app.cluster.members().len() == 1 {
        return Err(Refusal::new(Code::Conflict, "the last node cannot be removed"));
    }
    app.cluster.remove_member(node).await
}

/// Moves leadership; answers when the node leads.
pub(crate) async fn transfer(app: &Arc<App>, call: &Call, partition: Option<u32>, to: NodeId) -> Result<(), Refusal> {
    let group = group_of(app, partition)?;
    let of = partition.map_or_else(|| "meta".to_owned(), |number| format!("partition {number}"));
    call.names(format_args!("{of} to node {to}"));
    if !app.cluster.knows(to) {
        return Err(Refusal::new(Code::NotFound, format!("to: there is no node {to}")));
    }
    app.cluster.transfer(group, to, call.deadline).await?;
    let until = call.deadline.min(Instant::now() + TRANSFER);
    let leads = || app.cluster.group(group).and_then(|group| group.shared.leader()) == Some(to);
    while !leads() {
        if Instant::now() >= until {
            let detail = format!("node {to} has not taken over; it may be down or behind");
            return Err(Refusal::retry_after(Code::NoLeader, detail, 1_000));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}
