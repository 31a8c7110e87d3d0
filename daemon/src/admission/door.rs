//! Where enqueues are let in or refused: what the last look left behind, and counts for the next one.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bravo_api::proto;
use bravo_model::command::{NewJob, When};
use bravo_model::{Code, Name, Refusal, Time};
use bravo_storage::cache::MemoryCache;
use parking_lot::{Mutex, RwLock};

use super::PRIORITIES;
use super::calibrate::Interval;
use super::estimate::{Coming, Guess};
use super::ladder::{self, Gate, RUNGS, rung};
use super::lanes::{Lanes, Served};
use super::overload::Limit;
use super::queue::{Ask, Control, Counts, Standing, Verdict};
use super::sample::{Sample, Samples};
use crate::config;
use crate::raft::clock::wall;
use crate::telemetry::events::{CacheAsked, RequestShed};

/// Queues that are looked after at a time; jobs of further ones are let in without an estimate.
const QUEUES_MAX: usize = 256;
/// A queue that nobody put a job in for this long is looked after no more.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);
/// Bytes of estimates that are kept for repetitions of their calls, and for how long.
const TOLD_BYTES: usize = 4 << 20;
const TOLD_FOR: Duration = Duration::from_secs(600);
/// Bounds of what a refused caller is told to wait.
const RETRY_MS: (f64, f64) = (100.0, 300_000.0);

/// A queue's state at this node.
#[derive(Default)]
pub(crate) struct Queue {
    /// What is learned from look to look.
    pub(crate) control: Control,
    /// What enqueues are judged by; none before the first look.
    pub(crate) standing: Option<Standing>,
    /// When that look was.
    pub(crate) looked: Option<Instant>,
    /// What was let in since, by priority.
    pub(crate) since: [f64; PRIORITIES],
    /// For the next look.
    pub(crate) counts: Counts,
    /// What went through it until the last look, by partition.
    pub(crate) flows: Vec<bravo_model::row::Flow>,
    /// Workers on their way, and when that was said.
    pub(crate) coming: Vec<(Coming, Instant)>,
    /// What its live workers may have.
    pub(crate) served: Served,
    /// Whose jobs wait, where that can be told.
    pub(crate) lanes: Option<Lanes>,
    /// Jobs that no live worker may have, at the last look.
    pub(crate) unmet: f64,
    used: Option<Instant>,
    asked: u64,
}

impl Queue {
    /// Judges a job, and counts that it asked; whether the gate holds for it.
    fn judge(&mut self, ask: Ask, now: Instant) -> (Verdict, bool) {
        let Some(standing) = &self.standing else { return (Verdict::Admitted(None), false) };
        let age_ms = self.looked.map_or(0.0, |looked| now.duration_since(looked).as_secs_f64() * 1e3);
        self.asked += 1;
        let (verdict, is_gated) = standing.judge(ask, &self.since, age_ms, self.asked);
        if is_gated {
            self.counts.asked[ask.rung] += 1.0;
        }
        if let (Verdict::Missed(_), Some(ttl_ms)) = (verdict, ask.ttl_ms) {
            self.counts.missed_ms = self.counts.missed_ms.max(ttl_ms);
        }
        (verdict, is_gated)
    }
}

/// The node's own state.
pub(crate) struct Node {
    /// What is let in, whatever the queue.
    pub(crate) gate: Gate,
    /// The limit that was met.
    pub(crate) limit: Option<Limit>,
    /// What a refused caller is told to wait at least.
    pub(crate) drain_ms: f64,
    /// Jobs that asked since the last tick, by rung.
    pub(crate) asked: [f64; RUNGS],
    /// Jobs that were let in since.
    pub(crate) admitted: f64,
    /// The shortest time that an enqueue took since.
    pub(crate) fastest: Option<Duration>,
    nth: u64,
}

/// The admission of one node.
pub struct Admission {
    /// How it is set up.
    pub(crate) options: config::Admission,
    queues: RwLock<HashMap<Name, Arc<Mutex<Queue>>>>,
    /// The node's own limits.
    pub(crate) node: Mutex<Node>,
    /// Predictions that will be compared with what came of them.
    pub(crate) samples: Mutex<Samples>,
    told: MemoryCache<[u8; 16], Arc<[Option<proto::Eta>]>>,
    refused: AtomicU64,
    /// Jobs came since workers were last asked for.
    used: AtomicBool,
    /// The state's time when it was last looked at: deadlines are in it, and it knows no jumps of a wall clock.
    time: Mutex<(Time, Instant)>,
}

