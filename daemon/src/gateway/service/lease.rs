//! Lease: a look round the partitions, or a wait for the first job.
//!
//! A call that does not wait asks every partition. A call that waits stands in line at the
//! dispatcher; what it gets first is topped up from the other partitions if there is room.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bravo_api::convert::leases::LeaseCall;
use bravo_api::proto;
use bravo_model::command::{Lease, Sticky};
use bravo_model::{Code, Refusal};
use futures_util::future::join_all;
use tokio::sync::oneshot;

use super::held::Held;
use crate::cluster::Cluster;
use crate::dispatch::queue::Sink;
use crate::dispatch::rendezvous::Slots;
use crate::dispatch::workers::{Card, Described};
use crate::dispatch::{Credit, Dispatcher, Profile, Waiter};
use crate::gateway::app::App;
use crate::gateway::call::Call;
use crate::raft::types::partition_group;
use crate::telemetry::events::RequestShed;

/// Longest wait for partitions to say what they have.
const PEEK: Duration = Duration::from_millis(500);
/// Longest wait for an ask that is under way when the time is over.
const LATE: Duration = Duration::from_secs(2);
/// A wait ends a little before its caller stops listening.
const MARGIN: Duration = Duration::from_millis(25);

/// Leases jobs; empty if none came in time.
pub(crate) async fn lease(app: &Arc<App>, call: &Call, wanted: LeaseCall) -> Result<Vec<proto::LeasedJob>, Refusal> {
    let LeaseCall { mut lease, wait_ms, agent_type, capacity, weight } = wanted;
    // A worker whose key is for one project gets nobody else's jobs.
    lease.project = call.caller.project.clone();
    let Dispatcher { workers, balance, .. } = &app.cluster.dispatcher;
    let described =
        Described { agent_type, capacity, weight, labels: lease.labels.clone(), project: lease.project.clone() };
    let (card, is_news) = workers.asked(&lease.worker, &lease.queue, lease.max, described);
    if is_news {
        balance.came(workers, Some(&lease.queue));
    }
    let Slots { any: slots, alike } = card.slots(&lease.queue);
    lease.sticky = Some(Sticky { slots, alike, wait_ms: balance.config.sticky_wait_ms });
    let longest = Duration::from_millis(wait_ms.min(app.limits.wait_ms_max));
    let until = Instant::now() + longest;
    // Without X-Timeout-Ms the deadline says nothing of how long a caller may wait.
    let until = if call.timeout_given { until.min(call.deadline.checked_sub(MARGIN).unwrap_or(until)) } else { until };
    if longest.is_zero() || until <= Instant::now() {
        return Ok(hand_over(app, &card, sweep(&app.cluster, &card, lease, None).await?));
    }
    let first = wait(app, &lease, &card, until).await?;
    let mut held = Held::new(&app.cluster);
    let Some(first) = first else { return Ok(Vec::new()) };
    let partition = first.partition;
    held.add(first);
    // The call may have waited for long: what it holds is given back if its key has ended meanwhile.
    app.door.holds(&app.cluster, &call.caller)?;
    let left = lease.max.saturating_sub(u32::try_from(held.len()).unwrap_or(u32::MAX));
    if left > 0
        && let Ok(more) = sweep(&app.cluster, &card, Lease { max: left, ..lease }, Some(partition)).await
    {
        held.merge(more);
    }
    Ok(hand_over(app, &card, held))
}

fn hand_over(app: &App, card: &Card, held: Held) -> Vec<proto::LeasedJob> {
    app.cluster.dispatcher.workers.took(card, u32::try_from(held.len()).unwrap_or(u32::MAX));
    held.take()
}

/// Stands in line until the first delivery, `until`, or the node's leave.
async fn wait(
    app: &Arc<App>,
    lease: &Lease,
    card: &Arc<Card>,
    until: Instant,
) -> Result<Option<crate::transport::wire::Delivery>, Refusal> {
    let Ok(_place) = app.waiting.try_acquire() else {
        RequestShed { reason: "limits.waiting_leases_max" }.emit();
        return Err(Refusal::retry_after(Code::Shed, "as many lease calls wait at this node as may", 1_000));
    };
    let (sender, mut receiver) = oneshot::channel();
    let credit = Credit::new(lease.max);
    let waiter = Waiter {
        card: card.clone(),
        profile: Arc::new(Profile { project: lease.project.clone(), labels: lease.labels.clone() }),
        is_sticky: true,
        lease_ms: lease.lease_ms,
        credit: credit.clone(),
        sink: Sink::Once(sender),
    };
    let _waiting = app.cluster.dispatcher.workers.waits(card);
    app.cluster.dispatcher.wait(&app.cluster, &lease.queue, waiter);
    tokio::select! {
        biased;
        delivery = &mut receiver => return Ok(delivery.ok()),
        () = tokio::time::sleep_until(until.into()) => {}
        () = app.drain.cancelled() => {}
    }
    // A partition that is being asked for this worker may give jobs yet: better late than leased to nobody.
    credit.close();
    if credit.asked() == 0 {
        return Ok(receiver.try_recv().ok());
    }
    Ok(tokio::time::timeout(LATE, receiver).await.ok().and_then(Result::ok))
}

