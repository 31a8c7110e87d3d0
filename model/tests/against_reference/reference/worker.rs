//! What workers ask: lease, ack, nack, extend.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use bravo_model::command::{Ack, Extend, Lease, Nack};
use bravo_model::job::JobState;
use bravo_model::reply::{ItemResult, Leased, LeasedJob, Reply};
use bravo_model::{Code, Name, Time, limits};

use super::{RefJob, Reference, Seen, refuse};

impl Reference {
    pub(super) fn lease(&mut self, asked: &Lease, seen: &Seen<'_>) -> Reply {
        let wrong_ms = asked.lease_ms.is_some_and(|ms| !(limits::LEASE_MS_MIN..=limits::LEASE_MS_MAX).contains(&ms));
        let wrong = wrong_ms || asked.labels.len() > limits::LABELS_MAX;
        if asked.max == 0 || asked.max > limits::LEASE_JOBS_MAX || wrong {
            return refuse(Code::InvalidArgument);
        }
        let chosen: &[LeasedJob] = match seen.reply {
            Some(Reply::Leased(leased)) => &leased.jobs,
            _ => &[],
        };
        let mut jobs: Vec<LeasedJob> = Vec::new();
        let mut bytes = 0;
        while jobs.len() < asked.max as usize {
            // Which lane comes next is the real model's choice; anything else is not. A late job may
            // be met before or after it.
            let chosen = chosen.get(jobs.len());
            let mut next = self.candidates_for(asked);
            while chosen.is_none_or(|job| !next.contains(&job.seq)) && self.bury_one(&asked.queue, seen) {
                next = self.candidates_for(asked);
            }
            let Some(&first) = next.first() else { break };
            if chosen.is_none() && (self.owed(asked).is_empty() || self.may_end(asked, jobs.len())) {
                break;
            }
            let full = |seq: &u64| bytes + self.jobs[seq].payload.bytes.len() as u64 > u64::from(asked.bytes_max);
            if chosen.is_none() && !jobs.is_empty() && next.iter().any(full) {
                break; // A lane came next whose first job does not fit.
            }
            let seq = chosen.map(|job| job.seq).filter(|seq| next.contains(seq)).unwrap_or(first);
            let size = self.jobs[&seq].payload.bytes.len() as u64;
            if !jobs.is_empty() && bytes + size > u64::from(asked.bytes_max) {
                break;
            }
            bytes += size;
            let last = self.jobs[&seq].token;
            let token = chosen.filter(|job| job.seq == seq && job.token > last).map_or(last + 1, |job| job.token);
            jobs.push(self.lease_one(seq, token, asked));
        }
        while self.bury_one(&asked.queue, seen) {}
        let more = !self.owed(asked).is_empty();
        let next_at = self.more_at(asked);
        Reply::Leased(Leased { jobs, more, next_at })
    }

    /// Whether a lease that has given some jobs may have used up what it may look at, and leave the rest for the next.
    fn may_end(&self, asked: &Lease, given: usize) -> bool {
        let ready = self.jobs.values().filter(|job| job.queue == asked.queue && job.state == JobState::Ready);
        let slot = |job: &RefJob| job.sticky_key.as_ref().map(|key| bravo_model::sticky_slot(&job.project, key));
        let fronts: BTreeSet<_> = ready.map(|job| (job.priority, job.lane(), slot(job))).collect();
        let priorities = fronts.iter().map(|(priority, ..)| priority).collect::<BTreeSet<_>>().len();
        // A look at each front and at what leads to it; what is left is shared among the priorities.
        let looks = (given + 2 * priorities) * (3 * fronts.len() + 2);
        given > 0 && looks > (limits::LOOKS_MAX + limits::LOOKS_PER_JOB * asked.max) as usize
    }