/// Jobs that were let in.
#[derive(Default)]
pub(crate) struct Admitted {
    etas: Vec<Option<proto::Eta>>,
    samples: Vec<(usize, Name, Guess, Interval)>,
    counted: Vec<Counted>,
}

/// Jobs of one queue and priority that were counted as let in.
struct Counted {
    queue: Arc<Mutex<Queue>>,
    priority: usize,
    jobs: f64,
    ungated: f64,
}

impl Admitted {
    /// The same for a call of which these were only some jobs, at these places that they were judged with; nothing is
    /// told of the others.
    pub(crate) fn among(mut self, places: &[usize]) -> Self {
        let etas = std::mem::take(&mut self.etas);
        self.etas = vec![None; places.last().map_or(0, |last| last + 1)];
        for (place, eta) in places.iter().zip(etas) {
            if let Some(at) = self.etas.get_mut(*place) {
                *at = eta;
            }
        }
        self
    }

    fn count(&mut self, queue: &Arc<Mutex<Queue>>, priority: usize, ungated: f64) {
        match self.counted.last_mut() {
            Some(last) if last.priority == priority && Arc::ptr_eq(&last.queue, queue) => {
                last.jobs += 1.0;
                last.ungated += ungated;
            }
            _ => self.counted.push(Counted { queue: queue.clone(), priority, jobs: 1.0, ungated }),
        }
    }
}

/// One job of a call.
struct Place<'a> {
    at: usize,
    job: &'a NewJob,
    rung: usize,
    now: Instant,
    time: Time,
}

/// Why a call is refused, and for how long.
struct Shed {
    reason: &'static str,
    retry_ms: f64,
    detail: String,
}

impl Admission {
    /// With nothing known.
    pub(crate) fn new(options: config::Admission) -> Self {
        Self {
            options,
            queues: RwLock::default(),
            node: Mutex::new(Node {
                gate: Gate::OPEN,
                limit: None,
                drain_ms: 0.0,
                asked: [0.0; RUNGS],
                admitted: 0.0,
                fastest: None,
                nth: 0,
            }),
            samples: Mutex::default(),
            told: MemoryCache::new("estimates", TOLD_BYTES, TOLD_FOR, |cache, tier, hit| {
                CacheAsked { cache, tier, hit }.emit();
            }),
            refused: AtomicU64::new(0),
            used: AtomicBool::new(false),
            time: Mutex::new((wall(), Instant::now())),
        }
    }

    /// The state's time now.
    pub(crate) fn is_now(&self, time: Time, now: Instant) {
        *self.time.lock() = (time, now);
    }

    fn time(&self, now: Instant) -> Time {
        let (time, at) = *self.time.lock();
        time.saturating_add(u64::try_from(now.saturating_duration_since(at).as_millis()).unwrap_or(u64::MAX))
    }

    /// Workers for a queue are on their way: estimates count on them from when they are to be there. They are
    /// forgotten then, since those that came are seen; saying it again replaces what was said before.
    pub(crate) fn expect(&self, queue: &Name, coming: &[Coming]) {
        let now = Instant::now();
        if let Some(queue) = self.queue(queue, now) {
            queue.lock().coming = coming.iter().take(4).map(|coming| (*coming, now)).collect();
        }
    }

    /// Judges the jobs of a call: all are let in, or none.
    #[cfg(test)]
    pub(crate) fn admit(&self, jobs: &[NewJob]) -> Result<Admitted, Refusal> {
        self.admit_some(jobs, |place| place)
    }

