//! Keeps the cluster in order: spreads leaders, pushes queue definitions and webhooks, follows leader changes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bravo_model::command::QueueDefinition;
use bravo_model::lifecycle::Lifecycle;
use bravo_model::webhook::Subscription;
use bravo_model::{Command, Envelope, Name};
use bravo_storage::log::SharedLog;

use openraft::Instant as _;
use openraft::async_runtime::watch::WatchReceiver;

use crate::cluster::{Cluster, Repeat};
use crate::membership;
use crate::raft::group::Group;
use crate::raft::types::{META_GROUP, NodeId, partition_group};
use crate::routing;
use crate::transport::wire::{Answer, Query};

/// How often leaders are looked at.
const SPREAD_EVERY: Duration = Duration::from_secs(1);
/// Groups that are handed over in one round, so that a node that comes back is not swamped.
const HANDOVERS_PER_ROUND: usize = 3;
/// Groups that a node may lead beyond its share, so that a transfer that an operator asked for stays.
const SLACK: usize = 1;
/// How often the log's size is looked at.
const FREE_LOG_EVERY: Duration = Duration::from_secs(2);
/// Definitions are compared again after this long even if nothing is known to have changed.
const RECONCILE_EVERY: Duration = Duration::from_secs(5);

/// Starts the keeper's tasks.
pub fn start(cluster: Arc<Cluster>) {
    cluster.tasks.spawn(spread_leaders(cluster.clone()));
    cluster.tasks.spawn(push_definitions(cluster.clone()));
    cluster.tasks.spawn(membership::follow_members(cluster.clone()));
    for group in cluster.groups() {
        cluster.tasks.spawn(follow_leader(cluster.clone(), group.clone()));
    }
}

/// Gives leadership of a group to another voter that has caught up, if this node leads it.
pub async fn hand_over(cluster: &Cluster, group: &Group) {
    if !group.shared.is_leader() {
        return;
    }
    let others: Vec<NodeId> = group.voters().into_iter().filter(|id| *id != cluster.node).collect();
    let Some(&target) = others.get(group.shared.group as usize % others.len().max(1)) else { return };
    if group.hand_to(target).await.is_err() {
        return;
    }
    let deadline = Instant::now() + Duration::from_secs(1);
    while group.shared.is_leader() && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Each group has a preferred leader; a node that leads more than its share hands others' groups over
/// when they have caught up.
async fn spread_leaders(cluster: Arc<Cluster>) {
    let mut rounds = tokio::time::interval(SPREAD_EVERY);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        rounds.tick().await;
        let mut moved = 0;
        let mut led = cluster.groups().iter().filter(|group| group.shared.is_leader()).count();
        for group in cluster.groups() {
            let share = cluster.groups().len().div_ceil(group.voters().len().max(1));
            if led <= share + SLACK {
                break;
            }
            let Some(preferred) = preferred_leader(group) else { continue };
            if preferred == cluster.node
                || !group.shared.is_leader()
                || !is_alive(group, preferred)
                || !group.has_caught_up(preferred)
            {
                continue;
            }
            tracing::info!(group = group.shared.group, to = preferred, "handing leadership over");
            let _ = group.hand_to(preferred).await;
            moved += 1;
            led -= 1;
            if moved == HANDOVERS_PER_ROUND {
                break;
            }
        }
    }
}

/// Segments of the log go oldest first: when there are many, the group that holds the oldest one makes
/// a snapshot, so that its entries can go.
pub async fn free_log(cluster: Arc<Cluster>, log: SharedLog, budget: u64) {
    let mut rounds = tokio::time::interval(FREE_LOG_EVERY);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        if log.bytes_on_disk() <= budget {
            continue;
        }
        let Some(group) = log.oldest_holder().and_then(|id| cluster.group(id)) else { continue };
        let metrics = group.metrics();
        let (applied, snapshot) = (metrics.last_applied.map(|id| id.index), metrics.snapshot.map(|id| id.index));
        // First a snapshot of all that is applied, then, a round later, the entries behind it.
        let done = match snapshot {
            Some(index) if snapshot == applied => group.raft.trigger().purge_log(index).await,
            _ => group.raft.trigger().snapshot().await,
        };
        if done.is_err() {
            return;
        }
    }
}

fn preferred_leader(group: &Group) -> Option<NodeId> {
    let voters = group.voters();
    voters.get(group.shared.group as usize % voters.len().max(1)).copied()
}

/// Whether the node answered a heartbeat lately.
fn is_alive(group: &Group, node: NodeId) -> bool {
    let metrics = group.metrics();
    metrics
        .heartbeat
        .as_ref()
        .and_then(|beats| beats.get(&node))
        .and_then(|at| at.as_ref())
        .is_some_and(|at| at.elapsed() < Duration::from_secs(1))
}

/// When a group's leader changes, what the last one remembered about hungry gateways is gone.
async fn follow_leader(cluster: Arc<Cluster>, group: Group) {
    let mut metrics = group.raft.server_metrics();
    let mut last = None;
    loop {
        let leader = metrics.borrow_and_update().current_leader;
        if leader != last {
            last = leader;
            cluster.dispatcher.leader_changed(group.shared.group);
        }
        if metrics.changed().await.is_err() {
            return;
        }
    }
}

