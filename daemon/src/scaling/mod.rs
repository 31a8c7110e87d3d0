//! How many agents of each type there should be, and whoever sees to it.
//!
//! ```text
//!  partitions: counts, flows, what is known to come ─┐
//!  nodes: workers                                    ├─► look ─► Brain (a Controller a type) ─► how pools stand
//!  meta: policies, memories                         ─┘   (meta's leader, each tick)                 │
//!                                                                                                    │
//!      REST, gRPC, KEDA ◄── any node asks meta's leader ◄────────────────────────────────────────────┤
//!      actuators of each node ◄── shares: who runs how many of them ◄────────────────────────────────┘
//! ```
//!
//! What a controller learned is kept in meta every few minutes and when leadership moves, so that the next leader
//! goes on with it. Nothing else is replicated: a recommendation that is lost is made again within a tick.
//!
//! A controller plans with agents that do one job at a time. One that does `c` of them is planned for as one that
//! does a job in a `c`th of the time. That is exact for what a pool can do, and on the safe side for how long jobs
//! wait.

mod act;
mod brain;
mod lead;
mod look;
mod memory;
mod own;
mod past;
mod pool;
mod shares;
mod told;
mod uses;

pub(crate) use act::Agents;
pub(crate) use own::OWN;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bravo_model::scaling::ScalingPolicy;
use bravo_model::{Name, Refusal};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::cluster::Cluster;
use crate::config::Config;
use crate::raft::types::{META_GROUP, NodeId};
use crate::transport::wire::{NodeLoad, Outlook, PoolHere, PoolSeen, Request, Response, Share};
use brain::Brain;
use shares::Reports;

/// How far forecasts look.
pub(crate) const HORIZON_MS: u64 = 900_000;

/// The scaling of one node: what it knows while it leads meta, and the agents that it runs.
pub(crate) struct Scaling {
    tick: Duration,
    /// What recommends, while this node leads meta.
    brain: tokio::sync::Mutex<Option<Brain>>,
    /// How pools stand, while this node leads meta.
    seen: Mutex<BTreeMap<Name, Outlook>>,
    /// Who looks after which pools, as this node was told while it led meta.
    reports: Mutex<Reports>,
    /// Grows when what is known here changes.
    changes: watch::Sender<u64>,
    /// The agents that this node runs.
    pub(crate) agents: Agents,
    load: Arc<own::Meter>,
}

impl Scaling {
    pub(crate) fn new(config: &Config) -> Self {
        let tick = Duration::from_millis(config.scaling.tick_ms);
        Self {
            tick,
            brain: tokio::sync::Mutex::new(None),
            seen: Mutex::default(),
            reports: Mutex::new(Reports::new(act::poll_every(tick), tick)),
            changes: watch::Sender::new(0),
            agents: Agents::new(config),
            load: Arc::default(),
        }
    }

    /// How often the load is looked at.
    pub(crate) fn tick(&self) -> Duration {
        self.tick
    }

    fn tick_ms(&self) -> u64 {
        u64::try_from(self.tick.as_millis()).unwrap_or(u64::MAX)
    }

    /// What this node uses of its machine, since it was asked last.
    pub(crate) async fn node_load(&self) -> NodeLoad {
        let load = self.load.clone();
        tokio::task::spawn_blocking(move || load.take()).await.unwrap_or_default()
    }

    fn publish(&self, seen: BTreeMap<Name, Outlook>) {
        *self.seen.lock() = seen;
        self.changes.send_modify(|changes| *changes = changes.wrapping_add(1));
    }
}

/// Starts what runs on every node.
pub(crate) fn start(cluster: &Arc<Cluster>) {
    cluster.tasks.spawn(lead::run(cluster.clone()));
    cluster.tasks.spawn(act::run(cluster.clone()));
}

impl Cluster {
    /// How pools stand, as meta's leader has it: one type, or all.
    pub(crate) async fn scaling(
        self: &Arc<Self>,
        agent_type: Option<Name>,
        deadline: Instant,
    ) -> Result<Vec<PoolSeen>, Refusal> {
        let request = || Request::Scaling(agent_type.clone());
        match self.at_leader(META_GROUP, deadline, crate::cluster::Repeat::Safe, request).await? {
            Response::Scaling(seen) => Ok(seen),
            other => Err(crate::cluster::wrong_answer(&other)),
        }
    }