    /// Judges jobs of a call: all are let in, or none. `place` says where each stands in the call.
    pub(crate) fn admit_some(&self, jobs: &[NewJob], place: impl Fn(usize) -> usize) -> Result<Admitted, Refusal> {
        let now = Instant::now();
        let time = self.time(now);
        self.used.store(true, Ordering::Relaxed);
        jobs.iter().enumerate().try_for_each(|(at, job)| check_times(place(at), job, time))?;
        let rungs = self.pass_node(jobs, time)?;
        let mut admitted = Admitted { etas: Vec::with_capacity(jobs.len()), ..Admitted::default() };
        let places = jobs.iter().zip(rungs).enumerate();
        let mut places = places.map(|(at, (job, rung))| Place { at: place(at), job, rung, now, time }).peekable();
        // Jobs of one queue that stand together share one lock.
        while let Some(name) = places.peek().map(|place| &place.job.queue) {
            let queue = self.queue(name, now);
            let here = std::iter::from_fn(|| places.next_if(|place| place.job.queue == *name));
            let passed = match &queue {
                Some(queue) => self.pass_queue(queue, here, &mut admitted),
                None => {
                    admitted.etas.extend(here.map(|_| None));
                    Ok(())
                }
            };
            if let Err(shed) = passed {
                self.take_back(&admitted);
                return Err(self.refuse(&shed, jobs.first().map_or("", |job| job.project.as_str())));
            }
        }
        self.node.lock().admitted += jobs.len() as f64;
        Ok(admitted)
    }

    /// The node's own limits: the rungs of the jobs, if all may pass.
    fn pass_node(&self, jobs: &[NewJob], time: Time) -> Result<Vec<usize>, Refusal> {
        let mut rungs = Vec::with_capacity(jobs.len());
        let mut last: Option<(&Name, u8, usize)> = None;
        for job in jobs {
            let same = last.filter(|(project, priority, _)| *priority == job.priority && *project == &job.project);
            let rung = same.map_or_else(|| rung(job.priority.into(), job.project.as_str(), time), |(.., rung)| rung);
            last = Some((&job.project, job.priority, rung));
            rungs.push(rung);
        }
        let shed = {
            let node = &mut *self.node.lock();
            rungs.iter().for_each(|rung| node.asked[*rung] += 1.0);
            node.nth += 1;
            let passes = |rung: &usize| node.gate.lets_in(*rung, node.nth);
            if node.gate.is_open() || rungs.iter().all(passes) {
                return Ok(rungs);
            }
            Shed {
                reason: node.limit.map_or("admission.overload", Limit::key),
                retry_ms: node.drain_ms,
                detail: "this node has too much to do; jobs of lower priority and some tenants are turned away".into(),
            }
        };
        Err(self.refuse(&shed, jobs.first().map_or("", |job| job.project.as_str())))
    }

