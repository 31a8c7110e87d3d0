//! One queue as this node lets jobs into it: what is known of it, renewed with each look, and what follows for a
//! job that comes now.
//!
//! A job with a deadline that it would probably miss is refused. Where that happens, the queue is asked for more
//! than it can do, and from then on a gate refuses the lowest of such jobs before they are let in by halves: it
//! lets in what is done, and a little more or less as the backlog is below or above its aim. Jobs without a deadline,
//! or with one that is far, are never refused here; they count as work.

use super::PRIORITIES;
use super::calibrate::{Calibration, Interval};
use super::estimate::{Coming, Guess, Load};
use super::ladder::{Demand, Gate, RUNGS, has_moved};

/// Ends of jobs that must have been measured before anybody is refused for an estimate.
const SERVED_MIN: f64 = 20.0;
/// Ends that the measured service time goes back over.
const SERVED_KEPT: f64 = 2_000.0;
/// How much the newest tick counts in what the workers really do.
const EFFICIENCY_NEWEST: f64 = 0.05;
/// How much the newest tick counts in what comes.
const ARRIVALS_NEWEST: f64 = 0.1;
/// What a tick leaves of the counts by priority before it.
const MIX_KEPT: f64 = 0.92;
/// How much the newest tick counts in the part of all jobs that come to this node.
const PART_NEWEST: f64 = 0.01;
/// Ticks in which the backlog is to come to its aim.
const BACKLOG_TICKS: f64 = 8.0;
/// The share of the tightest deadline that the last one to be let in may wait.
const BACKLOG_SHARE: f64 = 0.1;
/// The share of what waits up to which a job is before most of it, whoever the gate turns away. Of many that offer the
/// same, nobody is.
const TURNS_SHARE_MAX: f64 = 0.25;
/// The backlog is not made smaller than for this share of what is done, or workers would run dry.
const BACKLOG_LEFT_MIN: f64 = 0.25;
/// Ticks without need of the gate after which it is open.
const CALM_TICKS: u32 = 2;

/// A look at a queue, over all partitions and nodes: how it stands, and what came since the look before.
#[derive(Clone, Debug, Default)]
pub(crate) struct Look {
    /// Milliseconds since the look before.
    pub(crate) elapsed_ms: f64,
    /// Jobs that could be leased, by priority.
    pub(crate) open: [f64; PRIORITIES],
    /// Jobs that workers hold.
    pub(crate) leased: f64,
    /// Jobs that the workers can hold, or the queue allows.
    pub(crate) slots: f64,
    /// Workers on their way.
    pub(crate) coming: Vec<Coming>,
    /// The most jobs that may start in a millisecond.
    pub(crate) starts_per_ms_max: f64,
    /// Jobs that may start at once before that.
    pub(crate) tokens: f64,
    /// Nothing is delivered.
    pub(crate) paused: bool,
    /// The breaker of the workers' type is not closed: milliseconds until a few jobs are let through.
    pub(crate) held_ms: Option<f64>,
    /// Jobs that became ready.
    pub(crate) arrived: f64,
    /// Leases that ended.
    pub(crate) ended: f64,
    /// Those that an answer of the worker ended, their times summed, and the squares of these.
    pub(crate) served: (f64, f64, f64),
}

/// What this node did since the look before.
#[derive(Clone, Debug)]
pub(crate) struct Counts {
    /// Jobs let in, by priority.
    pub(crate) admitted: [f64; PRIORITIES],
    /// Of these, the ones that no gate holds for.
    pub(crate) ungated: [f64; PRIORITIES],
    /// Jobs that asked and that a gate holds for, by rung.
    pub(crate) asked: [f64; RUNGS],
    /// The longest time to its deadline of a job that was refused for its estimate; 0: none was.
    pub(crate) missed_ms: f64,
}

impl Default for Counts {
    fn default() -> Self {
        Self { admitted: [0.0; PRIORITIES], ungated: [0.0; PRIORITIES], asked: [0.0; RUNGS], missed_ms: 0.0 }
    }
}

