//! Which partition a job goes to.
//!
//! What belongs together lives in one partition, so that keys hold without any talk between
//! partitions: a job goes by its order key, else its concurrency key, else its unique key, else the
//! idempotency key it came under, else its workflow. A job with none goes anywhere. A queue with a
//! limit for the whole of it lives in its home partition, where the limit is held exactly.

use bravo_model::Name;
use bravo_model::command::NewJob;

/// A stable hash: the first eight bytes of BLAKE3 over length-prefixed parts.
fn stable_hash(parts: &[&str]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u32).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    let mut first = [0; 8];
    hasher.finalize_xof().fill(&mut first);
    u64::from_le_bytes(first)
}

fn partition_of(hash: u64, partitions: u16) -> u16 {
    (hash % u64::from(partitions.max(1))) as u16
}

/// The home partition of a queue.
pub fn queue_home(queue: &Name, partitions: u16) -> u16 {
    partition_of(stable_hash(&["queue", queue.as_str()]), partitions)
}

/// The partition of a schedule, and of all that it starts.
pub fn schedule_home(name: &Name, partitions: u16) -> u16 {
    partition_of(stable_hash(&["schedule", name.as_str()]), partitions)
}

/// The partition of an artifact.
pub fn artifact_home(project: &str, path: &str, partitions: u16) -> u16 {
    partition_of(stable_hash(&["artifact", project, path]), partitions)
}

/// The partition of a key within a project.
pub fn key_home(project: &str, key: &str, partitions: u16) -> u16 {
    partition_of(stable_hash(&["key", project, key]), partitions)
}

/// The partition of an idempotency key within a project. Keys that share what stands before their
/// first `/` share a partition: a producer that numbers its calls under a name of its own gets large
/// entries, and its jobs leave in the order in which they came.
pub fn idempotency_home(project: &str, key: &str, partitions: u16) -> u16 {
    key_home(project, key.split_once('/').map_or(key, |(producer, _)| producer), partitions)
}

/// The partition that a job must go to; `None` if any will do.
pub fn job_partition(job: &NewJob, homed: bool, partitions: u16) -> Option<u16> {
    if homed {
        return Some(queue_home(&job.queue, partitions));
    }
    let keys = [job.order_key.as_deref(), job.concurrency_key.as_deref(), job.unique_key.as_deref()];
    let workflow = job.workflow.as_ref().map(Name::as_str);
    let key = keys.into_iter().flatten().next().or(workflow)?;
    Some(key_home(job.project.as_str(), key, partitions))
}