    /// What a queue says of some jobs.
    fn pass_queue<'a>(
        &self,
        queue: &Arc<Mutex<Queue>>,
        places: impl Iterator<Item = Place<'a>>,
        admitted: &mut Admitted,
    ) -> Result<(), Shed> {
        let state = &mut *queue.lock();
        for place in places {
            state.used = Some(place.now);
            let job = place.job;
            // Jobs that no live worker may have wait for another one, and keep nobody waiting.
            let is_met = state.served.may_have(job.project.as_str(), job.requirements.iter());
            let Some(scale) = state.standing.as_ref().filter(|_| is_met).map(|standing| standing.scale) else {
                admitted.etas.push(None);
                continue;
            };
            let (delay_ms, mut ask) = self.ask(&place);
            if let Some(lanes) = &mut state.lanes {
                ask.share = lanes.share(job, ask.priority, scale);
            }
            let (verdict, is_gated) = state.judge(ask, place.now);
            let shed = |retry_ms, detail: &str| {
                let detail = format!("jobs[{}]: queue {} {detail}", place.at, place.job.queue);
                Err(Shed { reason: "admission.deadlines", retry_ms, detail })
            };
            let guess = match verdict {
                Verdict::Admitted(guess) => guess,
                Verdict::Missed(retry_ms) => return shed(retry_ms, "would not start it before its deadline"),
                Verdict::Gated(retry_ms) => return shed(retry_ms, "has more such jobs than it can start in time"),
            };
            admitted.etas.push(guess.map(|(_, interval)| eta(interval, delay_ms)));
            if delay_ms > 0.0 {
                continue;
            }
            state.since[ask.priority] += 1.0;
            if let Some(lanes) = &mut state.lanes {
                lanes.add(job, ask.priority);
            }
            state.counts.admitted[ask.priority] += 1.0;
            let ungated = f64::from(u8::from(!is_gated));
            state.counts.ungated[ask.priority] += ungated;
            admitted.count(queue, ask.priority, ungated);
            if let Some((guess, interval)) = guess.filter(|_| self.samples.lock().wants()) {
                admitted.samples.push((place.at, place.job.queue.clone(), guess, interval));
            }
        }
        Ok(())
    }

    /// What a job asks for, and milliseconds until it may start. A job for later is no work yet.
    fn ask(&self, place: &Place<'_>) -> (f64, Ask) {
        let after = |when: When| ms_until(when, place.time) as f64;
        let delay_ms = place.job.run_at.map_or(0.0, after);
        let ttl_ms = place.job.deadline.map(after).filter(|_| self.options.deadlines && delay_ms <= 0.0);
        let priority = usize::from(place.job.priority).min(PRIORITIES - 1);
        (delay_ms, Ask { priority, rung: place.rung, share: 1.0, ttl_ms })
    }

    /// Jobs that were counted as let in and are not.
    pub(crate) fn take_back(&self, admitted: &Admitted) {
        for Counted { queue, priority, jobs, ungated } in &admitted.counted {
            let queue = &mut *queue.lock();
            let counts = &mut queue.counts;
            for (count, by) in [
                (&mut queue.since[*priority], jobs),
                (&mut counts.admitted[*priority], jobs),
                (&mut counts.ungated[*priority], ungated),
            ] {
                *count = (*count - by).max(0.0);
            }
        }
    }

    /// The estimates that the answer to an idempotency key carried first: its repetition at this node carries them
    /// again. As long as they are in the cache; they are no part of what was promised.
    pub(crate) async fn first_told(&self, key: [u8; 16], answer: &mut proto::EnqueueResponse) {
        let etas: Arc<[Option<proto::Eta>]> = answer.jobs.iter().map(|job| job.eta).collect();
        let bytes = etas.len() * size_of::<Option<proto::Eta>>();
        let load = || {
            let etas = etas.clone();
            async move { Ok::<_, std::convert::Infallible>((etas, bytes)) }
        };
        let Ok(first) = self.told.get_or_load(&key, load).await;
        answer.jobs.iter_mut().zip(first.iter()).for_each(|(job, eta)| job.eta = *eta);
    }

    /// The call was answered: its jobs get their estimates, and some are followed.
    pub(crate) fn answered(&self, admitted: Admitted, took: Duration, answer: &mut proto::EnqueueResponse) {
        {
            let node = &mut *self.node.lock();
            node.fastest = Some(node.fastest.map_or(took, |fastest| fastest.min(took)));
        }
        for (job, eta) in answer.jobs.iter_mut().zip(admitted.etas) {
            job.eta = eta.filter(|_| !job.duplicate);
        }
        for (place, queue, guess, interval) in admitted.samples {
            let Some(job) = answer.jobs.get(place).filter(|job| !job.duplicate) else { continue };
            if let Ok(job) = job.id.parse() {
                self.samples.lock().push(Sample { job, queue, guess, interval, at: Instant::now() });
            }
        }
    }

    fn refuse(&self, shed: &Shed, tenant: &str) -> Refusal {
        RequestShed { reason: shed.reason }.emit();
        // Callers that were refused together are not to come back together.
        let nth = self.refused.fetch_add(1, Ordering::Relaxed);
        let draw = (ladder::splitmix(ladder::hash(tenant) ^ nth) >> 11) as f64 / (1_u64 << 53) as f64;
        let ms = shed.retry_ms.max(self.options.tick_ms as f64) * (1.0 + 0.5 * draw);
        Refusal::retry_after(Code::Shed, shed.detail.clone(), ms.clamp(RETRY_MS.0, RETRY_MS.1) as u64)
    }

    /// A queue that is looked after; none: there are too many.
    fn queue(&self, name: &Name, now: Instant) -> Option<Arc<Mutex<Queue>>> {
        if let Some(queue) = self.queues.read().get(name) {
            return Some(queue.clone());
        }
        let mut queues = self.queues.write();
        if queues.len() >= QUEUES_MAX && !queues.contains_key(name) {
            return None;
        }
        let queue = queues.entry(name.clone()).or_default();
        queue.lock().used = Some(now);
        Some(queue.clone())
    }

    /// Whether jobs came since [`Admission::rest`].
    pub(crate) fn is_used(&self) -> bool {
        self.used.load(Ordering::Relaxed)
    }

    /// From here on it counts whether jobs come.
    pub(crate) fn rest(&self) {
        self.used.store(false, Ordering::Relaxed);
    }

    /// A worker serves the queue: it is looked after before the first job comes.
    pub(crate) fn serve(&self, name: &Name, now: Instant) {
        if let Some(queue) = self.queue(name, now) {
            queue.lock().used = Some(now);
        }
    }

    /// The queues that are looked after; those that nobody uses are forgotten.
    pub(crate) fn watched(&self, now: Instant) -> Vec<(Name, Arc<Mutex<Queue>>)> {
        let mut queues = self.queues.write();
        queues.retain(|_, queue| queue.lock().used.is_some_and(|used| now.duration_since(used) < FORGOTTEN_AFTER));
        queues.iter().map(|(name, queue)| (name.clone(), queue.clone())).collect()
    }

    /// A queue that is looked after already.
    pub(crate) fn known(&self, name: &Name) -> Option<Arc<Mutex<Queue>>> {
        self.queues.read().get(name).cloned()
    }
}