/// What enqueues are judged by until the next look.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    /// How the queue stood.
    pub(crate) load: Load,
    /// Jobs of all nodes for each one that this node lets in.
    pub(crate) scale: f64,
    /// What waits were like.
    pub(crate) calibration: Calibration,
    /// Whether the estimate is good enough to refuse for it.
    trusted: bool,
    /// Nothing is delivered.
    paused: bool,
    /// What is let in of jobs with deadlines up to `tight_ms`.
    pub(crate) gate: Gate,
    /// The longest time to its deadline of a job that the gate holds for.
    tight_ms: f64,
}

/// A job that asks to be let in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask {
    /// Its priority.
    pub(crate) priority: usize,
    /// Its place on the ladder.
    pub(crate) rung: usize,
    /// The part of what waits that is before it; the rest are lanes that take turns with its own.
    pub(crate) share: f64,
    /// Milliseconds to its deadline, if it has one that counts.
    pub(crate) ttl_ms: Option<f64>,
}

/// What is said of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Verdict {
    /// It may come in; with what it will probably wait, where that can be told.
    Admitted(Option<(Guess, Interval)>),
    /// Its deadline would be missed; with milliseconds after which it might not be.
    Missed(f64),
    /// The queue is asked for more than it can do, and others go first.
    Gated(f64),
}

impl Standing {
    /// Whether the gate holds for a job.
    fn is_gated(&self, ask: Ask) -> bool {
        ask.ttl_ms.is_some_and(|ttl| self.gate.is_open() || ttl <= self.tight_ms)
    }

    /// Judges a job that comes `age_ms` after the look, the `nth` to ask; `since` is what this node let in since. Also
    /// whether the gate holds for it.
    pub(crate) fn judge(&self, ask: Ask, since: &[f64; PRIORITIES], age_ms: f64, nth: u64) -> (Verdict, bool) {
        let is_gated = self.is_gated(ask);
        if self.paused {
            return (Verdict::Admitted(None), is_gated);
        }
        let since = since.map(|count| count * self.scale);
        let held = self.load.held(age_ms);
        if let Some(ttl) = ask.ttl_ms.filter(|ttl| *ttl < held) {
            return (Verdict::Missed(held - ttl), is_gated);
        }
        let Some(guess) = self.load.wait(ask.priority, ask.share, &since, age_ms) else {
            return (Verdict::Admitted(None), is_gated);
        };
        let interval = self.calibration.interval(guess);
        let admitted = Verdict::Admitted(Some((guess, interval)));
        let Some(ttl) = ask.ttl_ms.filter(|_| self.trusted && !guess.is_at_once()) else {
            return (admitted, is_gated);
        };
        // What others queue up is not to keep out those who take turns with them and wait as short as the gate aims at.
        let is_gated = is_gated && !(ask.share <= TURNS_SHARE_MAX && guess.wait_ms <= ttl * BACKLOG_SHARE);
        let drain = self.load.drain_ms(&since, age_ms);
        let verdict = if is_gated && !self.gate.lets_in(ask.rung, nth) {
            Verdict::Gated(drain)
        } else if interval.p99_ms > ttl {
            // Behind others that come faster than they are done it would wait for ever; what waits now does not.
            Verdict::Missed((interval.p99_ms - ttl).min(drain))
        } else {
            admitted
        };
        (verdict, is_gated)
    }
}

/// What is learned of a queue from look to look.
#[derive(Clone, Debug)]
pub(crate) struct Control {
    /// What it has learned of waits.
    pub(crate) calibration: Calibration,
    served: (f64, f64, f64),
    efficiency: f64,
    was_full: bool,
    arrivals: [f64; PRIORITIES],
    mix: [f64; PRIORITIES],
    own: f64,
    scale: f64,
    /// What came to this node a tick, and to all, while all were let in. While nodes refuse, what each lets in follows
    /// from what it takes for its part: were that measured then, the one that lets in less would have less and less.
    part: (f64, f64),
    open_ticks: u32,
    ungated: [f64; PRIORITIES],
    demand: Demand,
    gate: Gate,
    tight_ms: f64,
    calm: u32,
}