/// The leader of meta brings every partition to the newest queue definitions and webhooks.
async fn push_definitions(cluster: Arc<Cluster>) {
    let Some(meta) = cluster.group(META_GROUP).cloned() else { return };
    loop {
        tokio::select! {
            () = meta.shared.definitions_changed.notified() => {}
            () = tokio::time::sleep(RECONCILE_EVERY) => {}
        }
        if !meta.shared.is_leader() {
            continue;
        }
        for partition in 0..cluster.partitions() {
            let pushed = async {
                push_to(&cluster, partition).await?;
                push_lifecycles(&cluster, partition).await?;
                push_webhooks_to(&cluster, partition).await
            };
            if let Err(error) = pushed.await {
                tracing::debug!(partition, %error, "definitions not pushed; trying again");
                meta.shared.definitions_changed.notify_one();
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Brings one partition to the definitions that meta has now.
async fn push_to(cluster: &Arc<Cluster>, partition: u16) -> Result<(), bravo_model::Refusal> {
    let deadline = Instant::now() + Duration::from_secs(2);
    let Answer::Definitions(wanted) = cluster.read(META_GROUP, Query::Definitions, deadline).await? else {
        return Ok(());
    };
    let group = partition_group(partition);
    let Answer::Queues(known) = cluster.read(group, Query::Queues, deadline).await? else { return Ok(()) };
    for definition in &wanted {
        let there = known.iter().find(|there| there.name == definition.name).map_or(0, |there| there.version);
        if there < definition.version {
            push(cluster, partition, definition.clone(), deadline).await?;
        }
    }
    for there in known {
        if there.version > 0 && !wanted.iter().any(|definition| definition.name == there.name) {
            let command = Command::ForgetQueue { name: there.name, version: there.version };
            cluster.propose(group, &Envelope::plain(command), Repeat::Safe, deadline).await?;
        }
    }
    Ok(())
}

/// Brings one partition to the lifecycle rules that meta has now.
async fn push_lifecycles(cluster: &Arc<Cluster>, partition: u16) -> Result<(), bravo_model::Refusal> {
    let (group, deadline) = (partition_group(partition), Instant::now() + Duration::from_secs(2));
    let Answer::Lifecycles(wanted) = cluster.read(META_GROUP, Query::Lifecycles, deadline).await? else {
        return Ok(());
    };
    let Answer::Lifecycles(known) = cluster.read(group, Query::Lifecycles, deadline).await? else { return Ok(()) };
    let of =
        |list: &[Lifecycle], project: &Name| list.iter().find(|one| one.project == *project).map(|one| one.version);
    let (gone, kept): (Vec<_>, Vec<_>) = known.into_iter().partition(|there| of(&wanted, &there.project).is_none());
    let newer = wanted.into_iter().filter(|one| of(&kept, &one.project).is_none_or(|there| there < one.version));
    let gone = gone.into_iter().map(|there| Lifecycle { rules: Vec::new(), ..there });
    for lifecycle in newer.chain(gone) {
        let envelope = Envelope::plain(Command::SetLifecycle(lifecycle));
        cluster.propose(group, &envelope, Repeat::Safe, deadline).await?;
    }
    Ok(())
}

/// Brings one partition to the webhooks that meta has now.
async fn push_webhooks_to(cluster: &Arc<Cluster>, partition: u16) -> Result<(), bravo_model::Refusal> {
    let deadline = Instant::now() + Duration::from_secs(2);
    let Answer::Subscriptions(wanted) = cluster.read(META_GROUP, Query::AllWebhooks, deadline).await? else {
        return Ok(());
    };
    let group = partition_group(partition);
    let Answer::Subscriptions(known) = cluster.read(group, Query::Subscriptions, deadline).await? else {
        return Ok(());
    };
    let same = |a: &Subscription, b: &Subscription| a.project == b.project && a.name == b.name;
    for webhook in &wanted {
        if known.iter().find(|there| same(there, webhook)).is_none_or(|there| there.version < webhook.version) {
            push_webhook(cluster, partition, webhook.clone(), deadline).await?;
        }
    }
    for there in known {
        if !wanted.iter().any(|webhook| same(webhook, &there)) {
            forget_webhook(cluster, partition, &there.project, &there.name, there.version, deadline).await?;
        }
    }
    Ok(())
}

/// Makes one webhook known to one partition.
pub async fn push_webhook(
    cluster: &Arc<Cluster>,
    partition: u16,
    webhook: Subscription,
    deadline: Instant,
) -> Result<(), bravo_model::Refusal> {
    let envelope = Envelope::plain(Command::SetWebhook(Box::new(webhook)));
    cluster.propose(partition_group(partition), &envelope, Repeat::Safe, deadline).await.map(drop)
}

/// Has one partition forget a webhook, up to that version.
pub async fn forget_webhook(
    cluster: &Arc<Cluster>,
    partition: u16,
    project: &Name,
    name: &Name,
    version: u64,
    deadline: Instant,
) -> Result<(), bravo_model::Refusal> {
    let (project, name) = (project.clone(), name.clone());
    let envelope = Envelope::plain(Command::ForgetWebhook { project, name, version });
    cluster.propose(partition_group(partition), &envelope, Repeat::Safe, deadline).await.map(drop)
}

/// Makes one definition known to one partition.
pub async fn push(
    cluster: &Arc<Cluster>,
    partition: u16,
    mut definition: QueueDefinition,
    deadline: Instant,
) -> Result<(), bravo_model::Refusal> {
    definition.home = routing::queue_home(&definition.name, cluster.partitions()) == partition;
    let envelope = Envelope::plain(Command::SetQueue(definition));
    cluster.propose(partition_group(partition), &envelope, Repeat::Safe, deadline).await?;
    Ok(())
}