/// Leases from whatever partition has something now. Runs apart from the call, so that what is
/// leased when the caller leaves is given back.
async fn sweep(cluster: &Arc<Cluster>, card: &Arc<Card>, mut lease: Lease, skip: Option<u16>) -> Result<Held, Refusal> {
    // As far as its own standing and that of the type of agent lets it.
    let gate = cluster.dispatcher.balance.gate(cluster, &lease.queue);
    let allowed = card.quota.take(lease.max);
    let through = gate.as_ref().map_or(allowed, |gate| gate.take(allowed));
    card.quota.put_back(allowed - through);
    if through == 0 {
        return Ok(Held::new(cluster));
    }
    lease.max = through;
    let (sender, receiver) = oneshot::channel();
    let (cluster, card) = (cluster.clone(), card.clone());
    tokio::spawn(async move {
        let held = round(&cluster, lease, skip).await;
        let used = held.as_ref().map_or(0, |held| u32::try_from(held.len()).unwrap_or(u32::MAX));
        let unused = through.saturating_sub(used);
        card.quota.put_back(unused);
        if let Some(gate) = gate {
            gate.put_back(unused);
        }
        let _ = sender.send(held);
    });
    receiver.await.unwrap_or_else(|_| Err(Refusal::new(Code::Internal, "the lease was given up")))
}

async fn round(cluster: &Arc<Cluster>, lease: Lease, skip: Option<u16>) -> Result<Held, Refusal> {
    let mut held = Held::new(cluster);
    let stocked = stocked(cluster, &lease, skip).await?;
    let (mut left, mut bytes_left) = (lease.max, lease.bytes_max);
    for partition in stocked {
        let ask = Lease { max: left, bytes_max: bytes_left, ..lease.clone() };
        let Ok(delivery) = cluster.lease(partition_group(partition), ask).await else { continue };
        let bytes: usize = delivery.jobs.iter().map(|(_, payload)| payload.bytes.len()).sum();
        left = left.saturating_sub(u32::try_from(delivery.jobs.len()).unwrap_or(u32::MAX));
        bytes_left = bytes_left.saturating_sub(u32::try_from(bytes).unwrap_or(u32::MAX));
        held.add(delivery);
        if left == 0 || bytes_left == 0 {
            break;
        }
    }
    Ok(held)
}

/// Partitions that have something ready, the fullest first. Fails if no partition could be asked.
async fn stocked(cluster: &Arc<Cluster>, lease: &Lease, skip: Option<u16>) -> Result<Vec<u16>, Refusal> {
    let peeks = (0..cluster.partitions()).filter(|partition| Some(*partition) != skip).map(|partition| {
        let look = Lease { max: 0, ..lease.clone() };
        async move {
            let answer = tokio::time::timeout(PEEK, cluster.lease(partition_group(partition), look)).await;
            let silent = || Refusal::retry_after(Code::NoLeader, "no partition answered", 100);
            (partition, answer.unwrap_or_else(|_| Err(silent())).map(|delivery| delivery.ready_left))
        }
    });
    let answers = join_all(peeks).await;
    if let Some((_, Err(refusal))) = answers.first()
        && answers.iter().all(|(_, answer)| answer.is_err())
    {
        return Err(refusal.clone());
    }
    let stock = answers.into_iter().filter_map(|(partition, answer)| Some((answer.ok()?, partition)));
    let mut stock: Vec<(u64, u16)> = stock.filter(|(ready, _)| *ready > 0).collect();
    stock.sort_unstable_by_key(|(ready, _)| std::cmp::Reverse(*ready));
    Ok(stock.into_iter().map(|(_, partition)| partition).collect())
}
