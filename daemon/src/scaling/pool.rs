//! One pool: from what was seen of it to what its controller is told, and from what that answers to what is told.

use bravo_model::Time;
use bravo_model::scaling::{self, Mode, Rule, ScalingPolicy};
use bravo_scaling::{Behaviour, Block, Controller, Due, Observation, Policy, Recommendation, Settings, State};

use super::HORIZON_MS;
use super::look::{Load, Totals};
use crate::transport::wire::{Outlook, PointSeen, PoolSeen, UseSeen};

/// A pool, and what was learned of it.
pub(super) struct Pool {
    pub(super) policy: ScalingPolicy,
    pub(super) is_set: bool,
    pub(super) controller: Controller,
    /// All that went through its queues, as of the last look.
    pub(super) totals: Totals,
    /// Agents that were asked for, where somebody acts.
    asked: Option<u32>,
    pub(super) saved_at: Option<std::time::Instant>,
}

impl Pool {
    /// A pool that goes on with what is remembered of it.
    pub(super) fn new(policy: ScalingPolicy, is_set: bool, tick_s: f64, memory: Option<(State, Totals)>) -> Self {
        let settings = settings(&policy, tick_s);
        let (controller, totals) = match memory {
            Some((state, totals)) => (Controller::resume(settings, state), totals),
            None => (Controller::new(settings), Totals::default()),
        };
        Self { policy, is_set, controller, totals, asked: None, saved_at: None }
    }

    /// Another policy; what was learned stays.
    pub(super) fn configure(&mut self, policy: ScalingPolicy, is_set: bool, tick_s: f64) {
        if self.policy != policy {
            self.controller.configure(settings(&policy, tick_s));
            self.policy = policy;
        }
        self.is_set = is_set;
    }

    /// One look: what was seen since the last, and what comes of it. Answers also whether the plain rule decided.
    pub(super) fn step(&mut self, load: &Load, at: Time) -> (Outlook, bool) {
        let seen = self.observation(load, at);
        let advice = self.controller.step(&seen);
        self.asked = (self.policy.mode == Mode::Act).then_some(advice.replicas);
        (self.told(load, &advice, at), advice.fallback)
    }

    fn observation(&self, load: &Load, at: Time) -> Observation {
        let capacity = f64::from(load.capacity.max(1));
        let count = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        let ready = load.workers;
        // Who acts has asked for them; else there are those that there are.
        let replicas = self.asked.unwrap_or(ready).max(ready);
        // A lease that nobody holds keeps no agent busy, and one of an agent that leaves none of those that serve.
        let leased = load.leased.saturating_sub(load.lost).saturating_sub(load.leaving);
        let due = load.coming.iter().map(|(in_s, jobs)| Due { in_s: *in_s, jobs: *jobs }).collect();
        Observation {
            t: at as f64 / 1000.0,
            arrivals: count(load.flow.arrived),
            completed: count(load.flow.served),
            service_sum: load.flow.service_ms as f64 / 1000.0 / capacity,
            queue: count(load.ready),
            busy: count((leased as f64 / capacity).ceil() as u64).min(ready.max(1)),
            ready,
            booting: replicas - ready,
            replicas,
            cpu: load.cpu_each * f64::from(ready),
            memory: load.memory_each * f64::from(ready),
            workflows: load.workflows,
            due,
            ..Observation::default()
        }
    }

    fn told(&self, load: &Load, advice: &Recommendation, at: Time) -> Outlook {
        let points = self.controller.predict_load();
        let used = |point: &bravo_scaling::Point| UseSeen {
            cpu: finite(point.cpu),
            memory: finite(point.memory),
            workflows: finite(point.workflows),
        };
        let uses = points.iter().map(used).collect();
        let point = |point: bravo_scaling::Point| PointSeen {
            at: at.saturating_add((point.in_s.max(0.0) * 1000.0) as u64),
            p50: finite(point.p50),
            p90: finite(point.p90),
            agents: point.agents,
        };
        let known = load.coming.iter().fold(0_u64, |sum, (_, jobs)| sum + u64::from(*jobs));
        let why = match known {
            0 => advice.why.clone(),
            _ => format!("{}; {known} jobs are known to become ready within a quarter of an hour", advice.why),
        };
        let seen = PoolSeen {
            policy: self.policy.clone(),
            is_set: self.is_set,
            current: load.workers,
            recommended: advice.replicas,
            why,
            boot_ms: (self.controller.boot_s().max(0.0) * 1000.0) as u64,
            horizon_ms: HORIZON_MS,
            points: points.into_iter().map(point).collect(),
            at,
            is_seen: true,
        };
        Outlook { seen: under(&seen, self.policy.clone(), self.is_set), uses }
    }
}

