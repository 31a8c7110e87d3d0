//! The fault: the node that leads most groups is killed, and comes back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::nodes::{Nodes, is_ready};
use super::probe::Probes;
use super::screen::Screen;
use super::view::Leaders;
use crate::bench::http::Http;

/// How long the killed node stays away.
const AWAY: Duration = Duration::from_secs(3);
/// How long writes may fail, and the node may take to be back, before the demo has failed.
const RECOVERY_MAX: Duration = Duration::from_secs(20);

/// What the fault was, and how long it was felt.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    /// The node.
    pub(super) node: u64,
    /// The groups it led.
    pub(super) led: usize,
    /// The longest pause between two successful writes to one partition.
    pub(super) failover: Duration,
}

/// What the fault needs to know of the run.
pub(super) struct Scene<'a> {
    pub(super) http: &'a Http,
    pub(super) probes: &'a Probes,
    pub(super) screen: &'a Screen,
    /// Set when the cluster is whole again.
    pub(super) over: &'a AtomicBool,
}

impl Scene<'_> {
    /// Kills, waits, starts again, waits until it serves.
    pub(super) async fn play(&self, nodes: &mut Nodes) -> Result<Fault, String> {
        let urls = nodes.urls();
        let leaders = Leaders::ask(self.http, &urls).await?;
        let (id, led) = leaders.most().ok_or("no group has a leader")?;
        let node = nodes.0.iter_mut().find(|node| node.id == id).ok_or_else(|| format!("no node {id}"))?;

        let killed = Instant::now();
        let pid = node.kill().ok_or_else(|| format!("node {id} had ended before it was killed"))?;
        let groups = leaders.groups;
        self.screen.event(&format!("killed node {id} (pid {pid}), leader of {led} of {groups} partitions"));

        until(killed + RECOVERY_MAX, "writes", || async { self.probes.all_work_since(killed) }).await?;
        let failover = self.probes.longest_gap(killed);
        self.screen.event(&format!("writes succeed again after {:.1} s", failover.as_secs_f64()));

        tokio::time::sleep_until((killed + AWAY).into()).await;
        let (started, pid, url) = (Instant::now(), node.start()?, node.url());
        self.screen.event(&format!("started node {id} again (pid {pid})"));
        until(started + RECOVERY_MAX, "the node", || is_ready(self.http, &url)).await?;
        let took = started.elapsed().as_secs_f64();
        self.screen.event(&format!("node {id} is back: ready {took:.1} s after its start"));
        self.over.store(true, Ordering::Relaxed);
        Ok(Fault { node: id, led, failover })
    }
}

async fn until<F: Future<Output = bool>>(end: Instant, what: &str, mut holds: impl FnMut() -> F) -> Result<(), String> {
    while !holds().await {
        if Instant::now() > end {
            return Err(format!("{what} did not recover within {} s", RECOVERY_MAX.as_secs()));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
