//! When a job that comes now will be started: a queue of several servers, seen as a fluid with noise on it.
//!
//! ```text
//!            completions that must come first
//!  wait = ───────────────────────────────────────────        noise: what comes and goes meanwhile is random,
//!          completions a ms − more urgent arrivals a ms              and the rates are known to some percent
//! ```
//!
//! The quantiles of that noise are not believed: `calibrate` learns them from what jobs really waited.

use super::PRIORITIES;

/// The longest wait that is told: a day. What is behind work that comes faster than it is done waits for ever.
pub(crate) const WAIT_MS_MAX: f64 = 86_400_000.0;
/// The share of the work done that is assumed to be left for less urgent jobs, however much of the other comes.
const LEFT_SHARE_MIN: f64 = 0.01;
/// How long it is taken for granted that more urgent jobs come as they do now; after that, at least half of what is
/// done is left for others.
const URGENT_MS: f64 = 60_000.0;
/// How well rates are known.
const RATE_ERROR: f64 = 0.02;
/// The wait of a job that finds a free worker: the way to it.
const IDLE_SIGMA_MS: f64 = 2.0;

/// Workers that are not there yet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coming {
    /// Jobs that they will work on at once.
    pub slots: f64,
    /// Milliseconds until they are there.
    pub in_ms: f64,
}

/// What is known of a queue at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Load {
    /// Jobs that could be leased, by priority.
    pub(crate) open: [f64; PRIORITIES],
    /// Jobs that workers hold.
    pub(crate) leased: f64,
    /// Jobs that the workers can hold, or the queue allows.
    pub(crate) slots: f64,
    /// Further workers on their way, soonest first.
    pub(crate) coming: Vec<Coming>,
    /// Mean time that a worker holds a job; none: not known.
    pub(crate) service_ms: Option<f64>,
    /// The variance of that time, over the square of its mean.
    pub(crate) service_cv2: f64,
    /// What is really done, over what the slots could do.
    pub(crate) efficiency: f64,
    /// The most jobs that may start in a millisecond.
    pub(crate) starts_per_ms_max: f64,
    /// Jobs that may start at once, whatever that rate.
    pub(crate) tokens: f64,
    /// Jobs that are taken in, by priority, in a millisecond.
    pub(crate) arrivals_per_ms: [f64; PRIORITIES],
    /// Milliseconds for which nothing starts, as the breaker of the workers' type is open.
    pub(crate) held_ms: f64,
}

/// A wait before it is calibrated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Guess {
    /// The middle.
    pub(crate) wait_ms: f64,
    /// The spread.
    pub(crate) sigma_ms: f64,
}

impl Guess {
    /// A worker is free.
    const AT_ONCE: Self = Self { wait_ms: 0.0, sigma_ms: IDLE_SIGMA_MS };

    /// Whether a worker is free.
    pub(crate) fn is_at_once(self) -> bool {
        self.wait_ms <= 0.0
    }
}

impl Load {
    /// Jobs that are done in a millisecond while there is work.
    pub(crate) fn done_per_ms(&self) -> Option<f64> {
        let by_slots = self.efficiency * self.slots / self.service_ms?.max(0.1);
        (by_slots > 0.0).then_some(by_slots.min(self.starts_per_ms_max))
    }

    /// Jobs of this priority and above that wait, `age_ms` after the look, with what was taken in since.
    pub(crate) fn ahead(&self, priority: usize, since: &[f64; PRIORITIES], age_ms: f64) -> f64 {
        let waiting: f64 = self.open.iter().zip(since).skip(priority).map(|(open, since)| open + since).sum();
        (waiting - self.done_per_ms().unwrap_or(0.0) * (age_ms - self.held_ms).max(0.0)).max(0.0)
    }

    /// Milliseconds for which nothing starts, `age_ms` after the look.
    pub(crate) fn held(&self, age_ms: f64) -> f64 {
        (self.held_ms - age_ms).max(0.0)
    }

