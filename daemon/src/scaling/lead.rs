//! The loop of meta's leader: a look each tick; what was learned is handed on when another node comes to lead.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Scaling;
use super::brain::Brain;
use crate::cluster::Cluster;
use crate::raft::types::META_GROUP;
use crate::telemetry::samples::PoolSample;

/// How often it is looked who leads.
const WATCH_EVERY: Duration = Duration::from_millis(250);
/// Time that the leader before has to hand on what it learned.
const SETTLE: Duration = Duration::from_secs(1);

pub(super) async fn run(cluster: Arc<Cluster>) {
    let (mut since, mut next) = (None, Instant::now());
    loop {
        tokio::time::sleep(WATCH_EVERY).await;
        let now = Instant::now();
        if !cluster.leads(META_GROUP) {
            since = None;
            let mut brain = cluster.scaling.brain.lock().await;
            if let Some(lived) = brain.take() {
                lived.save(&cluster, Duration::ZERO).await;
                cluster.scaling.forget();
            }
            continue;
        }
        if now.duration_since(*since.get_or_insert(now)) < SETTLE || now < next {
            continue;
        }
        // Who lost the majority decides nothing: another one may lead already.
        if let Some(meta) = cluster.group(META_GROUP)
            && meta.linearize().await.is_err()
        {
            continue;
        }
        // Steady, unless a look took longer than a tick.
        next = (next + cluster.scaling.tick()).max(now);
        let mut brain = cluster.scaling.brain.lock().await;
        let lived = brain.take().unwrap_or_default();
        *brain = Some(lived.tick(&cluster).await);
    }
}

impl Scaling {
    /// Another node leads.
    fn forget(&self) {
        self.reports.lock().clear();
        for name in self.seen.lock().keys() {
            // The new leader tells them, and they would be counted twice.
            PoolSample { agent_type: name.as_str(), current: 0, recommended: 0 }.emit();
        }
        self.publish(Default::default());
    }

    /// Keeps what was learned, before this node hands meta over.
    pub(crate) async fn hand_on(&self, cluster: &Arc<Cluster>) {
        let mut brain = self.brain.lock().await;
        if let Some(lived) = brain.take() {
            let lived: Brain = lived.save(cluster, Duration::ZERO).await;
            drop(lived);
        }
    }
}
