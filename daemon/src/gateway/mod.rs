//! The public interface: REST, gRPC, health, readiness and metrics on one TCP port.
//!
//! ```text
//!  listen ─► connection ─► front ─┬─► rest ──┐  translate: JSON, status codes, headers
//!  (sockets,  (TLS, slow   (ids,  └─► grpc ──┤  translate: protobuf, statuses, streams
//!   bounds)    peers)       auth,            ▼
//!                           rates)        service ─► cluster, dispatch      what a call does
//! ```
//!
//! `front` holds what is the same for every request, `auth` who it is from and what that caller may do;
//! `service` knows neither HTTP nor gRPC.

mod app;
mod auth;
mod body;
mod call;
mod connection;
mod crowd;
mod depth;
mod front;
mod grpc;
mod incoming;
mod listen;
mod outgoing;
mod peer;
mod problem;
mod rate;
mod rest;
mod service;
mod tls;
mod unpack;
mod wire;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use bravo_model::scaling::Mode;
use tokio::net::TcpListener;

use crate::admission::watch::Watch;
use crate::cluster::Cluster;
use crate::config::Config;
use crate::reload;
use crate::telemetry::Telemetry;
use crate::transport::wire::PoolSeen;
use app::App;
use front::Front;
use service::readiness;
use tls::PublicTls;

/// Longest wait for how pools stand.
const POOLS_PATIENCE: Duration = Duration::from_millis(250);
/// How often those who watch the health over gRPC are told.
const HEALTH_EVERY: Duration = Duration::from_millis(250);

/// The gateway of one node, bound to its port.
pub struct Gateway {
    app: Arc<App>,
    listener: TcpListener,
    tls: Option<Arc<PublicTls>>,
    drain: Duration,
}

impl Gateway {
    /// Binds the public port; nothing is served before [`Gateway::run`].
    pub async fn bind(cluster: Arc<Cluster>, config: &Config, telemetry: Telemetry) -> anyhow::Result<Self> {
        let address = config.listen.public;
        let listener = listen::bind(address).with_context(|| format!("listen.public: {address}"))?;
        let tls = PublicTls::load(config.tls.as_ref())?;
        let app = App::new(cluster, config, telemetry)?;
        Ok(Self { app, listener, tls, drain: Duration::from_millis(config.shutdown.drain_ms) })
    }

    /// The address that it is bound to.
    pub fn address(&self) -> anyhow::Result<std::net::SocketAddr> {
        Ok(self.listener.local_addr()?)
    }

    /// Serves until `shutdown`; then `/ready` turns 503, waiting leases end empty, and requests under
    /// way have `shutdown.drain_ms` to finish.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
        let (routes, reporter) = grpc::router(self.app.clone())?;
        let front = Arc::new(Front::new(self.app.clone(), routes));
        tokio::spawn(report_health(self.app.clone(), reporter));
        tokio::spawn(keep_books(self.app.clone()));
        tokio::spawn(watch_admission(self.app.clone()));
        if let Some(tls) = self.tls.clone() {
            let files = tls.files();
            self.app.cluster.tasks.spawn(reload::watch("public", files, move || tls.renew()));
        }
        listen::serve(self.app, front, (self.listener, self.tls), shutdown, self.drain).await;
        Ok(())
    }
}

/// Looks at queues, workers and this node once a tick, until the node takes its leave.
async fn watch_admission(app: Arc<App>) {
    let mut watch = Watch::new(app.cluster.clone(), app.admission.clone());
    let every = Duration::from_millis(app.admission.options.tick_ms);
    while !app.drain.is_cancelled() {
        if watch.is_due() {
            let (workers, pools) = tokio::join!(service::workers::list(&app), pools(&app));
            watch.workers(workers.into_iter().map(|(_, worker)| worker));
            let definitions = app.definitions.get(&app.cluster);
            watch.pools(pools, |queue| definitions.get(queue)?.config.agent_type.clone());
        }
        watch.tick();
        let _ = tokio::time::timeout(every, app.drain.cancelled()).await;
    }
}

/// Pools that somebody sees to; none if meta's leader does not say.
async fn pools(app: &Arc<App>) -> Vec<PoolSeen> {
    let seen = app.cluster.scaling(None, Instant::now() + POOLS_PATIENCE).await.unwrap_or_default();
    seen.into_iter().filter(|pool| pool.policy.mode == Mode::Act).collect()
}

/// Tells the cluster who was turned away, and when keys were used.
async fn keep_books(app: Arc<App>) {
    let leave = || app.drain.cancelled();
    tokio::join!(app.audit.run(&app.cluster, leave()), app.door.tell_uses(&app.cluster, leave()));
}

/// `grpc.health.v1` follows readiness, until the node takes its leave.
async fn report_health(app: Arc<App>, reporter: tonic_health::server::HealthReporter) {
    let mut last = None;
    while !app.drain.is_cancelled() {
        let serves = readiness::look(&app).is_ready();
        if last != Some(serves) {
            grpc::report(&reporter, serves).await;
            last = Some(serves);
        }
        let _ = tokio::time::timeout(HEALTH_EVERY, app.drain.cancelled()).await;
    }
    grpc::report(&reporter, false).await;
}
