//! Who belongs to the cluster: joining, adding, removing, and nodes that come back empty.
//!
//! ```text
//!  new node ── hello ──► any member: the cluster's name and partitions, and whether the node is known
//!           ── join ───► any member ── for each group, at its leader: learner, caught up, voter
//! ```
//!
//! Every node notes its incarnation in the meta group. A node whose disk is empty but whose number is
//! noted under another incarnation has forgotten its log: it would vote without knowing what it
//! promised, so it is refused until it is removed and added again on purpose.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;
use bravo_model::command::NodeRecord;
use bravo_model::{Command, Envelope, Refusal, view};
use bravo_storage::log::SharedLog;
use openraft::ChangeMembers;
use openraft::async_runtime::watch::WatchReceiver;

use crate::cluster::{Cluster, Repeat};
use crate::raft::group::Group;
use crate::raft::proposer::ProposeError;
use crate::raft::types::{META_GROUP, Member, NodeId};
use crate::transport::Transport;
use crate::transport::wire::{Request, Response, Welcome};

/// Voters of a job group; further nodes are learners.
const JOB_VOTERS_MAX: usize = 3;
/// Voters of the meta group.
const META_VOTERS_MAX: usize = 7;
/// How long a hello may take.
const HELLO_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a group may take to bring a new member up to date.
const CATCH_UP: Duration = Duration::from_secs(120);
/// Entries that a follower may miss and still count as caught up.
const CATCH_UP_ENTRIES: u64 = 64;
/// Pause between tries.
const PAUSE: Duration = Duration::from_millis(100);

/// Says hello at one address; `None` if nobody is there.
pub async fn hello(transport: &Arc<Transport>, address: &str, node: NodeId) -> Option<Welcome> {
    let request = Request::Hello(node);
    match tokio::time::timeout(HELLO_TIMEOUT, transport.ask_stranger(address, &request)).await {
        Ok(Ok(Response::Welcome(welcome))) => Some(welcome),
        Ok(Ok(other)) => {
            tracing::debug!(address, ?other, "no welcome");
            None
        }
        Ok(Err(error)) => {
            tracing::debug!(address, %error, "no welcome");
            None
        }
        Err(_) => None,
    }
}

/// To be asked before an empty folder gets an identity: a number that the cluster knows already belongs
/// to a node whose disk was lost.
pub async fn refuse_if_forgotten(
    transport: &Arc<Transport>,
    addresses: impl Iterator<Item = String>,
    node: NodeId,
) -> anyhow::Result<()> {
    let hellos = addresses.map(|address| async move { hello(transport, &address, node).await });
    for welcome in futures_util::future::join_all(hellos).await.into_iter().flatten() {
        if welcome.incarnation.is_some() {
            bail!(
                "node {node} comes back with an empty disk: the cluster knows it by another incarnation. It has \
                 forgotten what it voted for and may not take part. Replace it on purpose: remove it \
                 (`bravo cluster remove {node}`) and start it with cluster.join instead of cluster.initial."
            );
        }
    }
    Ok(())
}

/// A node whose log holds less than it once acknowledged (an older copy of its folder was put back, or
/// its disk lied) could elect a leader that misses acknowledged entries: it is refused.
pub async fn refuse_if_log_went_back(
    transport: &Arc<Transport>,
    addresses: impl Iterator<Item = String>,
    node: NodeId,
    log: &SharedLog,
) -> anyhow::Result<()> {
    let hellos = addresses.map(|address| async move { hello(transport, &address, node).await });
    for welcome in futures_util::future::join_all(hellos).await.into_iter().flatten() {
        for (group, acknowledged) in welcome.acknowledged {
            let last = log.group(group).last().map_or(0, |point| point.index);
            if last < acknowledged {
                bail!(
                    "the Raft log of node {node} went back: of group {group} it ends at entry {last}, but the node has \
                     acknowledged entry {acknowledged}. An older copy was put back, or the disk lost what it had \
                     confirmed. Replace the node on purpose: empty its data_dir, remove it \
                     (`bravo cluster remove {node}`) and start it with cluster.join."
                );
            }
        }
    }
    Ok(())
}

