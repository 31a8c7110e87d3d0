//! What all requests of a gateway share.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::auth::{Audit, Door};
use super::body::Budget;
use super::service::artifacts::Turns;
use super::service::definitions::Definitions;
use super::service::placement::Placement;
use super::service::quotas::Rates;
use super::service::templates::{Catalog, Compiled};
use crate::admission::Admission;
use crate::cluster::Cluster;
use crate::config::{Config, Limits, RateLimits};
use crate::reads::Spread;
use crate::telemetry::Telemetry;
use crate::telemetry::samples::QueueGauges;

/// The gateway's state; one per node.
pub(crate) struct App {
    /// The cluster as this node sees it.
    pub(crate) cluster: Arc<Cluster>,
    /// Bounds.
    pub(crate) limits: Limits,
    /// How many requests callers may make, and from where any number.
    pub(crate) rate_limits: RateLimits,
    /// Who requests are from.
    pub(crate) door: Door,
    /// What is noted of what they change.
    pub(crate) audit: Audit,
    /// Rates of projects that have one.
    pub(crate) quota_rates: Rates,
    /// Whether webhooks may name private addresses.
    pub(crate) allow_private: bool,
    /// How long a workflow is kept once it is over, where neither it nor its template says.
    pub(crate) workflow_retention_ms: u64,
    /// Which reads go to replicas.
    pub(crate) reads: Spread,
    /// Metrics.
    pub(crate) telemetry: Telemetry,
    /// Held by whoever renders them.
    pub(crate) rendering: tokio::sync::Mutex<()>,
    /// Queue definitions as this node's replica has them.
    pub(crate) definitions: Definitions,
    /// Requests under way.
    pub(crate) in_flight: Arc<Semaphore>,
    /// Lease calls that wait.
    pub(crate) waiting: Arc<Semaphore>,
    /// Bytes of bodies held.
    pub(crate) bodies: Budget,
    /// Cancelled when the node takes its leave.
    pub(crate) drain: CancellationToken,
    /// Gauges of queues.
    pub(crate) gauges: QueueGauges,
    /// Which jobs are let in, and when they will start.
    pub(crate) admission: Arc<Admission>,
    /// Where jobs go that may go anywhere.
    pub(crate) placement: Placement,
    /// Artifacts under way.
    pub(crate) artifacts: Turns,
    /// Templates as this node found them last.
    pub(crate) templates: Catalog,
    /// Those that workflows were made from lately.
    pub(crate) compiled: Compiled,
}

impl App {
    pub(crate) fn new(cluster: Arc<Cluster>, config: &Config, telemetry: Telemetry) -> anyhow::Result<Arc<Self>> {
        let limits = config.limits.clone();
        Ok(Arc::new(Self {
            rate_limits: config.rate_limits.clone(),
            door: Door::new(&config.auth)?,
            audit: Audit::default(),
            quota_rates: Rates::default(),
            workflow_retention_ms: config.workflows.retention_ms,
            reads: Spread::new(&config.reads, cluster.groups().len()),
            allow_private: config.webhooks.allow_private,
            telemetry,
            rendering: tokio::sync::Mutex::default(),
            definitions: Definitions::new(config.queues.must_exist),
            in_flight: Arc::new(Semaphore::new(limits.requests_in_flight_max as usize)),
            waiting: Arc::new(Semaphore::new(limits.waiting_leases_max as usize)),
            bodies: Budget::default(),
            drain: CancellationToken::new(),
            gauges: QueueGauges::default(),
            admission: Arc::new(Admission::new(config.admission.clone())),
            placement: Placement::default(),
            artifacts: Turns::default(),
            templates: Catalog::default(),
            compiled: Compiled::new(config.workflows.template_cache_bytes),
            limits,
            cluster,
        }))
    }
}
