//! The life of one node: open the disk, recover the groups, serve, drain, stop.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bravo_api::certs;
use bravo_model::{Effect, limits};
use bravo_storage::blob::BlobStore;
use bravo_storage::cache::{CacheOptions, DecodedPages, PayloadCache};
use bravo_storage::identity::{DataDir, Identity};
use bravo_storage::log::{LogOptions, SharedLog};
use bravo_storage::state::{Engines, StateOptions, StateStore};
use futures_util::future::BoxFuture;
use openraft::SnapshotPolicy;
use tokio::sync::mpsc;

use crate::blobs::{ChunkCache, Pace};
use crate::cluster::{Cluster, Own};
use crate::cold::Tier;
use crate::config::{self, Config, Tls};
use crate::events::Feed;
use crate::membership;
use crate::raft::group::{self, Group, GroupOptions, GroupState};
use crate::raft::network::NetworkFactory;
use crate::raft::proposer::ProposerOptions;
use crate::raft::pulse;
use crate::raft::types::{GroupId, Member, NodeId};
use crate::service::PeerService;
use crate::spill;
use crate::tasks::Tasks;
use crate::telemetry::events::CacheAsked;
use crate::transport::Transport;
use crate::transport::tls::{self, PeerTls};
use crate::transport::wire::Cancelled;

/// Entries behind a snapshot that are kept for followers that are a little behind.
const ENTRIES_KEPT: u64 = 512;

/// How long a node that joins looks for a member.
const JOIN_PATIENCE: Duration = Duration::from_secs(60);

/// A running node.
pub struct Node {
    /// The cluster as this node sees it.
    pub cluster: Arc<Cluster>,
    transport: Arc<Transport>,
    log: SharedLog,
    cache: PayloadCache,
    tasks: Tasks,
    // Held for its lock on the folder.
    _data: DataDir,
}

impl Node {
    /// Starts a node: everything but its public interface.
    ///
    /// Boxed here, so that openraft's code is generated in this crate once and not again in every
    /// program and test that starts a node.
    pub fn start(config: &Config) -> BoxFuture<'_, anyhow::Result<Self>> {
        Box::pin(Self::open(config))
    }

    async fn open(config: &Config) -> anyhow::Result<Self> {
        let id = config.node.id;
        let data = DataDir::open(&config.node.data_dir)?;
        let (transport, tls) = bind(config, &data)?;
        let service = Arc::new(PeerService::default());
        let tasks = Tasks::default();
        tasks.spawn(transport.clone().serve(service.clone(), tasks.clone()));
        tasks.spawn(renew(transport.clone(), id, tls));
        let identity = identify(config, &data, &transport).await?;

        let disk = Disk::open(config, &data).await?;
        membership::refuse_if_log_went_back(&transport, peers_of(config), id, &disk.log).await?;
        let (effects, asked) = mpsc::unbounded_channel();
        let partitions = u16::try_from(identity.partitions)?;
        let feed = Arc::new(Feed::new(partitions));
        let groups = start_groups(config, partitions, &disk, &transport, (effects, &feed), &tasks).await?;
        let founders = founders(config);
        let name = config.cluster.name.clone();
        let (blobs, others, members) = (disk.blobs.clone(), Some(transport.clone()), founders.clone());
        let (tier, pace) = (disk.tier.clone(), Pace::of(&config.artifacts));
        let (chunks, balancing) = (disk.chunks.clone(), config.balancing.clone());
        let scaling = crate::scaling::Scaling::new(config);
        let own = Own { blobs, chunks, tier, pace, feed, balancing, scaling, tasks: tasks.clone() };
        let cluster = Cluster::new(id, name, groups, others, members, own);
        service.ready(cluster.clone(), disk.snapshots);
        tasks.spawn(announce(cluster.clone(), asked));
        let own = config.member();
        let own = Member { peer: own.peer, public: own.public };
        let record = membership::record(id, &own, &identity.incarnation.to_string());
        tasks.spawn(membership::introduce(cluster.clone(), record));
        if config.cluster.join.is_empty() {
            for group in cluster.groups() {
                group.form(founders.clone()).await?;
            }
        } else if cluster.groups().iter().any(|group| group.voters().is_empty()) {
            tasks.spawn(membership::join(transport.clone(), config.cluster.join.clone(), id, own));
        }
        tasks.spawn(group::maintain(cluster.groups().to_vec()));
        tasks.spawn(pulse::run(id, cluster.groups().to_vec(), timing(config)));
        tasks.spawn(crate::dispatch::balance::run(cluster.clone()));
        crate::keeper::start(cluster.clone());
        crate::blobs::keeper::start(&cluster);
        crate::cold::start(&cluster);
        crate::scaling::start(&cluster);
        tasks.spawn(crate::webhooks::run(cluster.clone(), config.webhooks.clone()));
        tasks.spawn(crate::keeper::free_log(cluster.clone(), disk.log.clone(), log_budget(config)));
        Ok(Self { cluster, transport, log: disk.log, cache: disk.cache, tasks, _data: data })
    }

    /// Hands leadership over, then stops the groups and closes the log.
    pub fn stop(self, patience: Duration) -> BoxFuture<'static, ()> {
        Box::pin(self.close(patience))
    }

    async fn close(self, patience: Duration) {
        self.cluster.scaling.agents.stop(patience).await;
        let handover = async {
            self.cluster.scaling.hand_on(&self.cluster).await;
            for group in self.cluster.groups() {
                crate::keeper::hand_over(&self.cluster, group).await;
            }
        };
        let _ = tokio::time::timeout(patience, handover).await;
        for group in self.cluster.groups() {
            let _ = group.raft.shutdown().await;
        }
        self.tasks.stop().await;
        self.transport.close().await;
        self.cache.close().await;
        self.cluster.chunks.close().await;
        let log = self.log;
        let _ = tokio::task::spawn_blocking(move || log.close()).await;
    }

    /// Whether the disk failed, so that the node must end: the log takes no more, or a group stopped.
    pub fn is_broken(&self) -> bool {
        self.log.is_poisoned()
            || self.cluster.blobs.is_poisoned()
            || self.cluster.groups().iter().any(Group::is_stopped)
    }
}

