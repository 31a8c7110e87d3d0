//! Which partition each job of a call goes to, and the parts that a call falls into.

use std::time::{Duration, Instant};

use bravo_model::command::NewJob;
use parking_lot::Mutex;

use crate::cluster::Cluster;
use crate::raft::types::partition_group;
use crate::routing;

/// How often the load of partitions is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How much the last look counts.
const SMOOTHING: f64 = 0.3;
/// A partition that applies entries for this share of the time has enough to do.
const BUSY: f64 = 0.25;

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

/// Where this node puts jobs that may go anywhere.
///
/// Each entry of a partition's log costs much the same, however many commands it carries. So as long as
/// there is little to do, all goes to the first partition, whose entries are then large; when that one is
/// busy, the next one gets its share, and so on. Every node holds every partition, so all come to about the
/// same choice without talking about it.
#[derive(Default)]
pub(crate) struct Placement {
    seen: Mutex<Seen>,
}

/// What was seen of the partitions.
#[derive(Default)]
struct Seen {
    /// When they were last looked at, and how long each had applied entries until then.
    at: Option<(Instant, Vec<Duration>)>,
    /// The share of its time in which each applies entries, smoothed.
    busy: Vec<f64>,
    /// The partition chosen last.
    last: u16,
}

impl Placement {
    /// A partition that has room and a known leader: the lowest one, or, at further attempts, another one.
    pub(crate) fn free_partition(&self, cluster: &Cluster, attempt: usize) -> u16 {
        let partitions = cluster.partitions();
        let group = |partition: u16| cluster.group(partition_group(partition));
        let mut seen = self.seen.lock();
        if seen.at.as_ref().is_none_or(|(at, _)| at.elapsed() >= LOOK_EVERY) {
            let applied = (0..partitions).map(|p| group(p).map_or(Duration::ZERO, |g| g.shared.apply_time()));
            seen.look(Instant::now(), applied.collect());
        }
        let is_led = |partition: u16| group(partition).is_some_and(|group| group.shared.leader().is_some());
        seen.choose(attempt, is_led)
    }
}

impl Seen {
    fn look(&mut self, now: Instant, applied: Vec<Duration>) {
        self.busy.resize(applied.len(), 0.0);
        if let Some((at, before)) = &self.at {
            let elapsed = now.duration_since(*at).as_secs_f64().max(f64::EPSILON);
            for (busy, (now, before)) in self.busy.iter_mut().zip(applied.iter().zip(before)) {
                *busy += (now.saturating_sub(*before).as_secs_f64() / elapsed - *busy) * SMOOTHING;
            }
        }
        self.at = Some((now, applied));
    }

    fn choose(&mut self, attempt: usize, is_led: impl Fn(u16) -> bool) -> u16 {
        // The last choice is kept until it is busy; another one must be well below that.
        let room = |partition: u16, busy: f64| busy < if partition == self.last { BUSY } else { BUSY / 2.0 };
        let all = || (0u16..).zip(self.busy.iter().copied());
        let free: Vec<u16> = all().filter(|&(p, busy)| is_led(p) && room(p, busy)).map(|(p, _)| p).collect();
        if let Some(first) = free.get(attempt.checked_rem(free.len()).unwrap_or(0)) {
            if attempt == 0 {
                self.last = *first;
            }
            return *first;
        }
        // All are busy: share the load.
        let mut led: Vec<(u16, f64)> = all().filter(|(p, _)| is_led(*p)).collect();
        led.sort_by(|a, b| a.1.total_cmp(&b.1));
        led.get(attempt.checked_rem(led.len()).unwrap_or(0)).map_or(0, |(partition, _)| *partition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bravo_model::{Name, Payload};

    fn job(order_key: Option<&str>) -> NewJob {
        let name = |text| Name::parse("name", text).unwrap();
        let payload = Payload { json: true, bytes: "1".into() };
        NewJob { order_key: order_key.map(Into::into), ..NewJob::new(name("mail"), name("p"), payload) }
    }

    #[test]
    fn partitions_fill_up_one_after_the_other_and_are_left_again() {
        let mut seen = Seen::default();
        let (mut now, mut applied) = (Instant::now(), vec![Duration::ZERO; 3]);
        let mut after = |seen: &mut Seen, share: [f64; 3]| {
            for _ in 0..40 {
                now += LOOK_EVERY;
                applied.iter_mut().zip(share).for_each(|(applied, share)| *applied += LOOK_EVERY.mul_f64(share));
                seen.look(now, applied.clone());
            }
            seen.choose(0, |_| true)
        };
        assert_eq!(after(&mut seen, [0.0, 0.0, 0.0]), 0);
        assert_eq!(after(&mut seen, [0.2, 0.0, 0.0]), 0, "it stays while there is room");
        assert_eq!(after(&mut seen, [0.3, 0.0, 0.0]), 1);
        assert_eq!(after(&mut seen, [0.2, 0.2, 0.0]), 1, "it does not go back and forth");
        assert_eq!(after(&mut seen, [0.4, 0.5, 0.6]), 0, "the least busy of busy ones");
        assert_eq!(after(&mut seen, [0.0, 0.1, 0.0]), 0);
    }

    #[test]
    fn a_partition_without_a_leader_gets_nothing_and_a_further_attempt_goes_elsewhere() {
        let mut seen = Seen::default();
        seen.look(Instant::now(), vec![Duration::ZERO; 3]);
        assert_eq!((seen.choose(0, |p| p != 0), seen.choose(1, |p| p != 0)), (1, 2));
        assert_eq!(seen.choose(0, |_| false), 0);
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