    /// What a job of this priority waits that comes `age_ms` after the look; none: that cannot be told. Of what waits,
    /// only `share` is before it.
    pub(crate) fn wait(&self, priority: usize, share: f64, since: &[f64; PRIORITIES], age_ms: f64) -> Option<Guess> {
        if self.slots < 1.0 {
            return None;
        }
        let first_start = Guess { wait_ms: self.held(age_ms), ..Guess::AT_ONCE };
        let Some(done) = self.done_per_ms() else {
            // Nobody has done a job of the queue yet, but a worker waits for one.
            let taken = self.leased + self.open.iter().chain(since).sum::<f64>();
            return (taken < self.slots).then_some(first_start);
        };
        let service = self.service_ms.unwrap_or(0.0);
        // Slots that are not full are filled by what came since; they are emptied as jobs end.
        let free_then = (self.slots - self.leased).max(0.0);
        let all: f64 = self.open.iter().chain(since).sum();
        let ended = (done.min(self.leased / service.max(0.1)) * age_ms).min(self.leased + all);
        let free = self.slots - (self.leased + all - ended);
        let first =
            self.ahead(priority, since, age_ms) * share - if self.leased < self.slots { free_then } else { 0.0 };
        if free.min(self.tokens - all) >= 1.0 {
            return Some(first_start);
        }
        let first = first.max(0.0) + 1.0;
        let urgent: f64 = self.arrivals_per_ms.iter().skip(priority + 1).sum();
        let wait_ms = (first_start.wait_ms + self.drained_in(first, urgent, done)).min(WAIT_MS_MAX);
        let left_min = if wait_ms > URGENT_MS { 0.5 } else { LEFT_SHARE_MIN };
        let left = (done - urgent).max(done * left_min);
        let counted = done * wait_ms;
        // Ends of the jobs that are held now lie anywhere within a service time, however regular that is.
        let noise = self.service_cv2 * counted + counted.min(self.slots / 4.0) + urgent * wait_ms;
        let error = RATE_ERROR * (done + urgent) / left * wait_ms;
        let sigma_ms = (noise / (left * left) + error * error + IDLE_SIGMA_MS * IDLE_SIGMA_MS).sqrt();
        Some(Guess { wait_ms, sigma_ms: sigma_ms.min(WAIT_MS_MAX) })
    }

    /// Milliseconds until so many jobs have ended, but for those that more urgent ones bring, with workers
    /// that come meanwhile.
    fn drained_in(&self, mut jobs: f64, urgent: f64, mut done: f64) -> f64 {
        let left = (done - urgent).max(done * LEFT_SHARE_MIN);
        if self.coming.is_empty() && jobs <= left * URGENT_MS {
            return jobs / left;
        }
        let (per_slot, mut now, mut left_min) = (done / self.slots, 0.0, LEFT_SHARE_MIN);
        let coming = self.coming.iter().map(|coming| (coming.in_ms, coming.slots));
        let mut turns: Vec<(f64, f64)> = coming.chain([(URGENT_MS, 0.0)]).collect();
        turns.sort_by(|a, b| a.0.total_cmp(&b.0));
        for (at, slots) in turns {
            let (left, until) = ((done - urgent).max(done * left_min), (at - now).max(0.0));
            if jobs <= left * until {
                break;
            }
            jobs -= left * until;
            now += until;
            done = (done + per_slot * slots).min(self.starts_per_ms_max);
            left_min = if at >= URGENT_MS { 0.5 } else { left_min };
        }
        now + jobs / (done - urgent).max(done * left_min)
    }