/// Milliseconds until a moment; 0: it has passed.
fn ms_until(when: When, time: Time) -> u64 {
    match when {
        When::At(at) => at.saturating_sub(time),
        When::In(ms) => ms,
    }
}

/// A deadline that nothing can meet is a mistake of the caller, at whatever time it comes back with it.
fn check_times(place: usize, job: &NewJob, time: Time) -> Result<(), Refusal> {
    let Some(ttl_ms) = job.deadline.map(|deadline| ms_until(deadline, time)) else { return Ok(()) };
    let wrong = if ttl_ms == 0 {
        "has passed"
    } else if job.run_at.is_some_and(|run_at| ms_until(run_at, time) >= ttl_ms) {
        "is not after its run_at"
    } else {
        return Ok(());
    };
    Err(Refusal::new(Code::InvalidArgument, format!("jobs[{place}].deadline: {wrong}, so that it would never start")))
}

/// What a caller is told; a job for later waits for its time at least.
fn eta(interval: Interval, delay_ms: f64) -> proto::Eta {
    let at_least = |ms: f64| ms.max(delay_ms).ceil() as u64;
    proto::Eta { p50_ms: at_least(interval.p50_ms), p95_ms: at_least(interval.p95_ms) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bravo_model::Payload;
    use bravo_model::view::{LaneLoad, QueueLanes};

    use super::super::queue::Look;
    use super::*;
    use crate::dispatch::Profile;

    #[test]
    fn a_deadline_is_held_against_the_states_time_and_not_against_a_clock_that_jumped() {
        let admission = Admission::new(config::Admission::default());
        let now = Instant::now();
        // Far from any wall clock.
        admission.is_now(1_000_000, now);
        let mut job = NewJob::new(name("q"), name("p"), Payload { json: true, bytes: "1".into() });
        job.deadline = Some(When::At(1_012_000));
        let later = now + Duration::from_secs(2);
        let place = Place { at: 0, job: &job, rung: 0, now: later, time: admission.time(later) };
        assert_eq!(admission.ask(&place).1.ttl_ms, Some(10_000.0));
    }

    fn name(text: &str) -> Name {
        Name::parse("name", text).unwrap()
    }

    /// A queue of ten busy workers, whose jobs take 100 ms, and behind them 10,000 jobs of project `a`.
    fn flooded() -> Admission {
        let admission = Admission::new(config::Admission::default());
        let now = Instant::now();
        admission.is_now(1_000_000, now);
        let queue = admission.queue(&name("q"), now).unwrap();
        let queue = &mut *queue.lock();
        let mut look = Look {
            elapsed_ms: 250.0,
            leased: 10.0,
            slots: 10.0,
            starts_per_ms_max: f64::INFINITY,
            tokens: f64::INFINITY,
            ended: 25.0,
            served: (25.0, 2_500.0, 250_000.0),
            ..Look::default()
        };
        look.open[4] = 10_000.0;
        // Somebody asked in vain, and the gate is shut.
        let counts = Counts { missed_ms: 2_000.0, asked: [10.0; RUNGS], ..Counts::default() };
        (0..20).for_each(|_| queue.standing = Some(queue.control.tick(&look, &counts)));
        let mut open = [0; PRIORITIES];
        open[4] = 10_000;
        let lane = LaneLoad { project: "a".into(), key: None, requirements: BTreeMap::new(), open };
        queue.lanes = Lanes::of(vec![QueueLanes { lanes: vec![lane], ..QueueLanes::default() }]);
        queue.served.add(Profile::default());
        queue.looked = Some(now);
        admission
    }

    fn job(project: &str, ttl_ms: u64) -> NewJob {
        let mut job = NewJob::new(name("q"), name(project), Payload { json: true, bytes: "1".into() });
        job.deadline = Some(When::In(ttl_ms));
        job
    }

    #[test]
    fn a_project_is_not_refused_for_the_backlog_of_one_with_which_it_takes_turns() {
        let admission = flooded();
        assert!(admission.admit(&[job("a", 2_000)]).is_err(), "10,000 jobs of its own are before it");
        let eta = admission.admit(&[job("b", 2_000)]).unwrap().etas.remove(0).unwrap();
        assert!(eta.p95_ms < 1_000, "{eta:?}");
        // Its own backlog counts, and as much again for the turns of the other.
        assert!(admission.admit(&vec![job("b", 2_000); 200]).is_err());
    }

    #[test]
    fn what_is_told_of_some_jobs_of_a_call_stands_at_their_places() {
        let eta = |ms| Some(proto::Eta { p50_ms: ms, p95_ms: ms });
        let some = Admitted { etas: vec![eta(7), eta(9)], ..Admitted::default() };
        assert_eq!(some.among(&[1, 4]).etas, [None, eta(7), None, None, eta(9)]);
        let admission = flooded();
        let place = |at: usize| [1, 4][at];
        let refused = admission.admit_some(&[job("b", 2_000), job("a", 2_000)], place).map(|_| ()).unwrap_err();
        assert!(refused.detail.starts_with("jobs[4]: "), "{}", refused.detail);
        let let_in = admission.admit_some(&[job("b", 2_000), job("b", 2_000)], place).unwrap();
        assert!(let_in.samples.iter().all(|(at, ..)| [1, 4].contains(at)), "it is followed at its place");
    }

    #[test]
    fn a_deadline_that_nothing_can_meet_is_refused_as_a_mistake() {
        let admission = Admission::new(config::Admission::default());
        admission.is_now(1_000_000, Instant::now());
        let code = |deadline, run_at| {
            let job = NewJob { deadline: Some(deadline), run_at, ..job("p", 0) };
            admission.admit(&[self::job("p", 1), job]).map(|_| ()).map_err(|refusal| (refusal.code, refusal.detail))
        };
        for (deadline, run_at, wrong) in [
            (When::At(999_999), None, "has passed"),
            (When::At(1_000_000), None, "has passed"),
            (When::In(0), None, "has passed"),
            (When::In(500), Some(When::In(500)), "is not after its run_at"),
            (When::In(500), Some(When::At(2_000_000)), "is not after its run_at"),
            (When::At(1_500_000), Some(When::At(2_000_000)), "is not after its run_at"),
        ] {
            let (code, detail) = code(deadline, run_at).unwrap_err();
            assert!(
                code == Code::InvalidArgument && detail.starts_with(&format!("jobs[1].deadline: {wrong}")),
                "{detail}"
            );
        }
        assert_eq!(code(When::In(500), Some(When::In(400))), Ok(()));
        assert_eq!(code(When::In(500), Some(When::At(1))), Ok(()), "what was to run before runs now");
    }

    #[test]
    fn a_job_that_no_live_worker_may_have_is_let_in_without_an_estimate_and_counts_as_nothing() {
        let admission = flooded();
        let mut gpu = job("a", 2_000);
        gpu.requirements = BTreeMap::from([("gpu".to_owned(), "yes".to_owned())]);
        assert_eq!(admission.admit(&[gpu]).unwrap().etas, [None]);
        assert_eq!(admission.known(&name("q")).unwrap().lock().since[4], 0.0);
    }
}