    /// The same with what pools are expected to use.
    pub(crate) async fn outlooks(
        self: &Arc<Self>,
        agent_type: Option<Name>,
        deadline: Instant,
    ) -> Result<Vec<Outlook>, Refusal> {
        let request = || Request::Outlooks(agent_type.clone());
        match self.at_leader(META_GROUP, deadline, crate::cluster::Repeat::Safe, request).await? {
            Response::Outlooks(outlooks) => Ok(outlooks),
            other => Err(crate::cluster::wrong_answer(&other)),
        }
    }

    /// Answers how pools stand, if this node leads meta.
    pub(crate) fn serve_scaling(&self, agent_type: Option<&Name>) -> Response {
        match self.pools_seen(agent_type) {
            Ok(outlooks) => Response::Scaling(outlooks.into_iter().map(|outlook| outlook.seen).collect()),
            Err(other) => other,
        }
    }

    /// Answers the same with what they are expected to use.
    pub(crate) fn serve_outlooks(&self, agent_type: Option<&Name>) -> Response {
        self.pools_seen(agent_type).map_or_else(|other| other, Response::Outlooks)
    }

    /// How pools stand, if this node leads meta: policies as they are now, the rest as of the last look.
    fn pools_seen(&self, agent_type: Option<&Name>) -> Result<Vec<Outlook>, Response> {
        let Some(meta) = self.group(META_GROUP) else { return Err(Response::NotLeader(None)) };
        if let Some(leader) = meta.shared.foreign_leader() {
            return Err(Response::NotLeader(leader));
        }
        let mut pools = self.scaling.seen.lock().clone();
        let policies = bravo_model::view::scalings(&*meta.shared.state.read());
        // Of those without a look nobody says a size: the smallest one would end agents that work.
        for Outlook { seen, .. } in pools.values_mut().filter(|pool| pool.seen.policy.agent_type.as_str() != OWN) {
            let set = policies.iter().find(|policy| policy.agent_type == seen.policy.agent_type);
            let policy = set.cloned().unwrap_or_else(|| ScalingPolicy::of(seen.policy.agent_type.clone()));
            *seen = pool::under(seen, policy, set.is_some());
        }
        for policy in policies {
            let now = self.now(META_GROUP);
            let unseen = |policy| Outlook { seen: pool::unseen(policy, now), uses: Vec::new() };
            pools.entry(policy.agent_type.clone()).or_insert_with(|| unseen(policy));
        }
        let wanted = |pool: &Outlook| agent_type.is_none_or(|wanted| *wanted == pool.seen.policy.agent_type);
        Ok(pools.into_values().filter(wanted).collect())
    }

    /// Tells a node its shares of the pools that it looks after, if this node leads meta: a majority says so now, since
    /// of two that think so each would give out whole pools.
    pub(crate) async fn serve_pools(&self, from: NodeId, pools: &[PoolHere]) -> Response {
        let Some(meta) = self.group(META_GROUP) else { return Response::NotLeader(None) };
        if let Some(leader) = meta.shared.foreign_leader() {
            return Response::NotLeader(leader);
        }
        if meta.linearize().await.is_err() {
            return Response::NotLeader(None);
        }
        let seen = self.scaling.seen.lock().clone();
        let mut reports = self.scaling.reports.lock();
        reports.take(from, pools, Instant::now());
        let share = |pool: &PoolHere| {
            let of = &seen.get(&pool.agent_type)?.seen;
            let agents = reports.share(from, pool, of, Instant::now())?;
            Some(Share { agents, of: of.clone() })
        };
        Response::Shares(pools.iter().map(share).collect())
    }

    /// Waits until what this node knows of pools may have changed.
    pub(crate) fn scaling_changes(&self) -> watch::Receiver<u64> {
        self.scaling.changes.subscribe()
    }
}
