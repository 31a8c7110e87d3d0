//! Actuators: what brings a pool to the size that is recommended.
//!
//! Each node asks meta's leader for its shares of the pools of its configuration and hands them to their actuators.
//! While the leader cannot be asked, pools stay as they are.

mod command;
mod process;
mod systemd;
mod usage;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bravo_model::Name;
use futures_util::future::{BoxFuture, join_all};
use tokio_util::sync::CancellationToken;

use crate::cluster::{Cluster, Repeat};
use crate::config::{ActuatorKind, Config, Pool};
use crate::raft::types::META_GROUP;
use crate::telemetry::events::ActFailed;
use crate::transport::wire::{AgentUse, PoolHere, Request, Response, Share};

/// Longest time between two questions for shares.
const POLL_MAX: Duration = Duration::from_secs(5);

/// How often a node asks for its shares.
pub(super) fn poll_every(tick: Duration) -> Duration {
    tick.min(POLL_MAX)
}

/// Why an actuator could not do what it was told; it is told again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ActError {
    /// A program could not be started or talked to.
    #[error("{0}: {1}")]
    Program(String, std::io::Error),
    /// A program said that it failed.
    #[error("{0} ended with {1}")]
    Ended(String, std::process::ExitStatus),
    /// A program took too long.
    #[error("{0} took longer than {1:?}")]
    Slow(String, Duration),
    /// systemd refused.
    #[error("systemd: {0}")]
    Systemd(String),
}

/// Brings one pool to a size. None of them ends an agent that works: it is asked to leave, and given its time.
pub(crate) trait Actuator: Send {
    /// Goes towards the share; without one, looks after what it was told last.
    fn apply<'a>(&'a mut self, share: Option<&'a Share>) -> BoxFuture<'a, Result<(), ActError>>;

    /// Agents that it runs here and that are not on their way out.
    fn running(&self) -> u32;

    /// The processes of agents that it runs itself, those on their way out with them.
    fn pids(&self) -> Vec<u32> {
        Vec::new()
    }

    /// The node stops: what it runs is asked to leave, and ended when `patience` is over.
    fn stop(&mut self, patience: Duration) -> BoxFuture<'_, ()>;
}

struct Kept {
    agent_type: Name,
    kind: ActuatorKind,
    actuator: Box<dyn Actuator>,
}

/// The pools that this node looks after.
pub(crate) struct Agents {
    pools: tokio::sync::Mutex<Vec<Kept>>,
    stopping: CancellationToken,
    meter: usage::Meter,
}

impl Agents {
    /// Those of the configuration.
    pub(super) fn new(config: &Config) -> Self {
        let keep = |pool: &Pool| Kept {
            agent_type: pool.agent_type.clone(),
            kind: pool.actuator,
            actuator: match pool.actuator {
                ActuatorKind::Process => Box::new(process::Processes::new(pool, own_url(config))),
                ActuatorKind::Command => Box::new(command::Program::new(pool)),
                ActuatorKind::Systemd => Box::new(systemd::Units::new(pool)),
            },
        };
        let pools = config.scaling.pools.iter().map(keep).collect();
        Self {
            pools: tokio::sync::Mutex::new(pools),
            stopping: CancellationToken::new(),
            meter: usage::Meter::default(),
        }
    }

    /// What those use that this node runs as its own processes, since it was asked last. Nothing while they are being
    /// brought to another size: whoever asks would not wait for that.
    pub(crate) fn uses(&self) -> Vec<AgentUse> {
        let Ok(pools) = self.pools.try_lock() else { return Vec::new() };
        let here = pools.iter().map(|pool| (pool.agent_type.clone(), pool.actuator.pids()));
        let here: Vec<(Name, Vec<u32>)> = here.filter(|(_, pids)| !pids.is_empty()).collect();
        drop(pools);
        self.meter.take(&here)
    }

    /// Ends the agents of this node while it still serves, so that they can say what became of their jobs.
    pub(crate) async fn stop(&self, patience: Duration) {
        self.stopping.cancel();
        let mut pools = self.pools.lock().await;
        join_all(pools.iter_mut().map(|pool| pool.actuator.stop(patience))).await;
    }
}

/// Where agents of this machine find this node.
fn own_url(config: &Config) -> String {
    if config.tls.as_ref().is_some_and(|tls| tls.public_cert.is_some()) {
        // Its certificate names a host.
        return format!("https://{}", config.advertised_public());
    }
    let mut address = config.listen.public;
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    format!("http://{address}")
}

/// Asks for shares and follows them until the node stops.
pub(super) async fn run(cluster: Arc<Cluster>) {
    let agents = &cluster.scaling.agents;
    if agents.pools.lock().await.is_empty() {
        return;
    }
    let every = poll_every(cluster.scaling.tick());
    loop {
        let stopped = agents.stopping.run_until_cancelled(tokio::time::sleep(every)).await.is_none();
        if stopped {
            return;
        }
        let shares = ask(&cluster, every).await;
        let mut pools = agents.pools.lock().await;
        if agents.stopping.is_cancelled() {
            return;
        }
        let each = pools.iter_mut().enumerate().map(|(place, pool)| {
            let share = shares.get(place).cloned().flatten();
            async move {
                if let Err(error) = pool.actuator.apply(share.as_ref()).await {
                    ActFailed { agent_type: pool.agent_type.as_str(), actuator: pool.kind.as_str(), error: &error }
                        .emit();
                }
            }
        });
        join_all(each).await;
    }
}

/// This node's shares, in the order of its pools; none where nothing is known.
async fn ask(cluster: &Arc<Cluster>, patience: Duration) -> Vec<Option<Share>> {
    let pools: Vec<PoolHere> = {
        let pools = cluster.scaling.agents.pools.lock().await;
        let here = |pool: &Kept| PoolHere {
            agent_type: pool.agent_type.clone(),
            is_part: pool.kind != ActuatorKind::Command,
            running: pool.actuator.running(),
        };
        pools.iter().map(here).collect()
    };
    let request = || Request::Pools(pools.clone());
    let asked = cluster.at_leader(META_GROUP, Instant::now() + patience, Repeat::Safe, request);
    match asked.await {
        Ok(Response::Shares(shares)) => shares,
        _ => Vec::new(),
    }
}
