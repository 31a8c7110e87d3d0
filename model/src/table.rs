//! The key table: what is stored, under which key, for how long.
//!
//! Numbers in keys are big-endian, so that the front of a table is always the next thing to do.
//! `#q` is a queue's number (u32), `h16` the first 16 bytes of BLAKE3 over the strings that it
//! stands for. Two strings with one `h16` would take 2^64 hashes to find on purpose, so the strings
//! themselves are not compared. Values are postcard. A tag is never used again for something else.
//!
//! | tag | key | value | lives |
//! |---|---|---|---|
//! | 01 META | - | [`Meta`]: clock, counters | for ever |
//! | 02 NUMBER | h16(queue) | `u32` the queue's number here | as the queue |
//! | 03 QUEUE | #q | [`QueueDefinition`], version 0 if nobody defined it | until forgotten |
//! | 05 LAST_WORKFLOW | - | `u64` the last workflow's seq | for ever |
//! | 04 STATS | #q | [`Stats`]: counts, token bucket, lane 0 | as the queue |
//! | 10 JOB | seq | [`Job`] | until purged or retention ends |
//! | 11 PAYLOAD | seq | [`crate::Payload`], never rewritten | as the job |
//! | 12 RESULT | seq | [`crate::Payload`] | as the job |
//! | 13 STATE | #q state seq | - | as the job is in that state |
//! | 20 READY | #q 9-priority lane(u64) slot ready_seq | `u64` seq | while the job is [`Place::Open`] |
//! | 21 PARKED | #q h16(project, key) 9-priority ready_seq | `u64` seq | while it is [`Place::Parked`] |
//! | 22 SLOT | #q h16(project, key) | [`Slot`] | while jobs of the key are leased, parked or returned |
//! | 23 TURN | #q h16(project, key) seq | - | from enqueue until the job is final |
//! | 24 HEAD | #q h16(project, key) | `u64` seq whose turn it is | while the key has jobs |
//! | 25 LANE | #q lane | [`Lane`] | until idle and not ahead |
//! | 26 NEXT | #q 9-priority class vtime lane | - | while the lane has open jobs of that priority |
//! | 27 IDLE | #q class vtime lane | - | while the lane is kept only since it is ahead |
//! | 28 OWN | #q 9-priority half of h16(project) vtime lane | - | as NEXT, for those who ask for one project's jobs |
//! | 30 DUE | time 01 seq | - | one per job that time will change |
//! | 30 DUE | time 02 #q h16(project, key) | - | as the unique window |
//! | 30 DUE | time 03 idempotency key | - | as the kept answer |
//! | 40 UNIQUE | #q h16(project, key) | [`Unique`] | until the job is final, or its window ends |
//! | 41 KEPT | idempotency key | [`Kept`] | `kept_ms` |
//! | 30 DUE | time 04 wf | - | the workflow's deadline, then its removal |
//! | 30 DUE | time 05 wf task item | - | a task's timer or timeout, or that it is to begin |
//! | 30 DUE | time 06 h16(schedule) | - | the schedule's next tick, or a look at what waits |
//! | 56 SCHEDULE | h16(name) | [`Schedule`] | until deleted |
//! | 57 SCHEDULE_TARGET | h16(name) | [`Target`] and the text it came from | as the schedule |
//! | 58 SCHEDULES | - | `u64` how many there are | for ever |
//! | 60 WORKFLOW | wf | [`Workflow`] | until removed, with all its rows |
//! | 61 INPUT | wf | JSON text | as the workflow |
//! | 62 SPEC | wf task | [`NewTask`], never rewritten | as the workflow |
//! | 63 TASK | wf task item | [`Task`] | as the workflow; of an item from when it begins |
//! | 64 TASK_BY_ID | wf h16(id) | `u32` task | as the workflow |
//! | 65 EDGE | wf task dependent | - | as the workflow |
//! | 66 TASK_OF_JOB | seq | [`TaskRef`] | until the job ends |
//! | 67 ITEM | wf task item | JSON text | as the workflow |
//! | 68 OUTPUT | wf task item | JSON text: the result | as the workflow; of an item until the list is made |
//! | 69 SIGNAL | wf h16(name) n | JSON text | until a task takes it |
//! | 6a WAITS | wf h16(name) task | - | while the task waits for the signal |
//! | 6b EVENT | wf n | [`Event`] | as the workflow |
//! | 6c HELD | wf task item | - | while it could begin and may not |
//! | 6d RUNNING | wf task item | - | while it is under way |
//! | 6e UNDO | wf last-first | `u32` task | until it was undone |
//! | 6f PACKED | wf | all rows from 61 INPUT to 6e UNDO, see `workflow::packed` | instead of them when the workflow is over |
//! | 70 BY_STATUS | status newest-first(wf) | - | as a workflow that is no other's part has the status |
//! | 71 BY_PROJECT | h16(project) status newest-first(wf) | - | likewise |
//! | 72 BY_TEMPLATE | h16(template) status newest-first(wf) | - | likewise |
//! | 50 NODE | id | [`crate::command::NodeRecord`] | meta group; until deleted |
//! | 51 CLUSTER | - | name, partitions | meta group; for ever |
//! | 52 DEFINITION | h16(queue) | [`QueueDefinition`] | meta group; until deleted |
//! | 53 TEMPLATE | h16(template) | [`Template`] | meta group; a deleted one until too many are remembered |
//! | 54 TEMPLATE_VERSION | h16(template) version(u32) | [`TemplateVersion`] | meta group; until too many came after it |
//! | 55 TEMPLATES | - | [`Templates`] | meta group; for ever |
//! | 30 DUE | time 07 h16(project, path) | - | versions are to be swept, or a deleted artifact's number forgotten |
//! | 80 ARTIFACT | h16(project, path) | [`Artifact`] | a deleted one until no cache shows its versions |
//! | 81 ARTIFACT_VERSION | h16(project, path) version(u32) | [`ArtifactVersion`] | until too many came after it; then until swept |
//! | 82 ARTIFACT_LIST | 14 of h16(project) h16(project, path) | the path | while the artifact is there |
//! | 83 CHUNK_REFS | 30 of the hash | [`ChunkRefs`] | while a version has the chunk |
//! | 84 ARTIFACTS | h16(project) | `u64` how many are there | while there are any |
//! | 85 ARTIFACT_NUMBERS | - | `u64` how many rows ARTIFACT has | while it has any |
//! | 86 WEBHOOK | 14 of h16(project) h16(project, name) | [`Webhook`] | meta group; until deleted |
//! | 87 WEBHOOKS | - | `u64` how many there are | meta group; for ever |
//! | 88 SUBSCRIPTION | 14 of h16(project) h16(project, name) | [`Subscription`] | until forgotten |
//! | 89 SUBSCRIPTIONS | - | `u64` how many there are | for ever |
//! | 8a DELIVERIES | 14 of h16(project) h16(project, webhook) | `u64` how many are not over | while there are any |
//! | 30 DUE | time 08 h16(project, path) version(u32) | - | a version is to be looked at for its age |
//! | 30 DUE | time 09 h16(project) | - | while the project's versions are looked at, since its rules changed |
//! | 8b LIFECYCLE | h16(project) | [`Lifecycle`] | meta group, and pushed to each partition; until deleted |
//! | 8c LIFECYCLES | - | `u64` how many there are | meta group; for ever |
//! | 8d LIFE | h16(project, path) version(u32) | [`Life`] | as the version, where a rule counts or it was moved |
//! | 8e MOVE | h16(project, path) version(u32) | [`Class`] to be moved to | until it is there |
//! | 8f REVIEW | h16(project) | h16 of the last artifact that was looked at | as its DUE row |
//! | 90 CODED | 30 of [`Coded::id`](crate::artifact::Coded::id) | [`CodedRefs`] | while a version keeps the chunk in these shards |
//! | 91 SHARD_REFS | 30 of the hash | `u64` in how many places of CODED rows it stands | while it is in any |
//! | 92 API_KEY | h16(id) | [`ApiKey`] | meta group; until deleted |
//! | 93 API_KEYS | - | `u64` how many there are | meta group; for ever |
//! | 96 FLOW | #q | [`Flow`]: what has gone through the queue | as the queue |
//! | 97 QUOTA | h16(project) | [`Quota`] | meta group; until deleted |
//! | 98 QUOTAS | - | `u64` how many there are | meta group; for ever |
//! | 99 USAGE | h16(project) | [`Usage`]: what it has here | while it has any |
//! | 94 AUDIT | seq | [`audit::Entry`] | meta group; while it is one of the newest |
//! | 95 AUDIT_HEAD | - | [`audit::Head`] | meta group; for ever |
//! | a0 SCALING | h16(agent type) | [`ScalingPolicy`] | meta group; until deleted |
//! | a1 SCALINGS | - | `u64` how many there are | meta group; for ever |
//! | a2 SCALING_MEMORY | h16(agent type) | [`ScalingMemory`] | meta group; until forgotten |
//! | a3 SCALING_MEMORIES | - | `u64` how many there are | meta group; for ever |

