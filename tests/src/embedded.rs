//! A cluster of real nodes in the test's own process: real files, QUIC and fsync, no public interface.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use bravo_daemon::cluster::Cluster;
use bravo_daemon::config::Config;
use bravo_daemon::dev;
use bravo_daemon::node::Node;
use tempfile::TempDir;

static NEXT_RANGE: AtomicU16 = AtomicU16::new(0);

/// Ports of one cluster.
const RANGE: u16 = 30;
/// Ranges below the ephemeral ports.
const RANGES: u16 = 400;

/// The first port of a range of its own per cluster: none that this process had before, and none that another
/// process uses.
fn ports() -> u16 {
    let first = (std::process::id() % u32::from(RANGES)) as u16;
    let range = || 20_000 + (first + NEXT_RANGE.fetch_add(1, Ordering::Relaxed)) % RANGES * RANGE;
    let is_free = |port: u16| UdpSocket::bind(("127.0.0.1", port)).is_ok();
    let mut ranges = std::iter::repeat_with(range).take(RANGES.into());
    ranges.find(|base| (*base..base + RANGE).all(is_free)).expect("a range of ports is free")
}

/// Nodes in this process.
pub struct Embedded {
    /// Their configurations, also of those that are stopped.
    pub configs: Vec<Config>,
    /// The running ones.
    pub nodes: Vec<Option<Node>>,
    _dir: TempDir,
}

impl Embedded {
    /// Starts a cluster and waits until every group has a leader.
    pub async fn start(nodes: u16) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let mut configs = dev::configs(dir.path(), nodes, ports())?;
        for config in &mut configs {
            config.storage.log_segment_bytes = 16 << 20;
        }
        let mut this = Self { nodes: configs.iter().map(|_| None).collect(), configs, _dir: dir };
        for index in 0..this.configs.len() {
            this.start_node(index).await?;
        }
        this.settle(Duration::from_secs(20)).await?;
        Ok(this)
    }

    /// Starts a node that does not run.
    pub async fn start_node(&mut self, index: usize) -> anyhow::Result<()> {
        self.nodes[index] = Some(Node::start(&self.configs[index]).await?);
        Ok(())
    }

    /// Stops a node in good order.
    pub async fn stop_node(&mut self, index: usize) {
        if let Some(node) = self.nodes[index].take() {
            node.stop(Duration::from_secs(2)).await;
        }
    }

    /// A running node's view of the cluster.
    pub fn cluster(&self, index: usize) -> Arc<Cluster> {
        self.nodes[index].as_ref().expect("the node runs").cluster.clone()
    }

    /// Waits until every running node knows a leader for every group.
    pub async fn settle(&self, patience: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + patience;
        let settled = || {
            self.nodes.iter().flatten().all(|node| node.cluster.groups().iter().all(|g| g.shared.leader().is_some()))
        };
        while !settled() {
            anyhow::ensure!(Instant::now() < deadline, "a group has no leader after {patience:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}
