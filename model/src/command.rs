//! What can be asked of the state: the alphabet of the Raft log.
//!
//! Commands are encoded with postcard inside an [`Envelope`] whose first byte is the format
//! version. Variants are only ever added at the end. A command that this build cannot decode is
//! refused, the same on every replica of this build; the cluster's lowest version gates new ones.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::Time;
use crate::artifact::{ArtifactPath, PutArtifact};
use crate::audit::NewEntry;
use crate::code::{Code, Refusal};
use crate::id::Name;
use crate::job::{JobState, Payload};
use crate::key::NewKey;
use crate::lifecycle::{Lifecycle, Rule, Stay, VersionId};
use crate::limits;
use crate::queue::QueueConfig;
use crate::quota::Quota;
use crate::scaling::ScalingPolicy;
use crate::schedule::NewSchedule;
use crate::template::{Expected, PutTemplate};
use crate::webhook::{PutWebhook, Subscription};
use crate::workflow::{NewTask, NewWorkflow};

/// The payload of one Raft log entry: whatever commands arrived while the last one was on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The leader's stamp on the state's clock. The state keeps max(stamp, last): time never goes back.
    pub at: Time,
    /// Encoded envelopes, each applied as one atomic command, in order.
    pub commands: Vec<Bytes>,
}

/// One command with the circumstances it came under.
#[derive(Clone, Debug, PartialEq)]
pub struct Envelope {
    /// The project that the caller is bound to: what belongs to others is not there for it.
    pub scope: Option<Name>,
    /// Repeating a write under one key returns the first answer.
    pub idempotency: Option<Idempotency>,
    /// What is asked.
    pub command: Command,
}

/// An idempotency key, hashed with its scope, and the hash of what was asked under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Idempotency {
    /// First 16 bytes of BLAKE3 over scope, path and key.
    pub key: [u8; 16],
    /// First 16 bytes of BLAKE3 over the request's body.
    pub body: [u8; 16],
    /// How long the answer is kept; at most [`crate::limits::IDEMPOTENCY_KEPT_MS`].
    pub kept_ms: u64,
}

