//! Repetitions of what was accepted, in a call that is to be refused.
//!
//! A job whose unique key is held makes nothing: it is answered with the one that holds it, however much there is to
//! do. So a refused call is looked at again without such jobs. Only a refused one, as that costs a read of each
//! partition in which its keys live.

use std::collections::BTreeMap;
use std::sync::Arc;

use bravo_model::Refusal;
use bravo_model::command::NewJob;
use futures_util::future::try_join_all;

use super::enqueue::{admit as admit_all, is_homed};
use super::reads;
use crate::admission::Admitted;
use crate::gateway::app::App;
use crate::gateway::call::Call;
use crate::raft::types::partition_group;
use crate::routing;
use crate::transport::wire::{Answer, Query};

/// Judges the jobs of a refused call again, without those whose unique keys are held.
pub(super) async fn admit(app: &Arc<App>, call: &Call, jobs: &[NewJob], refusal: Refusal) -> Result<Admitted, Refusal> {
    let held = held(app, call, jobs).await?;
    if held.is_empty() {
        return Err(refusal);
    }
    let places: Vec<usize> = (0..jobs.len()).filter(|place| !held.contains(place)).collect();
    let new: Vec<NewJob> = places.iter().filter_map(|place| jobs.get(*place)).cloned().collect();
    if new.is_empty() {
        return Ok(Admitted::default());
    }
    Ok(admit_all(app, &new)?.among(&places))
}

/// The places of the jobs whose unique keys are held.
async fn held(app: &Arc<App>, call: &Call, jobs: &[NewJob]) -> Result<Vec<usize>, Refusal> {
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
    let reads = parts.into_iter().map(|(partition, (places, keys))| async move {
        match app.cluster.read(partition_group(partition), Query::Claimed(keys), call.deadline).await? {
            Answer::Claimed(held) => Ok(places.into_iter().zip(held).filter(|(_, held)| *held).map(|(place, _)| place)),
            _ => Err(reads::wrong_answer()),
        }
    });
    Ok(try_join_all(reads).await?.into_iter().flatten().collect())
}
