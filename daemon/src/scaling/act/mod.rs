//! Actuators: what brings a pool to the size that is recommended.
//!
//! Each node asks meta's leader for its shares of the pools of its configuration and hands them to their actuators.
//! While the leader cannot be asked, pools stay as they are.

mod command;
mod group;
mod kubernetes;
mod process;
mod roll;
mod systemd;
mod usage;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bravo_model::Name;
use futures_util::future::{BoxFuture, join_all};
use tokio_util::sync::CancellationToken;

use crate::cluster::{Cluster, Repeat};
use crate::config::{ActuatorKind, Config, Pool};
use crate::raft::types::META_GROUP;
use crate::telemetry::events::ActFailed;
use crate::transport::wire::{AgentUse, PoolHere, Request, Response, Share};
use roll::Roll;

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
    /// Kubernetes refused, or would end agents that work.
    #[error("Kubernetes: {0}")]
    Kubernetes(String),
}

/// Brings one pool to a size. None of them ends an agent that works: it is asked to leave, and given its time.
pub(crate) trait Actuator: Send {
    /// Goes towards the share; without one, looks after what it was told last.
    fn apply<'a>(&'a mut self, share: Option<&'a Share>) -> BoxFuture<'a, Result<(), ActError>>;

    /// Agents that it runs here and that are not on their way out; none of those that are others' to run.
    fn running(&self) -> u32 {
        0
    }

    /// The processes of agents that it runs itself, those on their way out with them.
    fn pids(&self) -> Vec<u32> {
        Vec::new()
    }

    /// The node stops: what it runs is asked to leave, and ended when `patience` is over. What others run works on for
    /// other nodes.
    fn stop(&mut self, _patience: Duration) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

struct Kept {
    agent_type: Name,
    kind: ActuatorKind,
    /// Agents that it ran when it was told last.
    running: AtomicU32,
    actuator: tokio::sync::Mutex<Box<dyn Actuator>>,
}

impl Kept {
    fn new(agent_type: Name, kind: ActuatorKind, actuator: Box<dyn Actuator>) -> Self {
        Self { agent_type, kind, running: AtomicU32::new(0), actuator: tokio::sync::Mutex::new(actuator) }
    }

    /// Goes towards the share, unless it is still busy with the last one.
    async fn follow(&self, share: Option<&Share>, stopping: &CancellationToken) {
        let Ok(mut actuator) = self.actuator.try_lock() else { return };
        if stopping.is_cancelled() {
            return;
        }
        let applied = stopping.run_until_cancelled(actuator.apply(share)).await;
        self.running.store(actuator.running(), Ordering::Relaxed);
        if let Some(Err(error)) = applied {
            ActFailed { agent_type: self.agent_type.as_str(), actuator: self.kind.as_str(), error: &error }.emit();
        }
    }
}

/// The pools that this node looks after.
pub(crate) struct Agents {
    pools: Vec<Arc<Kept>>,
    data_dir: PathBuf,
    stopping: CancellationToken,
    meter: Arc<usage::Meter>,
}

impl Agents {
    /// Those of the configuration.
    pub(super) fn new(config: &Config) -> Self {
        let systemd = Arc::new(systemd::Manager::new(config.scaling.systemd_bus.clone()));
        let server = Arc::<kubernetes::Server>::default();
        let data_dir = &config.node.data_dir;
        let actuator = |pool: &Pool| -> Option<Box<dyn Actuator>> {
            Some(match pool.actuator {
                ActuatorKind::Process => Box::new(process::Processes::new(pool, own_url(config), data_dir)),
                ActuatorKind::Command => Box::new(command::Program::new(pool)),
                ActuatorKind::Systemd => Box::new(systemd::Units::new(pool, systemd.clone())),
                ActuatorKind::Kubernetes => Box::new(kubernetes::Scale::new(pool.target.clone()?, server.clone())),
            })
        };
        let keep = |pool: &Pool| Some(Arc::new(Kept::new(pool.agent_type.clone(), pool.actuator, actuator(pool)?)));
        Self {
            pools: config.scaling.pools.iter().filter_map(keep).collect(),
            data_dir: data_dir.clone(),
            stopping: CancellationToken::new(),
            meter: Arc::default(),
        }
    }

    /// Asks agents to leave that this node left behind and whose pools are not in its configuration any more.
    async fn dismiss(&self) {
        let of_processes = self.pools.iter().filter(|pool| pool.kind == ActuatorKind::Process);
        let kept: Vec<Roll> = of_processes.map(|pool| Roll::of(&self.data_dir, &pool.agent_type)).collect();
        let data_dir = self.data_dir.clone();
        let _ = tokio::task::spawn_blocking(move || Roll::dismiss_all_but(&data_dir, &kept)).await;
    }

