//! A circuit breaker on a clock that the caller keeps.
//!
//! ```text
//!            failures within the window            time is over
//!   closed ───────────────────────────► open ───────────────────► half-open
//!      ▲                                 ▲                          │   │
//!      │                                 └───────── a failure ──────┘   │
//!      └────────────────────────── a success ───────────────────────────┘
//! ```
//!
//! It opens when so many leases failed within its window, and no fewer than succeeded: what fails now and then
//! amid what goes well is no reason to stop. Half-open, it lets a few jobs through and goes by what becomes
//! of them. One without probes is closed again when its time is over: that is how a worker is set aside. So is one
//! that nobody tries for long: whoever it was about is gone, and would be remembered for good.

/// Parts of the window: what is older than the window is forgotten a part at a time.
const PARTS: usize = 10;
/// Workers told apart in one part of the window.
const WORKERS: usize = 4;
/// Times that it was open for which a half-open one waits to be tried.
const UNTRIED: u64 = 10;

/// When a breaker opens, and how it closes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Failures that open it; 0: it never opens.
    pub failures: u32,
    /// Workers from which they must come.
    pub workers: usize,
    /// The span in which they must come.
    pub window_ms: u64,
    /// How long it stays open.
    pub open_ms: u64,
    /// Jobs let through while it is half-open; 0: it closes by itself.
    pub probes: u32,
}

/// Where a breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Everything goes through.
    Closed,
    /// Nothing does, until then.
    Open(u64),
    /// So many more jobs do.
    HalfOpen(u32),
}

impl State {
    /// The state's name in the public contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open(_) => "open",
            Self::HalfOpen(_) => "half_open",
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Part {
    /// Which part of time it is.
    number: u64,
    done: u32,
    failed: u32,
    /// Whose leases failed, by the hash of their names; 0: nobody's.
    workers: [u64; WORKERS],
}

/// One breaker.
#[derive(Clone, Debug)]
pub struct Breaker {
    rules: Rules,
    parts: [Part; PARTS],
    /// When it opened last, if it has not closed since.
    opened: Option<u64>,
    /// Jobs let through since it was half-open, and since when these are counted.
    probes: (u32, u64),
}

impl Breaker {
    /// A closed one.
    pub fn new(rules: Rules) -> Self {
        Self { rules, parts: Default::default(), opened: None, probes: (0, 0) }
    }

    /// Where it stands.
    pub fn state(&self, now: u64) -> State {
        let Some(opened) = self.opened else { return State::Closed };
        let until = opened.saturating_add(self.rules.open_ms);
        if now < until {
            return State::Open(until);
        }
        if self.rules.probes == 0 {
            return State::Closed;
        }
        // Probes of which nothing was heard for that long are given up.
        let (out, since) = self.probes;
        let given_up = since.saturating_add(self.rules.open_ms);
        if now >= until.max(given_up).saturating_add(self.rules.open_ms.saturating_mul(UNTRIED)) {
            return State::Closed;
        }
        let out = if now >= given_up { 0 } else { out };
        State::HalfOpen(self.rules.probes.saturating_sub(out))
    }

    /// Jobs that it lets through now.
    pub fn allows(&self, now: u64) -> u32 {
        match self.state(now) {
            State::Closed => u32::MAX,
            State::Open(_) => 0,
            State::HalfOpen(left) => left,
        }
    }

    /// Jobs went through.
    pub fn passed(&mut self, jobs: u32, now: u64) {
        if let State::HalfOpen(left) = self.state(now) {
            if left == self.rules.probes {
                self.probes = (0, now);
            }
            self.probes.0 = self.probes.0.saturating_add(jobs);
        }
    }

    /// Leases of a worker (the hash of its name) ended with success.
    pub fn record_success(&mut self, count: u32, now: u64) {
        match self.state(now) {
            State::Closed => {
                self.settle(now);
                self.part(now).done += count;
            }
            // What began before it opened ends now, and says nothing of how things are.
            State::Open(_) => {}
            State::HalfOpen(_) => self.close(),
        }
    }

