//! One Raft group on this node: its replica, its clock, its batching, its timers.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bravo_model::{Command, Effect, Envelope, Key, Payload, Read, Time, view};
use bravo_storage::cache::PayloadCache;
use bravo_storage::log::GroupLog;
use bravo_storage::state::{EngineError, Frozen, Place, StateStore};
use openraft::async_runtime::watch::WatchReceiver;
use openraft::{Instant as _, LinearizerOption, Raft, ReadPolicy};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, mpsc, watch};

use super::clock::StateClock;
use super::log::RaftLog;
use super::machine::Machine;
use super::network::NetworkFactory;
use super::proposer::{ProposeError, Proposer, ProposerOptions};
use super::types::{GroupId, META_GROUP, Member, NodeId, TypeConfig};
use crate::events::Feed;
use crate::tasks::Tasks;
use crate::telemetry::events::{WebhookDelivered, WorkflowEnded};

/// How often groups are maintained while entries are applied.
const MAINTENANCE_EVERY: Duration = Duration::from_millis(100);
/// And how often otherwise.
const MAINTENANCE_EVERY_IDLE: Duration = Duration::from_millis(500);
/// Steps of maintenance in one round.
const MAINTENANCE_STEPS: usize = 16;

/// How long the other nodes may take to confirm that this one leads, before they are asked again.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(1);

/// Tries to read spilled rows before the state itself is asked.
const READS_MAX: usize = 3;

/// openraft's handle with our types.
pub type RaftHandle = Raft<TypeConfig, Machine>;

/// Markers whose frozen state is kept for digests.
const MARKERS_KEPT: usize = 4;

/// What the replica, its proposer and its readers share.
pub struct GroupState {
    /// The group.
    pub group: GroupId,
    /// Its job partition, or `u16::MAX` for meta.
    pub partition: u16,
    /// The tables.
    pub state: RwLock<StateStore>,
    /// What stands before the rows that moved to disk.
    cache: PayloadCache,
    /// The state's clock.
    pub clock: StateClock,
    /// Who this node is.
    node: NodeId,
    /// The leader as this node knows it; 0 for none.
    leader: AtomicU64,
    /// The same, for those who wait for another one.
    leader_seen: watch::Sender<NodeId>,
    /// When this node last heard from the group's leader, or gave its vote.
    heard: Mutex<Instant>,
    /// The term in which this node last came to lead, with all of earlier terms applied; 0 for none.
    led_term: AtomicU64,
    /// It is handing the leadership of that term over, so that its lease protects no read any more.
    leaving: AtomicBool,
    /// The group's core ended, in order or by a panic.
    stopped: AtomicBool,
    /// Index of the last applied entry.
    applied: watch::Sender<u64>,
    /// When the next timer is due on the state's clock; `u64::MAX` for never.
    due: AtomicU64,
    /// Wakes the timer task.
    rearm: Notify,
    /// What applied entries ask of the leader, while this node is it.
    effects: mpsc::UnboundedSender<(GroupId, Effect)>,
    /// What happens, for those who watch.
    pub(super) feed: Arc<Feed>,
    /// Wakes whoever pushes queue definitions.
    pub definitions_changed: Notify,
    /// The state at the last markers, by log index.
    markers: Mutex<Vec<(u64, Frozen)>>,
    /// Bytes held, refreshed by maintenance.
    bytes: AtomicU64,
    /// Nanoseconds spent on applying entries.
    apply_ns: AtomicU64,
    /// Bytes of entries applied since the last snapshot was begun.
    pub(crate) log_since_snapshot: AtomicU64,
}