    /// Has each pool follow its share. One that takes its time holds up neither the others nor the next question.
    fn follow(&self, shares: &[Option<Share>]) {
        for (place, pool) in self.pools.iter().enumerate() {
            let (pool, share, stopping) = (pool.clone(), shares.get(place).cloned().flatten(), self.stopping.clone());
            tokio::spawn(async move { pool.follow(share.as_ref(), &stopping).await });
        }
    }

    /// What those use that this node runs as its own processes, since it was asked last. Nothing of a pool while it is
    /// being brought to another size: whoever asks would not wait for that.
    pub(crate) async fn uses(&self) -> Vec<AgentUse> {
        let here = self.pools.iter().filter_map(|pool| {
            let pids = pool.actuator.try_lock().ok()?.pids();
            (!pids.is_empty()).then(|| (pool.agent_type.clone(), pids))
        });
        let (here, meter) = (here.collect::<Vec<(Name, Vec<u32>)>>(), self.meter.clone());
        // Each agent and all that it started is read from files.
        tokio::task::spawn_blocking(move || meter.take(&here)).await.unwrap_or_default()
    }

    /// Ends the agents of this node while it still serves, so that they can say what became of their jobs.
    pub(crate) async fn stop(&self, patience: Duration) {
        self.stopping.cancel();
        join_all(self.pools.iter().map(|pool| async { pool.actuator.lock().await.stop(patience).await })).await;
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
    agents.dismiss().await;
    if agents.pools.is_empty() {
        return;
    }
    let every = poll_every(cluster.scaling.tick());
    loop {
        let stopped = agents.stopping.run_until_cancelled(tokio::time::sleep(every)).await.is_none();
        if stopped {
            return;
        }
        let shares = ask(&cluster, every).await;
        agents.follow(&shares);
    }
}

/// This node's shares, in the order of its pools; none where nothing is known.
async fn ask(cluster: &Arc<Cluster>, patience: Duration) -> Vec<Option<Share>> {
    let here = |pool: &Arc<Kept>| PoolHere {
        agent_type: pool.agent_type.clone(),
        is_part: pool.kind.is_part(),
        running: pool.running.load(Ordering::Relaxed),
    };
    let pools: Vec<PoolHere> = cluster.scaling.agents.pools.iter().map(here).collect();
    let request = || Request::Pools(pools.clone());
    let asked = cluster.at_leader(META_GROUP, Instant::now() + patience, Repeat::Safe, request);
    match asked.await {
        Ok(Response::Shares(shares)) => shares,
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::watch;

    /// One that never comes to an end of what it is told, or does it at once.
    struct Told {
        is_slow: bool,
        times: watch::Sender<u32>,
    }

    impl Actuator for Told {
        fn apply<'a>(&'a mut self, _: Option<&'a Share>) -> BoxFuture<'a, Result<(), ActError>> {
            self.times.send_modify(|times| *times += 1);
            if self.is_slow { Box::pin(std::future::pending()) } else { Box::pin(std::future::ready(Ok(()))) }
        }

        fn running(&self) -> u32 {
            7
        }

        fn stop(&mut self, _: Duration) -> BoxFuture<'_, ()> {
            self.times.send_modify(|times| *times += 100);
            Box::pin(std::future::ready(()))
        }
    }

    fn kept(is_slow: bool) -> (Arc<Kept>, watch::Receiver<u32>) {
        let times = watch::Sender::new(0);
        let seen = times.subscribe();
        let name = Name::parse("name", "coder").unwrap();
        (Arc::new(Kept::new(name, ActuatorKind::Command, Box::new(Told { is_slow, times }))), seen)
    }

    #[tokio::test]
    async fn a_pool_that_takes_its_time_holds_up_neither_the_others_nor_the_end() {
        let ((slow, mut slow_times), (quick, mut quick_times)) = (kept(true), kept(false));
        let agents = Agents {
            pools: vec![slow, quick.clone()],
            data_dir: PathBuf::new(),
            stopping: CancellationToken::new(),
            meter: Arc::default(),
        };
        for round in 1..=3 {
            agents.follow(&[]);
            quick_times.wait_for(|times| *times == round).await.unwrap();
            slow_times.wait_for(|times| *times == 1).await.unwrap();
        }
        agents.stop(Duration::ZERO).await;
        assert_eq!((*slow_times.borrow(), *quick_times.borrow()), (101, 103));
        assert_eq!(quick.running.load(Ordering::Relaxed), 7);
        quick.follow(None, &agents.stopping).await;
        assert_eq!(*quick_times.borrow(), 103, "nothing is begun after the end");
    }
}
