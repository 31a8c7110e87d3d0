//! Scaling: policies, how pools stand, and the same in KEDA's words.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bravo_api::convert::scaling as convert;
use bravo_api::{keda, proto};
use bravo_model::scaling::Mode;
use bravo_model::{Code, Command, Envelope, Name, Refusal, Reply};
use tokio::sync::watch;

use super::spread::spread;
use super::wrong_reply;
use crate::cluster::Repeat;
use crate::gateway::app::App;
use crate::gateway::auth::Caller;
use crate::gateway::call::{Call, hash};
use crate::raft::types::META_GROUP;
use crate::scaling::OWN;
use crate::transport::wire::{Answer, Outlook, PastSeen, PointSeen, PoolSeen, Query, UseSeen};

/// The tick of a history that does not say which.
const TICK_MS: u64 = 15_000;
/// Longest wait for the leader when a stream looks again.
const LOOK_PATIENCE: Duration = Duration::from_secs(5);
/// How often a stream looks again where nothing tells it to.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Makes or replaces a policy; answers how the pool stands under it.
pub(crate) async fn put(
    app: &Arc<App>,
    call: &Call,
    request: proto::PutScalingRequest,
) -> Result<proto::ScalingState, Refusal> {
    let policy = convert::policy(request.policy.unwrap_or_default())?;
    let agent_type = policy.agent_type.clone();
    call.names(&agent_type);
    if agent_type.as_str() == OWN {
        let detail = format!("agent_type: {OWN} are the nodes themselves, which are advised and have no policy");
        return Err(Refusal::new(Code::InvalidArgument, detail));
    }
    propose(app, call, Command::PutScaling(policy.clone())).await?;
    let is_known = move |answer: &Answer| matches!(answer, Answer::Scalings(all) if all.contains(&policy));
    spread(app, Query::Scalings, is_known).await;
    read(app, call, &agent_type).await
}

/// Deletes a policy.
pub(crate) async fn delete(app: &Arc<App>, call: &Call, agent_type: &Name) -> Result<(), Refusal> {
    call.names(agent_type);
    propose(app, call, Command::DeleteScaling(agent_type.clone())).await?;
    let gone = |answer: &Answer| matches!(answer, Answer::Scalings(all) if !all.iter().any(|policy| policy.agent_type == *agent_type));
    spread(app, Query::Scalings, gone).await;
    Ok(())
}

/// How one pool stands.
pub(crate) async fn read(app: &Arc<App>, call: &Call, agent_type: &Name) -> Result<proto::ScalingState, Refusal> {
    let found = app.cluster.outlooks(Some(agent_type.clone()), call.deadline).await?.into_iter().next();
    found.map(told).ok_or_else(|| missing(agent_type))
}

/// How all pools stand, by agent type.
pub(crate) async fn list(app: &Arc<App>, call: &Call) -> Result<proto::ListScalingResponse, Refusal> {
    let as_of_ms = app.cluster.now(META_GROUP);
    let pools = app.cluster.outlooks(None, call.deadline).await?;
    Ok(proto::ListScalingResponse { scaling: pools.into_iter().map(told).collect(), as_of_ms })
}

/// The arrivals that are remembered of a type.
pub(crate) async fn history(app: &Arc<App>, call: &Call, of: &Name) -> Result<proto::ScalingHistory, Refusal> {
    let missing = || Refusal::new(Code::NotFound, format!("nothing is remembered of {of}"));
    let past = app.cluster.past(of, call.deadline).await?.ok_or_else(missing)?;
    Ok(proto::ScalingHistory {
        agent_type: of.to_string(),
        tick_ms: Some(past.tick_ms),
        older: past.older,
        arrivals: past.ticks,
        service_ms: past.service_ms,
        boot_ms: past.boot_ms,
        at_ms: past.at,
    })
}

