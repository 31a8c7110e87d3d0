//! What nodes say to each other, in postcard. Variants are only ever added at the end.

mod scaling;

use bravo_model::artifact::{Artifact, ArtifactPath};
use bravo_model::audit;
use bravo_model::command::{Idempotency, Lease, ListFilter};
use bravo_model::key::ApiKey;
use bravo_model::lifecycle::{Lifecycle, Stays, VersionId};
use bravo_model::quota::Quota;
use bravo_model::reply::{LeasedJob, LeasesEnded};
use bravo_model::row::{Flow, PRIORITIES};
use bravo_model::scaling::{ScalingMemory, ScalingPolicy};
use bravo_model::schedule::{Schedule, Target};
use bravo_model::template::{Template, TemplateVersion};
use bravo_model::webhook::{Subscription, Webhook};
use bravo_model::workflow::{Event, Plan, Workflow};
use bravo_model::{Job, Payload, Refusal, Reply, Time, view};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use scaling::{AgentUse, NodeLoad, Outlook, PastSeen, PointSeen, PoolHere, PoolSeen, Share, UseSeen};

use super::TransportError;
use crate::cold::ColdName;
use crate::raft::types::alias::{
    AppendRequest, SnapshotMeta, StreamAppendResult, TransferRequest, Vote, VoteRequest, VoteResponse,
};
use crate::raft::types::{GroupId, Member, NodeId};

/// What a stream carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum StreamKind {
    /// Votes, heartbeats, transfers.
    Control = 1,
    /// Log entries of one group.
    Append = 2,
    /// Forwarded work and reads.
    Client = 3,
    /// One snapshot.
    Snapshot = 4,
    /// Chunks of artifacts.
    Chunks = 5,
}

/// A call on the control stream.
#[derive(Serialize, Deserialize)]
pub enum Control {
    /// Asks for a vote.
    Vote(GroupId, VoteRequest),
    /// Asks whether a vote would be granted.
    PreVote(GroupId, VoteRequest),
    /// An append without entries, and what the leader's clock shows.
    Heartbeat(GroupId, AppendRequest, Time),
    /// Asks this node to lead.
    Transfer(GroupId, TransferRequest),
}

/// The answer to a [`Control`] call.
#[derive(Serialize, Deserialize)]
pub enum ControlAnswer {
    /// To `Vote` and `PreVote`.
    Vote(VoteResponse),
    /// To `Heartbeat`.
    Append(StreamAppendResult),
    /// To `Transfer`: whether it was taken up.
    Transfer(bool),
    /// The group does not run here.
    Unavailable(String),
}

/// A call on a group's append stream, and what the leader's clock shows.
#[derive(Serialize, Deserialize)]
pub struct Append {
    /// The entries.
    pub request: AppendRequest,
    /// The leader's clock.
    pub now: Time,
}

/// The answer to an [`Append`]; an error text if the group does not run here.
pub type AppendAnswer = Result<StreamAppendResult, String>;

/// The head of a snapshot stream; the file's bytes follow.
#[derive(Serialize, Deserialize)]
pub struct SnapshotHead {
    /// The leader's vote.
    pub vote: Vote,
    /// What is in the snapshot.
    pub meta: SnapshotMeta,
}

