//! What recommends, while this node leads meta: a pool for each agent type, and what was seen last.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bravo_model::scaling::{Mode, ScalingPolicy};
use bravo_model::{Command, Envelope, Name, Time, view};
use bravo_scaling::{State, refit};
use bytes::Bytes;

use super::look::{Load, Look, Totals};
use super::pool::Pool;
use super::{memory, own};
use crate::cluster::{Cluster, Repeat};
use crate::raft::types::META_GROUP;
use crate::telemetry::events::ScalingDecided;
use crate::telemetry::samples::PoolSample;
use crate::transport::wire::Outlook;

/// How often what was learned of a pool is kept.
const SAVE_EVERY: Duration = Duration::from_secs(300);
/// Longest wait for a memory to be kept.
const SAVE_PATIENCE: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Default)]
pub(super) struct Brain {
    look: Look,
    pools: BTreeMap<Name, Pool>,
    /// The nodes themselves; none before what is remembered of them was read.
    own: Option<own::Size>,
    own_saved_at: Option<Instant>,
}

impl Brain {
    /// One look, and what comes of it.
    pub(super) async fn tick(mut self, cluster: &Arc<Cluster>) -> Self {
        let Some(meta) = cluster.group(META_GROUP) else { return self };
        let tick = cluster.scaling.tick();
        let policies = view::scalings(&*meta.shared.state.read());
        let set: Vec<Name> = policies.iter().map(|policy| policy.agent_type.clone()).collect();
        let loads = self.look.take(cluster, &set, Instant::now() + tick / 2).await;
        let at = cluster.now(META_GROUP);
        self.look_at_nodes(cluster, at).await;
        let of = cluster.clone();
        let (brain, seen) = self
            .beside(move |brain| {
                let loads = brain.settle(&of, policies, loads, tick.as_secs_f64());
                let mut seen = brain.step(&loads, at);
                let own = brain.own.as_ref().and_then(|own| own.told(at, tick.as_secs_f64()));
                seen.extend(own.map(|own| (own.seen.policy.agent_type.clone(), own)));
                seen
            })
            .await;
        let Some(seen) = seen else { return brain };
        tell_metrics(&seen);
        cluster.scaling.publish(seen);
        let brain = brain.refit(tick / 4).await;
        brain.save(cluster, SAVE_EVERY).await
    }