impl Default for Control {
    fn default() -> Self {
        Self {
            calibration: Calibration::default(),
            served: (0.0, 0.0, 0.0),
            efficiency: 1.0,
            was_full: false,
            arrivals: [0.0; PRIORITIES],
            mix: [0.0; PRIORITIES],
            own: 0.0,
            scale: 1.0,
            part: (0.0, 0.0),
            open_ticks: 0,
            ungated: [0.0; PRIORITIES],
            demand: Demand::default(),
            gate: Gate::OPEN,
            tight_ms: 0.0,
            calm: 0,
        }
    }
}

impl Control {
    /// Takes a look in; answers what enqueues are judged by from now on.
    pub(crate) fn tick(&mut self, look: &Look, counts: &Counts) -> Standing {
        let ms = look.elapsed_ms.max(1.0);
        self.learn_service(look);
        self.learn_efficiency(look, ms);
        self.learn_arrivals(look, counts, ms);
        let load = self.load(look);
        self.move_gate(&load, counts, ms);
        Standing {
            scale: self.scale,
            calibration: self.calibration,
            trusted: self.served.0 >= SERVED_MIN,
            paused: look.paused,
            gate: self.gate,
            tight_ms: self.tight_ms,
            load,
        }
    }

    fn load(&self, look: &Look) -> Load {
        let (count, sum, squares) = self.served;
        let mean = (count > 0.0).then(|| (sum / count).max(0.1));
        let cv2 = mean.map_or(1.0, |mean| (squares / count / (mean * mean) - 1.0).clamp(0.0, 25.0));
        Load {
            open: look.open,
            leased: look.leased,
            slots: look.slots,
            coming: look.coming.clone(),
            service_ms: mean,
            service_cv2: cv2,
            efficiency: self.efficiency,
            starts_per_ms_max: look.starts_per_ms_max,
            tokens: look.tokens,
            arrivals_per_ms: self.arrivals,
            held_ms: look.held_ms.unwrap_or(0.0),
        }
    }

    fn learn_service(&mut self, look: &Look) {
        let (count, sum, squares) = &mut self.served;
        let keep = (SERVED_KEPT / (*count + look.served.0).max(SERVED_KEPT)).clamp(0.0, 1.0);
        *count = (*count + look.served.0) * keep;
        *sum = (*sum + look.served.1) * keep;
        *squares = (*squares + look.served.2) * keep;
    }

    /// Where jobs waited all the time, what was done is what can be done. A few that wait at both looks may
    /// have been none in between.
    fn learn_efficiency(&mut self, look: &Look, ms: f64) {
        let by_slots = look.slots * ms / (self.served.1 / self.served.0.max(1.0)).max(0.1);
        let is_held = look.paused || look.held_ms.is_some();
        let is_full = look.open.iter().sum::<f64>() > 2.0 * by_slots.sqrt() && !is_held;
        if is_full && self.was_full && self.served.0 >= SERVED_MIN && by_slots > 0.0 {
            let seen = (look.ended / by_slots).clamp(0.0, 2.0);
            self.efficiency = ((seen - self.efficiency) * EFFICIENCY_NEWEST + self.efficiency).clamp(0.02, 2.0);
        }
        self.was_full = is_full;
    }