    /// Jobs whose deadline has passed are never delivered. Those that a lease meets at the front die
    /// of it; how far it looks is up to the model.
    fn bury_one(&mut self, queue: &Name, seen: &Seen<'_>) -> bool {
        let dead = |seq| (seen.job)(seq).is_some_and(|(state, _)| state == JobState::Dead);
        let ready = self.jobs.values().filter(|job| job.queue == *queue && job.state == JobState::Ready);
        let late = ready.filter(|job| self.is_late(job) && dead(job.seq));
        // Across lanes, the copies of the dead tell in which order they were met.
        let met = (seen.origin)(self.next_seq);
        let found = late.min_by_key(|job| (met != Some(job.seq), Reverse(job.priority), job.place)).map(|job| job.seq);
        let Some(seq) = found else { return false };
        self.jobs.get_mut(&seq).expect("it is there").error = Some("deadline_exceeded".into());
        self.finish(seq, JobState::Dead);
        true
    }

    /// Whether jobs are ready that are too late, or have no free slot of their concurrency key.
    pub(crate) fn has_held_back(&self, queue: &Name) -> bool {
        let mut ready = self.jobs.values().filter(|job| job.queue == *queue && job.state == JobState::Ready);
        ready.any(|job| self.is_late(job) || self.is_concurrency_limited(job) || self.slots_are_spoken_for(job, true))
    }

    pub(super) fn is_late(&self, job: &RefJob) -> bool {
        job.deadline.is_some_and(|deadline| deadline <= self.now)
    }

    fn lease_one(&mut self, seq: u64, token: u64, asked: &Lease) -> LeasedJob {
        let now = self.now;
        self.take_rate_token(&asked.queue);
        let lease_ms = asked.lease_ms.unwrap_or(self.queue_or_default(&asked.queue).config.lease_ms);
        let job = self.jobs.get_mut(&seq).expect("a candidate");
        job.state = JobState::Leased;
        job.attempt += 1;
        job.token = token;
        job.lease_ms = lease_ms;
        job.lease_expires_at = Some(now + lease_ms);
        job.started_at = Some(now);
        job.worker = Some(asked.worker.clone());
        LeasedJob {
            seq,
            queue: job.queue.clone(),
            project: job.project.clone(),
            attempt: job.attempt,
            token,
            expires_at: now + lease_ms,
            lease_ms,
            metadata: job.metadata.clone(),
            workflow: job.workflow.clone(),
        }
    }

    /// What this asker may be given next: of the jobs that nothing holds back and that are for it, those of
    /// the highest priority; of these, the first of each fairness lane, the oldest place first. A job whose
    /// slot is kept for one in front of it may be passed over.
    fn candidates_for(&self, asked: &Lease) -> Vec<u64> {
        if !self.has_room(&asked.queue) || !self.has_rate_token(&asked.queue) {
            return Vec::new();
        }
        let mut all = self.first_of_lanes(&asked.queue, Some(asked), false, true);
        let free = self.open_jobs(&asked.queue, false).into_iter();
        let free: Vec<_> =
            free.filter(|job| has_what_it_takes(job, asked) && self.kept_until(job, asked).is_none()).collect();
        let goes_before = |other: &RefJob, job: &RefJob| {
            let in_lane = other.lane() == job.lane() && other.priority == job.priority && other.place < job.place;
            (other.priority > job.priority || in_lane) && !self.slots_are_spoken_for(other, true)
        };
        let passing = free.iter().filter(|job| !free.iter().any(|other| goes_before(other, job)));
        let passing: Vec<u64> = passing.map(|job| job.seq).filter(|seq| !all.contains(seq)).collect();
        all.extend(passing);
        all
    }

    /// What the asker must be given, if it is given anything next.
    fn owed(&self, asked: &Lease) -> Vec<u64> {
        if !self.has_room(&asked.queue) || !self.has_rate_token(&asked.queue) {
            return Vec::new();
        }
        self.first_of_lanes(&asked.queue, Some(asked), false, false)
    }

    /// When the asker may be given more, if time alone brings it.
    fn more_at(&self, asked: &Lease) -> Option<Time> {
        if !self.has_room(&asked.queue) {
            return None;
        }
        if !self.first_of_lanes(&asked.queue, Some(asked), false, false).is_empty() {
            return self.next_token_at(&asked.queue);
        }
        let open = self.open_jobs(&asked.queue, false);
        let waiting =
            open.into_iter().filter(|job| has_what_it_takes(job, asked) && !self.slots_are_spoken_for(job, true));
        waiting.filter_map(|job| self.kept_until(job, asked)).min()
    }