/// JSON has no word for what is no number.
fn finite(number: f64) -> f64 {
    if number.is_finite() { number } else { 0.0 }
}

fn settings(policy: &ScalingPolicy, tick_s: f64) -> Settings {
    let rule = match policy.rule {
        Rule::Predictive => Policy::Predictive,
        Rule::Reactive => Policy::Reactive,
        Rule::Threshold => Policy::Threshold,
    };
    let (min, max, start_delay_p95_ms) = (policy.min, policy.max, policy.start_delay_p95_ms);
    let seconds = |ms: u32| f64::from(ms) / 1000.0;
    let block = |of: scaling::Block| Block {
        stabilisation_s: seconds(of.stabilisation_ms),
        percent: f64::from(of.percent),
        period_s: seconds(of.period_ms),
    };
    let behaviour = policy.behaviour.map(|of| Behaviour { up: block(of.up), down: block(of.down) });
    Settings { min, max, start_delay_p95_ms, policy: rule, behaviour, tick_s, ..Settings::default() }
}

/// How a pool stands under a policy that may be newer than the look.
pub(super) fn under(seen: &PoolSeen, policy: ScalingPolicy, is_set: bool) -> PoolSeen {
    let mut seen = PoolSeen { is_set, ..seen.clone() };
    if policy.mode == Mode::Off {
        seen.recommended = seen.current;
        "scaling is off for these agents".clone_into(&mut seen.why);
    } else {
        if seen.policy.mode == Mode::Off {
            "as many agents as there are: scaling was off at the last look".clone_into(&mut seen.why);
        }
        let within = seen.recommended.clamp(policy.min, policy.max);
        if within != seen.recommended {
            seen.why = format!("{within} agents: the bounds have changed to {} and {}", policy.min, policy.max);
        }
        seen.recommended = within;
    }
    seen.policy = policy;
    seen
}

/// A pool of which nothing was seen yet: whoever sizes agents by it must leave them as they are.
pub(super) fn unseen(policy: ScalingPolicy, at: Time) -> PoolSeen {
    PoolSeen {
        policy,
        is_set: true,
        current: 0,
        recommended: 0,
        why: "nobody has looked at the load yet".into(),
        boot_ms: 0,
        horizon_ms: HORIZON_MS,
        points: Vec::new(),
        at,
        is_seen: false,
    }
}