    /// Leases of a worker (the hash of its name) ended with failure.
    pub fn record_failure(&mut self, worker: u64, count: u32, now: u64) {
        match self.state(now) {
            State::Closed => {
                self.settle(now);
                let part = self.part(now);
                part.failed = part.failed.saturating_add(count);
                let known = part.workers.contains(&worker.max(1));
                if !known && let Some(free) = part.workers.iter_mut().find(|worker| **worker == 0) {
                    *free = worker.max(1);
                }
                if self.is_too_much(now) {
                    self.open(now);
                }
            }
            State::Open(_) => {}
            State::HalfOpen(_) => self.open(now),
        }
    }

    /// Failures within the window.
    pub fn failures(&self, now: u64) -> u32 {
        self.recent(now).fold(0, |sum, part| sum.saturating_add(part.failed))
    }

    /// Whether it is as good as new.
    pub fn is_clean(&self, now: u64) -> bool {
        self.state(now) == State::Closed && self.failures(now) == 0
    }

    /// One that is closed by time alone: what was before is over.
    fn settle(&mut self, now: u64) {
        if self.opened.is_some() && self.state(now) == State::Closed {
            self.close();
        }
    }

    fn close(&mut self) {
        *self = Self::new(self.rules);
    }

    fn open(&mut self, now: u64) {
        *self = Self { opened: Some(now), ..Self::new(self.rules) };
    }

    fn is_too_much(&self, now: u64) -> bool {
        let done = self.recent(now).fold(0u32, |sum, part| sum.saturating_add(part.done));
        let failed = self.failures(now);
        let mut workers: Vec<u64> =
            self.recent(now).flat_map(|part| part.workers).filter(|worker| *worker > 0).collect();
        workers.sort_unstable();
        workers.dedup();
        let Rules { failures, workers: needed, .. } = self.rules;
        failures > 0 && failed >= failures && failed >= done && workers.len() >= needed
    }

    fn number(&self, now: u64) -> u64 {
        // Parts are numbered from 1, so that one that was never used is none of the window.
        now / (self.rules.window_ms / PARTS as u64).max(1) + PARTS as u64
    }

    fn recent(&self, now: u64) -> impl Iterator<Item = &Part> {
        let number = self.number(now);
        self.parts.iter().filter(move |part| part.number + PARTS as u64 > number)
    }