/// Everything that can change a partition, or the meta group (the commands from [`Command::PutQueue`] on).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// Takes jobs in; all of them or none.
    Enqueue(Vec<NewJob>),
    /// Gives ready jobs of a queue to a worker.
    Lease(Lease),
    /// Ends leases with success; each item stands for itself.
    Ack(Vec<Ack>),
    /// Ends leases with failure; each item stands for itself.
    Nack(Vec<Nack>),
    /// Prolongs leases; each item stands for itself.
    Extend(Vec<Extend>),
    /// Cancels a waiting job at once, asks the worker of a leased one.
    Cancel(u64),
    /// Puts a dead or cancelled job back, with as many attempts again.
    Retry(u64),
    /// Makes a queue's definition known to this partition (pushed from the meta group).
    SetQueue(QueueDefinition),
    /// Forgets a queue's definition, if the queue is empty here; up to that meta version.
    ForgetQueue {
        /// The queue.
        name: Name,
        /// The meta version of the deletion.
        version: u64,
    },
    /// Removes what waits in a queue, up to [`crate::limits::SWEEP_MAX`] jobs a command.
    Purge(Name),
    /// Puts the dead jobs of a queue back, up to [`crate::limits::SWEEP_MAX`] jobs a command.
    Redrive(Name),
    /// Does what is due: run_at, lease ends, deadlines, windows, retention; a bounded number a command.
    Tick,
    /// Records the idempotency key alone (the envelope's), before a write that spans partitions.
    Reserve,
    /// Changes nothing: a place in the log, at which replicas compare their digests.
    Marker(u64),
    /// Meta: creates or replaces a queue's configuration.
    PutQueue {
        /// The queue.
        name: Name,
        /// Its whole configuration.
        config: QueueConfig,
    },
    /// Meta: pauses, resumes, drains or undrains a queue.
    SwitchQueue {
        /// The queue; it is defined with defaults if it was not.
        name: Name,
        /// New value of the pause switch, if it changes.
        paused: Option<bool>,
        /// New value of the drain switch, if it changes.
        draining: Option<bool>,
    },
    /// Meta: deletes a queue's definition.
    DeleteQueue(Name),
    /// Meta: records a node's addresses.
    PutNode(NodeRecord),
    /// Meta: forgets a node.
    DeleteNode(u64),
    /// Meta: records facts of the cluster that never change after it was formed.
    FormCluster {
        /// The cluster's name.
        name: String,
        /// Job partitions.
        partitions: u16,
    },
    /// Meta: makes a template, or its next version.
    PutTemplate(PutTemplate),
    /// Meta: deletes a template with all its versions.
    DeleteTemplate {
        /// The template.
        name: Name,
        /// What must be true of the template that is there.
        expected: Expected,
    },
    /// Starts a workflow.
    StartWorkflow(Box<NewWorkflow>),
    /// Cancels a workflow with all that runs in it.
    CancelWorkflow(u64),
    /// Pauses a workflow (nothing new begins), or lets it go on.
    PauseWorkflow {
        /// The workflow.
        seq: u64,
        /// Pause, or resume.
        paused: bool,
    },
    /// Goes on with a failed or cancelled workflow from what did not succeed.
    RetryWorkflow(u64),
    /// Tells a workflow something that a task waits for, or will.
    Signal {
        /// The workflow.
        seq: u64,
        /// Which signal.
        name: String,
        /// JSON text.
        payload: Bytes,
    },
    /// Adds tasks to a workflow, under the lease of one of its tasks.
    AddTasks(Box<AddTasks>),
    /// Makes a schedule, or replaces it.
    PutSchedule(Box<NewSchedule>),
    /// Pauses a schedule, or lets it go on.
    PauseSchedule {
        /// The schedule.
        name: Name,
        /// Pause, or resume.
        paused: bool,
    },
    /// Deletes a schedule; what it started goes on.
    DeleteSchedule(Name),
    /// Makes an artifact, or its next version; a majority has its chunks already.
    PutArtifact(Box<PutArtifact>),
    /// Deletes an artifact with all its versions.
    DeleteArtifact {
        /// Where it belongs.
        project: Name,
        /// Where it is there.
        path: ArtifactPath,
        /// What must be true of the artifact that is there.
        expected: Expected,
    },
    /// Meta: makes a webhook, or replaces it.
    PutWebhook(Box<PutWebhook>),
    /// Meta: disables a webhook, if it is still of that version.
    DisableWebhook {
        /// The project whose events it tells.
        project: Name,
        /// The webhook.
        name: Name,
        /// Its version.
        version: u64,
    },
    /// Meta: deletes a webhook.
    DeleteWebhook {
        /// The project whose events it tells.
        project: Name,
        /// The webhook.
        name: Name,
    },
    /// Makes a webhook known to this partition (pushed from the meta group).
    SetWebhook(Box<Subscription>),
    /// Forgets a webhook; up to that meta version.
    ForgetWebhook {
        /// The project whose events it told.
        project: Name,
        /// The webhook.
        name: Name,
        /// Its newest version that is to be forgotten.
        version: u64,
    },
    /// Meta: makes or replaces what becomes of a project's artifacts as they grow old.
    PutLifecycle {
        /// The project.
        project: Name,
        /// Its rules.
        rules: Vec<Rule>,
    },
    /// Meta: deletes such rules; what was moved stays where it is.
    DeleteLifecycle(Name),
    /// Makes a project's rules known to this partition (pushed from the meta group).
    SetLifecycle(Lifecycle),
    /// A version's chunks were moved.
    MoveVersion {
        /// Which.
        id: VersionId,
        /// Where they are now: where they were to be.
        to: Stay,
    },
    /// Meta: makes an API key.
    MakeKey(Box<NewKey>),
    /// Meta: revokes an API key.
    RevokeKey(Name),
    /// Meta: notes when keys were used last, up to [`crate::limits::KEY_USES_MAX`] a command.
    UseKeys(Vec<(Name, Time)>),
    /// Meta: appends to the audit log, up to [`crate::limits::AUDIT_APPEND_MAX`] entries a command.
    AppendAudit(Vec<NewEntry>),
    /// Meta: makes or replaces a project's quota.
    PutQuota(Box<Quota>),
    /// Meta: deletes a project's quota.
    DeleteQuota(Name),
    /// Meta: makes or replaces how the pool of an agent type is sized.
    PutScaling(ScalingPolicy),
    /// Meta: deletes it.
    DeleteScaling(Name),
    /// Meta: keeps what the controller of an agent type has learned, in a form that the controller knows; nothing: it
    /// is forgotten.
    SaveScaling {
        /// The type.
        agent_type: Name,
        /// At most [`crate::limits::SCALING_MEMORY_BYTES_MAX`].
        bytes: Bytes,
    },
}

/// Adds tasks to a running workflow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AddTasks {
    /// The workflow.
    pub seq: u64,
    /// The job of the workflow's running task, if the caller says.
    pub job: Option<u64>,
    /// The running task, if the caller says.
    pub task: Option<Name>,
    /// The lease of that task's job.
    pub token: u64,
    /// What is to be done. A task that is there already, exactly so, is left alone.
    pub tasks: Vec<NewTask>,
}