/// What the groups of a node share on disk.
struct Disk {
    log: SharedLog,
    engines: Engines,
    snapshots: PathBuf,
    cache: PayloadCache,
    chunks: ChunkCache,
    blobs: Arc<BlobStore>,
    tier: Arc<Tier>,
}

impl Disk {
    async fn open(config: &Config, data: &DataDir) -> anyhow::Result<Self> {
        let (log, options, state, blobs) = (data.log(), log_options(config), data.state(), data.blobs());
        let opened = tokio::task::spawn_blocking(move || {
            let log = SharedLog::open(&log, options).context("the Raft log")?;
            let engines = Engines::open(&state).context("the state folder")?;
            anyhow::Ok((log, engines, Arc::new(BlobStore::open(&blobs)?)))
        });
        let (log, engines, blobs) = opened.await??;
        let cache = PayloadCache::open(&data.cache().join("payloads"), payload_cache(config)).await?;
        let chunks = ChunkCache::open(&data.cache().join("chunks"), chunk_cache(config)).await?;
        let tier = Arc::new(Tier::open(&config.cold, data.path())?);
        Ok(Self { log, engines, snapshots: data.snapshot(), cache, chunks, blobs, tier })
    }
}

/// A single node may go without [tls]: it makes certificates that nobody else will ever see.
fn lone_certificate(config: &Config, data: &DataDir) -> anyhow::Result<Tls> {
    anyhow::ensure!(!config.clustered(), "[tls] is needed for the connections between nodes");
    let folder = data.path().join("tls");
    let cert = folder.join(format!("node-{}.pem", config.node.id));
    if !cert.exists() {
        std::fs::create_dir_all(&folder)?;
        certs::init_ca(&folder)?;
        certs::node_cert(&folder, config.node.id, &["localhost".into()])?;
    }
    let key = folder.join(format!("node-{}.key", config.node.id));
    Ok(Tls { ca: folder.join("ca.pem"), cert, key, ..Tls::default() })
}

fn bind(config: &Config, data: &DataDir) -> anyhow::Result<(Arc<Transport>, Tls)> {
    let own;
    let tls = match &config.tls {
        Some(tls) if !tls.cert.as_os_str().is_empty() => tls,
        _ => {
            own = lone_certificate(config, data)?;
            &own
        }
    };
    Ok((Transport::bind(config.listen.peer, &peer_tls(config.node.id, tls)?)?, tls.clone()))
}

