//! What comes back: a reply to the caller and a to-do list for the leader.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::Time;
use crate::code::{Code, Refusal};
use crate::id::Name;
use crate::job::JobState;
use crate::workflow::{Status, TemplateRef};

/// What applying one command answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// For the caller.
    pub reply: Reply,
    /// For the leader alone.
    pub effects: Vec<Effect>,
}

/// The answer to one command. Part of the replicated state where an idempotency key keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    /// Nothing was changed.
    Refused(Refusal),
    /// One per job of the enqueue, in order.
    Enqueued(Vec<Enqueued>),
    /// What the worker now holds.
    Leased(Leased),
    /// One per item of the ack, nack or extend, in order.
    Items(Vec<ItemResult>),
    /// The job's state after a cancel or retry.
    State(JobState),
    /// A sweep (purge, redrive, tick).
    Swept {
        /// Things done.
        done: u64,
        /// There is more to do: ask again.
        more: bool,
    },
    /// A definition was changed: its new version.
    Version(u64),
    /// Done; nothing to say.
    Done,
    /// A template was put.
    TemplatePut {
        /// The newest version now.
        version: u32,
        /// There was none of that name.
        created: bool,
        /// The content is another than before.
        changed: bool,
        /// When the newest version was made.
        updated_at: Time,
    },
    /// A workflow, and how it stands now.
    Workflow {
        /// Its sequence within the partition.
        seq: u64,
        /// Where it stands.
        status: Status,
    },
    /// A schedule was put.
    SchedulePut {
        /// There was none of that name.
        created: bool,
    },
    /// An artifact was put.
    ArtifactPut {
        /// The newest version now.
        version: u32,
        /// There was none at that path.
        created: bool,
        /// It is another version than before.
        changed: bool,
        /// When the newest version was made.
        updated_at: Time,
    },
    /// A webhook was put.
    WebhookPut {
        /// Its version now.
        version: u64,
        /// There was none of that name.
        created: bool,
    },
    /// An API key was made.
    KeyMade {
        /// Its id.
        id: Name,
        /// When.
        at: Time,
    },
}

/// A job that was taken in, or found by its unique key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enqueued {
    /// Sequence within the partition.
    pub seq: u64,
    /// Where it stands.
    pub state: JobState,
    /// It was there already, by its unique key.
    pub duplicate: bool,
}

/// The answer to a lease.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Leased {
    /// What the worker now holds. Payloads are read beside it, on the leader.
    pub jobs: Vec<LeasedJob>,
    /// Ready jobs are left that a further lease would be given now.
    pub more: bool,
    /// Ready jobs are left that a rate limit gives out from then on.
    pub next_at: Option<Time>,
}

/// One leased job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LeasedJob {
    /// Sequence within the partition.
    pub seq: u64,
    /// The queue it came from.
    pub queue: Name,
    /// The project it belongs to.
    pub project: Name,
    /// From 1.
    pub attempt: u32,
    /// The fencing token.
    pub token: u64,
    /// On the state's clock.
    pub expires_at: Time,
    /// How long the lease lasts from its start.
    pub lease_ms: u64,
    /// JSON object text, or empty.
    pub metadata: Bytes,
    /// The workflow it is a step of.
    pub workflow: Option<Name>,
}

/// The answer to one ack, nack or extend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemResult {
    /// None: it was done.
    pub code: Option<Code>,
    /// The caller wants the job cancelled (extend only).
    pub cancel_requested: bool,
    /// When the lease now ends (extend only).
    pub expires_at: Option<Time>,
}

/// How leases of one worker in one queue ended: what breakers go by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LeasesEnded {
    /// Who held them.
    pub worker: Name,
    /// The jobs' queue.
    pub queue: Name,
    /// With success.
    pub done: u32,
    /// With a nack, by their time, or by the time of the workflow's task.
    pub failed: u32,
    /// In ways that say nothing of the worker: nobody wanted the job any more, or it never got there.
    pub other: u32,
}

/// What the leader does after an entry was applied. Replicas drop it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// The queue has something to deliver that it did not have, or a limit was freed.
    QueueReady(Name),
    /// Queue definitions or lifecycle rules changed (meta): push them to the partitions.
    DefinitionsChanged,
    /// Somebody wants a leased job cancelled: tell its worker now. Should that fail, the next extend does.
    CancelRequested {
        /// The job.
        seq: u64,
        /// The lease.
        token: u64,
        /// Who holds it.
        worker: Name,
    },
    /// Leases of a worker ended.
    LeasesEnded(LeasesEnded),
    /// So many deliveries were not made, as too many of their webhooks wait.
    DeliveriesDropped(u64),
    /// A workflow that is no other's part came to its end.
    WorkflowEnded {
        /// How.
        status: Status,
        /// How long it took.
        took_ms: u64,
        /// What it was made from.
        template: Option<TemplateRef>,
    },
}