/// A call on the client stream.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// Proposes an encoded envelope at the group's leader.
    Propose(GroupId, Bytes),
    /// Asks the leader for ready jobs; if there are none, to be told when there are.
    Lease(GroupId, Lease),
    /// Reads at the leader (linearizable) or right there (stale).
    Query(GroupId, Query, bool),
    /// The queue has this many jobs to deliver in the group now.
    Ready(GroupId, bravo_model::Name, u64),
    /// Asks for the digest of the group's state at a marker.
    Digest(GroupId, u64),
    /// What this node knows about itself, for the overview.
    Status,
    /// Puts a marker into the group's log, at its leader.
    Marker(GroupId),
    /// Moves the group's leadership to a node, at its leader.
    Transfer(GroupId, NodeId),
    /// Asks for the workers that the node saw lately.
    Workers,
    /// Asks for the cluster's facts and for what is known of this node; anybody with a certificate may.
    Hello(NodeId),
    /// Asks to be added, under this number at this place; anybody with a certificate may.
    Join(NodeId, Member),
    /// Adds a node to the group, at its leader.
    AddMember(GroupId, NodeId, Member),
    /// Removes a node from the group, at its leader.
    RemoveMember(GroupId, NodeId),
    /// Nobody wants these jobs any more: whoever has a stream to one of the workers tells it.
    Cancelled(Vec<Cancelled>),
    /// Writes a chunk of an artifact, in the form in which it is kept; answered when it is on disk.
    PutChunk([u8; 32], Bytes),
    /// Asks for a chunk.
    GetChunk([u8; 32]),
    /// Says that chunks are in use.
    RenewChunks(Vec<[u8; 32]>),
    /// Reads right there, if what is there is no older than so many milliseconds.
    StaleQuery(GroupId, Query, u64),
    /// Asks which of these chunks the node has; one that it found to be damaged it has not.
    HasChunks(Vec<[u8; 32]>),
    /// Writes a chunk into the node's cold tier, in its form; answered when it is durable.
    PutCold(ColdName, Bytes),
    /// Asks for a chunk of the node's cold tier.
    GetCold(ColdName),
    /// How leases ended in partitions that the asker leads.
    Ended(Vec<LeasesEnded>),
    /// Asks who works at the node, unless it is still as this hash says.
    Roster(u64),
    /// Asks meta's leader how the pools of agents stand: of one type, or of all.
    Scaling(Option<bravo_model::Name>),
    /// Tells meta's leader which pools the asker looks after, and asks for its shares of them.
    Pools(Vec<PoolHere>),
    /// Asks what the node uses of its machine since it was asked last.
    NodeLoad,
    /// Asks what the agents use that the node runs, since it was asked last.
    AgentUses,
    /// Asks meta's leader how the pool of a type, or each pool, stands and what it is expected to use.
    Outlooks(Option<bravo_model::Name>),
    /// Asks meta's leader for the past of a type of agents.
    Past(bravo_model::Name),
    /// Has meta's leader take a past in place of what it knows of a type.
    LearnPast(bravo_model::Name, Box<PastSeen>),
}

/// A leased job that a caller wants cancelled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancelled {
    /// Where the job is.
    pub group: GroupId,
    /// The job.
    pub seq: u64,
    /// The lease.
    pub token: u64,
    /// Who holds it.
    pub worker: bravo_model::Name,
}

/// The answer to a [`Request`].
#[derive(Debug, Serialize, Deserialize)]
pub enum Response {
    /// To `Propose`.
    Reply(Reply),
    /// To `Lease`.
    Leased(Delivery),
    /// To `Query`.
    Answer(Box<Answer>),
    /// To `Ready`: whether a worker waits for them there.
    Waiting(bool),
    /// It is done.
    Done,
    /// To `Digest`.
    Digest([u8; 32]),
    /// To `Marker`: its log index.
    Index(u64),
    /// To `Status`.
    Status(NodeStatus),
    /// This node does not lead; nothing was proposed. Carries who does, if known.
    NotLeader(Option<NodeId>),
    /// Refused before anything was proposed.
    Refused(Refusal),
    /// The outcome is unknown.
    Unknown(String),
    /// To `Workers`.
    Workers(Vec<WorkerSeen>),
    /// To `Hello`.
    Welcome(Welcome),
    /// To `GetChunk` and `GetCold`: the form in which it is kept, if it is there.
    Chunk(Option<Bytes>),
    /// To `RenewChunks` and `HasChunks`: which of them are there.
    Held(Vec<bool>),
    /// To `StaleQuery`: the answer, and a moment of which it holds everything that was acknowledged before it;
    /// none: the replica is too old.
    Seen(Option<Box<(Answer, Time)>>),
    /// To `Roster`: the hash of it; it itself unless the asker knows it.
    Roster(u64, Option<Vec<RosterEntry>>),
    /// To `Scaling`.
    Scaling(Vec<PoolSeen>),
    /// To `Pools`: one a pool, in order; none: it is left as it is.
    Shares(Vec<Option<Share>>),
    /// To `NodeLoad`.
    NodeLoad(NodeLoad),
    /// To `AgentUses`.
    AgentUses(Vec<AgentUse>),
    /// To `Outlooks`.
    Outlooks(Vec<Outlook>),
    /// To `Past`: none if nothing is remembered.
    Past(Option<Box<PastSeen>>),
}

/// Leased jobs on their way to a worker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    /// The jobs with their payloads.
    pub jobs: Vec<(LeasedJob, Payload)>,
    /// Ready jobs left at the leader.
    pub ready_left: u64,
    /// Milliseconds until a rate limit gives more, if that is what holds them.
    pub retry_in_ms: Option<u64>,
    /// The partition that they are in.
    pub partition: u16,
    /// Slots of sticky keys whose jobs are kept for other workers, and may go to anybody when `retry_in_ms` is over.
    pub kept: u64,
    /// The same of jobs that require something.
    pub kept_alike: u64,
}

