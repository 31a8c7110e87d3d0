//! `bravod dev`: a whole cluster in one process, to try things out.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use bravo_api::certs;
use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use crate::cluster::Cluster;
use crate::config::{Config, Member, Tls};
use crate::run;
use crate::shipped;
use crate::telemetry::Telemetry;

/// Arguments of `bravod dev`.
#[derive(clap::Args)]
pub struct Options {
    /// Nodes, 1 to 9.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=9))]
    nodes: u16,
    /// Keeps the data in this folder; thrown away at the end if absent.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// TCP port of the first node; the others follow at distances of ten. Peers use the next port.
    #[arg(long, default_value_t = 7700)]
    port: u16,
}

/// Runs the cluster until SIGTERM or SIGINT.
pub fn run(options: Options) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(run_all(options))
}

async fn run_all(options: Options) -> anyhow::Result<()> {
    let thrown_away = match options.data_dir {
        Some(_) => None,
        None => Some(tempfile::tempdir().context("a folder for the data")?),
    };
    let root = match (&options.data_dir, &thrown_away) {
        (Some(dir), _) => dir.clone(),
        (None, Some(dir)) => dir.path().to_owned(),
        (None, None) => anyhow::bail!("no folder for the data"),
    };
    let configs = configs(&root, options.nodes, options.port)?;
    let first = configs.first().context("at least one node")?;
    let telemetry = Telemetry::init(first)?;
    let stop = CancellationToken::new();
    tokio::spawn(run::cancel_on_signal(stop.clone())?);
    tokio::spawn(telemetry.clone().run(stop.clone()));

    let mut nodes = tokio::task::JoinSet::new();
    for config in configs {
        println!("node {} at http://{}", config.node.id, config.listen.public);
        let (telemetry, stop) = (telemetry.clone(), stop.clone());
        let first = config.node.id == 1;
        nodes.spawn(async move {
            let started = |cluster: &Arc<Cluster>| {
                if first {
                    cluster.tasks.spawn(shipped::load(cluster.clone()));
                }
            };
            run::serve(&config, telemetry, stop, started).await
        });
    }
    let mut result = Ok(());
    while let Some(ended) = nodes.join_next().await {
        // One node's end is the end of all: half a cluster is no place to try things out.
        stop.cancel();
        result = result.and(ended.context("a node failed").and_then(|inner| inner));
    }
    result
}

/// One configuration per node, with certificates made for the occasion.
pub fn configs(root: &Path, nodes: u16, port: u16) -> anyhow::Result<Vec<Config>> {
    let folder = root.join("certs");
    if !folder.join("ca.pem").exists() {
        std::fs::create_dir_all(&folder)?;
        certs::init_ca(&folder)?;
    }
    let loopback = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let address = |node: u16, offset: u16| loopback(port + (node - 1) * 10 + offset);
    let initial: Vec<Member> = (1..=nodes)
        .map(|node| Member {
            id: node.into(),
            peer: address(node, 1).to_string(),
            public: address(node, 0).to_string(),
        })
        .collect();
    let config = |node: u16| {
        let cert = folder.join(format!("node-{node}.pem"));
        if !cert.exists() {
            certs::node_cert(&folder, node.into(), &["127.0.0.1".into(), "localhost".into()])?;
        }
        let mut config = Config::default();
        config.node.id = node.into();
        config.node.data_dir = root.join(format!("node-{node}"));
        config.listen.public = address(node, 0);
        config.listen.peer = address(node, 1);
        config.cluster.initial.clone_from(&initial);
        // The receivers of those who try things out are on the same machine.
        config.webhooks.allow_private = true;
        let key = folder.join(format!("node-{node}.key"));
        config.tls = Some(Tls { ca: folder.join("ca.pem"), cert, key, ..Tls::default() });
        Ok(config)
    };
    (1..=nodes).map(config).collect()
}