/// A pool that was seen and is to be as small as it may.
#[cfg(test)]
pub(super) fn smallest(policy: ScalingPolicy, at: Time) -> PoolSeen {
    PoolSeen { recommended: policy.min, is_seen: true, ..unseen(policy, at) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bravo_model::Name;
    use bravo_model::row::Flow;

    fn pool(mode: Mode) -> Pool {
        let policy = ScalingPolicy { mode, ..ScalingPolicy::of(Name::parse("name", "coder").unwrap()) };
        Pool::new(policy, true, 15.0, None)
    }

    #[test]
    fn an_agent_that_does_several_jobs_at_once_counts_as_one_that_is_as_much_faster() {
        let flow = Flow { arrived: 8, served: 4, service_ms: 40_000, ..Flow::default() };
        let coming = vec![(30.0, 7)];
        let load = Load { workers: 2, capacity: 4, ready: 3, leased: 5, flow, coming, ..Load::default() };
        let seen = pool(Mode::Advise).observation(&load, 60_000);
        assert_eq!((seen.arrivals, seen.completed, seen.queue), (8, 4, 3));
        assert_eq!((seen.busy, seen.ready, seen.booting, seen.replicas), (2, 2, 0, 2));
        assert!((seen.service_sum - 10.0).abs() < 1e-9 && (seen.t - 60.0).abs() < 1e-9);
        assert_eq!(seen.due, [Due { in_s: 30.0, jobs: 7 }]);
        let (told, _) = pool(Mode::Advise).step(&load, 60_000);
        let why = told.seen.why;
        assert!(why.ends_with("; 7 jobs are known to become ready within a quarter of an hour"), "{why}");
    }

    #[test]
    fn jobs_of_agents_that_leave_keep_none_of_the_others_busy() {
        let load = Load { workers: 4, capacity: 1, leased: 5, leaving: 3, ..Load::default() };
        assert_eq!(pool(Mode::Advise).observation(&load, 15_000).busy, 2);
    }

    #[test]
    fn uses_and_workflows_are_told_to_the_controller_and_forecast_by_it() {
        let mut pool = pool(Mode::Advise);
        let flow = Flow { arrived: 6, served: 6, service_ms: 120_000, ..Flow::default() };
        let load = Load { workers: 10, capacity: 1, leased: 8, lost: 3, flow, ..Load::default() };
        let load = Load { cpu_each: 0.2, memory_each: 0.3, workflows: 4, ..load };
        let seen = pool.observation(&load, 15_000);
        assert!((seen.cpu - 2.0).abs() < 1e-9 && (seen.memory - 3.0).abs() < 1e-9, "{seen:?}");
        assert_eq!((seen.busy, seen.workflows), (5, 4), "what nobody holds is no work");
        let told = (1..=300).map(|tick| pool.step(&load, tick * 15_000).0).last().unwrap();
        assert_eq!(told.uses.len(), told.seen.points.len());
        for (used, point) in told.uses.iter().zip(&told.seen.points) {
            let at_work = point.p50 / f64::from(point.agents);
            assert!((used.cpu - at_work * 0.4).abs() < 1e-6, "2 of 5 at work: {used:?} {point:?}");
            assert!((used.memory - 0.3).abs() < 1e-6, "{used:?}");
            assert!((used.workflows - point.p50 * 0.8).abs() < 1e-6, "4 for 5 jobs: {used:?}");
        }
    }

    #[test]
    fn agents_that_were_asked_for_are_on_their_way_only_where_somebody_acts() {
        for (mode, booting) in [(Mode::Act, 2), (Mode::Advise, 0)] {
            let mut pool = pool(mode);
            let load = Load { workers: 0, capacity: 1, ..Load::default() };
            let (told, _) = pool.step(&load, 15_000);
            assert_eq!(told.seen.recommended, 2, "the smallest pool");
            assert_eq!(pool.observation(&load, 30_000).booting, booting, "{mode:?}");
        }
    }

    #[test]
    fn a_pool_changes_no_faster_than_its_policy_lets_it() {
        let block = |percent| scaling::Block { stabilisation_ms: 0, percent, period_ms: 60_000 };
        let behaviour = Some(scaling::Behaviour { up: block(100), down: block(20) });
        for rule in [Rule::Predictive, Rule::Reactive, Rule::Threshold] {
            let load = Load { workers: 10, capacity: 1, ..Load::default() };
            let least = |behaviour| {
                let policy = ScalingPolicy { rule, behaviour, ..ScalingPolicy::of(Name::parse("name", "a").unwrap()) };
                let mut pool = Pool::new(policy, true, 15.0, None);
                (1..=40).map(|tick| pool.step(&load, tick * 15_000).0.seen.recommended).min()
            };
            assert_eq!(least(behaviour), Some(8), "{rule:?}: a fifth of ten a minute, and ten there are");
            assert!(least(None) < Some(8) || rule != Rule::Predictive, "{rule:?}");
        }
    }

    #[test]
    fn what_is_off_recommends_what_there_is_and_new_bounds_count_at_once() {
        let load = Load { workers: 9, capacity: 1, ..Load::default() };
        let told = pool(Mode::Off).step(&load, 15_000).0.seen;
        assert_eq!((told.current, told.recommended), (9, 9));
        let policy = ScalingPolicy { min: 4, max: 5, mode: Mode::Act, ..told.policy.clone() };
        let now = under(&told, policy, true);
        assert_eq!(now.recommended, 5);
        assert!(now.why.contains("bounds"), "{}", now.why);
    }
}