/// A worker as other nodes need to know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RosterEntry {
    /// The worker.
    pub worker: bravo_model::Name,
    /// The queues that it works for.
    pub queues: Vec<bravo_model::Name>,
    /// Its weight.
    pub weight: u32,
    /// A hash of its labels.
    pub labels: u64,
    /// A hash of the project whose jobs alone it gets; 0: of any.
    pub project: u64,
    /// Whether it can be counted on to take jobs.
    pub is_fresh: bool,
}

/// A read of one group's state.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Query {
    /// A job with payload and result.
    Job(u64),
    /// Why a job waits.
    Why(u64),
    /// A page of jobs.
    Jobs {
        /// Which.
        filter: ListFilter,
        /// From the cursor's sequence on.
        after: Option<u64>,
        /// At most this many.
        limit: u32,
    },
    /// One queue's counts.
    Queue(bravo_model::Name),
    /// All queues' counts.
    Queues,
    /// Meta: all queue definitions.
    Definitions,
    /// Meta: one queue's definition.
    Definition(bravo_model::Name),
    /// Meta: the nodes.
    Nodes,
    /// Meta: name and partitions, if the cluster was formed.
    Formed,
    /// Meta: all templates, unless they have not changed since this many changes.
    Templates(u64),
    /// Meta: one version of a template, the newest if none is named.
    Template(bravo_model::Name, Option<u32>),
    /// A workflow, with so many of its tasks from a place on as fit.
    Workflow(u64, u32),
    /// A page of workflows, newest first.
    Workflows {
        /// Which.
        filter: view::WorkflowFilter,
        /// Below the cursor's number.
        before: Option<u64>,
        /// At most this many.
        limit: u32,
    },
    /// Events of a workflow after a number.
    WorkflowEvents(u64, u32),
    /// The names of a workflow's tasks.
    TaskIds(u64),
    /// One schedule.
    Schedule(bravo_model::Name),
    /// All schedules of the partition.
    Schedules,
    /// One version of an artifact, the newest if none is named.
    Artifact(bravo_model::Name, ArtifactPath, Option<u32>),
    /// A page of a project's artifacts in the partition, by path.
    Artifacts {
        /// The project.
        project: bravo_model::Name,
        /// What the paths begin with.
        prefix: String,
        /// Behind the cursor's path.
        after: Option<String>,
        /// At most this many.
        limit: u32,
    },
    /// Which of these chunks a version is made of.
    Referred(Vec<[u8; 32]>),
    /// The answer that is kept under an idempotency key.
    Kept(Idempotency),
    /// Meta: one webhook of a project.
    Webhook(bravo_model::Name, bravo_model::Name),
    /// Meta: the webhooks of a project.
    Webhooks(bravo_model::Name),
    /// Meta: what partitions are to know of all webhooks.
    AllWebhooks,
    /// What the partition knows of webhooks.
    Subscriptions,
    /// Meta: a project's lifecycle rules.
    Lifecycle(bravo_model::Name),
    /// All projects' lifecycle rules.
    Lifecycles,
    /// Where these versions' chunks are, and are to be.
    Stays(Vec<VersionId>),
    /// Meta: one API key.
    Key(bravo_model::Name),
    /// Meta: all API keys.
    Keys,
    /// Meta: a project's quota.
    Quota(bravo_model::Name),
    /// Meta: all quotas.
    Quotas,
    /// Meta: a page of the audit log.
    Audit {
        /// Behind this number.
        after: u64,
        /// Not before this time.
        since: Time,
        /// Of this actor only.
        actor: Option<String>,
        /// At most this many.
        limit: u32,
    },
    /// Meta: all scaling policies.
    Scalings,
    /// Meta: what the controller of an agent type had learned.
    ScalingMemory(bravo_model::Name),
    /// Meta: the agent types of which something is remembered.
    ScalingMemories,
    /// What will become ready in the next so many slots of so many milliseconds.
    Coming(u64, u32),
    /// What is known of the next so many slots of so many milliseconds.
    Known(u64, u32),
    /// Which of these unique keys are held, each of a queue and a project.
    Claimed(Vec<(bravo_model::Name, bravo_model::Name, String)>),
    /// A job without payload and result.
    JobRecord(u64),
}

