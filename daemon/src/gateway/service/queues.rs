//! Queues: configure, look at, switch, sweep.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bravo_api::convert::reads::{Freshness, Page};
use bravo_api::proto;
use bravo_model::command::QueueDefinition;
use bravo_model::{Code, Command, Envelope, Name, QueueConfig, Refusal, Reply, Time};
use futures_util::future::try_join_all;

use super::reads::{Kind, earlier, or_stale, read as read_group, read_shared, wrong_answer};
use super::spread::spread;
use super::wrong_reply;
use crate::cluster::Repeat;
use crate::gateway::app::App;
use crate::gateway::call::{Call, hash};
use crate::keeper;
use crate::raft::types::{META_GROUP, partition_group};
use crate::transport::wire::{Answer, Query, QueueCounts};

/// What can be switched.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Switch {
    /// Stops delivery.
    Pause,
    /// Ends a pause and a drain.
    Resume,
    /// Stops enqueues.
    Drain,
}

/// Creates a queue or replaces its whole configuration; answers when every partition obeys it.
pub(crate) async fn put(
    app: &Arc<App>,
    call: &Call,
    name: Name,
    config: QueueConfig,
    digest: impl FnOnce() -> [u8; 16],
) -> Result<proto::Queue, Refusal> {
    call.names(&name);
    define(app, call, &name, Command::PutQueue { name: name.clone(), config }, digest).await?;
    read(app, call, &name, Freshness::Linearizable).await
}

/// Switches a queue; answers when every partition obeys.
pub(crate) async fn switch(
    app: &Arc<App>,
    call: &Call,
    name: Name,
    switch: Switch,
) -> Result<proto::QueueSwitches, Refusal> {
    call.names(&name);
    let (paused, draining) = match switch {
        Switch::Pause => (Some(true), None),
        Switch::Resume => (Some(false), Some(false)),
        Switch::Drain => (None, Some(true)),
    };
    let command = Command::SwitchQueue { name: name.clone(), paused, draining };
    let definition = define(app, call, &name, command, || hash(&[])).await?;
    let QueueDefinition { paused, draining, .. } = definition;
    Ok(proto::QueueSwitches { name: name.into(), paused, draining })
}

/// Changes a definition and brings it to every partition.
async fn define(
    app: &Arc<App>,
    call: &Call,
    name: &Name,
    command: Command,
    digest: impl FnOnce() -> [u8; 16],
) -> Result<QueueDefinition, Refusal> {
    let digest = if call.key.is_some() { digest() } else { [0; 16] };
    let envelope = call.envelope(call.idempotency("", digest, ""), command);
    match app.cluster.propose(META_GROUP, &envelope, Repeat::Safe, call.deadline).await? {
        Reply::Version(_) => {}
        other => return Err(wrong_reply(&other)),
    }
    let definition = definition(app, call, name, Freshness::Linearizable).await?;
    let definition = definition.ok_or_else(|| no_queue(name))?;
    push(app, call, &definition).await?;
    spread(app, Query::Definition(name.clone()), |answer| {
        matches!(answer, Answer::Definitions(known) if known.iter().any(|one| one.version >= definition.version))
    })
    .await;
    Ok(definition)
}

async fn push(app: &Arc<App>, call: &Call, definition: &QueueDefinition) -> Result<(), Refusal> {
    let pushes = (0..app.cluster.partitions())
        .map(|partition| keeper::push(&app.cluster, partition, definition.clone(), call.deadline));
    try_join_all(pushes).await.map(drop)
}

async fn definition(
    app: &Arc<App>,
    call: &Call,
    name: &Name,
    freshness: Freshness,
) -> Result<Option<QueueDefinition>, Refusal> {
    match read_group(app, call, META_GROUP, Query::Definition(name.clone()), freshness).await? {
        Answer::Definitions(found) => Ok(found.into_iter().next()),
        _ => Err(wrong_answer()),
    }
}

