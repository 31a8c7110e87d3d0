//! Enqueue: takes jobs in, all of them or none.

use std::collections::BTreeMap;

use super::{Answer, invalid};
use crate::Time;
use crate::code::{Code, Refusal};
use crate::command::{NewJob, When};
use crate::job::{Job, Keeping};
use crate::limits;
use crate::reply::{Enqueued, Reply};
use crate::state::State;
use crate::table::{self, H16, tag};
use crate::webhook;

/// What becomes of one job of the call.
enum Plan {
    /// Its unique key is held by a job that is there.
    Held(Enqueued),
    /// Its unique key is held by this earlier job of the same call.
    Same(usize),
    /// It is taken in.
    New,
}

impl State<'_> {
    pub(super) fn enqueue(&mut self, jobs: Vec<NewJob>) -> Answer {
        check_call(&jobs)?;
        for job in &jobs {
            check(job, self.now())?;
        }
        let plans = self.plan(&jobs)?;
        let mut answers: Vec<Enqueued> = Vec::with_capacity(jobs.len());
        for (job, plan) in jobs.into_iter().zip(plans) {
            let answer = match plan {
                Plan::Held(held) => held,
                Plan::Same(first) => match answers.get(first) {
                    Some(first) => Enqueued { duplicate: true, ..*first },
                    None => continue,
                },
                Plan::New => self.take_in(job),
            };
            answers.push(answer);
        }
        Ok(Reply::Enqueued(answers))
    }

    /// Finds the duplicates, and whether the queues take the rest.
    fn plan(&mut self, jobs: &[NewJob]) -> Result<Vec<Plan>, Refusal> {
        let mut claimed: BTreeMap<(&str, H16), usize> = BTreeMap::new();
        let mut wanted: BTreeMap<&crate::Name, u64> = BTreeMap::new();
        let mut plans = Vec::with_capacity(jobs.len());
        for (index, job) in jobs.iter().enumerate() {
            let plan = self.plan_one(job, index, &mut claimed);
            if matches!(plan, Plan::New) {
                *wanted.entry(&job.queue).or_default() += 1;
            }
            plans.push(plan);
        }
        let mut unknown = 0;
        for (name, jobs) in wanted {
            match self.known(name) {
                Some(number) => self.check_room(number, jobs)?,
                None => unknown += 1,
            }
        }
        if unknown > 0 && self.meta.queues.saturating_add(unknown) > limits::QUEUES_MAX {
            let detail = format!("there are {} queues, and no more may be made", limits::QUEUES_MAX);
            return Err(Refusal::retry_after(Code::RateLimited, detail, 60_000));
        }
        Ok(plans)
    }

    fn plan_one<'a>(&mut self, job: &'a NewJob, index: usize, claimed: &mut BTreeMap<(&'a str, H16), usize>) -> Plan {
        let Some(key) = &job.unique_key else { return Plan::New };
        if let Some(held) = self.holder(job) {
            return Plan::Held(held);
        }
        if job.unique_for_ms == Some(0) {
            return Plan::New;
        }
        let hash = table::h16(&[job.project.as_str(), key]);
        match claimed.get(&(job.queue.as_str(), hash)) {
            Some(&first) => Plan::Same(first),
            None => {
                claimed.insert((job.queue.as_str(), hash), index);
                Plan::New
            }
        }
    }

    fn check_room(&mut self, number: u32, jobs: u64) -> Result<(), Refusal> {
        let queue = self.queue(number);
        let name = &queue.def.name;
        if queue.def.draining {
            return Err(Refusal::new(Code::Conflict, format!("queue {name} is draining and takes no jobs")));
        }
        let max = queue.def.config.max_ready;
        let waiting = queue.stats.waiting();
        if waiting.saturating_add(jobs) > max {
            let detail = format!("queue {name} holds {waiting} waiting jobs of at most {max}");
            return Err(Refusal::retry_after(Code::QueueFull, detail, 1_000));
        }
        Ok(())
    }

    pub(super) fn take_in(&mut self, new: NewJob) -> Enqueued {
        let now = self.now();
        let number = self.intern(&new.queue);
        let config = &self.queue(number).def.config;
        let max_attempts = new.max_attempts.unwrap_or(config.max_attempts);
        let lease_ms = config.lease_ms;
        self.meta.last_seq = self.meta.last_seq.saturating_add(1);
        let seq = self.meta.last_seq;
        let payload_bytes = u32::try_from(new.payload.bytes.len()).unwrap_or(u32::MAX);
        self.put(table::by_seq(tag::PAYLOAD, seq), &new.payload);
        let run_at = new.run_at.map_or(now, |when| at(when, now).max(now));
        let unique_until = new.unique_for_ms.map(|ms| now.saturating_add(ms));
        let mut job = Job {
            seq,
            queue: new.queue,
            max_attempts,
            lease_ms,
            enqueued_at: now,
            deadline: new.deadline.map(|when| at(when, now)),
            metadata: new.metadata,
            workflow: new.workflow,
            order_key: new.order_key,
            concurrency_key: new.concurrency_key,
            fairness_key: new.fairness_key,
            unique_key: new.unique_key,
            requirements: new.requirements,
            sticky_key: new.sticky_key,
            ..Job::new(new.project, new.priority)
        };
        job.keeping =
            Keeping { queue_number: number, attempts_granted: max_attempts, payload_bytes, ..Keeping::default() };
        if job.unique_key.is_some() && new.unique_for_ms != Some(0) {
            self.claim(&job, unique_until);
        }
        self.wait_until(&mut job, run_at);
        self.transition(None, Some(&job));
        Enqueued { seq, state: job.state, duplicate: false }
    }
}