    /// Does what takes its time beside the node's other tasks: a model is fitted in a tenth of a second, and there may be
    /// two hundred. A brain that fails is replaced by one that goes on with what is kept.
    async fn beside<T: Send + 'static>(
        mut self,
        work: impl FnOnce(&mut Self) -> T + Send + 'static,
    ) -> (Self, Option<T>) {
        let done = tokio::task::spawn_blocking(move || {
            let done = work(&mut self);
            (self, done)
        });
        match done.await {
            Ok((brain, done)) => (brain, Some(done)),
            Err(error) => {
                tracing::error!(%error, "scaling failed, and begins anew with what is kept of it");
                (Self::default(), None)
            }
        }
    }

    /// Plans for all pools. One that fails takes no other along, and begins anew with what is kept of it.
    fn step(&mut self, loads: &BTreeMap<Name, Load>, at: Time) -> BTreeMap<Name, Outlook> {
        let mut seen = BTreeMap::new();
        self.pools.retain(|name, pool| {
            let Some(load) = loads.get(name) else { return true };
            let Ok((told, fallback)) = catch_unwind(AssertUnwindSafe(|| pool.step(load, at))) else {
                tracing::error!(agent_type = %name, "the plan for a pool failed");
                return false;
            };
            if told.seen.policy.mode != Mode::Off {
                ScalingDecided { fallback }.emit();
            }
            seen.insert(name.clone(), told);
            true
        });
        seen
    }

    async fn look_at_nodes(&mut self, cluster: &Arc<Cluster>, at: Time) {
        if self.own.is_none() {
            let of = cluster.clone();
            self.own = tokio::task::spawn_blocking(move || own::Size::resume(own_memory(&of))).await.ok();
        }
        if let Some(own) = &mut self.own {
            own.look(cluster, self.look.workflows(), at).await;
        }
    }

    /// What was learned of a type.
    pub(super) fn state(&self, of: &Name) -> Option<&State> {
        self.pools.get(of).map(|pool| pool.controller.state())
    }

    /// What had gone through its queues at the last look.
    pub(super) fn totals(&self, of: &Name) -> Option<Totals> {
        self.pools.get(of).map(|pool| pool.totals)
    }

    /// Forgets a type, so that the next look goes on with what is kept of it.
    pub(super) fn drop_pool(&mut self, of: &Name) {
        self.pools.remove(of);
    }

    /// Makes the pools those of the policies and the loads.
    fn settle(
        &mut self,
        cluster: &Cluster,
        policies: Vec<ScalingPolicy>,
        loads: BTreeMap<Name, (Load, Totals)>,
        tick_s: f64,
    ) -> BTreeMap<Name, Load> {
        let mut policies: BTreeMap<Name, ScalingPolicy> =
            policies.into_iter().map(|policy| (policy.agent_type.clone(), policy)).collect();
        self.pools.retain(|name, _| loads.contains_key(name));
        let mut settled = BTreeMap::new();
        for (name, (mut load, totals)) in loads {
            let set = policies.remove(&name);
            let (is_set, policy) = (set.is_some(), set.unwrap_or_else(|| ScalingPolicy::of(name.clone())));
            match self.pools.get_mut(&name) {
                Some(pool) => {
                    pool.configure(policy, is_set, tick_s);
                    pool.totals = totals;
                }
                None => {
                    let remembered = cluster.remembered(&name);
                    // What went through since the memory was kept, whoever led meanwhile.
                    if let Some((_, before)) = &remembered {
                        load.flow = totals.since(before);
                    }
                    let mut pool = Pool::new(policy, is_set, tick_s, remembered);
                    pool.totals = totals;
                    self.pools.insert(name.clone(), pool);
                }
            }
            settled.insert(name, load);
        }
        settled
    }

    /// Fits the models anew that have grown old, beside the decisions, as many as there is time for.
    async fn refit(self, budget: Duration) -> Self {
        let (brain, _) = self
            .beside(move |brain| {
                let until = Instant::now() + budget;
                for pool in brain.pools.values_mut().filter(|pool| pool.controller.wants_refit()) {
                    let model = refit(&pool.controller.state().history, pool.controller.lead());
                    pool.controller.adopt(model);
                    if Instant::now() >= until {
                        break;
                    }
                }
                while Instant::now() < until && brain.own.as_mut().is_some_and(own::Size::refit) {}
            })
            .await;
        brain
    }

    /// Keeps in meta what was learned of pools and not kept for so long. A pool that was just met is not worth it yet.
    pub(super) async fn save(mut self, cluster: &Arc<Cluster>, age: Duration) -> Self {
        let (now, tick_ms) = (Instant::now(), cluster.scaling.tick_ms());
        let is_due = |saved_at: &mut Option<Instant>| now.duration_since(*saved_at.get_or_insert(now)) >= age;
        let due = self.pools.iter_mut().filter_map(|(name, pool)| is_due(&mut pool.saved_at).then(|| name.clone()));
        for name in due.collect::<Vec<Name>>() {
            let of = name.clone();
            let pack = move |brain: &mut Self| {
                let pool = brain.pools.get_mut(&of)?;
                pool.saved_at = Some(now);
                memory::pack(tick_ms, pool.controller.state(), &pool.totals)
            };
            let packed;
            (self, packed) = self.beside(pack).await;
            let Some(bytes) = packed.flatten() else {
                tracing::warn!(agent_type = %name, "what scaling learned is too large to be kept");
                continue;
            };
            if !keep(cluster, &name, bytes).await {
                break;
            }
        }
        let brain = if is_due(&mut self.own_saved_at) { self.save_own(cluster, now).await } else { self };
        brain.forget(cluster).await;
        brain
    }

    async fn save_own(mut self, cluster: &Arc<Cluster>, now: Instant) -> Self {
        let Ok(name) = Name::parse("agent_type", own::OWN) else { return self };
        let tick_ms = cluster.scaling.tick_ms();
        self.own_saved_at = Some(now);
        let pack = move |brain: &mut Self| {
            let (at, gauges) = brain.own.as_ref()?.memory()?;
            memory::pack_own(tick_ms, at, gauges)
        };
        let (brain, packed) = self.beside(pack).await;
        if let Some(bytes) = packed.flatten() {
            keep(cluster, &name, bytes).await;
        }
        brain
    }

    /// Types that are no more leave room to others.
    async fn forget(&self, cluster: &Arc<Cluster>) {
        let Some(meta) = cluster.group(META_GROUP) else { return };
        let remembered = view::scaling_memories(&*meta.shared.state.read());
        if (remembered.len() as u64) < bravo_model::limits::SCALING_TYPES_MAX {
            return;
        }
        let is_gone = |name: &&Name| name.as_str() != own::OWN && !self.pools.contains_key(*name);
        if let Some(gone) = remembered.iter().find(is_gone) {
            keep(cluster, gone, Bytes::new()).await;
        }
    }
}

/// What is remembered of the nodes themselves.
fn own_memory(cluster: &Cluster) -> own::Memory {
    let remembered = || {
        let name = Name::parse("agent_type", own::OWN).ok()?;
        let meta = cluster.group(META_GROUP)?;
        let memory = view::scaling_memory(&*meta.shared.state.read(), &name)?;
        memory::unpack_own(cluster.scaling.tick_ms(), &memory.bytes)
    };
    remembered().unwrap_or_default()
}

async fn keep(cluster: &Arc<Cluster>, agent_type: &Name, bytes: Bytes) -> bool {
    let envelope = Envelope::plain(Command::SaveScaling { agent_type: agent_type.clone(), bytes });
    let kept = cluster.propose(META_GROUP, &envelope, Repeat::Safe, Instant::now() + SAVE_PATIENCE).await;
    if let Err(refusal) = &kept {
        tracing::debug!(%agent_type, detail = refusal.detail, "what scaling learned was not kept; trying again");
    }
    kept.is_ok()
}

fn tell_metrics(seen: &BTreeMap<Name, Outlook>) {
    for (name, Outlook { seen: pool, .. }) in seen {
        PoolSample { agent_type: name.as_str(), current: pool.current, recommended: pool.recommended }.emit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_brain_that_fails_is_replaced_and_the_next_look_goes_on() {
        let brain = Brain { own_saved_at: Some(Instant::now()), ..Brain::default() };
        let (brain, done) = brain.beside(|brain| brain.own_saved_at.is_some()).await;
        assert_eq!(done, Some(true));
        let (brain, done) = brain.beside(|_| -> u32 { panic!("a bug") }).await;
        assert_eq!((done, brain.own_saved_at), (None, None));
        assert_eq!(brain.beside(|_| 1).await.1, Some(1));
    }
}