/// The answer to a [`Query`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// To `Job` and `JobRecord`.
    Job(Option<Box<JobRead>>),
    /// To `Why`.
    Why(Option<Why>),
    /// To `Jobs`.
    Jobs {
        /// The page.
        jobs: Vec<Job>,
        /// Where the next page starts.
        next: Option<u64>,
    },
    /// To `Queue` and `Queues`.
    Queues(Vec<QueueCounts>),
    /// To `Definitions` and `Definition`.
    Definitions(Vec<bravo_model::command::QueueDefinition>),
    /// To `Nodes`.
    Nodes(Vec<bravo_model::command::NodeRecord>),
    /// To `Formed`.
    Formed(Option<(String, u16)>),
    /// To `Templates`.
    Templates {
        /// How many changes the templates had.
        changes: u64,
        /// By name; none if that is how many the asker knew of.
        templates: Option<Vec<Template>>,
    },
    /// To `Template`.
    Template(Option<TemplateRead>),
    /// To `Workflow`.
    Workflow(Option<Box<WorkflowRead>>),
    /// To `Workflows`.
    Workflows {
        /// The page.
        workflows: Vec<Workflow>,
        /// Where the next page starts.
        next: Option<u64>,
    },
    /// To `WorkflowEvents`; none if there is no such workflow.
    WorkflowEvents(Option<EventsRead>),
    /// To `TaskIds`; none if there is no such workflow.
    TaskIds(Option<Vec<bravo_model::Name>>),
    /// To `Schedule` and `Schedules`.
    Schedules(Vec<ScheduleRead>),
    /// To `Artifact`.
    Artifact(Option<Box<view::Found>>),
    /// To `Artifacts`: the page, and whether there are more.
    Artifacts(Vec<Artifact>, bool),
    /// To `Referred`: one a chunk, in order.
    Referred(Vec<bool>),
    /// To `Kept`; none if nothing is.
    Kept(Option<Reply>),
    /// To `Webhook` and `Webhooks`.
    Webhooks(Vec<Webhook>),
    /// To `AllWebhooks` and `Subscriptions`.
    Subscriptions(Vec<Subscription>),
    /// To `Lifecycle` and `Lifecycles`.
    Lifecycles(Vec<Lifecycle>),
    /// To `Stays`: one a version, in order; none: it is not there.
    Stays(Vec<Option<Stays>>),
    /// To `Key` and `Keys`.
    Keys(Vec<ApiKey>),
    /// To `Quota` and `Quotas`.
    Quotas(Vec<Quota>),
    /// To `Audit`.
    Audit(Vec<audit::Entry>, Option<u64>),
    /// To `Scalings`.
    Scalings(Vec<ScalingPolicy>),
    /// To `ScalingMemory`.
    ScalingMemory(Option<ScalingMemory>),
    /// To `ScalingMemories`.
    ScalingMemories(Vec<bravo_model::Name>),
    /// To `Coming`: jobs by queue and slot.
    Coming(Vec<(bravo_model::Name, u32, u32)>),
    /// To `Known`.
    Known(Box<view::Known>),
    /// To `Claimed`: one a key, in order.
    Claimed(Vec<bool>),
}

/// A workflow with a part of its tasks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkflowRead {
    /// Its record.
    pub workflow: Workflow,
    /// What it was started with, as JSON text.
    pub input: Bytes,
    /// Its tasks from the place that was asked for.
    pub tasks: Vec<view::TaskView>,
    /// The place of the next one; none: these were the last.
    pub next: Option<u32>,
}

/// A schedule with what it starts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScheduleRead {
    /// Its record.
    pub schedule: Schedule,
    /// What a tick starts.
    pub target: Target,
    /// The same as the caller wrote it; may be empty.
    pub source: Bytes,
    /// The clock that it runs by.
    pub now: Time,
}

impl ScheduleRead {
    /// The same for a list: without what may be large of what it starts.
    pub(crate) fn brief(mut self) -> Self {
        self.source = Bytes::new();
        match &mut self.target {
            Target::Job(job) => job.payload.bytes = Bytes::new(),
            Target::Workflow(new) => (new.input, new.plan) = (Bytes::new(), Plan::default()),
        }
        self
    }
}

/// A job's record, its payload and its result.
pub type JobRead = (Job, Option<Payload>, Option<Payload>);

/// Some of a workflow's events.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventsRead {
    /// Each with its number and its task's name.
    pub events: Vec<(u32, Event, Option<bravo_model::Name>)>,
    /// The workflow is over: after these there are no more unless somebody retries it.
    pub over: bool,
}

