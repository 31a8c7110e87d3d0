//! The whole cluster as one node sees it: routes commands, leases and reads to the leaders.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bravo_model::command::{Lease, Nack};
use bravo_model::reply::LeasesEnded;
use bravo_model::view::Offer;
use bravo_model::{Code, Command, Envelope, JobId, Name, Refusal, Reply, view};
use bravo_storage::blob::BlobStore;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;

use crate::blobs::{self, ChunkCache, ChunkCall, Pace};
use crate::cold::Tier;
use crate::config::Balancing;
use crate::dispatch::hungry::Hungry;
use crate::dispatch::streams::Unwanted;
use crate::dispatch::{Dispatcher, balance};
use crate::events::Feed;
use crate::members::Members;
use crate::membership;
use crate::query;
use crate::raft::group::Group;
use crate::raft::proposer::ProposeError;
use crate::raft::types::{Batch, GroupId, META_GROUP, Member, NodeId, partition_group};
use crate::scaling::Scaling;
use crate::tasks::Tasks;
use crate::transport::wire::{Answer, Cancelled, Delivery, Query, Request, Response, WorkerSeen};
use crate::transport::{Transport, TransportError};

/// How long a node that was asked as the leader may still answer when another one leads.
const MOVED_PATIENCE: Duration = Duration::from_millis(100);
/// Pause before a leader is looked for again.
const RETRY_PAUSE: Duration = Duration::from_millis(10);

/// When fewer jobs became ready than nodes wait for them, the others are told after this if jobs are left.
const TOLD_FIRST: Duration = Duration::from_millis(20);

/// Calls under way that tell of cancels; beyond it workers learn of them with their next extends.
const CANCEL_CALLS_MAX: usize = 64;
/// Longest of them.
const CANCEL_CALL_MAX: Duration = Duration::from_secs(2);

/// One node's handle of the cluster. Shared by gateway, dispatcher and peers' requests.
pub struct Cluster {
    /// This node.
    pub node: NodeId,
    /// The cluster's name.
    pub name: String,
    groups: Vec<Group>,
    transport: Option<Arc<Transport>>,
    pub(crate) members: Members,
    /// Waiting workers at this node.
    pub dispatcher: Dispatcher,
    hungry: Hungry,
    /// What happens here, for those who watch.
    pub feed: Arc<Feed>,
    cancel_calls: Arc<Semaphore>,
    /// This node's chunks of artifacts.
    pub(crate) blobs: Arc<BlobStore>,
    /// Chunks that this node is not to keep, and read.
    pub(crate) chunks: ChunkCache,
    /// Where old versions of artifacts go.
    pub(crate) tier: Arc<Tier>,
    /// How often chunks are looked at.
    pub(crate) pace: Pace,
    /// Chunks that a majority has and that are still on their way to others.
    pub(crate) stragglers: Arc<Semaphore>,
    /// How many agents there should be.
    pub(crate) scaling: Scaling,
    /// The node's background tasks.
    pub tasks: Tasks,
}

/// What a node has for itself.
pub struct Own {
    /// Its chunks of artifacts.
    pub(crate) blobs: Arc<BlobStore>,
    /// Chunks that it is not to keep, and reads.
    pub(crate) chunks: ChunkCache,
    /// Where old versions of artifacts go.
    pub(crate) tier: Arc<Tier>,
    /// How often it looks at its chunks.
    pub(crate) pace: Pace,
    /// What happens on it, for those who watch.
    pub feed: Arc<Feed>,
    /// How jobs are shared out among workers.
    pub balancing: Balancing,
    /// How many agents there should be, and those that it runs.
    pub(crate) scaling: Scaling,
    /// Its background tasks.
    pub tasks: Tasks,
}

/// How often a command may be sent when the outcome of the first try is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// Repeating it changes nothing more: it carries an idempotency key, or is such by nature.
    Safe,
    /// It could be done twice.
    Never,
}