    fn part(&mut self, now: u64) -> &mut Part {
        let number = self.number(now);
        let part = &mut self.parts[(number % PARTS as u64) as usize];
        if part.number != number {
            *part = Part { number, ..Part::default() };
        }
        part
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules { failures: 5, workers: 1, window_ms: 10_000, open_ms: 30_000, probes: 3 };

    fn failed(breaker: &mut Breaker, times: std::ops::Range<u64>, step: u64) {
        times.for_each(|n| breaker.record_failure(7, 1, n * step));
    }

    #[test]
    fn five_failures_in_ten_seconds_open_it_and_four_do_not() {
        let mut breaker = Breaker::new(RULES);
        failed(&mut breaker, 0..4, 1_000);
        assert_eq!((breaker.state(3_000), breaker.allows(3_000)), (State::Closed, u32::MAX));
        breaker.record_failure(7, 1, 4_000);
        assert_eq!((breaker.state(4_000), breaker.allows(4_000)), (State::Open(34_000), 0));
        assert_eq!(breaker.state(33_999), State::Open(34_000));
        assert_eq!(breaker.state(34_000), State::HalfOpen(3));
    }

    #[test]
    fn failures_that_are_far_apart_add_up_to_nothing() {
        let mut breaker = Breaker::new(RULES);
        failed(&mut breaker, 0..50, 2_600);
        assert_eq!(breaker.state(127_400), State::Closed);
        assert!(breaker.failures(127_400) < 5);
    }

    #[test]
    fn what_mostly_succeeds_stays_closed() {
        let mut breaker = Breaker::new(RULES);
        for n in 0..100 {
            breaker.record_success(2, n * 50);
            breaker.record_failure(7, 1, n * 50);
        }
        assert_eq!(breaker.state(5_000), State::Closed);
    }

    #[test]
    fn half_open_it_lets_a_few_through_and_goes_by_what_becomes_of_them() {
        let mut breaker = Breaker::new(RULES);
        failed(&mut breaker, 0..5, 0);
        breaker.record_success(9, 10);
        assert_eq!(breaker.state(10), State::Open(30_000), "what began before says nothing");
        breaker.passed(2, 30_000);
        assert_eq!(breaker.allows(30_001), 1);
        breaker.passed(1, 30_001);
        assert_eq!(breaker.allows(30_002), 0);
        breaker.record_failure(7, 1, 31_000);
        assert_eq!(breaker.state(31_000), State::Open(61_000));
        breaker.passed(1, 61_000);
        breaker.record_success(1, 61_500);
        assert_eq!((breaker.state(61_500), breaker.is_clean(61_500)), (State::Closed, true));
    }

    #[test]
    fn probes_of_which_nothing_is_heard_do_not_keep_it_shut() {
        let mut breaker = Breaker::new(RULES);
        failed(&mut breaker, 0..5, 0);
        breaker.passed(3, 30_000);
        assert_eq!((breaker.allows(59_999), breaker.allows(60_000)), (0, 3));
        breaker.passed(3, 60_000);
        assert_eq!(breaker.allows(60_001), 0);
    }

    #[test]
    fn one_that_nobody_tries_for_long_is_as_good_as_new() {
        let mut breaker = Breaker::new(RULES);
        failed(&mut breaker, 0..5, 0);
        assert_eq!((breaker.state(329_999), breaker.is_clean(329_999)), (State::HalfOpen(3), false));
        assert_eq!((breaker.state(330_000), breaker.is_clean(330_000)), (State::Closed, true));
        breaker.passed(1, 300_000);
        assert_eq!(breaker.state(629_999), State::HalfOpen(3), "it was tried, and nothing was heard");
        assert!(breaker.is_clean(630_000));
        breaker.record_failure(7, 1, 630_000);
        assert_eq!(breaker.state(630_000), State::Closed, "it takes five again");
    }

    #[test]
    fn a_worker_is_set_aside_for_a_while_and_then_is_as_good_as_new() {
        let mut aside = Breaker::new(Rules { failures: 3, window_ms: 30_000, probes: 0, ..RULES });
        failed(&mut aside, 0..3, 10_000);
        assert_eq!((aside.state(20_000), aside.state(49_999)), (State::Open(50_000), State::Open(50_000)));
        assert_eq!((aside.state(50_000), aside.allows(50_000)), (State::Closed, u32::MAX));
        aside.record_failure(7, 2, 50_000);
        assert_eq!(aside.state(50_000), State::Closed, "it takes three again");
        aside.record_failure(7, 1, 50_001);
        assert_eq!(aside.state(50_001), State::Open(80_001));
    }

    #[test]
    fn where_two_workers_are_asked_for_one_alone_opens_nothing() {
        let mut breaker = Breaker::new(Rules { workers: 2, ..RULES });
        failed(&mut breaker, 0..50, 100);
        assert_eq!(breaker.state(5_000), State::Closed);
        breaker.record_failure(8, 1, 5_000);
        assert_eq!(breaker.state(5_000), State::Open(35_000));
    }

    #[test]
    fn with_no_failures_to_open_it_it_is_switched_off() {
        let mut breaker = Breaker::new(Rules { failures: 0, ..RULES });
        failed(&mut breaker, 0..1_000, 1);
        assert_eq!(breaker.state(1_000), State::Closed);
    }
}