    /// Nothing would be delivered to a worker that asks now, whatever its labels.
    pub(crate) fn is_idle(&self, queue: &Name) -> bool {
        !self.has_room(queue) || !self.has_rate_token(queue) || self.first_of_lanes(queue, None, false, true).is_empty()
    }

    fn open_jobs(&self, queue: &Name, with_late: bool) -> Vec<&RefJob> {
        self.jobs
            .values()
            .filter(|job| job.queue == *queue && job.state == JobState::Ready)
            .filter(|job| with_late || !self.is_late(job))
            .filter(|job| !self.is_behind_order_key(job) && !self.is_concurrency_limited(job))
            .collect()
    }

    /// Until when a job is kept for another worker than the asker.
    fn kept_until(&self, job: &RefJob, asked: &Lease) -> Option<Time> {
        let (sticky, key) = asked.sticky.zip(job.sticky_key.as_ref())?;
        let bits = if job.requirements.is_empty() { sticky.slots } else { sticky.alike };
        let wanted = bits >> bravo_model::sticky_slot(&job.project, key) & 1 == 1;
        let until = job.ready_at + sticky.wait_ms;
        (!wanted && until > self.now).then_some(until)
    }

    /// What may be delivered next to an asker (none: to somebody), were it not for the queue's own limits.
    pub(super) fn first_of_lanes(
        &self,
        queue: &Name,
        asked: Option<&Lease>,
        with_late: bool,
        with_spoken_for: bool,
    ) -> Vec<u64> {
        let for_asker = |job: &RefJob| {
            asked.is_none_or(|asked| has_what_it_takes(job, asked) && self.kept_until(job, asked).is_none())
        };
        let free = self.open_jobs(queue, with_late).into_iter().filter(|job| for_asker(job));
        let free: Vec<_> = free.filter(|job| with_spoken_for || !self.slots_are_spoken_for(job, true)).collect();
        let Some(top) = free.iter().map(|job| job.priority).max() else { return Vec::new() };
        let top: Vec<_> = free.into_iter().filter(|job| job.priority == top).collect();
        // A lane is served in order, but where the free slots of a concurrency key are left to jobs of
        // other lanes, those behind may go first. A late job may or may not have been met by then.
        let is_first = |job: &RefJob, with_late: bool| {
            !top.iter().any(|other| {
                other.lane() == job.lane() && other.place < job.place && !self.slots_are_spoken_for(other, with_late)
            })
        };
        let mut first: Vec<_> = top.iter().filter(|job| is_first(job, false) || is_first(job, true)).collect();
        first.sort_by_key(|job| job.place);
        first.iter().map(|job| job.seq).collect()
    }

    pub(super) fn ack(&mut self, acks: &[Ack]) -> Reply {
        if acks.len() > limits::ACK_ITEMS_MAX {
            return refuse(Code::InvalidArgument);
        }
        Reply::Items(acks.iter().map(|ack| code(self.ack_one(ack))).collect())
    }

    fn ack_one(&mut self, ack: &Ack) -> Option<Code> {
        if let Some(job) = self.jobs.get(&ack.seq)
            && job.state == JobState::Succeeded
            && job.acked_token == Some(ack.token)
        {
            return None; // The same ack again.
        }
        if let Some(code) = self.refuse_token(ack.seq, ack.token) {
            return Some(code);
        }
        let job = self.jobs.get_mut(&ack.seq).expect("its token was right");
        job.acked_token = Some(ack.token);
        job.result = ack.result.clone();
        self.finish(ack.seq, JobState::Succeeded);
        None
    }

    /// None if the job is leased under this token.
    fn refuse_token(&self, seq: u64, token: u64) -> Option<Code> {
        match self.jobs.get(&seq) {
            None => Some(Code::NotFound),
            // A lease is over when its end is reached, whether or not a tick has seen it.
            Some(job) if job.state == JobState::Leased && job.token == token => {
                job.lease_expires_at.is_none_or(|end| end <= self.now).then_some(Code::LeaseLost)
            }
            Some(_) => Some(Code::LeaseLost),
        }
    }