use crate::Time;
use crate::artifact::{Artifact, ArtifactPath, ArtifactVersion, ChunkRefs, CodedRefs};
use crate::audit;
use crate::command::QueueDefinition;
use crate::id::Name;
use crate::job::{Job, JobState, Place};
use crate::key::ApiKey;
use crate::lifecycle::{Class, Life, Lifecycle};
use crate::limits;
use crate::quota::{Quota, Usage};
use crate::row::{Flow, Kept, Lane, Meta, Slot, Stats, Unique};
use crate::scaling::{ScalingMemory, ScalingPolicy};
use crate::schedule::{Schedule, Target};
use crate::template::{Template, TemplateVersion, Templates};
use crate::txn::Key;
use crate::webhook::{Subscription, Webhook};
use crate::workflow::{Event, NewTask, Status, Task, TaskRef, Workflow};

/// Rows in the docs above, named so that the links hold.
#[doc(hidden)]
pub type Rows =
    (Meta, Stats, Slot, Lane, Unique, Kept, QueueDefinition, Job, Place, Template, TemplateVersion, Templates);
#[doc(hidden)]
pub type WorkflowRows = (Workflow, NewTask, Task, TaskRef, Event, Schedule, Target);
#[doc(hidden)]
pub type ArtifactRows = (Artifact, ArtifactVersion, ChunkRefs, CodedRefs, Lifecycle, Life, Class);