impl GroupState {
    /// Shared parts of a group that has not started.
    pub fn new(
        group: GroupId,
        node: NodeId,
        state: StateStore,
        cache: PayloadCache,
        effects: mpsc::UnboundedSender<(GroupId, Effect)>,
        feed: Arc<Feed>,
    ) -> Arc<Self> {
        Arc::new(Self {
            group,
            partition: if group == META_GROUP { u16::MAX } else { (group - 1) as u16 },
            state: RwLock::new(state),
            cache,
            clock: StateClock::default(),
            node,
            leader: AtomicU64::new(0),
            leader_seen: watch::channel(0).0,
            heard: Mutex::new(Instant::now()),
            led_term: AtomicU64::new(0),
            leaving: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            applied: watch::channel(0).0,
            due: AtomicU64::new(u64::MAX),
            rearm: Notify::new(),
            effects,
            feed,
            definitions_changed: Notify::new(),
            markers: Mutex::new(Vec::new()),
            bytes: AtomicU64::new(0),
            apply_ns: AtomicU64::new(0),
            log_since_snapshot: AtomicU64::new(0),
        })
    }

    /// Payloads and results by the keys of their rows, and what `beside` reads at the same moment. The state is
    /// locked to find them, and not while those that moved to disk are read.
    pub(crate) async fn payloads<T>(
        &self,
        keys: &[Key],
        beside: impl Fn(&StateStore) -> T,
    ) -> (T, Vec<Option<Payload>>) {
        for _ in 0..READS_MAX {
            let (beside, places) = {
                let state = self.state.read();
                (beside(&state), keys.iter().map(|key| state.place(key)).collect())
            };
            // A page that was given up meanwhile: its rows are elsewhere now, or gone.
            if let Ok(payloads) = self.fetch(places).await {
                return (beside, payloads);
            }
        }
        // No chance, but a disk that fails: the state finds that out as well, and says so.
        tokio::task::block_in_place(|| {
            let state = self.state.read();
            let payload = |key| view::decode_payload(&Read::get(&*state, key)?);
            (beside(&state), keys.iter().map(payload).collect())
        })
    }

    async fn fetch(&self, places: Vec<Place>) -> Result<Vec<Option<Payload>>, EngineError> {
        let mut payloads = Vec::with_capacity(places.len());
        for place in places {
            payloads.push(match place {
                Place::Memory(value) => view::decode_payload(&value),
                Place::Engine(row) => view::decode_payload(&self.cache.value(&row).await?),
                Place::Nowhere => None,
            });
        }
        Ok(payloads)
    }

    /// The leader as this node knows it.
    pub fn leader(&self) -> Option<NodeId> {
        match self.leader.load(Ordering::Acquire) {
            0 => None,
            id => Some(id),
        }
    }

    /// Ready when, from now on, another node than this one comes to lead.
    pub(crate) async fn led_by_another_than(&self, node: NodeId) {
        let mut seen = self.leader_seen.subscribe();
        while seen.changed().await.is_ok() {
            let leader = *seen.borrow_and_update();
            if leader != 0 && leader != node {
                return;
            }
        }
    }

    /// When this node last heard from the group's leader, or gave its vote.
    pub(crate) fn heard(&self) -> Instant {
        *self.heard.lock()
    }

    /// The group's leader was heard, or this node gave its vote to one that may become it.
    pub(crate) fn hear(&self) {
        *self.heard.lock() = Instant::now();
    }

    /// Whether this node leads.
    pub fn is_leader(&self) -> bool {
        self.leader.load(Ordering::Acquire) == self.node
    }

    /// `Some(who leads instead)` if this node does not lead.
    pub(crate) fn foreign_leader(&self) -> Option<Option<NodeId>> {
        (!self.is_leader()).then(|| self.leader())
    }

