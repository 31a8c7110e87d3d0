//! Taking jobs in.

use std::collections::BTreeMap;

use bravo_model::command::{NewJob, When};
use bravo_model::job::JobState;
use bravo_model::reply::{Enqueued, Reply};
use bravo_model::{Code, JobId, Name, Time, limits};
use bytes::Bytes;

use super::{RefJob, Reference, Seen, Unique, refuse};

impl Reference {
    pub(super) fn enqueue(&mut self, asked: &[NewJob], seen: &Seen<'_>) -> Reply {
        if let Some(code) = self.refusal(asked) {
            return refuse(code);
        }
        // All or none: try on a copy. If more than one thing is wrong, any of them may be named.
        let mut next = self.clone();
        let tried: Vec<_> = asked.iter().map(|job| next.enqueue_one(job)).collect();
        let named = match seen.reply {
            Some(Reply::Refused(refusal)) => Some(refusal.code),
            _ => None,
        };
        let wrong: Vec<Code> = tried.iter().filter_map(|one| one.err()).collect();
        if let Some(&first) = wrong.first() {
            return refuse(named.filter(|code| wrong.contains(code)).unwrap_or(first));
        }
        *self = next;
        Reply::Enqueued(tried.into_iter().flatten().collect())
    }

    /// What is wrong with the request by itself.
    fn refusal(&self, asked: &[NewJob]) -> Option<Code> {
        if asked.is_empty() || asked.len() > limits::ENQUEUE_JOBS_MAX {
            return Some(Code::InvalidArgument);
        }
        asked.iter().find_map(|job| self.refusal_of(job)).or_else(|| {
            let bytes: usize = asked.iter().map(|job| job.payload.bytes.len()).sum();
            (bytes > limits::ENQUEUE_BYTES_MAX).then_some(Code::PayloadTooLarge)
        })
    }

    fn refusal_of(&self, job: &NewJob) -> Option<Code> {
        let too_far = |when: &Option<When>| match when {
            Some(When::In(ms)) => *ms > limits::HORIZON_MS_MAX,
            Some(When::At(at)) => *at > self.now.saturating_add(limits::HORIZON_MS_MAX),
            None => false,
        };
        if job.payload.bytes.len() > limits::PAYLOAD_BYTES_MAX {
            return Some(Code::PayloadTooLarge);
        }
        let wrong = job.priority > limits::PRIORITY_MAX
            || job.max_attempts.is_some_and(|n| n == 0 || n > limits::ATTEMPTS_MAX)
            || too_far(&job.run_at)
            || too_far(&job.deadline)
            || job.unique_for_ms.is_some_and(|ms| ms > limits::HORIZON_MS_MAX)
            || job.requirements.len() > limits::REQUIREMENTS_MAX;
        wrong.then_some(Code::InvalidArgument)
    }

    fn enqueue_one(&mut self, asked: &NewJob) -> Result<Enqueued, Code> {
        if let Some(held) = self.holder_of_unique(&asked.project, &asked.queue, asked.unique_key.as_ref()) {
            let state = self.jobs.get(&held.seq).map_or(held.ended, |job| job.state);
            return Ok(Enqueued { seq: held.seq, state, duplicate: true });
        }
        let queue = self.queue_or_default(&asked.queue);
        if queue.draining {
            return Err(Code::Conflict);
        }
        if self.waiting(&asked.queue) >= queue.config.max_ready {
            return Err(Code::QueueFull);
        }
        let seq = self.next_seq;
        self.next_seq += 1;
        let max_attempts = asked.max_attempts.unwrap_or(queue.config.max_attempts);
        let job = RefJob {
            seq,
            queue: asked.queue.clone(),
            project: asked.project.clone(),
            state: JobState::Scheduled,
            priority: asked.priority,
            attempt: 0,
            max_attempts,
            attempts_granted: max_attempts,
            enqueued_at: self.now,
            run_at: self.moment(asked.run_at).unwrap_or(self.now).max(self.now),
            deadline: self.moment(asked.deadline),
            started_at: None,
            finished_at: None,
            keep_until: None,
            is_copy: false,
            token: 0,
            lease_expires_at: None,
            lease_ms: queue.config.lease_ms,
            worker: None,
            cancel_requested: false,
            acked_token: None,
            progress: None,
            error: None,
            metadata: asked.metadata.clone(),
            workflow: asked.workflow.clone(),
            order_key: asked.order_key.clone(),
            concurrency_key: asked.concurrency_key.clone(),
            fairness_key: asked.fairness_key.clone(),
            unique_key: asked.unique_key.clone(),
            requirements: asked.requirements.clone(),
            sticky_key: asked.sticky_key.clone(),
            payload: asked.payload.clone(),
            result: None,
            place: 0,
            ready_at: 0,
            failed_before: false,
        };
        self.admit(job, asked.unique_for_ms);
        Ok(Enqueued { seq, state: self.jobs[&seq].state, duplicate: false })
    }

