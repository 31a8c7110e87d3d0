//! Repetitions of what was accepted, in a call that is to be refused.
//!
//! A job whose unique key is held makes nothing: it is answered with the one that holds it, however much there is to
//! do. So a refused call is looked at again without such jobs. Only a refused one whose keys this node's own replicas
//! know, as that costs a read of each partition in which they live.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bravo_model::Refusal;
use bravo_model::command::NewJob;
use futures_util::future::try_join_all;

use super::enqueue::{Taken, admit as admit_all, is_homed};
use super::reads;
use crate::gateway::app::App;
use crate::gateway::call::Call;
use crate::raft::types::partition_group;
use crate::routing;
use crate::transport::wire::{Answer, Query};

/// How long a call that is to be refused waits to be sure of it.
const PATIENCE: Duration = Duration::from_millis(300);

/// Judges the jobs of a refused call again, without those whose unique keys are held.
pub(super) async fn admit(app: &Arc<App>, call: &Call, jobs: &[NewJob], refusal: Refusal) -> Result<Taken, Refusal> {
    let held = held(app, call, jobs).await.unwrap_or_default();
    if held.is_empty() {
        return Err(refusal);
    }
    let places: Vec<usize> = (0..jobs.len()).filter(|place| !held.contains(place)).collect();
    let new: Vec<NewJob> = places.iter().filter_map(|place| jobs.get(*place)).cloned().collect();
    if new.is_empty() {
        return Ok(Taken::default());
    }
    let place = |at| places.get(at).copied().unwrap_or(at);
    Ok(admit_all(app, &new, place)?.among(&places))
}

/// The places of the jobs whose unique keys are held; none if nobody can say it soon.
async fn held(app: &Arc<App>, call: &Call, jobs: &[NewJob]) -> Option<Vec<usize>> {
    let mut parts: BTreeMap<u16, (Vec<usize>, Vec<_>)> = BTreeMap::new();
    let is_homed = is_homed(app);
    for (place, job) in jobs.iter().enumerate() {
        let partition = routing::job_partition(job, is_homed(job), app.cluster.partitions());
        if let (Some(key), Some(partition)) = (&job.unique_key, partition) {
            let (places, keys) = parts.entry(partition).or_default();
            places.push(place);
            keys.push((job.queue.clone(), job.project.clone(), key.clone()));
        }
    }
    let deadline = call.deadline.min(Instant::now() + PATIENCE);
    let reads = parts.into_iter().map(|(partition, (places, keys))| async move {
        let (group, all) = (partition_group(partition), places.into_iter().zip(keys));
        let query = Query::Claimed(all.clone().map(|(_, key)| key).collect());
        let seen = claimed(app.cluster.read_stale(group, &query).await)?;
        let (places, keys): (Vec<_>, Vec<_>) = all.zip(seen).filter(|(_, held)| *held).map(|(one, _)| one).unzip();
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let held = claimed(app.cluster.read(group, Query::Claimed(keys), deadline).await)?;
        Ok::<_, Refusal>(places.into_iter().zip(held).filter(|(_, held)| *held).map(|(place, _)| place).collect())
    });
    Some(try_join_all(reads).await.ok()?.into_iter().flatten().collect())
}

fn claimed(answer: Result<Answer, Refusal>) -> Result<Vec<bool>, Refusal> {
    match answer? {
        Answer::Claimed(held) => Ok(held),
        _ => Err(reads::wrong_answer()),
    }
}