#[doc(hidden)]
pub type WebhookRows = (Webhook, Subscription);

#[doc(hidden)]
pub type AccessRows = (ApiKey, audit::Entry, audit::Head, Flow, Quota, Usage, ScalingPolicy, ScalingMemory);

/// A hash that stands for strings in keys.
pub type H16 = [u8; 16];

/// First bytes of keys.
pub mod tag {
    #![allow(missing_docs)]
    pub const META: u8 = 0x01;
    pub const NUMBER: u8 = 0x02;
    pub const QUEUE: u8 = 0x03;
    pub const STATS: u8 = 0x04;
    pub const LAST_WORKFLOW: u8 = 0x05;
    pub const JOB: u8 = 0x10;
    pub const PAYLOAD: u8 = 0x11;
    pub const RESULT: u8 = 0x12;
    pub const STATE: u8 = 0x13;
    pub const READY: u8 = 0x20;
    pub const PARKED: u8 = 0x21;
    pub const SLOT: u8 = 0x22;
    pub const TURN: u8 = 0x23;
    pub const HEAD: u8 = 0x24;
    pub const LANE: u8 = 0x25;
    pub const NEXT: u8 = 0x26;
    pub const IDLE: u8 = 0x27;
    pub const OWN: u8 = 0x28;
    pub const DUE: u8 = 0x30;
    pub const UNIQUE: u8 = 0x40;
    pub const KEPT: u8 = 0x41;
    pub const NODE: u8 = 0x50;
    pub const CLUSTER: u8 = 0x51;
    pub const DEFINITION: u8 = 0x52;
    pub const TEMPLATE: u8 = 0x53;
    pub const TEMPLATE_VERSION: u8 = 0x54;
    pub const TEMPLATES: u8 = 0x55;
    pub const SCHEDULE: u8 = 0x56;
    pub const SCHEDULE_TARGET: u8 = 0x57;
    pub const SCHEDULES: u8 = 0x58;
    pub const WORKFLOW: u8 = 0x60;
    pub const INPUT: u8 = 0x61;
    pub const SPEC: u8 = 0x62;
    pub const TASK: u8 = 0x63;
    pub const TASK_BY_ID: u8 = 0x64;
    pub const EDGE: u8 = 0x65;
    pub const TASK_OF_JOB: u8 = 0x66;
    pub const ITEM: u8 = 0x67;
    pub const OUTPUT: u8 = 0x68;
    pub const SIGNAL: u8 = 0x69;
    pub const WAITS: u8 = 0x6a;
    pub const EVENT: u8 = 0x6b;
    pub const HELD: u8 = 0x6c;
    pub const RUNNING: u8 = 0x6d;
    pub const UNDO: u8 = 0x6e;
    pub const PACKED: u8 = 0x6f;
    pub const BY_STATUS: u8 = 0x70;
    pub const BY_PROJECT: u8 = 0x71;
    pub const BY_TEMPLATE: u8 = 0x72;
    pub const ARTIFACT: u8 = 0x80;
    pub const ARTIFACT_VERSION: u8 = 0x81;
    pub const ARTIFACT_LIST: u8 = 0x82;
    pub const CHUNK_REFS: u8 = 0x83;
    pub const ARTIFACTS: u8 = 0x84;
    pub const ARTIFACT_NUMBERS: u8 = 0x85;
    pub const WEBHOOK: u8 = 0x86;
    pub const WEBHOOKS: u8 = 0x87;
    pub const SUBSCRIPTION: u8 = 0x88;
    pub const SUBSCRIPTIONS: u8 = 0x89;
    pub const DELIVERIES: u8 = 0x8a;
    pub const LIFECYCLE: u8 = 0x8b;
    pub const LIFECYCLES: u8 = 0x8c;
    pub const LIFE: u8 = 0x8d;
    pub const MOVE: u8 = 0x8e;
    pub const REVIEW: u8 = 0x8f;
    pub const CODED: u8 = 0x90;
    pub const SHARD_REFS: u8 = 0x91;
    pub const API_KEY: u8 = 0x92;
    pub const API_KEYS: u8 = 0x93;
    pub const AUDIT: u8 = 0x94;
    pub const AUDIT_HEAD: u8 = 0x95;
    pub const FLOW: u8 = 0x96;
    pub const QUOTA: u8 = 0x97;
    pub const QUOTAS: u8 = 0x98;
    pub const USAGE: u8 = 0x99;
    pub const SCALING: u8 = 0xa0;
    pub const SCALINGS: u8 = 0xa1;
    pub const SCALING_MEMORY: u8 = 0xa2;
    pub const SCALING_MEMORIES: u8 = 0xa3;
}