impl Cluster {
    /// A handle over running groups; group `g` is at index `g`.
    pub fn new(
        node: NodeId,
        name: String,
        groups: Vec<Group>,
        transport: Option<Arc<Transport>>,
        members: BTreeMap<NodeId, Member>,
        own: Own,
    ) -> Arc<Self> {
        let Own { blobs, chunks, tier, pace, feed, balancing, scaling, tasks } = own;
        Arc::new(Self {
            node,
            name,
            groups,
            transport,
            members: Members::new(members),
            dispatcher: Dispatcher::new(balancing, node),
            hungry: Hungry::default(),
            feed,
            cancel_calls: Arc::new(Semaphore::new(CANCEL_CALLS_MAX)),
            blobs,
            chunks,
            tier,
            pace,
            stragglers: Arc::new(Semaphore::new(blobs::STRAGGLERS_MAX)),
            scaling,
            tasks,
        })
    }

    /// Number of job partitions.
    pub fn partitions(&self) -> u16 {
        (self.groups.len() - 1) as u16
    }

    /// A group's replica on this node.
    pub fn group(&self, group: GroupId) -> Option<&Group> {
        self.groups.get(group as usize)
    }

    /// Every group's replica on this node.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Whether this node leads the group.
    pub fn leads(&self, group: GroupId) -> bool {
        self.group(group).is_some_and(|group| group.shared.is_leader())
    }

    /// The members as this node knows them.
    pub fn members(&self) -> BTreeMap<NodeId, Member> {
        self.members.all()
    }

    /// How many they are.
    pub(crate) fn member_count(&self) -> usize {
        self.members.len()
    }

    /// Takes over the members that the meta group has now.
    pub(crate) fn set_members(&self, members: BTreeMap<NodeId, Member>) {
        self.members.set(members);
    }

    /// Whether the node is a member. A node that joins knows nobody yet and believes the certificates.
    pub fn knows(&self, node: NodeId) -> bool {
        self.members.knows(node)
    }

    /// Proposes a command at the group's leader, wherever it is, until `deadline`.
    pub async fn propose(
        self: &Arc<Self>,
        group: GroupId,
        envelope: &Envelope,
        repeat: Repeat,
        deadline: Instant,
    ) -> Result<Reply, Refusal> {
        let repeat = if envelope.idempotency.is_some() { Repeat::Safe } else { repeat };
        let command = envelope.encode();
        let answer = self.at_leader(group, deadline, repeat, || Request::Propose(group, command.clone())).await?;
        match answer {
            Response::Reply(Reply::Refused(refusal)) => Err(refusal),
            Response::Reply(reply) => Ok(reply),
            other => Err(wrong_answer(&other)),
        }
    }

    /// Asks the group's leader once for ready jobs.
    pub async fn lease(self: &Arc<Self>, group: GroupId, lease: Lease) -> Result<Delivery, Refusal> {
        let deadline = Instant::now();
        match self.at_leader(group, deadline, Repeat::Never, || Request::Lease(group, lease.clone())).await? {
            Response::Leased(delivery) => Ok(delivery),
            other => Err(wrong_answer(&other)),
        }
    }

    /// Reads at the group's leader, linearizably.
    pub async fn read(self: &Arc<Self>, group: GroupId, query: Query, deadline: Instant) -> Result<Answer, Refusal> {
        match self.at_leader(group, deadline, Repeat::Safe, || Request::Query(group, query.clone(), true)).await? {
            Response::Answer(answer) => Ok(*answer),
            other => Err(wrong_answer(&other)),
        }
    }

    /// Reads this node's own replica as it is.
    pub async fn read_stale(&self, group: GroupId, query: &Query) -> Result<Answer, Refusal> {
        let group = self.group(group).ok_or_else(|| no_group(group))?;
        Ok(query::answer(&group.shared, query).await)
    }

    /// Puts a marker into the group's log; answers its index.
    pub async fn mark(self: &Arc<Self>, group: GroupId, deadline: Instant) -> Result<u64, Refusal> {
        match self.at_leader(group, deadline, Repeat::Safe, || Request::Marker(group)).await? {
            Response::Index(index) => Ok(index),
            other => Err(wrong_answer(&other)),
        }
    }

    /// Moves the group's leadership to a node; answers when the leader has begun to.
    pub async fn transfer(self: &Arc<Self>, group: GroupId, to: NodeId, deadline: Instant) -> Result<(), Refusal> {
        self.done_at_leader(group, deadline, || Request::Transfer(group, to)).await
    }

    /// Has the group's leader do what may be repeated and has no answer but done.
    pub(crate) async fn done_at_leader(
        self: &Arc<Self>,
        group: GroupId,
        deadline: Instant,
        request: impl Fn() -> Request,
    ) -> Result<(), Refusal> {
        match self.at_leader(group, deadline, Repeat::Safe, request).await? {
            Response::Done => Ok(()),
            other => Err(wrong_answer(&other)),
        }
    }

