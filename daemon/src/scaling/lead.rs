//! The loop of meta's leader: a look each tick; what was learned is handed on when another node comes to lead.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::Scaling;
use super::brain::Brain;
use crate::cluster::Cluster;
use crate::raft::types::META_GROUP;
use crate::telemetry::samples::PoolSample;

pub(super) async fn run(cluster: Arc<Cluster>) {
    let mut ticks = tokio::time::interval(cluster.scaling.tick());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let mut brain = cluster.scaling.brain.lock().await;
        if cluster.leads(META_GROUP) {
            let lived = brain.take().unwrap_or_default();
            *brain = Some(lived.tick(&cluster).await);
        } else if let Some(lived) = brain.take() {
            // The next leader has looked already or will; what it has not learned it gets now.
            lived.save(&cluster, Duration::ZERO).await;
            cluster.scaling.forget();
        }
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
