//! Runs one node from its configuration until it is told to stop or its disk fails.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use futures_util::future::BoxFuture;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::cluster::Cluster;
use crate::config::Config;
use crate::gateway::Gateway;
use crate::node::Node;
use crate::sd;
use crate::telemetry::Telemetry;

/// How often the disk's health is looked at.
const HEALTH_EVERY: Duration = Duration::from_millis(100);

/// Time that agents have to leave a node whose disk failed: it can take nothing of theirs any more.
const BROKEN_PATIENCE: Duration = Duration::from_secs(2);

/// Runs the node until SIGTERM or SIGINT, or until its log fails.
pub fn run(config: Config) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(run_alone(config))
}

async fn run_alone(config: Config) -> anyhow::Result<()> {
    let telemetry = Telemetry::init(&config)?;
    let stop = CancellationToken::new();
    tokio::spawn(cancel_on_signal(stop.clone())?);
    tokio::spawn(telemetry.clone().run(stop.clone()));
    serve(&config, telemetry, stop, |_| {}).await
}

/// Runs the node until `stop`; `started` is told of it before anybody is served.
pub async fn serve(
    config: &Config,
    telemetry: Telemetry,
    stop: CancellationToken,
    started: impl FnOnce(&Arc<Cluster>),
) -> anyhow::Result<()> {
    let node = Node::start(config).await?;
    started(&node.cluster);
    let gateway = Gateway::bind(node.cluster.clone(), config, telemetry).await?;
    let patience = Duration::from_millis(config.shutdown.drain_ms);
    tracing::info!(node = config.node.id, public = %config.listen.public, peer = %config.listen.peer, "serving");
    sd::ready(&format!("node {} serves {}", config.node.id, config.listen.public));
    if let Some(watchdog) = sd::Watchdog::from_env() {
        tokio::spawn(watchdog.run(|| true, stop.clone()));
    }
    let drain = stop.child_token();
    let gateway = tokio::spawn(gateway.run(drain.clone().cancelled_owned()));
    let broken = tokio::select! {
        () = stop.cancelled() => false,
        () = until_broken(&node) => true,
    };
    if !broken {
        // While this node still serves, so that they can say what became of their jobs.
        sd::stopping("agents leave");
        node.cluster.scaling.agents.stop(patience).await;
    }
    drain.cancel();
    if broken {
        // Nothing may be acknowledged any more, and nothing waits for a disk that failed.
        gateway.abort();
        sd::stopping("the disk failed");
        node.cluster.scaling.agents.stop(BROKEN_PATIENCE.min(patience)).await;
        bail!(
            "the Raft log could not be written (disk full or broken); see the error above. Nothing unwritten was acknowledged."
        );
    }
    sd::stopping("draining");
    gateway.await.context("the gateway failed")??;
    node.stop(patience).await;
    Ok(())
}

async fn until_broken(node: &Node) {
    loop {
        tokio::time::sleep(HEALTH_EVERY).await;
        if node.is_broken() {
            return;
        }
    }
}

/// Cancels on the first SIGTERM or SIGINT.
pub fn cancel_on_signal(stop: CancellationToken) -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.cancel();
    })
}