/// Kinds of due rows.
pub mod due {
    #![allow(missing_docs)]
    pub const JOB: u8 = 1;
    pub const UNIQUE: u8 = 2;
    pub const KEPT: u8 = 3;
    pub const WORKFLOW: u8 = 4;
    pub const TASK: u8 = 5;
    pub const SCHEDULE: u8 = 6;
    pub const ARTIFACT: u8 = 7;
    pub const LIFE: u8 = 8;
    pub const REVIEW: u8 = 9;
}

/// The hash of one string, or of a project and a key.
pub fn h16(parts: &[&str]) -> H16 {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(part.as_bytes());
        // No name holds a zero byte, so the parts cannot be cut elsewhere.
        hasher.update(&[0]);
    }
    let mut short = [0; 16];
    short.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    short
}

/// Half of the hash of strings, as a number; never 0.
pub(crate) fn half(parts: &[&str]) -> u64 {
    h16(parts).first_chunk().map_or(1, |half| u64::from_be_bytes(*half)).max(1)
}

/// A key of a tag and parts.
pub(crate) fn key(tag: u8, parts: &[&[u8]]) -> Key {
    let mut bytes = [0; Key::BYTES_MAX];
    bytes[0] = tag;
    let mut len = 1;
    for part in parts {
        let room = &mut bytes[len..];
        let fits = part.len().min(room.len());
        debug_assert_eq!(fits, part.len(), "a key layout outgrew Key::BYTES_MAX");
        room[..fits].copy_from_slice(&part[..fits]);
        len += fits;
    }
    Key::new(&bytes[..len])
}