/// One queue with its counts over all partitions.
pub(crate) async fn read(
    app: &Arc<App>,
    call: &Call,
    name: &Name,
    freshness: Freshness,
) -> Result<proto::Queue, Refusal> {
    let query = Query::Queue(name.clone());
    let (definition, (counts, _)) =
        tokio::try_join!(definition(app, call, name, freshness), counts(app, call, &query, freshness))?;
    let counts = counts.into_values().next();
    if definition.is_none() && counts.is_none() {
        return Err(no_queue(name));
    }
    Ok(message(app, name.clone(), definition.as_ref(), counts.unwrap_or_default()))
}

/// A queue's jobs over all partitions.
#[derive(Clone, Copy, Debug, Default)]
struct Total {
    counts: proto::QueueCounts,
}

impl Total {
    fn add(&mut self, part: &QueueCounts) {
        let counts = &mut self.counts;
        counts.ready += part.ready;
        counts.scheduled += part.scheduled;
        counts.blocked += part.blocked;
        counts.leased += part.leased;
        counts.dead += part.dead;
        let waited = part.oldest_ready_at.map(|at: Time| part.now.saturating_sub(at));
        counts.oldest_ready_ms = counts.oldest_ready_ms.max(waited);
    }

    fn held(&self) -> u64 {
        let proto::QueueCounts { ready, scheduled, blocked, leased, dead, .. } = self.counts;
        ready + scheduled + blocked + leased + dead
    }
}

/// Counts by queue over all partitions, and of when they are.
async fn counts(
    app: &Arc<App>,
    call: &Call,
    query: &Query,
    freshness: Freshness,
) -> Result<(BTreeMap<Name, Total>, Time), Refusal> {
    let reads = (0..app.cluster.partitions()).map(|partition| {
        read_shared(app, call, Kind::AgentMetrics, partition_group(partition), query.clone(), freshness)
    });
    let (mut totals, mut oldest) = (BTreeMap::<Name, Total>::new(), None);
    for answer in try_join_all(reads).await? {
        let (Answer::Queues(parts), as_of) = answer else { return Err(wrong_answer()) };
        oldest = earlier(oldest, as_of);
        // Meta alone says which are defined: a partition may have been told of a definition just as it was deleted.
        for part in parts.into_iter().filter(|part| !part.is_only_defined()) {
            totals.entry(part.name.clone()).or_default().add(&part);
        }
    }
    Ok((totals, oldest.unwrap_or_default()))
}

fn message(app: &App, name: Name, definition: Option<&QueueDefinition>, total: Total) -> proto::Queue {
    let breaker = app.cluster.dispatcher.balance.breaker_of(&app.cluster, &name).0.to_owned();
    let config = definition.map_or_else(QueueConfig::default, |definition| definition.config.clone());
    proto::Queue {
        name: name.into(),
        config: Some(config.into()),
        paused: definition.is_some_and(|definition| definition.paused),
        draining: definition.is_some_and(|definition| definition.draining),
        counts: Some(total.counts),
        breaker,
    }
}

/// A page of queues, by name.
pub(crate) async fn list(app: &Arc<App>, call: &Call, page: &Page) -> Result<proto::ListQueuesResponse, Refusal> {
    let after = page.cursor.as_deref().map(last_name).transpose()?;
    let freshness = or_stale(page.freshness);
    let read = read_shared(app, call, Kind::AgentMetrics, META_GROUP, Query::Definitions, freshness).await?;
    let (Answer::Definitions(definitions), of_meta) = read else { return Err(wrong_answer()) };
    let (mut totals, of_all) = counts(app, call, &Query::Queues, freshness).await?;
    let definitions: BTreeMap<Name, QueueDefinition> =
        definitions.into_iter().map(|definition| (definition.name.clone(), definition)).collect();
    for name in definitions.keys() {
        totals.entry(name.clone()).or_default();
    }
    let behind = totals.into_iter().filter(|(name, _)| after.as_deref().is_none_or(|after| name.as_str() > after));
    let mut queues: Vec<proto::Queue> = behind
        .take(page.limit + 1)
        .map(|(name, total)| message(app, name.clone(), definitions.get(&name), total))
        .collect();
    let more = queues.len() > page.limit;
    queues.truncate(page.limit);
    let next_cursor = match queues.last() {
        Some(last) if more => URL_SAFE_NO_PAD.encode(&last.name),
        _ => String::new(),
    };
    Ok(proto::ListQueuesResponse { queues, next_cursor, as_of_ms: of_meta.min(of_all) })
}

