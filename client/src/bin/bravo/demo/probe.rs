//! How long writes fail, seen from outside: one prober per partition, each writing one job after
//! the other, and the longest pause between two successes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bravo_client::{Client, NewJob};
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The queue of the probes; nobody works on it.
pub(super) const QUEUE: &str = "probe";
/// Between an answer and the next write.
const PAUSE: Duration = Duration::from_millis(25);
const KEYS_MAX: usize = 1_000;
/// How long one write is tried with the same key before it counts as a failure.
const DEADLINE: Duration = Duration::from_secs(20);

/// The probers at work.
pub(super) struct Probes {
    partitions: Vec<Arc<Mutex<Series>>>,
    tasks: JoinSet<Result<(), String>>,
    stop: CancellationToken,
    /// Written before the probers began.
    first: BTreeSet<String>,
}

/// The successful writes of one prober.
#[derive(Default)]
struct Series {
    ids: Vec<String>,
    /// When each began, and when it was acknowledged.
    writes: Vec<(Instant, Instant)>,
}

impl Series {
    /// The longest pause between two successes that ended after this moment, or began a write after it.
    fn longest_gap(&self, after: Instant) -> Duration {
        let ends = self.writes.iter().map(|(_, end)| *end);
        let gaps = ends.clone().zip(ends.skip(1)).filter(|(_, end)| *end > after);
        gaps.map(|(from, to)| to - from).max().unwrap_or_default()
    }

    fn works_since(&self, moment: Instant) -> bool {
        self.writes.last().is_some_and(|(begin, _)| *begin > moment)
    }
}

impl Probes {
    /// Finds a key for each partition and starts its prober.
    pub(super) async fn start(client: &Client, partitions: usize) -> Result<Self, String> {
        let (mut keys, mut first) = (BTreeMap::new(), BTreeSet::new());
        for number in 0..KEYS_MAX {
            if keys.len() == partitions {
                break;
            }
            let key = format!("probe-{number}");
            let id = write(client, &key, &format!("find-{number}")).await?;
            // "j3-17" is in partition 3.
            let partition = id.split('-').next().unwrap_or(&id).to_owned();
            first.insert(id);
            keys.entry(partition).or_insert(key);
        }
        if keys.len() != partitions {
            return Err(format!("{KEYS_MAX} probes met {} of {partitions} partitions", keys.len()));
        }
        let stop = CancellationToken::new();
        let mut probes = Self { partitions: Vec::new(), tasks: JoinSet::new(), stop, first };
        for key in keys.into_values() {
            let series = Arc::<Mutex<Series>>::default();
            probes.partitions.push(series.clone());
            probes.tasks.spawn(probe(client.with_deadline(DEADLINE), key, series, probes.stop.clone()));
        }
        Ok(probes)
    }

    /// Whether every partition took a write that began after this moment.
    pub(super) fn all_work_since(&self, moment: Instant) -> bool {
        self.partitions.iter().all(|series| series.lock().works_since(moment))
    }

    /// The longest pause between two successful writes to one partition after this moment.
    pub(super) fn longest_gap(&self, after: Instant) -> Duration {
        self.partitions.iter().map(|series| series.lock().longest_gap(after)).max().unwrap_or_default()
    }

    /// Stops the probers; the ids of all jobs that were acknowledged.
    pub(super) async fn stop(mut self) -> Result<BTreeSet<String>, String> {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.map_err(|error| format!("prober: {error}"))??;
        }
        let mut ids = self.first;
        for series in &self.partitions {
            ids.extend(series.lock().ids.drain(..));
        }
        Ok(ids)
    }
}

async fn probe(client: Client, key: String, series: Arc<Mutex<Series>>, stop: CancellationToken) -> Result<(), String> {
    for number in 0_u64.. {
        let begin = Instant::now();
        let id = write(&client, &key, &format!("{key}-{number}")).await?;
        {
            let mut series = series.lock();
            series.ids.push(id);
            series.writes.push((begin, Instant::now()));
        }
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(PAUSE) => (),
        }
    }
    Ok(())
}

/// Writes one job. The client repeats it under the same key until it is acknowledged.
async fn write(client: &Client, partition_key: &str, idempotency_key: &str) -> Result<String, String> {
    let job = NewJob::new(QUEUE).concurrency_key(partition_key);
    let jobs = client.enqueue(vec![job], Some(idempotency_key.into())).await;
    let mut jobs = jobs.map_err(|error| format!("probe: {error}"))?;
    jobs.pop().map(|job| job.id.into()).ok_or_else(|| "probe: an empty answer".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_gap_around_a_moment() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let write = |begin, end| (at(begin), at(end));
        let writes = vec![write(0, 5), write(400, 410), write(430, 440), write(460, 1_400), write(1_420, 1_425)];
        let series = Series { ids: Vec::new(), writes };
        assert_eq!(series.longest_gap(at(500)), Duration::from_millis(960));
        assert_eq!(series.longest_gap(at(1_400)), Duration::from_millis(25));
        assert!(series.works_since(at(1_410)) && !series.works_since(at(1_420)));
        assert_eq!(Series::default().longest_gap(start), Duration::ZERO);
    }
}
