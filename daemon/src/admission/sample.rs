//! Predictions on their way to be compared with what came of them: a bounded number, spread over what comes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bravo_model::{Job, JobId, JobState, Name};

use super::calibrate::Interval;
use super::estimate::Guess;

/// Predictions that are followed at a time.
const SAMPLES_MAX: usize = 1_024;
/// Jobs looked up in one tick.
pub(crate) const LOOKS_MAX: usize = 128;
/// Predictions that a tick adds, about.
const PER_TICK: u64 = 16;
/// A job that was not seen to start this long after its last moment is followed no more.
const PATIENCE: Duration = Duration::from_secs(60);

/// A prediction for one job.
#[derive(Debug)]
pub(crate) struct Sample {
    /// The job.
    pub(crate) job: JobId,
    /// Its queue.
    pub(crate) queue: Name,
    /// What was guessed.
    pub(crate) guess: Guess,
    /// What that was taken for.
    pub(crate) interval: Interval,
    /// When.
    pub(crate) at: Instant,
}

/// What became of one.
#[derive(Debug, PartialEq)]
pub(crate) enum Seen {
    /// It waited so many milliseconds.
    Started(f64),
    /// It is to be looked at again.
    Waits,
    /// It says nothing any more.
    Lost,
}

/// Predictions that are followed.
#[derive(Default)]
pub(crate) struct Samples {
    followed: VecDeque<Sample>,
    stride: u64,
    offered: u64,
}

impl Samples {
    /// Whether the next job is to be followed.
    pub(crate) fn wants(&mut self) -> bool {
        self.offered += 1;
        self.followed.len() < SAMPLES_MAX && self.offered.is_multiple_of(self.stride.max(1))
    }

    /// Follows a job.
    pub(crate) fn push(&mut self, sample: Sample) {
        if self.followed.len() < SAMPLES_MAX {
            self.followed.push_back(sample);
        }
    }

    /// A tick is over: those whose time may have come, to be pushed again if they wait on.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<Sample> {
        self.stride = (self.offered / PER_TICK).max(1);
        self.offered = 0;
        let mut due = Vec::new();
        for _ in 0..self.followed.len() {
            let Some(sample) = self.followed.pop_front() else { break };
            let earliest = Duration::from_secs_f64(sample.interval.p5_ms / 1e3);
            if due.len() < LOOKS_MAX && now.duration_since(sample.at) >= earliest {
                due.push(sample);
            } else {
                self.followed.push_back(sample);
            }
        }
        due
    }
}

impl Sample {
    /// What the job's record says of its wait, on a replica that may be a little behind.
    pub(crate) fn seen(&self, job: Option<&Job>, now: Instant) -> Seen {
        let age = now.duration_since(self.at);
        let last = Duration::from_secs_f64(self.interval.p95_ms / 1e3).saturating_add(PATIENCE);
        let Some(job) = job else { return if age < PATIENCE { Seen::Waits } else { Seen::Lost } };
        let since = |at: u64| Seen::Started(at.saturating_sub(job.enqueued_at) as f64);
        match (job.started_at, job.state) {
            (Some(at), _) if job.attempt == 1 => since(at),
            (Some(_), _) => Seen::Lost,
            // Its deadline passed first: it waited at least so long.
            (None, JobState::Dead) => job.finished_at.map_or(Seen::Lost, since),
            (None, state) if state.is_final() => Seen::Lost,
            (None, _) if age > last => Seen::Started(age.as_secs_f64() * 1e3),
            (None, _) => Seen::Waits,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at: Instant) -> Sample {
        Sample {
            job: JobId { partition: 0, seq: 1 },
            queue: Name::parse("queue", "q").unwrap(),
            guess: Guess { wait_ms: 100.0, sigma_ms: 10.0 },
            interval: Interval { p5_ms: 50.0, p50_ms: 100.0, p95_ms: 150.0, p99_ms: 170.0 },
            at,
        }
    }

    fn later(at: Instant, ms: u64) -> Instant {
        at + Duration::from_millis(ms)
    }

    #[test]
    fn a_prediction_is_looked_at_when_its_time_may_have_come() {
        let (mut samples, now) = (Samples::default(), Instant::now());
        samples.push(sample(now));
        assert!(samples.due(later(now, 49)).is_empty());
        assert_eq!(samples.due(later(now, 50)).len(), 1);
        assert!(samples.due(later(now, 60)).is_empty(), "whoever took it pushes it again");
    }

    #[test]
    fn however_many_jobs_come_a_tick_follows_some_and_all_together_are_bounded() {
        let (mut samples, now) = (Samples::default(), Instant::now());
        for tick in 0..10 {
            let wanted = (0..1_600).filter(|_| samples.wants()).count();
            assert!(tick == 0 || (10..=20).contains(&wanted), "tick {tick}: {wanted}");
            samples.due(now);
        }
        (0..5_000).for_each(|_| samples.push(sample(now)));
        assert!(!samples.wants());
        assert_eq!(samples.due(later(now, 1_000)).len(), LOOKS_MAX);
    }

    #[test]
    fn a_job_that_nobody_ever_finds_is_followed_for_a_while_only() {
        let now = Instant::now();
        let sample = sample(now);
        assert_eq!(sample.seen(None, later(now, 1_000)), Seen::Waits, "the replica may be behind");
        assert_eq!(sample.seen(None, later(now, 61_000)), Seen::Lost);
    }
}