/// A job as it is asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewJob {
    /// The queue it goes to.
    pub queue: Name,
    /// The project it belongs to.
    pub project: Name,
    /// What the worker gets.
    pub payload: Payload,
    /// 0 to 9.
    pub priority: u8,
    /// When it may first be delivered: a time, or a delay from now.
    pub run_at: Option<When>,
    /// When it is too late: a time, or a span from now.
    pub deadline: Option<When>,
    /// Overrides the queue's.
    pub max_attempts: Option<u32>,
    /// See [`crate::job::Job::unique_key`].
    pub unique_key: Option<String>,
    /// How long the unique key holds; until the job is final if absent.
    pub unique_for_ms: Option<u64>,
    /// See [`crate::job::Job::order_key`].
    pub order_key: Option<String>,
    /// See [`crate::job::Job::concurrency_key`].
    pub concurrency_key: Option<String>,
    /// See [`crate::job::Job::fairness_key`].
    pub fairness_key: Option<String>,
    /// JSON object text.
    pub metadata: Bytes,
    /// The workflow it is a step of.
    pub workflow: Option<Name>,
    /// See [`crate::job::Job::requirements`].
    pub requirements: BTreeMap<String, String>,
    /// See [`crate::job::Job::sticky_key`].
    pub sticky_key: Option<String>,
}

impl NewJob {
    /// A job of the usual priority that may be delivered at once, without keys, bounds of its own or metadata.
    pub fn new(queue: Name, project: Name, payload: Payload) -> Self {
        Self {
            queue,
            project,
            payload,
            priority: limits::PRIORITY_DEFAULT,
            run_at: None,
            deadline: None,
            max_attempts: None,
            unique_key: None,
            unique_for_ms: None,
            order_key: None,
            concurrency_key: None,
            fairness_key: None,
            metadata: Bytes::new(),
            workflow: None,
            requirements: BTreeMap::new(),
            sticky_key: None,
        }
    }
}

/// A point in time, absolute or from the moment the command is stamped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum When {
    /// On the state's clock.
    At(Time),
    /// Milliseconds from the stamp.
    In(u64),
}

/// Asks for ready jobs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The queue.
    pub queue: Name,
    /// Who will hold them.
    pub worker: Name,
    /// At most this many.
    pub max: u32,
    /// At most this many payload bytes, but at least one job.
    pub bytes_max: u32,
    /// Overrides the queue's.
    pub lease_ms: Option<u64>,
    /// Jobs of this project only.
    pub project: Option<Name>,
    /// What the worker is: it gets jobs whose requirements are among these.
    pub labels: BTreeMap<String, String>,
    /// Which jobs with a sticky key look for this worker; none: it takes any.
    pub sticky: Option<Sticky>,
}

impl Lease {
    /// Asks for up to `max` jobs of any project that require nothing, whatever their payloads' size.
    pub fn new(queue: Name, worker: Name, max: u32) -> Self {
        Self {
            queue,
            worker,
            max,
            bytes_max: u32::MAX,
            lease_ms: None,
            project: None,
            labels: BTreeMap::new(),
            sticky: None,
        }
    }
}

/// Which jobs with a sticky key look for a worker. Bit `n` stands for the keys of slot `n` (see
/// [`crate::sticky_slot`]). Which worker a slot looks for is for the asker to say; the state only holds
/// its jobs back from others for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sticky {
    /// Slots that look for this worker, of all workers of the queue.
    pub slots: u64,
    /// Slots that look for it of the workers with its labels: these count for jobs that require something.
    pub alike: u64,
    /// How long a ready job waits for the worker that it looks for before anybody may have it.
    pub wait_ms: u64,
}

/// Ends a lease with success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// The job.
    pub seq: u64,
    /// The lease.
    pub token: u64,
    /// Kept with the job.
    pub result: Option<Payload>,
}

/// Ends a lease with failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nack {
    /// The job.
    pub seq: u64,
    /// The lease.
    pub token: u64,
    /// Kept with the job.
    pub error: Option<String>,
    /// Overrides the backoff.
    pub retry_in_ms: Option<u64>,
    /// No further attempt.
    pub dead: bool,
    /// The job never reached the worker, which is not to blame.
    pub unseen: bool,
}

/// Prolongs a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extend {
    /// The job.
    pub seq: u64,
    /// The lease.
    pub token: u64,
    /// From now; the length of the lease if absent.
    pub lease_ms: Option<u64>,
    /// JSON text.
    pub progress: Option<Bytes>,
}

