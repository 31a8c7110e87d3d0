//! Which partition each job of a call goes to, and the parts that a call falls into.

use std::time::{Duration, Instant};

use bravo_model::command::NewJob;

use crate::cluster::Cluster;
use crate::raft::types::partition_group;
use crate::routing;

/// Jobs that may go anywhere stay with one partition this long, so that its batches are large.
const STAY: Duration = Duration::from_millis(200);

/// The jobs of a call that go to one partition.
#[derive(Debug, PartialEq)]
pub(crate) struct Part {
    /// The partition.
    pub(crate) partition: u16,
    /// Their places in the call.
    pub(crate) places: Vec<usize>,
    /// The jobs.
    pub(crate) jobs: Vec<NewJob>,
}

/// Splits a call by partition, in order of first appearance. `free` is where jobs go that may go anywhere.
pub(crate) fn split(
    jobs: Vec<NewJob>,
    partitions: u16,
    homed: impl Fn(&NewJob) -> bool,
    free: impl FnOnce() -> u16,
) -> Vec<Part> {
    let mut free = Some(free);
    let mut free_at = None;
    let mut parts: Vec<Part> = Vec::new();
    let all = jobs.len();
    for (place, job) in jobs.into_iter().enumerate() {
        let home = routing::job_partition(&job, homed(&job), partitions);
        let partition = home.unwrap_or_else(|| *free_at.get_or_insert_with(|| free.take().map_or(0, |free| free())));
        match parts.iter_mut().find(|part| part.partition == partition) {
            Some(part) => {
                part.places.push(place);
                part.jobs.push(job);
            }
            None => {
                let mut part = Part { partition, places: Vec::new(), jobs: Vec::new() };
                part.jobs.reserve(if parts.is_empty() { all } else { 1 });
                part.places.push(place);
                part.jobs.push(job);
                parts.push(part);
            }
        }
    }
    parts
}

/// Where this node puts jobs that may go anywhere: a partition that it leads itself, else one whose
/// leader is known; another one every now and then, and at every further `attempt`.
pub(crate) fn free_partition(cluster: &Cluster, began: Instant, attempt: usize) -> u16 {
    let partitions = cluster.partitions();
    let led = |partition: &u16| cluster.leads(partition_group(*partition));
    let known =
        |partition: &u16| cluster.group(partition_group(*partition)).is_some_and(|g| g.shared.leader().is_some());
    let turn = (began.elapsed().as_millis() / STAY.as_millis()) as usize + cluster.node as usize + attempt;
    let nth = |choice: &dyn Fn(&u16) -> bool| {
        let count = (0..partitions).filter(choice).count();
        (0..partitions).filter(choice).nth(turn.checked_rem(count)?)
    };
    nth(&led).or_else(|| nth(&known)).or_else(|| nth(&|_| true)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bravo_model::{Name, Payload};

    fn job(order_key: Option<&str>) -> NewJob {
        NewJob {
            queue: Name::parse("queue", "mail").unwrap(),
            project: Name::parse("project_id", "p").unwrap(),
            payload: Payload { json: true, bytes: "1".into() },
            priority: 4,
            run_at: None,
            deadline: None,
            max_attempts: None,
            unique_key: None,
            unique_for_ms: None,
            order_key: order_key.map(Into::into),
            concurrency_key: None,
            fairness_key: None,
            metadata: bytes::Bytes::new(),
            workflow: None,
        }
    }

    #[test]
    fn jobs_that_may_go_anywhere_go_together() {
        let parts = split(vec![job(None), job(None)], 8, |_| false, || 5);
        assert_eq!(parts.len(), 1);
        assert_eq!((parts[0].partition, parts[0].places.as_slice()), (5, &[0, 1][..]));
    }

    #[test]
    fn jobs_of_one_key_go_together_and_keep_their_places() {
        let keys: Vec<String> = (0..100).map(|n| format!("k{}", n % 10)).collect();
        let jobs = keys.iter().map(|key| job(Some(key))).collect();
        let parts = split(jobs, 8, |_| false, || unreachable!("every job has a key"));
        let mut places: Vec<usize> = parts.iter().flat_map(|part| part.places.clone()).collect();
        for part in &parts {
            assert!(part.places.is_sorted());
            for (place, job) in part.places.iter().zip(&part.jobs) {
                assert_eq!(job.order_key.as_deref(), Some(keys[*place].as_str()));
                assert_eq!(routing::job_partition(job, false, 8), Some(part.partition));
            }
        }
        places.sort_unstable();
        assert!(places.into_iter().eq(0..100));
    }

    #[test]
    fn a_homed_queue_wins_over_keys() {
        let parts = split(vec![job(Some("a")), job(Some("b")), job(None)], 8, |_| true, || 0);
        assert_eq!(parts.len(), 1);
        assert_eq!(parts[0].partition, routing::queue_home(&parts[0].jobs[0].queue, 8));
    }
}