/// One version of a template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateRead {
    /// The template.
    pub head: Template,
    /// Which version it is.
    pub version: u32,
    /// The version.
    pub of: TemplateVersion,
}

/// Why a job waits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Why {
    /// The reason's name.
    pub reason: String,
    /// What would change it.
    pub detail: String,
    /// Until when, where that is known.
    pub until: Option<Time>,
}

/// One queue's counts in one partition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QueueCounts {
    /// The queue.
    pub name: bravo_model::Name,
    /// Ready jobs, also those behind a limit.
    pub ready: u64,
    /// Jobs that wait for their time.
    pub scheduled: u64,
    /// Jobs that wait for other tasks.
    pub blocked: u64,
    /// Jobs that workers hold.
    pub leased: u64,
    /// Dead jobs.
    pub dead: u64,
    /// Jobs that are done with, and kept.
    pub finished: u64,
    /// When the oldest ready job became ready.
    pub oldest_ready_at: Option<Time>,
    /// The version of its definition that the partition knows; 0 if nobody defined it.
    pub version: u64,
    /// The state's time when this was counted.
    pub now: Time,
    /// What has gone through it.
    pub flow: Flow,
    /// Jobs that a lease would be given now, by priority.
    pub open: [u64; PRIORITIES],
    /// Nothing is delivered.
    pub paused: bool,
}

impl QueueCounts {
    /// Whether the partition knows of the queue by its definition alone.
    pub fn is_only_defined(&self) -> bool {
        let jobs = [self.ready, self.scheduled, self.blocked, self.leased, self.dead, self.finished];
        self.version > 0 && jobs.iter().all(|count| *count == 0)
    }
}

/// What a node that says hello is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The cluster's name.
    pub cluster: String,
    /// Its job partitions.
    pub partitions: u16,
    /// The incarnation under which the node is known, if it is.
    pub incarnation: Option<String>,
    /// The last entry that the node is known to have on disk, of each group that the answering node leads.
    pub acknowledged: Vec<(GroupId, u64)>,
}

/// What a node knows about itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// The node.
    pub id: NodeId,
    /// Its program's version.
    pub version: String,
    /// Applied index of each group.
    pub applied: Vec<(GroupId, u64)>,
}

/// A worker that a node saw lately.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerSeen {
    /// The worker.
    pub worker: bravo_model::Name,
    /// The type that it says it is.
    pub agent_type: Option<bravo_model::Name>,
    /// The queues that it asked for.
    pub queues: Vec<bravo_model::Name>,
    /// Jobs that it works on at once, or the most that it asked for.
    pub capacity: u32,
    /// Jobs that it holds, as far as the node knows.
    pub in_flight: u32,
    /// When it was heard of last, by the node's wall clock.
    pub last_heartbeat: Time,
    /// What it says it is.
    pub labels: std::collections::BTreeMap<String, String>,
    /// Its weight.
    pub weight: u32,
    /// The project whose jobs alone it gets.
    pub project: Option<bravo_model::Name>,
    /// Its breaker, as the node sees it.
    pub breaker: String,
    /// Until when the node sets it aside, by its wall clock.
    pub set_aside_until: Option<Time>,
    /// Whether it takes no more jobs, and ends those that it holds.
    pub leaves: bool,
}

/// Encodes a message.
pub fn pack<T: Serialize>(message: &T) -> Result<Bytes, TransportError> {
    postcard::to_stdvec(message).map(Bytes::from).map_err(|error| TransportError::Malformed(error.to_string()))
}

/// Decodes a message.
pub fn unpack<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, TransportError> {
    postcard::from_bytes(bytes).map_err(|error| TransportError::Malformed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_that_was_deleted_while_a_partition_was_told_of_it_does_not_count_as_there() {
        let told = QueueCounts {
            name: bravo_model::Name::parse("name", "q").unwrap(),
            ready: 0,
            scheduled: 0,
            blocked: 0,
            leased: 0,
            dead: 0,
            finished: 0,
            oldest_ready_at: None,
            version: 7,
            now: 1,
            flow: Flow::default(),
            open: [0; PRIORITIES],
            paused: false,
        };
        assert!(told.is_only_defined());
        assert!(!QueueCounts { version: 0, ..told.clone() }.is_only_defined(), "it is there by its use");
        assert!(!QueueCounts { finished: 1, ..told.clone() }.is_only_defined());
        assert!(!QueueCounts { dead: 1, ..told }.is_only_defined());
    }
}