fn at(when: When, now: Time) -> Time {
    match when {
        When::At(time) => time,
        When::In(ms) => now.saturating_add(ms),
    }
}

fn check_call(jobs: &[NewJob]) -> Result<(), Refusal> {
    if jobs.is_empty() || jobs.len() > limits::ENQUEUE_JOBS_MAX {
        return invalid(format!("jobs: 1 to {} a call, these are {}", limits::ENQUEUE_JOBS_MAX, jobs.len()));
    }
    let bytes: usize = jobs.iter().map(|job| job.payload.bytes.len()).sum();
    if bytes > limits::ENQUEUE_BYTES_MAX {
        let detail = format!("payloads of one call have at most {} bytes, these {bytes}", limits::ENQUEUE_BYTES_MAX);
        return Err(Refusal::new(Code::PayloadTooLarge, detail));
    }
    Ok(())
}

fn check(job: &NewJob, now: Time) -> Result<(), Refusal> {
    webhook::refuse_queue("queue", &job.queue)?;
    let bytes = job.payload.bytes.len();
    if bytes > limits::PAYLOAD_BYTES_MAX {
        let detail = format!("payload: at most {} bytes, this one has {bytes}", limits::PAYLOAD_BYTES_MAX);
        return Err(Refusal::new(Code::PayloadTooLarge, detail));
    }
    if job.priority > limits::PRIORITY_MAX {
        return invalid(format!("priority: 0 to {}", limits::PRIORITY_MAX));
    }
    if job.metadata.len() > limits::METADATA_BYTES_MAX {
        return invalid(format!("metadata: at most {} bytes", limits::METADATA_BYTES_MAX));
    }
    if job.max_attempts.is_some_and(|attempts| !(1..=limits::ATTEMPTS_MAX).contains(&attempts)) {
        return invalid(format!("max_attempts: 1 to {}", limits::ATTEMPTS_MAX));
    }
    let horizon = now.saturating_add(limits::HORIZON_MS_MAX);
    for (what, when) in [("run_at", job.run_at), ("deadline", job.deadline)] {
        if when.is_some_and(|when| at(when, now) > horizon) {
            return invalid(format!("{what}: at most ten years from now"));
        }
    }
    if job.unique_for_ms.is_some_and(|ms| ms > limits::HORIZON_MS_MAX) {
        return invalid("unique_for_ms: at most ten years");
    }
    let keys = [
        ("unique_key", &job.unique_key),
        ("order_key", &job.order_key),
        ("concurrency_key", &job.concurrency_key),
        ("fairness_key", &job.fairness_key),
        ("sticky_key", &job.sticky_key),
    ];
    for (what, key) in keys {
        if key.as_ref().is_some_and(|key| key.is_empty() || key.len() > limits::NAME_BYTES_MAX) {
            return invalid(format!("{what}: 1 to {} bytes", limits::NAME_BYTES_MAX));
        }
    }
    check_requirements(&job.requirements)
}