    /// How many jobs come is known of all nodes, what priorities they have of this one's.
    fn learn_arrivals(&mut self, look: &Look, counts: &Counts, ms: f64) {
        let own: f64 = counts.admitted.iter().sum();
        let before = self.arrivals.iter().sum::<f64>() * ms;
        let has_moved = has_moved(before, look.arrived);
        let newest = if has_moved { 1.0 } else { ARRIVALS_NEWEST };
        let all = before + (look.arrived - before) * newest;
        self.own += (own - self.own) * newest;
        // Other nodes' jobs, and retries. The two are not counted at quite the same moment.
        self.scale = if self.own > 0.0 { (all / self.own).clamp(1.0, 1_000.0) } else { 1.0 };
        if self.tight_ms == 0.0 && look.arrived > 0.0 {
            self.open_ticks = self.open_ticks.saturating_add(1);
            let newest = PART_NEWEST.max(1.0 / f64::from(self.open_ticks));
            (self.part.0, self.part.1) =
                (self.part.0 + (own - self.part.0) * newest, self.part.1 + (look.arrived - self.part.1) * newest);
        }
        let kept = if has_moved && own > 0.0 { 0.0 } else { MIX_KEPT };
        for (mix, count) in self.mix.iter_mut().zip(counts.admitted) {
            *mix = *mix * kept + count;
        }
        let sum: f64 = self.mix.iter().sum();
        for (rate, mix) in self.arrivals.iter_mut().zip(self.mix) {
            *rate = if sum > 0.0 { all / ms * mix / sum } else { 0.0 };
        }
        for (mean, count) in self.ungated.iter_mut().zip(counts.ungated) {
            *mean += (count - *mean) * ARRIVALS_NEWEST;
        }
    }

    fn move_gate(&mut self, load: &Load, counts: &Counts, ms: f64) {
        self.demand.tick(&counts.asked);
        self.tight_ms = self.tight_ms.max(counts.missed_ms);
        let done = load.done_per_ms().filter(|_| self.tight_ms > 0.0 && self.served.0 >= SERVED_MIN);
        let Some(done) = done else {
            (self.gate, self.tight_ms, self.calm) = (Gate::OPEN, 0.0, 0);
            return;
        };
        let free = (load.slots - load.leased).max(0.0);
        let (own, all) = self.part;
        let part = if all > 0.0 { (own / all).clamp(0.001, 1.0) } else { 1.0 };
        let room = |priority: usize| {
            let above: f64 = self.arrivals.iter().skip(priority + 1).sum();
            let waits: f64 = load.open.iter().skip(priority).sum();
            let aim = (done - above).max(done * BACKLOG_LEFT_MIN) * self.tight_ms * BACKLOG_SHARE;
            let aim = aim.min(done * ms);
            let ungated: f64 = self.ungated.iter().skip(priority).sum();
            (done * ms + (aim + free - waits) / BACKLOG_TICKS) * part - ungated
        };
        self.gate = self.gate.towards(self.demand.gate(room));
        self.calm = if self.gate.is_open() && counts.missed_ms == 0.0 { self.calm + 1 } else { 0 };
        if self.calm >= CALM_TICKS {
            (self.tight_ms, self.calm) = (0.0, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_breaker_refuses_what_ends_before_it_does_and_teaches_nothing_of_the_workers() {
        let mut control = Control::default();
        let open = Look {
            elapsed_ms: 250.0,
            slots: 10.0,
            starts_per_ms_max: f64::INFINITY,
            tokens: f64::INFINITY,
            ..Look::default()
        };
        let mut held = Look { held_ms: Some(30_000.0), ..open.clone() };
        held.open[4] = 50.0;
        let ask = |ttl_ms| Ask { priority: 4, rung: 0, share: 1.0, ttl_ms: Some(ttl_ms) };
        let judge = |standing: &Standing, ttl_ms| standing.judge(ask(ttl_ms), &[0.0; PRIORITIES], 0.0, 0).0;
        // Though nobody has done a job yet.
        let standing = control.tick(&held, &Counts::default());
        assert_eq!(judge(&standing, 10_000.0), Verdict::Missed(20_000.0));
        assert!(matches!(judge(&standing, 60_000.0), Verdict::Admitted(_)));
        control.tick(&Look { served: (25.0, 2_500.0, 250_000.0), ..open.clone() }, &Counts::default());
        (0..120).for_each(|_| drop(control.tick(&held, &Counts::default())));
        assert_eq!(control.efficiency, 1.0);
        let after = control.tick(&open, &Counts::default());
        assert!(matches!(judge(&after, 10_000.0), Verdict::Admitted(Some((guess, _))) if guess.is_at_once()));
    }
}
