//! Jobs that were leased for a worker but have not reached it.

use std::sync::Arc;

use bravo_api::convert::leases::leased;
use bravo_api::proto;

use crate::cluster::Cluster;
use crate::transport::wire::Delivery;

/// Gives its jobs back when it is dropped before they were taken out: whoever waited for them left.
pub(crate) struct Held {
    cluster: Arc<Cluster>,
    deliveries: Vec<Delivery>,
}

impl Held {
    pub(crate) fn new(cluster: &Arc<Cluster>) -> Self {
        Self { cluster: cluster.clone(), deliveries: Vec::new() }
    }

    pub(crate) fn add(&mut self, delivery: Delivery) {
        if !delivery.jobs.is_empty() {
            self.deliveries.push(delivery);
        }
    }

    pub(crate) fn merge(&mut self, mut other: Self) {
        self.deliveries.append(&mut other.deliveries);
    }

    /// Number of jobs.
    pub(crate) fn len(&self) -> usize {
        self.deliveries.iter().map(|delivery| delivery.jobs.len()).sum()
    }

    /// The jobs, which are the worker's from here on.
    pub(crate) fn take(mut self) -> Vec<proto::LeasedJob> {
        let deliveries = std::mem::take(&mut self.deliveries);
        let jobs = deliveries.into_iter().flat_map(|delivery| {
            let partition = delivery.partition;
            delivery.jobs.into_iter().map(move |(job, payload)| leased(partition, job, payload))
        });
        jobs.collect()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        for delivery in self.deliveries.drain(..) {
            self.cluster.give_back(delivery.partition, delivery);
        }
    }
}