    /// Acts on what an entry did: the leader tells workers; every replica arms its timer.
    pub(crate) fn after_apply(&self, effects: Vec<Effect>, next_due: Option<Time>, commands: usize, elapsed: Duration) {
        metrics::histogram!("bravo_raft_apply_seconds").record(elapsed.as_secs_f64());
        metrics::histogram!("bravo_raft_batch_commands").record(commands as f64);
        self.apply_ns.fetch_add(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        let leading = self.is_leader();
        for effect in effects {
            match effect {
                Effect::DefinitionsChanged => self.definitions_changed.notify_one(),
                Effect::QueueReady(_) | Effect::CancelRequested { .. } | Effect::LeasesEnded(_) if leading => {
                    let _ = self.effects.send((self.group, effect));
                }
                Effect::WorkflowEnded { status, took_ms, template } if leading => {
                    WorkflowEnded { status, took: Duration::from_millis(took_ms), template: template.as_ref() }.emit();
                }
                Effect::DeliveriesDropped(count) if leading => WebhookDelivered::dropped(count),
                Effect::QueueReady(_)
                | Effect::CancelRequested { .. }
                | Effect::LeasesEnded(_)
                | Effect::DeliveriesDropped(_)
                | Effect::WorkflowEnded { .. } => {}
            }
        }
        self.arm(next_due);
    }

    /// How long this replica has applied entries, in all.
    pub fn apply_time(&self) -> Duration {
        Duration::from_nanos(self.apply_ns.load(Ordering::Relaxed))
    }

    /// Notes when the next timer is due.
    pub(crate) fn arm(&self, next_due: Option<Time>) {
        let due = next_due.unwrap_or(u64::MAX);
        let before = self.due.swap(due, Ordering::AcqRel);
        if due < before {
            self.rearm.notify_one();
        }
    }

    pub(crate) fn applied_index(&self, index: u64) {
        self.applied.send_replace(index);
    }

    /// Tells of each entry that is applied here.
    pub(crate) fn watch_applied(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }

    /// Waits until the entry at `index` is applied here.
    pub async fn wait_applied(&self, index: u64) {
        // The sender lives as long as `self`.
        let _ = self.applied.subscribe().wait_for(|applied| *applied >= index).await;
    }

    /// Index of the last applied entry.
    pub fn applied(&self) -> u64 {
        *self.applied.borrow()
    }

    /// Keeps the present state for a digest at this index.
    pub(crate) fn keep_marker(&self, index: u64, frozen: Frozen) {
        let mut markers = self.markers.lock();
        if markers.len() == MARKERS_KEPT {
            markers.remove(0);
        }
        markers.push((index, frozen));
    }

    /// Bytes of entries applied since the last snapshot was begun.
    pub fn log_since_snapshot(&self) -> u64 {
        self.log_since_snapshot.load(Ordering::Relaxed)
    }

    /// Bytes of state held in memory, as of the last maintenance.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// A running group. Cheap to clone.
#[derive(Clone)]
pub struct Group {
    /// openraft's handle.
    pub raft: RaftHandle,
    /// State, clock and leader.
    pub shared: Arc<GroupState>,
    proposer: Proposer,
    snapshot_log_bytes_min: u64,
}

/// What a group needs to start.
pub struct GroupOptions {
    /// openraft's configuration.
    pub raft: Arc<openraft::Config>,
    /// Batching.
    pub proposer: ProposerOptions,
    /// Folder of snapshots.
    pub snapshots: PathBuf,
    /// A snapshot is due when the log since the last one is larger than this and than the state.
    pub snapshot_log_bytes_min: u64,
}

impl Group {
    /// Recovers the replica from disk and starts it.
    pub async fn start(
        shared: Arc<GroupState>,
        log: GroupLog,
        network: NetworkFactory,
        options: GroupOptions,
        tasks: &Tasks,
    ) -> anyhow::Result<Self> {
        let machine = Machine::new(shared.clone(), options.snapshots);
        let raft = Raft::new(shared.node, options.raft, network, RaftLog::new(log), machine).await?;
        let proposer = Proposer::start(raft.clone(), shared.clone(), options.proposer, tasks);
        let group = Self { raft, shared, proposer, snapshot_log_bytes_min: options.snapshot_log_bytes_min };
        tasks.spawn(group.clone().watch_leader());
        tasks.spawn(group.clone().run_timers());
        Ok(group)
    }

    /// What openraft says of the group now: a copy, since two borrows at once, with a new state waiting to be
    /// written between them, would wait for ever, and the whole node with them.
    pub(crate) fn metrics(&self) -> openraft::RaftMetrics<TypeConfig> {
        self.look(Clone::clone)
    }

    /// As the leader: how long ago a majority answered last. A voter that is alone is its own majority.
    pub(crate) fn quorum_silence(&self) -> Duration {
        self.look(|metrics| {
            let is_alone = metrics.membership_config.membership().voter_ids().count() <= 1;
            let acked = metrics.last_quorum_acked.as_ref().filter(|_| !is_alone);
            // Before its first answer from a majority, no node takes itself for the leader.
            acked.map_or(Duration::ZERO, |at| at.elapsed())
        })
    }

    /// How long after a majority's answer no other node comes to lead.
    pub(crate) fn lease(&self) -> Duration {
        Duration::from_millis(self.raft.config().election_timeout_max)
    }

    #[expect(clippy::disallowed_methods, reason = "the one borrow, over when what is looked for is found")]
    fn look<T>(&self, at: impl FnOnce(&openraft::RaftMetrics<TypeConfig>) -> T) -> T {
        at(&self.raft.metrics().borrow_watched())
    }

    /// Proposes an encoded envelope; this node must lead.
    pub async fn propose(&self, command: bytes::Bytes) -> Result<bravo_model::Reply, ProposeError> {
        if let Some(leader) = self.shared.foreign_leader() {
            return Err(ProposeError::NotLeader(leader));
        }
        self.proposer.propose(command).await
    }

    /// Waits until a read of this node's state is linearizable; this node must lead.
    pub async fn linearize(&self) -> Result<(), ProposeError> {
        // When the lease ran out (a pause, a lost quorum), the others are asked before answering.
        if self.holds_lease() || self.confirm(ReadPolicy::LeaseRead).await || self.confirm(ReadPolicy::ReadIndex).await
        {
            return Ok(());
        }
        Err(ProposeError::NotLeader(self.shared.leader().filter(|id| *id != self.shared.node)))
    }

    /// Whether no other node can have come to lead, so that whatever was acknowledged is applied here: as leader this
    /// node answers when it has applied, and what earlier leaders answered it had applied before `led_term` was
    /// noted. It is what openraft itself would say, without waking it for each read.
    fn holds_lease(&self) -> bool {
        let (lease, term) = (self.lease(), self.shared.led_term.load(Ordering::Acquire));
        !self.shared.leaving.load(Ordering::Acquire)
            && self.look(|metrics| {
                let acked = metrics.last_quorum_acked.as_ref();
                metrics.state.is_leader()
                    && metrics.current_term == term
                    && acked.is_some_and(|at| at.elapsed() < lease)
            })
    }

    /// Has another node take over the leadership, if this one leads; it is told, not waited for.
    pub(crate) async fn hand_to(&self, node: NodeId) -> Result<(), ProposeError> {
        // Before the others hear of it, since from then on they need not respect this node's lease. It is over in a later
        // term, which openraft does not confirm while it hands over.
        self.shared.leaving.store(true, Ordering::Release);
        self.raft.trigger().transfer_leader(node).await.map_err(|error| ProposeError::Unknown(error.to_string()))
    }

    /// Whether this node leads and has applied all that it must, as far as that is known before long: the
    /// caller asks again, or says that it is not known.
    async fn confirm(&self, policy: ReadPolicy) -> bool {
        let confirmed = self.raft.ensure_linearizable(LinearizerOption::from(policy));
        tokio::time::timeout(CONFIRMED_WITHIN, confirmed).await.is_ok_and(|confirmed| confirmed.is_ok())
    }

    /// Forms the group with these voters, unless it is formed already.
    pub async fn form(&self, members: std::collections::BTreeMap<NodeId, Member>) -> anyhow::Result<()> {
        if self.raft.is_initialized().await? {
            return Ok(());
        }
        match self.raft.initialize(members).await {
            Ok(()) => Ok(()),
            Err(error) => {
                // Another founder was faster; the same list, so nothing is lost.
                tracing::debug!(group = self.shared.group, %error, "group was formed meanwhile");
                Ok(())
            }
        }
    }

    /// Whether openraft gave the group up (its storage failed).
    pub fn is_stopped(&self) -> bool {
        // A core that panicked says nothing any more: its channels are closed.
        self.shared.stopped.load(Ordering::Acquire) || self.metrics().running_state.is_err()
    }

    /// The digest of this replica's state at a marker, once it is applied here.
    pub async fn digest(&self, index: u64) -> Option<[u8; 32]> {
        self.shared.wait_applied(index).await;
        let frozen = self.shared.markers.lock().iter().find(|(at, _)| *at == index).map(|(_, f)| f.clone())?;
        let digest = tokio::task::spawn_blocking(move || frozen.digest()).await.ok()?.ok();
        self.shared.markers.lock().retain(|(at, _)| *at != index);
        digest
    }

    async fn watch_leader(self) {
        let mut metrics = self.raft.server_metrics();
        loop {
            let now = metrics.borrow_and_update().current_leader;
            let leading = now == Some(self.shared.node) && self.raft.is_leader();
            let term = || self.look(|metrics| metrics.current_term);
            let now_term = term();
            if leading && !(self.shared.is_leader() && self.shared.led_term.load(Ordering::Acquire) == now_term) {
                // Reading before this node has applied all earlier entries would be stale.
                if !self.confirm(ReadPolicy::ReadIndex).await || term() != now_term {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    continue;
                }
                if self.shared.led_term.swap(now_term, Ordering::AcqRel) != now_term {
                    self.shared.leaving.store(false, Ordering::Release);
                }
                self.shared.clock.lead();
            }
            let leader = if leading { Some(self.shared.node) } else { now.filter(|id| *id != self.shared.node) };
            let before = self.shared.leader.swap(leader.unwrap_or(0), Ordering::AcqRel);
            self.shared.leader_seen.send_if_modified(|seen| {
                let before = std::mem::replace(seen, leader.unwrap_or(0));
                before != *seen
            });
            if before != leader.unwrap_or(0) {
                tracing::info!(group = self.shared.group, leader = leader.unwrap_or(0), "leader changed");
                self.shared.rearm.notify_one();
                self.shared.definitions_changed.notify_one();
            }
            if metrics.changed().await.is_err() {
                self.shared.stopped.store(true, Ordering::Release);
                return;
            }
        }
    }

    /// Proposes a tick when something is due, while leading.
    async fn run_timers(self) {
        let tick = Envelope::plain(Command::Tick).encode();
        loop {
            let due = self.shared.due.load(Ordering::Acquire);
            let now = self.shared.clock.now();
            if !self.shared.is_leader() || due == u64::MAX {
                self.shared.rearm.notified().await;
            } else if due > now {
                let wait = Duration::from_millis((due - now).min(60_000));
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = self.shared.rearm.notified() => {}
                }
            } else if self.propose(tick.clone()).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// Keeps the state within its budget and the log within about twice the state; called now and then.
    /// False once the group has ended.
    async fn maintain(&self) -> bool {
        if self.metrics().running_state.is_err() {
            return false;
        }
        // In bounded steps, each under its own lock, so that apply is not held up.
        for _ in 0..MAINTENANCE_STEPS {
            let mut state = self.shared.state.write();
            let more = state.maintain().more;
            self.shared.bytes.store(state.bytes(), Ordering::Relaxed);
            if !more {
                break;
            }
        }
        if self.shared.is_leader() {
            self.shared.clock.pull();
        }
        // Twice the state is written at most: once as log, once as snapshot.
        let due = self.snapshot_log_bytes_min.max(self.shared.bytes.load(Ordering::Relaxed));
        self.shared.log_since_snapshot() <= due || self.raft.trigger().snapshot().await.is_ok()
    }
}

/// Maintains a node's groups, one after the other, as long as they run.
pub async fn maintain(mut groups: Vec<Group>) {
    let mut applied = Duration::ZERO;
    while !groups.is_empty() {
        let before = std::mem::replace(&mut applied, groups.iter().map(|group| group.shared.apply_time()).sum());
        tokio::time::sleep(if applied == before { MAINTENANCE_EVERY_IDLE } else { MAINTENANCE_EVERY }).await;
        let mut running = Vec::with_capacity(groups.len());
        for group in groups {
            if group.maintain().await {
                running.push(group);
            }
        }
        groups = running;
    }
}