/// A queue as the meta group defines it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QueueDefinition {
    /// The queue.
    pub name: Name,
    /// Grows with every change of the definition; a partition keeps the newest.
    pub version: u64,
    /// What it is configured to do.
    pub config: QueueConfig,
    /// Nothing is delivered.
    pub paused: bool,
    /// Nothing is taken in; what is there is worked off.
    pub draining: bool,
    /// Whether this partition is the queue's home (see [`QueueConfig::is_homed`]); set by the pusher.
    pub home: bool,
}

/// A node's place in the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// The node.
    pub id: u64,
    /// `host:port` of QUIC between nodes.
    pub peer: String,
    /// `host:port` of REST and gRPC.
    pub public: String,
    /// The version of its program.
    pub version: String,
    /// Made with its data folder: a node that lost its disk comes back under another one.
    pub incarnation: String,
}

/// Format of an encoded envelope: key and command.
pub const ENVELOPE_VERSION: u8 = 1;
/// Format of one whose caller is bound to a project, which comes first.
const ENVELOPE_VERSION_SCOPED: u8 = 2;

impl Envelope {
    /// An envelope of a caller who is bound to nothing.
    pub fn new(idempotency: Option<Idempotency>, command: Command) -> Self {
        Self { scope: None, idempotency, command }
    }

    /// The same without an idempotency key.
    pub fn plain(command: Command) -> Self {
        Self::new(None, command)
    }

    /// Encodes for the log.
    pub fn encode(&self) -> Bytes {
        let rest = (&self.idempotency, &self.command);
        let encoded = match &self.scope {
            None => postcard::to_extend(&rest, vec![ENVELOPE_VERSION]),
            Some(scope) => postcard::to_extend(&(scope, rest), vec![ENVELOPE_VERSION_SCOPED]),
        };
        match encoded {
            Ok(bytes) => bytes.into(),
            // Postcard fails on types without a length alone; there are none in an envelope.
            Err(error) => unreachable!("an envelope always encodes: {error}"),
        }
    }

    /// Decodes from the log; a deterministic refusal if this build does not know it.
    pub fn decode(bytes: &[u8]) -> Result<Self, Refusal> {
        let refuse = |detail: String| Refusal::new(Code::InvalidArgument, detail);
        let unknown = |_| refuse("a command that this version does not know".into());
        match bytes.split_first() {
            Some((&ENVELOPE_VERSION, rest)) => {
                let (idempotency, command) = postcard::from_bytes(rest).map_err(unknown)?;
                Ok(Self { scope: None, idempotency, command })
            }
            Some((&ENVELOPE_VERSION_SCOPED, rest)) => {
                let (scope, (idempotency, command)) = postcard::from_bytes(rest).map_err(unknown)?;
                Ok(Self { scope: Some(scope), idempotency, command })
            }
            Some((other, _)) => Err(refuse(format!("a command of format {other}, which this version does not know"))),
            None => Err(refuse("an empty command".into())),
        }
    }
}

/// Filter of a list of jobs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListFilter {
    /// Jobs of this queue only.
    pub queue: Option<Name>,
    /// Jobs in this state only.
    pub state: Option<JobState>,
    /// Jobs of this project only.
    pub project: Option<Name>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::{Stay, VersionId};
    use crate::testing::name;

    /// Logs on disk have the numbers: one that is put in between makes all behind it mean something else.
    #[test]
    fn commands_keep_their_numbers() {
        let id = VersionId { artifact: [0; 16], version: 1, made_at: 0 };
        let numbered = [
            (0, Command::Enqueue(Vec::new())),
            (5, Command::Cancel(0)),
            (11, Command::Tick),
            (13, Command::Marker(0)),
            (16, Command::DeleteQueue(name("q"))),
            (23, Command::CancelWorkflow(0)),
            (30, Command::DeleteSchedule(name("s"))),
            (37, Command::ForgetWebhook { project: name("p"), name: name("w"), version: 0 }),
            (41, Command::MoveVersion { id, to: Stay::default() }),
            (45, Command::AppendAudit(Vec::new())),
            (47, Command::DeleteQuota(name("p"))),
            (49, Command::DeleteScaling(name("coder"))),
        ];
        for (number, command) in numbered {
            let bytes = Envelope::plain(command.clone()).encode();
            assert_eq!(bytes[..3], [ENVELOPE_VERSION, 0, number], "{command:?}");
        }
    }

    #[test]
    fn an_envelope_comes_back_as_it_was_with_a_scope_and_without() {
        for scope in [None, Some(name("p"))] {
            let envelope = Envelope { scope, ..Envelope::plain(Command::Cancel(7)) };
            assert_eq!(Envelope::decode(&envelope.encode()), Ok(envelope));
        }
    }
}