/// Replaces what is remembered of a type.
pub(crate) async fn put_history(
    app: &Arc<App>,
    call: &Call,
    request: proto::PutScalingHistoryRequest,
) -> Result<(), Refusal> {
    let (of, history) = convert::history(request.history.unwrap_or_default())?;
    call.names(&of);
    if of.as_str() == OWN {
        let detail = format!("agent_type: {OWN} are the nodes themselves, for which no jobs arrive");
        return Err(Refusal::new(Code::InvalidArgument, detail));
    }
    let past = PastSeen {
        tick_ms: history.tick_ms.unwrap_or(TICK_MS),
        at: 0,
        older: history.older,
        ticks: history.arrivals,
        service_ms: history.service_ms,
        boot_ms: history.boot_ms,
    };
    app.cluster.learn_past(&of, &past, call.deadline).await
}

async fn find(app: &Arc<App>, agent_type: &Name, deadline: Instant) -> Result<PoolSeen, Refusal> {
    let found = app.cluster.scaling(Some(agent_type.clone()), deadline).await?.into_iter().next();
    found.ok_or_else(|| missing(agent_type))
}

fn missing(agent_type: &Name) -> Refusal {
    let detail = format!("there is no scaling policy of {agent_type}, and no queue of such agents is used");
    Refusal::new(Code::NotFound, detail)
}

async fn propose(app: &Arc<App>, call: &Call, command: Command) -> Result<(), Refusal> {
    let body = hash(&[&Envelope::plain(command.clone()).encode()]);
    let envelope = call.envelope(Some(call.remembered("", body)), command);
    match app.cluster.propose(META_GROUP, &envelope, Repeat::Safe, call.deadline).await? {
        Reply::Done => Ok(()),
        other => Err(wrong_reply(&other)),
    }
}

fn told(Outlook { seen, uses }: Outlook) -> proto::ScalingState {
    // Without a look there are no points, and no uses.
    let uses = uses.into_iter().chain(std::iter::repeat(UseSeen::default()));
    let point = |(point, used): (PointSeen, UseSeen)| proto::ForecastPoint {
        at_ms: point.at,
        p50: point.p50,
        p90: point.p90,
        agents: point.agents,
        cpu: used.cpu,
        memory: used.memory,
        workflows: used.workflows,
    };
    proto::ScalingState {
        policy: Some(convert::told(seen.policy)),
        current: seen.is_seen.then_some(seen.current),
        recommended: seen.is_seen.then_some(seen.recommended),
        why: seen.why,
        horizon_ms: seen.horizon_ms,
        points: seen.points.into_iter().zip(uses).map(point).collect(),
        at_ms: seen.at,
        is_set: seen.is_set,
    }
}

/// The pool that KEDA asks for. Whoever makes a ScaledObject wants the advice followed, so that `advise` will do;
/// where scaling is off there is none, and KEDA leaves the pool as it is.
pub(crate) async fn for_keda(
    app: &Arc<App>,
    of: Option<&keda::ScaledObjectRef>,
    deadline: Instant,
) -> Result<PoolSeen, Refusal> {
    let agent_type = match convert::asked_by_keda(of)? {
        convert::Asked::AgentType(name) => name,
        convert::Asked::Queue(queue) => app.cluster.agent_type(&queue),
    };
    let seen = find(app, &agent_type, deadline).await?;
    if seen.policy.mode == Mode::Off {
        return Err(Refusal::new(Code::PreconditionFailed, format!("scaling is off for {agent_type}")));
    }
    Ok(seen)
}

/// The same, if the load was looked at: of a size that nobody knows KEDA is told that there is none now, lest it makes the
/// pool as small as it may be.
pub(crate) fn looked_at(seen: PoolSeen) -> Result<PoolSeen, Refusal> {
    if seen.is_seen {
        return Ok(seen);
    }
    let detail = format!("nobody has looked at the load of {} yet", seen.policy.agent_type);
    Err(Refusal::retry_after(Code::NoLeader, detail, 1_000))
}

/// The one metric: an agent stands for one of it, so that its value is the pool's size.
pub(crate) fn metric_spec(seen: &PoolSeen) -> keda::GetMetricSpecResponse {
    let metric_name = convert::keda_metric(&seen.policy.agent_type);
    let spec = keda::MetricSpec { metric_name, target_size: 1, target_size_float: 1.0 };
    keda::GetMetricSpecResponse { metric_specs: vec![spec] }
}