    fn admit(&mut self, job: RefJob, unique_for_ms: Option<u64>) {
        let (seq, due) = (job.seq, job.run_at <= self.now);
        if let Some(key) = &job.unique_key {
            let until = unique_for_ms.map(|ms| self.now + ms);
            self.uniques.push(Unique {
                project: job.project.clone(),
                queue: job.queue.clone(),
                key: key.clone(),
                seq,
                until,
                ended: JobState::Ready,
            });
        }
        self.jobs.insert(seq, job);
        self.take_turn(seq);
        if due {
            self.make_ready(seq);
        }
    }

    fn moment(&self, when: Option<When>) -> Option<Time> {
        when.map(|when| match when {
            When::At(at) => at,
            When::In(ms) => self.now + ms,
        })
    }

    /// Who holds a unique key.
    pub(super) fn holder_of_unique(&self, project: &Name, queue: &Name, key: Option<&String>) -> Option<&Unique> {
        self.uniques
            .iter()
            .filter(|held| Some(&held.key) == key && held.project == *project && held.queue == *queue)
            .find(|held| held.until.is_none_or(|until| until > self.now))
    }

    /// `dead_letter: "Q"`: a copy of each dead job is enqueued there, linked by its metadata.
    pub(super) fn copy_to_dead_letters(&mut self, seq: u64) {
        let dead = self.jobs[&seq].clone();
        if dead.is_copy {
            return;
        }
        let Some(target) = self.queue_or_default(&dead.queue).config.dead_letter else { return };
        if target == dead.queue {
            return;
        }
        let queue = self.queue_or_default(&target);
        let copy = self.next_seq;
        self.next_seq += 1;
        let id = JobId { partition: self.partition, seq };
        let copied = RefJob {
            seq: copy,
            queue: target,
            state: JobState::Ready,
            attempt: 0,
            max_attempts: queue.config.max_attempts,
            attempts_granted: queue.config.max_attempts,
            enqueued_at: self.now,
            run_at: self.now,
            deadline: None,
            started_at: None,
            finished_at: None,
            keep_until: None,
            is_copy: true,
            token: 0,
            lease_ms: queue.config.lease_ms,
            worker: None,
            cancel_requested: false,
            acked_token: None,
            progress: None,
            metadata: linked(&dead.metadata, id),
            order_key: None,
            concurrency_key: None,
            fairness_key: None,
            unique_key: None,
            requirements: BTreeMap::new(),
            sticky_key: None,
            workflow: None,
            result: None,
            place: 0,
            ready_at: 0,
            failed_before: false,
            ..dead
        };
        self.jobs.insert(copy, copied);
        self.make_ready(copy);
    }
}

/// The metadata with `dead_letter_of` beside what is there. (The judge compares it as JSON-ish text.)
fn linked(metadata: &Bytes, id: JobId) -> Bytes {
    let text = std::str::from_utf8(metadata).unwrap_or_default().trim();
    let inner = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or_default().trim();
    let link = format!("\"dead_letter_of\":\"{id}\"");
    if inner.is_empty() { format!("{{{link}}}").into() } else { format!("{{{inner},{link}}}").into() }
}