    /// Milliseconds until all that waits is done.
    pub(crate) fn drain_ms(&self, since: &[f64; PRIORITIES], age_ms: f64) -> f64 {
        let done = self.done_per_ms().unwrap_or(0.0);
        let busy = if done > 0.0 { self.ahead(0, since, age_ms) / done } else { 0.0 };
        (self.held(age_ms) + busy).min(WAIT_MS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [f64; PRIORITIES] = [0.0; PRIORITIES];

    fn busy(open: f64) -> Load {
        let mut load = Load {
            leased: 10.0,
            slots: 10.0,
            service_ms: Some(100.0),
            service_cv2: 1.0,
            efficiency: 1.0,
            starts_per_ms_max: f64::INFINITY,
            tokens: f64::INFINITY,
            ..Load::default()
        };
        load.open[4] = open;
        load
    }

    fn wait(load: &Load, priority: usize) -> f64 {
        load.wait(priority, 1.0, &NONE, 0.0).unwrap().wait_ms
    }

    #[test]
    fn a_job_waits_for_those_before_it_and_for_more_urgent_ones_that_will_come() {
        let mut load = busy(99.0);
        assert_eq!(wait(&load, 4), 1_000.0);
        assert_eq!(wait(&load, 5), 10.0, "only for the next worker");
        load.arrivals_per_ms[9] = 0.05;
        assert_eq!(wait(&load, 4), 2_000.0, "half of what is done is done for others");
        assert_eq!(wait(&load, 9), 10.0);
        load.arrivals_per_ms[9] = 1.0;
        let wait = wait(&load, 4);
        assert!((60_000.0..62_000.0).contains(&wait), "others come faster than they are done, for now: {wait}");
    }

    #[test]
    fn what_came_since_the_look_counts_and_so_does_what_was_done_since() {
        let load = busy(99.0);
        let mut since = NONE;
        since[4] = 100.0;
        assert_eq!(load.wait(4, 1.0, &since, 0.0).unwrap().wait_ms, 2_000.0);
        assert_eq!(load.wait(4, 1.0, &since, 500.0).unwrap().wait_ms, 1_500.0);
        assert!(load.wait(4, 1.0, &NONE, 60_000.0).unwrap().is_at_once(), "all was done long ago");
    }

    #[test]
    fn with_a_free_worker_it_starts_at_once_until_what_came_since_has_taken_them_all() {
        let load = Load { leased: 7.0, ..busy(0.0) };
        let mut since = NONE;
        assert!(load.wait(0, 1.0, &since, 0.0).unwrap().is_at_once());
        since[4] = 2.0;
        assert!(load.wait(0, 1.0, &since, 0.0).unwrap().is_at_once());
        since[4] = 3.0;
        assert!(!load.wait(0, 1.0, &since, 0.0).unwrap().is_at_once());
    }

    #[test]
    fn nothing_is_told_where_nothing_is_known() {
        assert_eq!(Load { slots: 0.0, ..busy(5.0) }.wait(4, 1.0, &NONE, 0.0), None);
        assert_eq!(Load { service_ms: None, ..busy(5.0) }.wait(4, 1.0, &NONE, 0.0), None);
        let new = Load { service_ms: None, leased: 0.0, ..busy(5.0) };
        assert!(new.wait(4, 1.0, &NONE, 0.0).unwrap().is_at_once(), "there is a worker for it, however long jobs take");
    }

    #[test]
    fn only_what_is_before_a_job_makes_it_wait() {
        let load = busy(990.0);
        assert_eq!(load.wait(4, 0.1, &NONE, 0.0).unwrap().wait_ms, 1_000.0);
        assert_eq!(load.wait(4, 0.0, &NONE, 0.0).unwrap().wait_ms, 10.0, "for the next worker");
    }

    #[test]
    fn workers_on_their_way_shorten_the_wait_from_when_they_are_there() {
        let mut load = busy(199.0);
        load.coming = vec![Coming { slots: 10.0, in_ms: 1_000.0 }];
        assert_eq!(wait(&load, 4), 1_500.0);
        load.coming[0].in_ms = 5_000.0;
        assert_eq!(wait(&load, 4), 2_000.0);
    }

    #[test]
    fn while_the_breaker_is_open_nothing_starts_however_many_workers_are_free() {
        let load = Load { leased: 0.0, held_ms: 30_000.0, ..busy(0.0) };
        assert_eq!((wait(&load, 4), load.wait(4, 1.0, &NONE, 200.0).unwrap().wait_ms), (30_000.0, 29_800.0));
        assert!(load.wait(4, 1.0, &NONE, 30_000.0).unwrap().is_at_once());
        let queued = Load { held_ms: 30_000.0, ..busy(99.0) };
        assert_eq!((wait(&queued, 4), queued.drain_ms(&NONE, 0.0)), (31_000.0, 30_990.0));
    }

    #[test]
    fn a_rate_limit_bounds_what_is_done() {
        let load = Load { starts_per_ms_max: 0.01, ..busy(99.0) };
        assert_eq!(wait(&load, 4), 10_000.0);
        let idle = Load { leased: 0.0, tokens: 3.0, ..load };
        assert!(Load { open: NONE, ..idle.clone() }.wait(4, 1.0, &NONE, 0.0).unwrap().is_at_once(), "tokens are left");
        assert_eq!(wait(&Load { open: NONE, tokens: 0.0, ..idle }, 4), 100.0);
    }
}