/// Its value.
pub(crate) fn metric(seen: &PoolSeen, asked: &str) -> Result<keda::GetMetricsResponse, Refusal> {
    let metric_name = convert::keda_metric(&seen.policy.agent_type);
    // KEDA puts the place of the trigger before the name: s0-bravo-coder.
    let is_it = asked.is_empty() || asked == metric_name || asked.ends_with(&format!("-{metric_name}"));
    if !is_it {
        return Err(Refusal::new(Code::NotFound, format!("metricName: there is {metric_name} alone")));
    }
    let metric_value = i64::from(seen.recommended);
    let value = keda::MetricValue { metric_name, metric_value, metric_value_float: f64::from(seen.recommended) };
    Ok(keda::GetMetricsResponse { metric_values: vec![value] })
}

/// Looks at one pool again and again, and tells what has changed.
pub(crate) struct Watched<T> {
    app: Arc<App>,
    caller: Caller,
    of: keda::ScaledObjectRef,
    of_pool: fn(&PoolSeen) -> Option<T>,
    last: Option<T>,
    changes: watch::Receiver<u64>,
}

impl<T: Clone + PartialEq> Watched<T> {
    /// Tells `of_pool` of the pool, once there is one and whenever it changes. Refused if there is no such pool now.
    pub(crate) async fn start(
        app: &Arc<App>,
        call: &Call,
        of: keda::ScaledObjectRef,
        of_pool: fn(&PoolSeen) -> Option<T>,
    ) -> Result<Self, Refusal> {
        for_keda(app, Some(&of), call.deadline).await?;
        Ok(Self {
            app: app.clone(),
            caller: call.caller.clone(),
            of,
            of_pool,
            last: None,
            changes: app.cluster.scaling_changes(),
        })
    }

    /// The next one; none when the node takes its leave, or the caller's key does not hold any more.
    pub(crate) async fn next(&mut self) -> Option<T> {
        loop {
            // A stream outlives the check at its start.
            self.app.door.holds(&self.app.cluster, &self.caller).ok()?;
            let looked = for_keda(&self.app, Some(&self.of), Instant::now() + LOOK_PATIENCE).await;
            // A leader that cannot be asked, or has not looked yet, says nothing of the pool.
            if let Some(now) = looked.ok().and_then(|seen| (self.of_pool)(&seen))
                && self.last.as_ref() != Some(&now)
            {
                self.last = Some(now.clone());
                return Some(now);
            }
            let wait = tokio::time::timeout(LOOK_EVERY, self.changes.changed());
            tokio::select! {
                () = self.app.drain.cancelled() => return None,
                _ = wait => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bravo_model::scaling::ScalingPolicy;

    #[test]
    fn the_metric_is_the_size_of_the_pool_under_the_name_that_keda_makes_of_it() {
        let seen = PoolSeen {
            policy: ScalingPolicy::of(Name::parse("name", "coder").unwrap()),
            is_set: true,
            current: 1,
            recommended: 7,
            why: String::new(),
            boot_ms: 0,
            horizon_ms: 0,
            points: Vec::new(),
            at: 0,
            is_seen: true,
        };
        assert_eq!(looked_at(seen.clone()), Ok(seen.clone()));
        let refused = looked_at(PoolSeen { is_seen: false, ..seen.clone() }).unwrap_err();
        assert_eq!(refused.code, Code::NoLeader, "no size is told that nobody knows");
        let name = metric_spec(&seen).metric_specs.remove(0).metric_name;
        for asked in [name.as_str(), "s0-bravo-coder", ""] {
            let value = metric(&seen, asked).unwrap().metric_values.remove(0);
            assert_eq!((value.metric_name.as_str(), value.metric_value), ("bravo-coder", 7));
        }
        assert!(metric(&seen, "bravo-tester").is_err());
    }
}