fn peer_tls(id: NodeId, tls: &Tls) -> anyhow::Result<PeerTls> {
    let named = tls::node_in_file(&tls.cert)?;
    anyhow::ensure!(named == id, "tls.cert is the certificate of node {named}, this is node {id}");
    PeerTls::load(&tls.ca, &tls.cert, &tls.key)
}

/// Takes the peers' certificates again when they have changed.
async fn renew(transport: Arc<Transport>, id: NodeId, tls: Tls) {
    let files = vec![tls.ca.clone(), tls.cert.clone(), tls.key.clone()];
    let take = move || peer_tls(id, &tls).map(|read| transport.renew(&read));
    crate::reload::watch("peer", files, take).await;
}

/// Who this folder belongs to. An empty folder gets a new identity, unless the cluster knows the node
/// already: then its disk was lost, and it may not vote as if nothing had happened.
async fn identify(config: &Config, data: &DataDir, transport: &Arc<Transport>) -> anyhow::Result<Identity> {
    let (id, name, join) = (config.node.id, &config.cluster.name, &config.cluster.join);
    if let Some(identity) = Identity::load(data.path())? {
        identity.check(name, id)?;
        return Ok(identity);
    }
    let partitions = if join.is_empty() {
        config.cluster.partitions
    } else {
        let welcome = membership::find_cluster(transport, join, id, JOIN_PATIENCE).await?;
        anyhow::ensure!(welcome.cluster == *name, "cluster.name is {name:?}, the cluster's is {:?}", welcome.cluster);
        welcome.partitions.into()
    };
    membership::refuse_if_forgotten(transport, peers_of(config), id).await?;
    Ok(Identity::create(data.path(), name, id, partitions)?)
}

/// Addresses at which other members may be found.
fn peers_of(config: &Config) -> impl Iterator<Item = String> {
    let others = config.cluster.initial.iter().filter(|member| member.id != config.node.id);
    others.map(|member| member.peer.clone()).chain(config.cluster.join.iter().cloned())
}

/// The founding members; none if this node joins.
fn founders(config: &Config) -> BTreeMap<NodeId, Member> {
    let founder =
        |member: &config::Member| (member.id, Member { peer: member.peer.clone(), public: member.public.clone() });
    let mut founders: BTreeMap<_, _> = config.cluster.initial.iter().map(founder).collect();
    if founders.is_empty() && config.cluster.join.is_empty() {
        founders.extend([founder(&config.member())]);
    }
    founders
}

fn log_options(config: &Config) -> LogOptions {
    LogOptions {
        segment_bytes: config.storage.log_segment_bytes,
        cache_bytes: config.storage.log_cache_bytes as usize,
        ..LogOptions::default()
    }
}

/// The memory of the cache is shared alike by decoded pages and single values.
fn payload_cache(config: &Config) -> CacheOptions {
    CacheOptions {
        name: "payloads",
        memory_bytes: config.storage.cache_memory_bytes as usize / 2,
        disk_bytes: config.storage.cache_disk_bytes as usize,
        asked: cache_asked,
        ..CacheOptions::default()
    }
}

fn chunk_cache(config: &Config) -> CacheOptions {
    CacheOptions {
        name: "chunks",
        memory_bytes: config.artifacts.cache_memory_bytes as usize,
        disk_bytes: config.artifacts.cache_disk_bytes as usize,
        value_bytes_max: limits::CHUNK_BYTES,
        asked: cache_asked,
        ..CacheOptions::default()
    }
}

fn cache_asked(cache: &'static str, tier: &'static str, hit: bool) {
    CacheAsked { cache, tier, hit }.emit();
}

/// Bytes on disk beyond which the group that holds the oldest segment makes a snapshot, so that a quiet
/// group does not keep the whole log from being purged.
fn log_budget(config: &Config) -> u64 {
    (2 * config.raft.snapshot_log_bytes_min).max(6 * config.storage.log_segment_bytes)
}

