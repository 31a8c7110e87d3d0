//! The loop of meta's leader: a look each tick; what was learned is handed on when another node comes to lead.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;

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
            (since, next) = (None, now);
            let mut brain = cluster.scaling.brain.lock().await;
            if let Some(lived) = brain.take() {
                lived.save(&cluster, Duration::ZERO).await;
            }
            // Whether it had looked or not: others may have told it of their pools.
            cluster.scaling.forget();
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
        next = following(next, now, cluster.scaling.tick());
        let mut brain = cluster.scaling.brain.lock().await;
        let lived = brain.take().unwrap_or_default();
        // Whatever fails in a look, the next one is another try.
        let ticked = AssertUnwindSafe(lived.tick(&cluster)).catch_unwind().await;
        *brain = Some(ticked.unwrap_or_else(|_| {
            tracing::error!("a look at the load failed");
            Brain::default()
        }));
    }
}

/// When the look after the one that was due at `due` and begins now is due: steady, but never at once to make up for one
/// that is late by a tick.
fn following(due: Instant, now: Instant, tick: Duration) -> Instant {
    let next = due + tick;
    if next > now { next } else { now + tick }
}

impl Scaling {
    /// Another node leads.
    fn forget(&self) {
        self.reports.lock().clear();
        let seen = std::mem::take(&mut *self.seen.lock());
        if seen.is_empty() {
            return;
        }
        for name in seen.keys() {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::scaling::pool::smallest;
    use crate::transport::wire::{Outlook, PoolHere};
    use bravo_model::Name;
    use bravo_model::scaling::{Mode, ScalingPolicy};

    #[test]
    fn looks_are_steady_and_one_that_is_late_by_more_than_a_tick_is_not_made_up_for() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let after = |due: u32, now: u32| following(start + second * due, start + second * now, second * 15) - start;
        assert_eq!([after(0, 0), after(15, 16), after(30, 44)].map(|at| at.as_secs()), [15, 30, 45]);
        assert_eq!(after(0, 600).as_secs(), 615, "the first look after another node has led");
    }

    #[test]
    fn who_leads_no_more_forgets_what_nodes_told_it_whether_it_had_looked_or_not() {
        let scaling = Scaling::new(&Config::default());
        let name = Name::parse("name", "coder").unwrap();
        let policy = ScalingPolicy { mode: Mode::Act, ..ScalingPolicy::of(name.clone()) };
        let (here, seen) = (PoolHere { agent_type: name.clone(), is_part: true, running: 0 }, smallest(policy, 0));
        let start = Instant::now();
        let later = start + Duration::from_secs(3_600);
        let ask = |at: Instant| {
            let mut reports = scaling.reports.lock();
            reports.take(1, std::slice::from_ref(&here), at);
            reports.share(1, &here, &seen, at)
        };
        assert_eq!((ask(start), ask(later)), (None, Some(2)));
        scaling.forget();
        assert_eq!(ask(later), None, "all nodes are to be heard again");
        scaling.publish([(name, Outlook { seen: seen.clone(), uses: Vec::new() })].into());
        scaling.forget();
        assert!(scaling.seen.lock().is_empty());
    }
}