fn check_requirements(requirements: &BTreeMap<String, String>) -> Result<(), Refusal> {
    if requirements.len() > limits::REQUIREMENTS_MAX {
        return invalid(format!("requirements: at most {}", limits::REQUIREMENTS_MAX));
    }
    let fits = |text: &String| !text.is_empty() && text.len() <= limits::LABEL_BYTES_MAX && !text.contains('\0');
    if requirements.iter().any(|(label, value)| !fits(label) || !fits(value)) {
        return invalid(format!("requirements: labels and values have 1 to {} bytes", limits::LABEL_BYTES_MAX));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use crate::command::{Command, When};
    use crate::reply::Enqueued;
    use crate::testing::{World, new_job, refusal};
    use crate::{Code, JobState, QueueConfig, Reply, limits};

    #[test]
    fn a_job_for_later_is_scheduled_and_delivered_at_its_time() {
        let mut world = World::new();
        let seq = world.add(|job| job.run_at = Some(When::In(500)));
        assert_eq!((world.state(seq), world.why(seq)), (Some(JobState::Scheduled), "scheduled"));
        world.tick(499);
        assert!(world.lease(1).is_empty());
        world.tick(1);
        assert_eq!(world.lease(1), [seq]);
    }

    #[test]
    fn one_bad_job_refuses_the_whole_call() {
        let mut world = World::new();
        let bad = [
            crate::command::NewJob { priority: 10, ..new_job() },
            crate::command::NewJob { max_attempts: Some(0), ..new_job() },
            crate::command::NewJob { order_key: Some(String::new()), ..new_job() },
            crate::command::NewJob { run_at: Some(When::In(limits::HORIZON_MS_MAX + 1)), ..new_job() },
            crate::command::NewJob { metadata: Bytes::from(vec![b' '; limits::METADATA_BYTES_MAX + 1]), ..new_job() },
        ];
        for job in bad {
            let reply = world.ask(Command::Enqueue(vec![new_job(), job]));
            assert_eq!(refusal(&reply), Some(Code::InvalidArgument));
        }
        let mut large = new_job();
        large.payload.bytes = Bytes::from(vec![0; limits::PAYLOAD_BYTES_MAX + 1]);
        assert_eq!(refusal(&world.ask(Command::Enqueue(vec![large]))), Some(Code::PayloadTooLarge));
        assert_eq!(refusal(&world.ask(Command::Enqueue(vec![]))), Some(Code::InvalidArgument));
        assert_eq!(crate::view::queues(&world.rows), []);
    }

    #[test]
    fn a_full_queue_refuses_until_there_is_room() {
        let mut world = World::new();
        world.set(QueueConfig { max_ready: 2, ..QueueConfig::default() });
        let first = world.add(|_| {});
        let reply = world.ask(Command::Enqueue(vec![new_job(), new_job()]));
        assert!(matches!(reply, Reply::Refused(ref no) if no.code == Code::QueueFull && no.retry_after_ms.is_some()));
        world.add(|_| {});
        assert_eq!(refusal(&world.ask(Command::Enqueue(vec![new_job()]))), Some(Code::QueueFull));
        assert_eq!(world.lease(1), [first], "what is leased does not count");
        world.add(|_| {});
    }

    #[test]
    fn a_draining_queue_takes_nothing_and_gives_what_it_has() {
        let mut world = World::new();
        let seq = world.add(|_| {});
        world.switch(QueueConfig::default(), false, true);
        assert_eq!(refusal(&world.ask(Command::Enqueue(vec![new_job()]))), Some(Code::Conflict));
        assert_eq!(world.lease(5), [seq]);
    }

    #[test]
    fn a_unique_key_answers_with_the_first_job_until_it_is_final() {
        let mut world = World::new();
        let job = crate::command::NewJob { unique_key: Some("k".into()), ..new_job() };
        let other = crate::command::NewJob { project: crate::testing::name("other"), ..job.clone() };
        let Reply::Enqueued(jobs) = world.ask(Command::Enqueue(vec![job.clone(), job.clone(), other])) else {
            panic!()
        };
        let expected = [(1, false), (1, true), (2, false)];
        let state = JobState::Ready;
        assert_eq!(jobs, expected.map(|(seq, duplicate)| Enqueued { seq, state, duplicate }));
        let is_claimed = |world: &World, project: &str| {
            crate::view::is_claimed(&world.rows, &job.queue, &crate::testing::name(project), "k")
        };
        assert_eq!(["p", "other", "nobody"].map(|project| is_claimed(&world, project)), [true, true, false]);
        assert_eq!(world.lease(1), [1]);
        let Reply::Enqueued(jobs) = world.ask(Command::Enqueue(vec![job.clone()])) else { panic!() };
        assert_eq!(jobs, [Enqueued { seq: 1, state: JobState::Leased, duplicate: true }]);
        world.ack(1).expect("acked");
        assert!(!is_claimed(&world, "p"));
        assert_eq!(world.add(|new| *new = job.clone()), 3, "the first is final");
    }

    #[test]
    fn a_unique_window_holds_whatever_becomes_of_the_job() {
        let mut world = World::new();
        world.set(QueueConfig { retention_ms: 100, ..QueueConfig::default() });
        let windowed = |job: &mut crate::command::NewJob| {
            (job.unique_key, job.unique_for_ms) = (Some("k".into()), Some(1_000));
        };
        let first = world.add(windowed);
        world.lease(1);
        world.ack(first).expect("acked");
        world.tick(200);
        assert_eq!(world.state(first), None, "retention is over");
        assert_eq!(world.add(windowed), first);
        world.tick(799);
        assert_eq!(world.add(windowed), first);
        world.at += 1;
        assert!(world.add(windowed) > first, "the window is over, tick or not");
    }
}