    pub(super) fn nack(&mut self, nacks: &[Nack], seen: &Seen<'_>) -> Reply {
        if nacks.len() > limits::ACK_ITEMS_MAX {
            return refuse(Code::InvalidArgument);
        }
        Reply::Items(nacks.iter().map(|nack| code(self.nack_one(nack, seen))).collect())
    }

    fn nack_one(&mut self, nack: &Nack, seen: &Seen<'_>) -> Option<Code> {
        if let Some(code) = self.refuse_token(nack.seq, nack.token) {
            return Some(code);
        }
        self.jobs.get_mut(&nack.seq).expect("its token was right").error = nack.error.clone();
        self.fail(nack.seq, nack.retry_in_ms, nack.dead, seen);
        None
    }

    /// A lease ended without success.
    pub(super) fn fail(&mut self, seq: u64, retry_in_ms: Option<u64>, no_more: bool, seen: &Seen<'_>) {
        let now = self.now;
        let job = self.jobs.get_mut(&seq).expect("a leased job");
        job.lease_expires_at = None;
        if job.cancel_requested {
            return self.finish(seq, JobState::Cancelled);
        }
        let late = job.deadline.is_some_and(|deadline| deadline <= now);
        if no_more || job.attempt >= job.max_attempts || late {
            if late && !no_more {
                job.error = Some("deadline_exceeded".into());
            }
            return self.finish(seq, JobState::Dead);
        }
        let run_at = match retry_in_ms {
            Some(ms) => now + ms,
            None => self.backoff(seq, seen),
        };
        let job = self.jobs.get_mut(&seq).expect("a leased job");
        job.failed_before = true;
        job.state = JobState::Scheduled;
        job.run_at = run_at;
        if run_at <= now {
            self.make_ready(seq);
        }
    }

    /// When the next attempt is due: what the real model chose, if that lies within the bounds.
    fn backoff(&self, seq: u64, seen: &Seen<'_>) -> u64 {
        let job = &self.jobs[&seq];
        let backoff = self.queue_or_default(&job.queue).config.backoff;
        let grown = (1..job.attempt).fold(backoff.initial_ms as f64, |pause, _| pause * backoff.factor);
        let longest = grown.min(backoff.max_ms as f64);
        let shortest = longest * (1.0 - backoff.jitter);
        let (from, to) = (self.now + shortest.floor() as u64, self.now + longest.ceil() as u64);
        (seen.job)(seq).map(|(_, run_at)| run_at).filter(|at| (from..=to).contains(at)).unwrap_or(to)
    }

    pub(super) fn extend(&mut self, leases: &[Extend]) -> Reply {
        if leases.len() > limits::ACK_ITEMS_MAX {
            return refuse(Code::InvalidArgument);
        }
        Reply::Items(leases.iter().map(|lease| self.extend_one(lease)).collect())
    }

    fn extend_one(&mut self, asked: &Extend) -> ItemResult {
        if let Some(refused) = self.refuse_token(asked.seq, asked.token) {
            return code(Some(refused));
        }
        if asked.lease_ms.is_some_and(|ms| !(limits::LEASE_MS_MIN..=limits::LEASE_MS_MAX).contains(&ms)) {
            return code(Some(Code::InvalidArgument));
        }
        let now = self.now;
        let job = self.jobs.get_mut(&asked.seq).expect("its token was right");
        let until = now + asked.lease_ms.unwrap_or(job.lease_ms);
        job.lease_expires_at = Some(until);
        if asked.progress.is_some() {
            job.progress = asked.progress.clone();
        }
        ItemResult { code: None, cancel_requested: job.cancel_requested, expires_at: Some(until) }
    }
}

/// The job is of the asker's project, and the asker has what the job requires.
fn has_what_it_takes(job: &RefJob, asked: &Lease) -> bool {
    let has = |label: &String, value: &String| asked.labels.iter().any(|(has, of)| has == label && of == value);
    asked.project.as_ref().is_none_or(|project| *project == job.project)
        && job.requirements.iter().all(|(label, value)| has(label, value))
}

fn code(code: Option<Code>) -> ItemResult {
    ItemResult { code, ..ItemResult::default() }
}