    /// Calls one node, this one included.
    pub async fn call(self: &Arc<Self>, node: NodeId, request: Request) -> Result<Response, TransportError> {
        if node == self.node {
            return Ok(self.clone().serve(node, request).await);
        }
        let unreachable = || TransportError::Unreachable { node, detail: "it is not a member".into() };
        let address = self.members.address(node).ok_or_else(unreachable)?;
        let transport = self.transport.as_ref().ok_or_else(unreachable)?;
        transport.peer(node, &address).request(&request).await
    }

    /// Calls the node that leads. If another one comes to lead, an answer is awaited a moment longer: a dead
    /// node's connection breaks only when it has been silent for long.
    ///
    /// Boxed, since what a call may set off on this node is deep.
    fn call_leader<'a>(
        self: &'a Arc<Self>,
        group: &'a Group,
        node: NodeId,
        request: Request,
    ) -> BoxFuture<'a, Result<Response, TransportError>> {
        if node == self.node {
            return Box::pin(self.call(node, request));
        }
        let moved = async move {
            group.shared.led_by_another_than(node).await;
            tokio::time::sleep(MOVED_PATIENCE).await;
        };
        Box::pin(async move {
            tokio::select! {
                biased;
                answer = self.call(node, request) => answer,
                () = moved => Err(TransportError::Closed),
            }
        })
    }

    /// Tries at the leader until it answers or `deadline` passes; at least once.
    pub(crate) async fn at_leader(
        self: &Arc<Self>,
        group: GroupId,
        deadline: Instant,
        repeat: Repeat,
        request: impl Fn() -> Request,
    ) -> Result<Response, Refusal> {
        let replica = self.group(group).ok_or_else(|| no_group(group))?;
        let mut hint = None;
        loop {
            let target = hint.take().or_else(|| replica.shared.leader());
            let problem = match target {
                None => "no leader is known".to_owned(),
                Some(node) => match tokio::time::timeout_at(
                    // Longer than the deadline: an answer under way is worth a moment more.
                    (deadline + Duration::from_secs(5)).into(),
                    self.call_leader(replica, node, request()),
                )
                .await
                {
                    Ok(Ok(Response::NotLeader(leader))) => {
                        hint = leader.filter(|leader| Some(*leader) != target);
                        format!("node {node} does not lead any more")
                    }
                    Ok(Ok(Response::Refused(refusal))) => return Err(refusal),
                    Ok(Ok(Response::Unknown(detail))) if repeat == Repeat::Never => {
                        return Err(unknown(group, &detail));
                    }
                    Ok(Ok(Response::Unknown(detail))) => detail,
                    Ok(Ok(response)) => return Ok(response),
                    Ok(Err(error @ TransportError::Unreachable { .. })) => error.to_string(),
                    Ok(Err(error)) if repeat == Repeat::Never => return Err(unknown(group, &error.to_string())),
                    Ok(Err(error)) => error.to_string(),
                    Err(_) => return Err(unknown(group, "no answer in time")),
                },
            };
            if Instant::now() + RETRY_PAUSE >= deadline {
                return Err(unknown(group, &problem));
            }
            if hint.is_none() {
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
    }

    /// Does what a node (this one or a peer) asks of this node.
    pub async fn serve(self: Arc<Self>, from: NodeId, request: Request) -> Response {
        match request {
            Request::Propose(group, command) => match self.group(group) {
                Some(group) => respond(group.propose(command).await, Response::Reply),
                None => Response::Refused(no_group(group)),
            },
            Request::Lease(group, lease) => self.serve_lease(from, group, lease).await,
            Request::Query(group, query, linearizable) => match self.group(group) {
                Some(group) => {
                    let ready = if linearizable { group.linearize().await } else { Ok(()) };
                    match ready {
                        Ok(()) => Response::Answer(Box::new(query::answer(&group.shared, &query).await)),
                        Err(error) => refused(error),
                    }
                }
                None => Response::Refused(no_group(group)),
            },
            Request::StaleQuery(group, query, max_ms) => {
                Response::Seen(self.read_here(group, &query, max_ms).await.map(Box::new))
            }
            Request::Ready(group, queue, ready) => Response::Waiting(self.dispatcher.ready(&queue, group, ready)),
            Request::Marker(group) => match self.group(group) {
                Some(group) => respond(group.mark().await, Response::Index),
                None => Response::Refused(no_group(group)),
            },
            Request::Digest(group, index) => match self.group(group) {
                Some(group) => match group.digest(index).await {
                    Some(digest) => Response::Digest(digest),
                    None => Response::Unknown(format!("no marker at index {index}")),
                },
                None => Response::Refused(no_group(group)),
            },
            Request::Transfer(group, to) => match self.group(group) {
                Some(group) => respond(group.transfer(to).await, |()| Response::Done),
                None => Response::Refused(no_group(group)),
            },
            Request::Hello(node) => Response::Welcome(membership::welcome(&self, node)),
            // A certificate of the nodes' authority stands for the node that it names and for no other.
            Request::Join(node, _) if node != from => {
                let detail = format!("node {from} asks for node {node} to be added; each node joins for itself");
                Response::Refused(Refusal::new(Code::PermissionDenied, detail))
            }
            // Boxed, since adding a member calls nodes, this one included.
            Request::Join(node, member) => match Box::pin(self.add_member(node, member)).await {
                Ok(()) => Response::Done,
                Err(refusal) => Response::Refused(refusal),
            },
            Request::AddMember(group, node, member) => match self.group(group) {
                Some(group) => respond(group.add_member(node, member).await, |()| Response::Done),
                None => Response::Refused(no_group(group)),
            },
            Request::RemoveMember(group, node) => match self.group(group) {
                Some(group) => respond(group.remove_member(node).await, |()| Response::Done),
                None => Response::Refused(no_group(group)),
            },
            Request::Cancelled(cancelled) => {
                self.pass_on(cancelled);
                Response::Done
            }
            Request::PutChunk(hash, bytes) => self.serve_chunk(ChunkCall::Put(hash, bytes)).await,
            Request::GetChunk(hash) => self.serve_chunk(ChunkCall::Get(hash)).await,
            Request::PutCold(name, form) => self.serve_cold(name, Some(form)).await,
            Request::GetCold(name) => self.serve_cold(name, None).await,
            Request::RenewChunks(chunks) => self.serve_chunk(ChunkCall::Renew(chunks)).await,
            Request::HasChunks(chunks) => self.serve_chunk(ChunkCall::Has(chunks)).await,
            Request::Workers => Response::Workers(self.workers_here()),
            Request::Ended(ended) => {
                self.dispatcher.balance.ended(&self, &ended);
                Response::Done
            }
            Request::Scaling(agent_type) => self.serve_scaling(agent_type.as_ref()),
            Request::Pools(pools) => self.serve_pools(from, &pools).await,
            Request::NodeLoad => Response::NodeLoad(self.scaling.node_load().await),
            Request::AgentUses => Response::AgentUses(self.scaling.agents.uses().await),
            Request::Outlooks(agent_type) => self.serve_outlooks(agent_type.as_ref()),
            Request::Past(agent_type) => self.serve_past(&agent_type).await,
            // Boxed, since keeping it is a call of a node, this one most likely.
            Request::LearnPast(agent_type, past) => Box::pin(self.serve_learn_past(agent_type, *past)).await,
            Request::Roster(known) => balance::roster(&self.dispatcher.workers, known),
            Request::Status => Response::Status(crate::transport::wire::NodeStatus {
                id: self.node,
                version: env!("CARGO_PKG_VERSION").into(),
                applied: self.groups.iter().map(|g| (g.shared.group, g.shared.applied())).collect(),
            }),
        }
    }

    async fn serve_lease(self: Arc<Self>, from: NodeId, id: GroupId, lease: Lease) -> Response {
        let Some(group) = self.group(id) else { return Response::Refused(no_group(id)) };
        if let Some(leader) = group.shared.foreign_leader() {
            return Response::NotLeader(leader);
        }
        let offer = self.ready_or_register(group, from, &lease);
        if lease.max == 0 || offer.ready == 0 {
            return Response::Leased(nothing(group, &offer));
        }
        let leased = match group.propose(Envelope::plain(Command::Lease(lease.clone())).encode()).await {
            Ok(Reply::Leased(leased)) => leased,
            Ok(Reply::Refused(refusal)) => return Response::Refused(refusal),
            Ok(other) => return Response::Unknown(format!("a lease was answered by {other:?}")),
            Err(error) => return refused(error),
        };
        let keys: Vec<_> = leased.jobs.iter().map(|job| view::payload_key(job.seq)).collect();
        let ((), payloads) = group.shared.payloads(&keys, |_| ()).await;
        let jobs = leased.jobs.into_iter().zip(payloads).filter_map(|(job, payload)| Some((job, payload?))).collect();
        let offer = self.ready_or_register(group, from, &lease);
        let rest = nothing(group, &Offer { until: offer.until.or(leased.next_at), ..offer });
        Response::Leased(Delivery { jobs, partition: group.shared.partition, ..rest })
    }

    /// The workers that were seen here lately, with how they fare.
    fn workers_here(&self) -> Vec<WorkerSeen> {
        let mut workers = self.dispatcher.workers.list();
        for seen in &mut workers {
            (seen.breaker, seen.set_aside_until) = self.dispatcher.balance.standing(&seen.worker);
        }
        workers
    }

    /// Leases ended in groups that this node leads.
    pub(crate) fn leases_ended(&self, ended: &[LeasesEnded]) {
        if !ended.is_empty() {
            self.dispatcher.balance.ended(self, ended);
            self.dispatcher.balance.to_tell(ended);
        }
    }

    /// The type of agent that works a queue, as this node's replica has it.
    pub(crate) fn agent_type(&self, queue: &Name) -> Name {
        let named = |meta: &Group| view::definition(&*meta.shared.state.read(), queue)?.config.agent_type;
        self.group(META_GROUP).and_then(named).unwrap_or_else(|| queue.clone())
    }

    /// What the queue has here for the asker; if that is nothing, remembers to tell the node when it has.
    fn ready_or_register(&self, group: &Group, node: NodeId, lease: &Lease) -> Offer {
        // The state's clock stands still while nothing is applied.
        let now = group.shared.clock.now();
        let offer = || view::offer(&*group.shared.state.read(), lease, now);
        let first = offer();
        if first.ready > 0 {
            return first;
        }
        self.hungry.register(group.shared.group, &lease.queue, node);
        // What became ready between the look and the note was not told to anybody.
        offer()
    }

    /// Something of the queue became deliverable in a group that this node leads.
    pub(crate) fn became_ready(self: &Arc<Self>, id: GroupId, queue: &Name) {
        let Some(group) = self.group(id) else { return };
        let ready = view::deliverable(&*group.shared.state.read(), queue);
        self.tell_hungry(id, queue, ready, ready);
        if ready > 0 && self.hungry.watch(id, queue) {
            let (cluster, group, queue) = (self.clone(), group.clone(), queue.clone());
            self.tasks.spawn(async move {
                tokio::time::sleep(TOLD_FIRST).await;
                cluster.hungry.looked(id, &queue);
                let ready = view::deliverable(&*group.shared.state.read(), &queue);
                if ready > 0 {
                    cluster.tell_hungry(id, &queue, ready, u64::MAX);
                }
            });
        }
    }

    /// Tells up to `count` nodes that asked for jobs of the queue, and more for those where nobody waits.
    fn tell_hungry(self: &Arc<Self>, group: GroupId, queue: &Name, ready: u64, count: u64) {
        let mut missing = count;
        while missing > 0 {
            let nodes = self.hungry.take(group, queue, missing);
            missing = 0;
            if nodes.is_empty() {
                return;
            }
            for node in nodes {
                if node == self.node {
                    missing += u64::from(!self.dispatcher.ready(queue, group, ready));
                    continue;
                }
                let (cluster, queue) = (self.clone(), queue.clone());
                self.tasks.spawn(async move {
                    let told = cluster.call(node, Request::Ready(group, queue.clone(), ready)).await;
                    if !matches!(told, Ok(Response::Waiting(true))) {
                        cluster.tell_hungry(group, &queue, ready, 1);
                    }
                });
            }
        }
    }

    /// Tells every node of leased jobs that nobody wants any more, since the leader does not know where their
    /// workers' streams are. As well as it can: the workers' next extends tell them in any case.
    pub(crate) fn tell_cancelled(self: &Arc<Self>, cancelled: Vec<Cancelled>) {
        if cancelled.is_empty() {
            return;
        }
        for node in self.members().into_keys().filter(|node| *node != self.node) {
            let Ok(place) = self.cancel_calls.clone().try_acquire_owned() else { break };
            let (cluster, cancelled) = (self.clone(), cancelled.clone());
            self.tasks.spawn(async move {
                let told = cluster.call(node, Request::Cancelled(cancelled));
                let _ = tokio::time::timeout(CANCEL_CALL_MAX, told).await;
                drop(place);
            });
        }
        self.pass_on(cancelled);
    }

    /// Tells the workers whose streams are at this node.
    fn pass_on(&self, cancelled: Vec<Cancelled>) {
        for Cancelled { group, seq, token, worker } in cancelled {
            let Some(shared) = self.group(group).map(|group| &group.shared) else { continue };
            let unwanted = Unwanted { job: JobId { partition: shared.partition, seq }, token };
            let project = || view::job(&*shared.state.read(), seq).map(|job| job.project);
            self.dispatcher.streams.cancel(&worker, unwanted, project);
        }
    }

    /// Ends leases whose worker left before it got them, so that others can have the jobs now.
    pub(crate) fn give_back(self: &Arc<Self>, partition: u16, delivery: Delivery) {
        let nack = |job: &bravo_model::reply::LeasedJob| Nack {
            seq: job.seq,
            token: job.token,
            error: Some("the worker left before the job reached it".into()),
            retry_in_ms: Some(0),
            dead: false,
            unseen: true,
        };
        let nacks = delivery.jobs.iter().map(|(job, _)| nack(job)).collect();
        let cluster = self.clone();
        self.tasks.spawn(async move {
            let envelope = Envelope::plain(Command::Nack(nacks));
            let deadline = Instant::now() + Duration::from_secs(5);
            cluster.propose(partition_group(partition), &envelope, Repeat::Safe, deadline).await
        });
    }
}

impl Group {
    /// Hands leadership to a node, if this one leads.
    pub(crate) async fn transfer(&self, to: NodeId) -> Result<(), ProposeError> {
        if let Some(leader) = self.shared.foreign_leader() {
            return Err(ProposeError::NotLeader(leader));
        }
        if self.shared.leader() == Some(to) {
            return Ok(());
        }
        self.hand_to(to).await
    }

    /// Puts a marker into the log; answers its index.
    pub(crate) async fn mark(&self) -> Result<u64, ProposeError> {
        if let Some(leader) = self.shared.foreign_leader() {
            return Err(ProposeError::NotLeader(leader));
        }
        let written = self.raft.client_write(Batch::marker()).await;
        written.map(|written| written.log_id.index).map_err(|error| ProposeError::Unknown(error.to_string()))
    }
}

/// What an asker is told who gets no jobs.
fn nothing(group: &Group, offer: &Offer) -> Delivery {
    let now = group.shared.clock.now();
    Delivery {
        ready_left: offer.ready,
        retry_in_ms: offer.until.map(|at| at.saturating_sub(now).clamp(1, 60_000)),
        kept: offer.slots,
        kept_alike: offer.alike,
        ..Delivery::default()
    }
}

fn respond<T>(result: Result<T, ProposeError>, ok: impl FnOnce(T) -> Response) -> Response {
    match result {
        Ok(value) => ok(value),
        Err(error) => refused(error),
    }
}

fn refused(error: ProposeError) -> Response {
    match error {
        ProposeError::NotLeader(leader) => Response::NotLeader(leader),
        ProposeError::Overloaded => Response::Refused(Refusal::retry_after(Code::Shed, error.to_string(), 100)),
        ProposeError::Unknown(detail) => Response::Unknown(detail),
    }
}

fn unknown(group: GroupId, detail: &str) -> Refusal {
    Refusal::retry_after(
        Code::NoLeader,
        format!("partition group {group} did not answer ({detail}); the outcome is unknown: repeat with the same key"),
        100,
    )
}

fn no_group(group: GroupId) -> Refusal {
    Refusal::new(Code::NotFound, format!("there is no partition group {group}"))
}

pub(crate) fn wrong_answer(response: &Response) -> Refusal {
    Refusal::new(Code::Internal, format!("a peer answered with the wrong kind: {response:?}"))
}

/// The bytes of an envelope, for callers that route it themselves.
pub fn encoded(command: Command) -> Bytes {
    Envelope::plain(command).encode()
}