async fn start_groups(
    config: &Config,
    partitions: u16,
    disk: &Disk,
    transport: &Arc<Transport>,
    (effects, feed): (mpsc::UnboundedSender<(GroupId, Effect)>, &Arc<Feed>),
    tasks: &Tasks,
) -> anyhow::Result<Vec<Group>> {
    let raft = Arc::new(raft_config(config)?);
    let groups = u64::from(partitions) + 1;
    let pages = Arc::new(DecodedPages::new(config.storage.cache_memory_bytes as usize / 2, cache_asked));
    let start = async |id: GroupId| {
        let options = StateOptions {
            memory_bytes_max: config.storage.memory_bytes_max / groups,
            spill_order: spill::tables(),
            cache: pages.clone(),
            ..StateOptions::default()
        };
        let state = StateStore::new(disk.engines.engine(id)?, options);
        let shared = GroupState::new(id, config.node.id, state, disk.cache.clone(), effects.clone(), feed.clone());
        let network = NetworkFactory::new(transport.clone(), shared.clone());
        let options = GroupOptions {
            raft: raft.clone(),
            proposer: proposer_options(config),
            snapshots: disk.snapshots.clone(),
            snapshot_log_bytes_min: config.raft.snapshot_log_bytes_min / groups,
        };
        Group::start(shared, disk.log.group(id), network, options, tasks).await
    };
    // Two at a time: recovery is bound by the processor.
    use futures_util::{StreamExt, TryStreamExt};
    futures_util::stream::iter((0..=GroupId::from(partitions)).map(start)).buffered(2).try_collect().await
}

fn proposer_options(config: &Config) -> ProposerOptions {
    ProposerOptions {
        batch_commands_max: config.raft.batch_jobs_max as usize,
        batch_bytes_max: config.raft.batch_bytes_max as usize,
        inflight_max: config.raft.inflight_batches_max as usize,
        waiting_max: config.raft.queued_commands_max as usize,
    }
}

fn timing(config: &Config) -> pulse::Timing {
    pulse::Timing {
        heartbeat: Duration::from_millis(config.raft.heartbeat_interval_ms),
        silence_min: Duration::from_millis(config.raft.election_timeout_min_ms),
        silence_max: Duration::from_millis(config.raft.election_timeout_max_ms),
    }
}

fn raft_config(config: &Config) -> anyhow::Result<openraft::Config> {
    let raft = &config.raft;
    // A leader's lease ends a little before any follower asks for an election, so that the others,
    // who heard the leader a moment later, do not refuse it.
    let lease = raft.election_timeout_min_ms - raft.heartbeat_interval_ms / 4;
    let built = openraft::Config {
        cluster_name: config.cluster.name.clone(),
        heartbeat_interval: raft.heartbeat_interval_ms,
        // A follower that has just answered need not be asked again.
        heartbeat_min_interval: Some(raft.heartbeat_interval_ms / 4),
        election_timeout_min: lease - 1,
        election_timeout_max: lease,
        // Heartbeats and elections are driven by `raft::pulse`.
        enable_tick: false,
        enable_pre_vote: Some(true),
        // The node decides by bytes when a snapshot is due; see `group::maintain`.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: ENTRIES_KEPT,
        purge_batch_size: ENTRIES_KEPT,
        replication_lag_threshold: u64::MAX,
        max_payload_entries: 64,
        install_snapshot_timeout: 600_000,
        enable_leader_restore: Some(false),
        // A follower whose log went back must not take the leader down with it. Whether it may take part
        // at all is decided when it starts; see `membership::refuse_if_log_went_back`.
        allow_log_reversion: Some(true),
        ..openraft::Config::default()
    };
    Ok(built.validate()?)
}

/// Tells the nodes where workers are what happened in the groups that this one leads.
async fn announce(cluster: Arc<Cluster>, mut effects: mpsc::UnboundedReceiver<(GroupId, Effect)>) {
    let mut batch = Vec::new();
    while effects.recv_many(&mut batch, 256).await > 0 {
        let mut ended = Vec::new();
        batch.retain(|(_, effect)| match effect {
            Effect::LeasesEnded(of) => {
                ended.push(of.clone());
                false
            }
            _ => true,
        });
        cluster.leases_ended(&ended);
        batch.sort();
        batch.dedup();
        let mut cancelled = Vec::new();
        for (group, effect) in batch.drain(..) {
            match effect {
                Effect::QueueReady(queue) => cluster.became_ready(group, &queue),
                Effect::CancelRequested { seq, token, worker } => {
                    cancelled.push(Cancelled { group, seq, token, worker })
                }
                Effect::DefinitionsChanged
                | Effect::DeliveriesDropped(_)
                | Effect::LeasesEnded(_)
                | Effect::WorkflowEnded { .. } => {}
            }
        }
        cluster.tell_cancelled(cancelled);
    }
}
