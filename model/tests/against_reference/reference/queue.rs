//! Queues: their definitions, their counts, their limits.

use bravo_model::command::QueueDefinition;
use bravo_model::job::JobState;
use bravo_model::queue::QueueConfig;
use bravo_model::reply::Reply;
use bravo_model::{Code, Name, Time};

use super::{RefJob, Reference, refuse};

/// A millionth of a rate limit's token: bursts and rates of the histories are whole numbers of it.
const TOKEN: u128 = 1_000_000;

/// A queue as the reference keeps it.
#[derive(Clone, Debug, Default)]
pub(crate) struct RefQueue {
    pub(crate) version: u64,
    pub(crate) config: QueueConfig,
    pub(crate) paused: bool,
    pub(crate) draining: bool,
    /// The rate limit's bucket: level, and when it had that level.
    bucket: Option<(u128, Time)>,
}

/// How many jobs of a queue are in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) ready: u64,
    pub(crate) scheduled: u64,
    pub(crate) blocked: u64,
    pub(crate) leased: u64,
    pub(crate) dead: u64,
}

impl Reference {
    /// The queue; one that nobody configured has the defaults.
    pub(crate) fn queue_or_default(&self, name: &Name) -> RefQueue {
        self.queues.get(name).cloned().unwrap_or_default()
    }

    pub(crate) fn counts(&self, name: &Name) -> Counts {
        let count = |state| self.jobs.values().filter(|job| job.queue == *name && job.state == state).count() as u64;
        Counts {
            ready: count(JobState::Ready),
            scheduled: count(JobState::Scheduled),
            blocked: count(JobState::Blocked),
            leased: count(JobState::Leased),
            dead: count(JobState::Dead),
        }
    }

    pub(super) fn waiting(&self, name: &Name) -> u64 {
        let counts = self.counts(name);
        counts.ready + counts.scheduled + counts.blocked
    }

    pub(super) fn set_queue(&mut self, definition: &QueueDefinition) -> Reply {
        if self.queues.get(&definition.name).is_some_and(|old| old.version > definition.version) {
            return Reply::Done;
        }
        // A bucket that was used keeps its level when its rate changes. The new rate holds from the
        // last lease on.
        let old = self.queues.get(&definition.name);
        let limited = definition.config.rate_limit.is_some() && old.is_some_and(|old| old.config.rate_limit.is_some());
        let bucket = old.and_then(|old| old.bucket).filter(|_| limited);
        let queue = RefQueue {
            version: definition.version,
            config: definition.config.clone(),
            paused: definition.paused,
            draining: definition.draining,
            bucket,
        };
        self.queues.insert(definition.name.clone(), queue);
        Reply::Done
    }

    pub(super) fn forget_queue(&mut self, name: &Name, version: u64) -> Reply {
        if self.queues.get(name).is_some_and(|queue| queue.version > version) {
            return Reply::Done;
        }
        // What is not done with keeps its queue: what waits, is leased, or waits for redrive.
        let keeps = |job: &RefJob| !matches!(job.state, JobState::Succeeded | JobState::Cancelled);
        if self.jobs.values().any(|job| job.queue == *name && keeps(job)) {
            return refuse(Code::Conflict);
        }
        self.queues.remove(name);
        // Until retention takes the last of its jobs, older definitions are not let in again.
        if self.jobs.values().any(|job| job.queue == *name) {
            self.queues.insert(name.clone(), RefQueue { version, ..RefQueue::default() });
        } else {
            // A queue that is gone takes its unique windows with it.
            self.uniques.retain(|held| held.queue != *name);
        }
        Reply::Done
    }

    /// Not paused, and fewer leases than `max_in_flight`.
    pub(super) fn has_room(&self, name: &Name) -> bool {
        let queue = self.queue_or_default(name);
        let leased = self.counts(name).leased;
        !queue.paused && queue.config.max_in_flight.is_none_or(|max| leased < u64::from(max))
    }

    pub(super) fn has_rate_token(&self, name: &Name) -> bool {
        self.level(name).is_none_or(|level| level >= TOKEN)
    }

    pub(super) fn take_rate_token(&mut self, name: &Name) {
        let now = self.now;
        if let Some(level) = self.level(name) {
            self.queues.get_mut(name).expect("a limit is configured").bucket = Some((level - TOKEN, now));
        }
    }