fn last_name(cursor: &str) -> Result<String, Refusal> {
    let text = URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    text.ok_or_else(|| Refusal::new(Code::InvalidArgument, "cursor: not one of this list"))
}

/// Purges or redrives in every partition until nothing is left to do; how many jobs that were.
pub(crate) async fn sweep(
    app: &Arc<App>,
    call: &Call,
    name: &Name,
    command: fn(Name) -> Command,
) -> Result<u64, Refusal> {
    call.names(name);
    // A replica may not know yet what was enqueued just now.
    read(app, call, name, Freshness::Linearizable).await?;
    let sweeps = (0..app.cluster.partitions()).map(|partition| async move {
        let mut done = 0;
        for round in 0_u32.. {
            // Each round is a write of its own under the key.
            let idempotency = call.idempotency("", hash(&[]), &round.to_string());
            let envelope = call.envelope(idempotency, command(name.clone()));
            match app.cluster.propose(partition_group(partition), &envelope, Repeat::Safe, call.deadline).await? {
                Reply::Swept { done: now, more } => {
                    done += now;
                    if !more {
                        break;
                    }
                }
                other => return Err(wrong_reply(&other)),
            }
        }
        Ok(done)
    });
    Ok(try_join_all(sweeps).await?.into_iter().sum())
}

/// Deletes a queue that is empty: first its partitions forget it, then meta.
pub(crate) async fn delete(app: &Arc<App>, call: &Call, name: &Name) -> Result<(), Refusal> {
    call.names(name);
    let freshness = Freshness::Linearizable;
    let query = Query::Queue(name.clone());
    let (known, (counts, _)) =
        tokio::try_join!(definition(app, call, name, freshness), counts(app, call, &query, freshness))?;
    let total = counts.into_values().next();
    if known.is_none() && total.is_none() {
        return Err(no_queue(name));
    }
    let held = total.unwrap_or_default().held();
    if held > 0 {
        return Err(Refusal::new(Code::Conflict, format!("queue {name} still holds {held} jobs; purge it first")));
    }
    let version = known.as_ref().map_or(0, |definition| definition.version);
    let forgotten = forget(app, call, name, version).await;
    let Some(known) = known else { return forgotten };
    if let Err(refusal) = forgotten {
        // Jobs came meanwhile: the queue stays as it was.
        push(app, call, &known).await?;
        return Err(refusal);
    }
    let envelope = Envelope::plain(Command::DeleteQueue(name.clone()));
    let version = match app.cluster.propose(META_GROUP, &envelope, Repeat::Safe, call.deadline).await {
        Ok(Reply::Version(version)) => version,
        Ok(other) => return Err(wrong_reply(&other)),
        // The first try was done and its answer lost.
        Err(refusal) if refusal.code == Code::NotFound => version,
        Err(refusal) => return Err(refusal),
    };
    // Until then a partition could be told of the definition once more. One that took in a job has the queue by
    // its use, and one that cannot be reached is seen to by the keeper.
    let _ = forget(app, call, name, version).await;
    Ok(())
}

/// Has every partition forget a queue up to a version of its definition.
async fn forget(app: &Arc<App>, call: &Call, name: &Name, version: u64) -> Result<(), Refusal> {
    let forgets = (0..app.cluster.partitions()).map(|partition| {
        let envelope = Envelope::plain(Command::ForgetQueue { name: name.clone(), version });
        async move { app.cluster.propose(partition_group(partition), &envelope, Repeat::Safe, call.deadline).await }
    });
    try_join_all(forgets).await.map(drop)
}

fn no_queue(name: &Name) -> Refusal {
    Refusal::new(Code::NotFound, format!("there is no queue {name}"))
}