/// Asks the members at `addresses` for the cluster's facts until one answers.
pub async fn find_cluster(
    transport: &Arc<Transport>,
    addresses: &[String],
    node: NodeId,
    patience: Duration,
) -> anyhow::Result<Welcome> {
    let deadline = Instant::now() + patience;
    loop {
        for address in addresses {
            if let Some(welcome) = hello(transport, address, node).await {
                return Ok(welcome);
            }
        }
        anyhow::ensure!(Instant::now() < deadline, "cluster.join: no member answers at {addresses:?}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Asks to be added until a member has done it.
pub async fn join(transport: Arc<Transport>, addresses: Vec<String>, node: NodeId, member: Member) {
    for address in addresses.iter().cycle() {
        match transport.ask_stranger(address, &Request::Join(node, member.clone())).await {
            Ok(Response::Done) => {
                tracing::info!(node, "joined the cluster");
                return;
            }
            Ok(other) => tracing::warn!(node, ?other, "not added yet"),
            Err(error) => tracing::warn!(node, %error, "not added yet"),
        }
        tokio::time::sleep(PAUSE * 10).await;
    }
}

/// Notes this node's addresses and incarnation in the meta group, once it has a leader.
pub async fn introduce(cluster: Arc<Cluster>, record: NodeRecord) {
    loop {
        let deadline = Instant::now() + Duration::from_secs(5);
        let envelope = Envelope::plain(Command::PutNode(record.clone()));
        match cluster.propose(META_GROUP, &envelope, Repeat::Safe, deadline).await {
            Ok(_) => return,
            Err(error) => tracing::debug!(%error, "not introduced yet"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Follows the members of the meta group.
pub async fn follow_members(cluster: Arc<Cluster>) {
    let Some(meta) = cluster.group(META_GROUP).cloned() else { return };
    let mut metrics = meta.raft.server_metrics();
    loop {
        let members: BTreeMap<NodeId, Member> = {
            let metrics = metrics.borrow_and_update();
            metrics.membership_config.nodes().map(|(id, member)| (*id, member.clone())).collect()
        };
        if !members.is_empty() {
            cluster.set_members(members);
        }
        if metrics.changed().await.is_err() {
            return;
        }
    }
}

/// What a node that says hello is told.
pub fn welcome(cluster: &Cluster, node: NodeId) -> Welcome {
    let record = cluster
        .group(META_GROUP)
        .and_then(|meta| view::nodes(&*meta.shared.state.read()).into_iter().find(|record| record.id == node));
    Welcome {
        cluster: cluster.name.clone(),
        partitions: cluster.partitions(),
        incarnation: record.map(|record| record.incarnation),
        acknowledged: cluster.groups().iter().filter_map(|g| Some((g.shared.group, g.acknowledged(node)?))).collect(),
    }
}

impl Cluster {
    /// Adds a node to every group.
    pub async fn add_member(self: &Arc<Self>, node: NodeId, member: Member) -> Result<(), Refusal> {
        for group in self.groups() {
            let id = group.shared.group;
            let request = || Request::AddMember(id, node, member.clone());
            self.done_at_leader(id, Instant::now() + CATCH_UP, request).await?;
        }
        Ok(())
    }

    /// Removes a node from every group and forgets its incarnation.
    pub async fn remove_member(self: &Arc<Self>, node: NodeId) -> Result<(), Refusal> {
        for group in self.groups() {
            let id = group.shared.group;
            self.done_at_leader(id, Instant::now() + CATCH_UP, || Request::RemoveMember(id, node)).await?;
        }
        let envelope = Envelope::plain(Command::DeleteNode(node));
        self.propose(META_GROUP, &envelope, Repeat::Safe, Instant::now() + HELLO_TIMEOUT).await?;
        Ok(())
    }
}

impl Group {
    /// At the leader: makes the node a learner, waits until it has caught up, and makes it a voter if
    /// there is room.
    pub(crate) async fn add_member(&self, node: NodeId, member: Member) -> Result<(), ProposeError> {
        self.must_lead()?;
        let (voters, nodes) = self.membership();
        if voters.contains(&node) {
            return Ok(());
        }
        if !nodes.contains(&node) {
            self.raft.add_learner(node, member, false).await.map_err(unknown)?;
        }
        let most = if self.shared.group == META_GROUP { META_VOTERS_MAX } else { JOB_VOTERS_MAX };
        if voters.len() >= most {
            return Ok(());
        }
        let deadline = Instant::now() + CATCH_UP;
        while !self.has_caught_up(node) {
            self.must_lead()?;
            if Instant::now() >= deadline {
                return Err(ProposeError::Unknown(format!("node {node} does not catch up")));
            }
            tokio::time::sleep(PAUSE).await;
        }
        let change = ChangeMembers::AddVoterIds(BTreeSet::from([node]));
        self.raft.change_membership(change, true).await.map(|_| ()).map_err(unknown)
    }

    /// At the leader: removes the node; hands leadership over first if it is this one.
    pub(crate) async fn remove_member(&self, node: NodeId) -> Result<(), ProposeError> {
        self.must_lead()?;
        let (voters, nodes) = self.membership();
        if node == *self.raft.node_id()
            && let Some(&other) = voters.iter().find(|id| **id != node)
        {
            let _ = self.hand_to(other).await;
            return Err(ProposeError::NotLeader(Some(other)));
        }
        if voters.contains(&node) {
            let change = ChangeMembers::RemoveVoters(BTreeSet::from([node]));
            self.raft.change_membership(change, false).await.map_err(unknown)?;
        } else if nodes.contains(&node) {
            let change = ChangeMembers::RemoveNodes(BTreeSet::from([node]));
            self.raft.change_membership(change, false).await.map_err(unknown)?;
        }
        Ok(())
    }

    /// At the leader: the last entry that the node said it has on disk.
    fn acknowledged(&self, node: NodeId) -> Option<u64> {
        self.metrics().replication.as_ref()?.get(&node)?.map(|id| id.index)
    }

    /// Whether the node answers heartbeats and misses no more than a few entries, as the leader sees it.
    pub(crate) fn has_caught_up(&self, node: NodeId) -> bool {
        let last = self.metrics().last_log_index.unwrap_or(0);
        self.acknowledged(node).is_some_and(|matched| matched + CATCH_UP_ENTRIES >= last)
    }

    /// The group's voters, in the order of their numbers.
    pub(crate) fn voters(&self) -> Vec<NodeId> {
        self.membership().0.into_iter().collect()
    }

    fn must_lead(&self) -> Result<(), ProposeError> {
        self.shared.foreign_leader().map_or(Ok(()), |leader| Err(ProposeError::NotLeader(leader)))
    }

    /// Voters, and all nodes.
    fn membership(&self) -> (BTreeSet<NodeId>, BTreeSet<NodeId>) {
        let metrics = self.metrics();
        let membership = metrics.membership_config.membership();
        (membership.voter_ids().collect(), membership.nodes().map(|(id, _)| *id).collect())
    }
}

fn unknown(error: impl std::fmt::Display) -> ProposeError {
    ProposeError::Unknown(error.to_string())
}

/// This node as it introduces itself.
pub fn record(id: NodeId, member: &Member, incarnation: &str) -> NodeRecord {
    NodeRecord {
        id,
        peer: member.peer.clone(),
        public: member.public.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
        incarnation: incarnation.into(),
    }
}