    /// When ready jobs are left that the rate limit alone holds back.
    pub(super) fn next_token_at(&self, name: &Name) -> Option<Time> {
        let level = self.level(name).filter(|&level| level < TOKEN)?;
        if !self.has_room(name) || self.first_of_lanes(name, None, false, true).is_empty() {
            return None;
        }
        let rate = self.rate(name)?;
        Some(self.now + (TOKEN - level).div_ceil(rate) as u64)
    }

    /// Millionths of a token that come in each millisecond.
    fn rate(&self, name: &Name) -> Option<u128> {
        self.queue_or_default(name).config.rate_limit.map(|rate| (rate.per_second * 1_000.0) as u128)
    }

    /// What is in the bucket now; a bucket starts full.
    fn level(&self, name: &Name) -> Option<u128> {
        let queue = self.queue_or_default(name);
        let full = u128::from(queue.config.rate_limit.as_ref()?.burst) * TOKEN;
        let Some((level, at)) = queue.bucket else { return Some(full) };
        Some(full.min(level + self.rate(name)? * u128::from(self.now - at)))
    }

    /// It is another job's turn.
    pub(super) fn is_behind_order_key(&self, job: &RefJob) -> bool {
        turn_of(job).is_some_and(|key| self.turns.get(&key) != Some(&job.seq))
    }

    /// A job comes in, or back: turns are by enqueue, but one that is leased keeps its turn until it is final.
    pub(super) fn take_turn(&mut self, seq: u64) {
        let Some(key) = turn_of(&self.jobs[&seq]) else { return };
        let goes_first =
            self.turns.get(&key).is_none_or(|holder| *holder > seq && self.jobs[holder].state != JobState::Leased);
        if goes_first {
            self.turns.insert(key, seq);
        }
    }

    /// Jobs that are final or gone give their turn to the first that was enqueued of those that are not.
    pub(super) fn pass_turns(&mut self) {
        let jobs = &self.jobs;
        let has_end = |seq: &u64| jobs.get(seq).is_none_or(|job| job.state.is_final());
        let passed: Vec<_> = self.turns.iter().filter(|(_, seq)| has_end(seq)).map(|(key, _)| key.clone()).collect();
        for key in passed {
            let next = jobs.values().find(|job| !job.state.is_final() && turn_of(job).as_ref() == Some(&key));
            match next {
                Some(job) => self.turns.insert(key, job.seq),
                None => self.turns.remove(&key),
            };
        }
    }

    /// As many of its concurrency key run as may.
    pub(super) fn is_concurrency_limited(&self, job: &RefJob) -> bool {
        let max = self.queue_or_default(&job.queue).config.concurrency_per_key as usize;
        job.concurrency_key.is_some() && self.of_its_key(job).filter(|job| job.state == JobState::Leased).count() >= max
    }

    /// A deliverable job of its fairness lane and priority has an older place.
    pub(super) fn is_behind_in_lane(&self, job: &RefJob) -> bool {
        let mut ready = self.jobs.values().filter(|other| other.state == JobState::Ready && other.queue == job.queue);
        ready.any(|other| {
            (other.priority, other.lane()) == (job.priority, job.lane())
                && other.place < job.place
                && !self.is_behind_order_key(other)
                && !self.is_concurrency_limited(other)
        })
    }

    /// As many of its concurrency key run, or are ready in front of it, as may run. Late jobs stand in
    /// front until something meets them.
    pub(super) fn slots_are_spoken_for(&self, job: &RefJob, with_late: bool) -> bool {
        let max = self.queue_or_default(&job.queue).config.concurrency_per_key as usize;
        let in_front = |other: &RefJob| {
            other.state == JobState::Ready
                && !self.is_behind_order_key(other)
                && (with_late || !self.is_late(other))
                && (other.priority, job.place) > (job.priority, other.place)
        };
        job.concurrency_key.is_some()
            && self.of_its_key(job).filter(|other| other.state == JobState::Leased || in_front(other)).count() >= max
    }

    /// The other jobs of its concurrency key.
    fn of_its_key(&self, job: &RefJob) -> impl Iterator<Item = &RefJob> {
        let (seq, key, queue, project) = (job.seq, job.concurrency_key.clone(), job.queue.clone(), job.project.clone());
        self.jobs.values().filter(move |other| {
            other.seq != seq && other.concurrency_key == key && other.queue == queue && other.project == project
        })
    }
}

/// The order key of a job with its scope.
fn turn_of(job: &RefJob) -> Option<(Name, Name, String)> {
    Some((job.queue.clone(), job.project.clone(), job.order_key.clone()?))
}