/// The first key after all that begin with `prefix`.
pub(crate) fn after(prefix: &Key) -> Key {
    let mut bytes = prefix.as_slice().to_vec();
    while let Some(last) = bytes.pop() {
        if let Some(next) = last.checked_add(1) {
            bytes.push(next);
            return Key::new(&bytes);
        }
    }
    Key::new(&[0xff; Key::BYTES_MAX])
}

/// The last eight bytes of a key, as a number (a seq, a lane).
pub fn last_u64(key: &Key) -> u64 {
    key.as_slice().last_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// META.
pub fn meta() -> Key {
    key(tag::META, &[])
}

/// A table whose key is one number: JOB, PAYLOAD, RESULT, NODE, AUDIT.
pub fn by_seq(tag: u8, seq: u64) -> Key {
    key(tag, &[&seq.to_be_bytes()])
}

/// A table whose key is a queue's number: QUEUE, STATS; and the prefix of all others of a queue.
pub fn by_queue(tag: u8, queue: u32) -> Key {
    key(tag, &[&queue.to_be_bytes()])
}

/// A table whose key is a hash: NUMBER, KEPT, DEFINITION.
pub fn by_hash(tag: u8, hash: &H16) -> Key {
    key(tag, &[hash])
}

/// TEMPLATE.
pub fn template(name: &Name) -> Key {
    by_hash(tag::TEMPLATE, &h16(&[name.as_str()]))
}

/// The prefix of TEMPLATE_VERSION for one template.
pub(crate) fn template_versions(name: &Name) -> Key {
    by_hash(tag::TEMPLATE_VERSION, &h16(&[name.as_str()]))
}

/// TEMPLATE_VERSION.
pub fn template_version(name: &Name, version: u32) -> Key {
    key(tag::TEMPLATE_VERSION, &[&h16(&[name.as_str()]), &version.to_be_bytes()])
}

/// A table whose key is a queue's number and a hash: SLOT, HEAD, UNIQUE; the prefix of PARKED and TURN.
pub fn by_key(tag: u8, queue: u32, hash: &H16) -> Key {
    key(tag, &[&queue.to_be_bytes(), hash])
}

/// STATE.
pub fn state(queue: u32, state: JobState, seq: u64) -> Key {
    key(tag::STATE, &[&queue.to_be_bytes(), &[state as u8], &seq.to_be_bytes()])
}

/// The priority as it stands in keys: the highest first.
pub(crate) fn rank(priority: u8) -> u8 {
    limits::PRIORITY_MAX.saturating_sub(priority)
}

/// READY.
pub fn ready(queue: u32, priority: u8, lane: u64, slot: u8, ready_seq: u64) -> Key {
    let [rank, lane, place] = [&[rank(priority)][..], &lane.to_be_bytes(), &ready_seq.to_be_bytes()];
    key(tag::READY, &[&queue.to_be_bytes(), rank, lane, &[slot], place])
}

/// The prefix of READY for one slot of one lane of one priority.
pub(crate) fn ready_slot(queue: u32, priority: u8, lane: u64, slot: u8) -> Key {
    key(tag::READY, &[&queue.to_be_bytes(), &[rank(priority)], &lane.to_be_bytes(), &[slot]])
}

/// The slot in a READY key: the byte before the place.
pub(crate) fn slot_of(key: &Key) -> u8 {
    let bytes = key.as_slice();
    bytes.len().checked_sub(9).and_then(|at| bytes.get(at)).copied().unwrap_or(0)
}

/// The prefix of READY for one lane of one priority.
pub(crate) fn ready_lane(queue: u32, priority: u8, lane: u64) -> Key {
    key(tag::READY, &[&queue.to_be_bytes(), &[rank(priority)], &lane.to_be_bytes()])
}

/// PARKED.
pub fn parked(queue: u32, hash: &H16, priority: u8, ready_seq: u64) -> Key {
    key(tag::PARKED, &[&queue.to_be_bytes(), hash, &[rank(priority)], &ready_seq.to_be_bytes()])
}

/// TURN.
pub fn turn(queue: u32, hash: &H16, seq: u64) -> Key {
    key(tag::TURN, &[&queue.to_be_bytes(), hash, &seq.to_be_bytes()])
}

/// LANE.
pub fn lane(queue: u32, lane: u64) -> Key {
    key(tag::LANE, &[&queue.to_be_bytes(), &lane.to_be_bytes()])
}

/// The prefix of NEXT for one class of one priority.
pub(crate) fn next_class(queue: u32, priority: u8, class: u64) -> Key {
    key(tag::NEXT, &[&queue.to_be_bytes(), &[rank(priority)], &class.to_be_bytes()])
}

/// The priority in the key of a NEXT or OWN row, as it stands there.
pub(crate) fn rank_of(key: &Key) -> u8 {
    key.as_slice().get(5).copied().unwrap_or(0)
}

/// NEXT.
pub fn next(queue: u32, priority: u8, class: u64, vtime: u64, lane: u64) -> Key {
    let [class, vtime, lane] = [class, vtime, lane].map(u64::to_be_bytes);
    key(tag::NEXT, &[&queue.to_be_bytes(), &[rank(priority)], &class, &vtime, &lane])
}

/// The prefix of OWN for one shelf of one project at one priority.
pub(crate) fn own_shelf(queue: u32, priority: u8, whose: u64, shelf: u8) -> Key {
    key(tag::OWN, &[&queue.to_be_bytes(), &[rank(priority)], &whose.to_be_bytes(), &[shelf]])
}

/// OWN.
pub fn own(queue: u32, priority: u8, (whose, class): (u64, u64), vtime: u64, lane: u64) -> Key {
    let [whose, vtime, lane] = [whose, vtime, lane].map(u64::to_be_bytes);
    key(tag::OWN, &[&queue.to_be_bytes(), &[rank(priority)], &whose, &[shelf_of(class)], &vtime, &lane])
}

/// The shelf of a class in OWN, where a key has no room for the class: 0 is that without requirements, and the others
/// share 255, in their order.
pub(crate) fn shelf_of(class: u64) -> u8 {
    if class == 0 { 0 } else { class.to_be_bytes()[0].max(1) }
}

/// The shelf in an OWN key.
pub(crate) fn shelf_in(key: &Key) -> u8 {
    key.as_slice().get(14).copied().unwrap_or(0)
}

/// The prefix of IDLE for a queue.
pub(crate) fn idle_queue(queue: u32) -> Key {
    key(tag::IDLE, &[&queue.to_be_bytes()])
}

/// The prefix of IDLE for one class.
pub(crate) fn idle_class(queue: u32, class: u64) -> Key {
    key(tag::IDLE, &[&queue.to_be_bytes(), &class.to_be_bytes()])
}

/// IDLE.
pub fn idle(queue: u32, class: u64, vtime: u64, lane: u64) -> Key {
    let [class, vtime, lane] = [class, vtime, lane].map(u64::to_be_bytes);
    key(tag::IDLE, &[&queue.to_be_bytes(), &class, &vtime, &lane])
}

/// The class in a NEXT or IDLE key: the eight bytes before the virtual time.
pub(crate) fn class_of(key: &Key) -> u64 {
    let bytes = key.as_slice();
    bytes.len().checked_sub(16).and_then(|end| bytes[..end].last_chunk()).map_or(0, |b| u64::from_be_bytes(*b))
}

/// The virtual time in a NEXT, OWN or IDLE key: the eight bytes before the lane.
pub(crate) fn vtime_of(key: &Key) -> u64 {
    let bytes = key.as_slice();
    bytes.len().checked_sub(8).and_then(|end| bytes[..end].last_chunk()).map_or(0, |b| u64::from_be_bytes(*b))
}

/// DUE: what is due at a time.
pub fn due(at: Time, kind: u8, what: &[u8]) -> Key {
    key(tag::DUE, &[&at.to_be_bytes(), &[kind], what])
}

/// DUE of a job.
pub fn due_job(at: Time, seq: u64) -> Key {
    due(at, due::JOB, &seq.to_be_bytes())
}

/// A table of a workflow's parts: SPEC, EDGE, EVENT, TASK, ITEM, OUTPUT, HELD, RUNNING, or a prefix of one.
pub(crate) fn of_workflow(tag: u8, workflow: u64, parts: &[u32]) -> Key {
    let mut bytes = [0; 8];
    for (place, part) in bytes.chunks_exact_mut(4).zip(parts) {
        place.copy_from_slice(&part.to_be_bytes());
    }
    key(tag, &[&workflow.to_be_bytes(), &bytes[..parts.len().min(2) * 4]])
}

/// TASK, ITEM, OUTPUT, HELD, RUNNING.
pub(crate) fn of_task(tag: u8, at: TaskRef) -> Key {
    of_workflow(tag, at.workflow, &[at.task, at.item])
}

/// A task in the key of one of its rows.
pub(crate) fn task_of(key: &Key) -> Option<TaskRef> {
    task_in(key.as_slice().get(1..)?)
}

fn task_in(bytes: &[u8]) -> Option<TaskRef> {
    let (workflow, rest) = bytes.split_first_chunk::<8>()?;
    let (task, rest) = rest.split_first_chunk::<4>()?;
    let (item, _) = rest.split_first_chunk::<4>()?;
    let [task, item] = [task, item].map(|bytes| u32::from_be_bytes(*bytes));
    Some(TaskRef { workflow: u64::from_be_bytes(*workflow), task, item })
}

/// The last four bytes of a key, as a number (a dependent, an event).
pub(crate) fn last_u32(key: &Key) -> u32 {
    key.as_slice().last_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

/// TASK_BY_ID; the prefix of SIGNAL and WAITS.
pub(crate) fn named(tag: u8, workflow: u64, name: &str) -> Key {
    key(tag, &[&workflow.to_be_bytes(), &h16(&[name])])
}

/// SIGNAL and WAITS.
pub(crate) fn of_signal(tag: u8, workflow: u64, name: &str, n: u32) -> Key {
    key(tag, &[&workflow.to_be_bytes(), &h16(&[name]), &n.to_be_bytes()])
}

/// BY_STATUS; newest first.
pub(crate) fn by_status(status: Status, workflow: u64) -> Key {
    key(tag::BY_STATUS, &[&[status as u8], &(!workflow).to_be_bytes()])
}

/// BY_PROJECT and BY_TEMPLATE; newest first.
pub(crate) fn by_owner(tag: u8, owner: &str, status: Status, workflow: u64) -> Key {
    key(tag, &[&h16(&[owner]), &[status as u8], &(!workflow).to_be_bytes()])
}

/// DUE of a workflow.
pub(crate) fn due_workflow(at: Time, workflow: u64) -> Key {
    due(at, due::WORKFLOW, &workflow.to_be_bytes())
}

/// DUE of a task.
pub(crate) fn due_task(time: Time, at: TaskRef) -> Key {
    let what = [&at.workflow.to_be_bytes()[..], &at.task.to_be_bytes(), &at.item.to_be_bytes()].concat();
    due(time, due::TASK, &what)
}

/// DUE of a schedule.
pub(crate) fn due_schedule(at: Time, hash: &H16) -> Key {
    due(at, due::SCHEDULE, hash)
}

/// What stands for an artifact in keys.
pub(crate) fn artifact_hash(project: &Name, path: &ArtifactPath) -> H16 {
    h16(&[project.as_str(), path.as_str()])
}

/// ARTIFACT_VERSION.
pub(crate) fn artifact_version(hash: &H16, version: u32) -> Key {
    key(tag::ARTIFACT_VERSION, &[hash, &version.to_be_bytes()])
}

/// The prefix of ARTIFACT_LIST for one project.
pub(crate) fn artifacts_listed(project: &Name) -> Key {
    key(tag::ARTIFACT_LIST, &[&h16(&[project.as_str()])[..14]])
}

/// ARTIFACT_LIST.
pub(crate) fn artifact_listed(project: &Name, hash: &H16) -> Key {
    key(tag::ARTIFACT_LIST, &[&h16(&[project.as_str()])[..14], hash])
}

/// CHUNK_REFS.
pub(crate) fn chunk_refs(hash: &[u8; 32]) -> Key {
    key(tag::CHUNK_REFS, &[&hash[..30]])
}

/// CODED.
pub(crate) fn coded(id: &[u8; 32]) -> Key {
    key(tag::CODED, &[&id[..30]])
}

/// QUOTA and USAGE.
pub(crate) fn of_project(tag: u8, project: &Name) -> Key {
    by_hash(tag, &h16(&[project.as_str()]))
}

/// API_KEY.
pub(crate) fn api_key(id: &Name) -> Key {
    by_hash(tag::API_KEY, &h16(&[id.as_str()]))
}

/// SCALING and SCALING_MEMORY.
pub(crate) fn scaling(tag: u8, agent_type: &Name) -> Key {
    by_hash(tag, &h16(&[agent_type.as_str()]))
}

/// SHARD_REFS.
pub(crate) fn shard_refs(hash: &[u8; 32]) -> Key {
    key(tag::SHARD_REFS, &[&hash[..30]])
}

/// ARTIFACTS.
pub(crate) fn artifacts(project: &Name) -> Key {
    by_hash(tag::ARTIFACTS, &h16(&[project.as_str()]))
}

/// The prefix of WEBHOOK, SUBSCRIPTION and DELIVERIES for one project.
pub(crate) fn webhooks(tag: u8, project: &Name) -> Key {
    key(tag, &[&h16(&[project.as_str()])[..14]])
}

/// WEBHOOK, SUBSCRIPTION and DELIVERIES.
pub(crate) fn webhook(tag: u8, project: &Name, name: &Name) -> Key {
    webhook_text(tag, project, name.as_str())
}

/// The same, with the webhook's name as a delivery carries it.
pub(crate) fn webhook_text(tag: u8, project: &Name, name: &str) -> Key {
    key(tag, &[&h16(&[project.as_str()])[..14], &h16(&[project.as_str(), name])])
}

/// DUE of an artifact.
pub(crate) fn due_artifact(at: Time, hash: &H16) -> Key {
    due(at, due::ARTIFACT, hash)
}

/// LIFECYCLE.
pub(crate) fn lifecycle(project: &Name) -> Key {
    by_hash(tag::LIFECYCLE, &h16(&[project.as_str()]))
}

/// LIFE and MOVE.
pub(crate) fn of_version(tag: u8, artifact: &H16, version: u32) -> Key {
    key(tag, &[artifact, &version.to_be_bytes()])
}

/// The artifact and the number in the key of such a row.
pub(crate) fn version_in(key: &Key) -> Option<(H16, u32)> {
    let (artifact, version) = key.as_slice().get(1..)?.split_first_chunk::<16>()?;
    Some((*artifact, u32::from_be_bytes(version.try_into().ok()?)))
}

/// The prefix of ARTIFACT_LIST for a project of which only the hash is known.
pub(crate) fn listed_of(project: &H16) -> Key {
    key(tag::ARTIFACT_LIST, &[&project[..14]])
}

/// ARTIFACT_LIST likewise.
pub(crate) fn listed_at(project: &H16, artifact: &H16) -> Key {
    key(tag::ARTIFACT_LIST, &[&project[..14], artifact])
}

/// DUE of a version.
pub(crate) fn due_life(at: Time, artifact: &H16, version: u32) -> Key {
    key(tag::DUE, &[&at.to_be_bytes(), &[due::LIFE], artifact, &version.to_be_bytes()])
}

/// DUE of a project's versions.
pub(crate) fn due_review(at: Time, project: &H16) -> Key {
    due(at, due::REVIEW, project)
}

/// The task in the rest of a DUE key.
pub(crate) fn due_task_of(what: &[u8]) -> Option<TaskRef> {
    task_in(what)
}

/// DUE of a unique window.
pub fn due_unique(at: Time, queue: u32, hash: &H16) -> Key {
    key(tag::DUE, &[&at.to_be_bytes(), &[due::UNIQUE], &queue.to_be_bytes(), hash])
}

/// Time, kind and the rest of a DUE key.
pub(crate) fn split_due(key: &Key) -> Option<(Time, u8, &[u8])> {
    let (at, rest) = key.as_slice().get(1..)?.split_first_chunk::<8>()?;
    let (kind, what) = rest.split_first()?;
    Some((u64::from_be_bytes(*at), *kind, what))
}
