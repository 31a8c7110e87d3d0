//! When this node itself has too much to do: how much it lets in then, and when it stops refusing.
//!
//! Each tick the signals say whether the node is over its limits. If it is, the next tick lets in a part of what
//! the last one did; if it is well below those that it was over, a little more, and near them, very little. A limit
//! that was not met says nothing of how much may be let in: memory may stay near its own for good. Once all that comes
//! would have been let in for two ticks, nothing is refused any more.

use super::ladder::{Demand, Gate, RUNGS};

/// What is left of what was let in, when the node is over a limit.
const CUT: f64 = 0.7;
/// How much more is let in when it is well below the limits that it was over.
const GROWTH: f64 = 1.15;
/// How much more is let in when it is near one: more than nothing, or what is near for good would be refused for good.
const GROWTH_NEAR: f64 = 1.02;
/// The share of a limit above which a node is near it.
const NEAR: f64 = 0.7;
/// Ticks in a row over a limit before anything is done, or more: calls that waited for a new leader all end at once.
const OVER_TICKS: u32 = 2;
/// Ticks in which all that came would have been let in, after which all is.
const CALM_TICKS: u32 = 2;

/// What there can be too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    /// The shortest time that a command took from here to its reply.
    QueueTime,
    /// Memory of the process.
    Memory,
    /// Entries of the log that are not applied.
    Backlog,
}

impl Limit {
    /// Its name in the configuration.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::QueueTime => "admission.queue_time_target_ms",
            Self::Memory => "admission.memory_bytes_max",
            Self::Backlog => "admission.log_backlog_entries_max",
        }
    }
}

/// How much of each limit is used: 1 is all of it.
pub(crate) type Signals = [(Limit, f64); 3];

/// What the node does about it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overload {
    demand: Demand,
    /// Jobs that a tick may let in; none: any number.
    budget: Option<f64>,
    /// The limits that were met since all was let in.
    met: [bool; 3],
    calm: u32,
    over: u32,
}

impl Overload {
    /// Takes in a tick: how the node stands, jobs that asked by rung, jobs that were let in. Answers what is let
    /// in until the next one, and the limit that was met.
    pub(crate) fn tick(&mut self, signals: &Signals, asked: &[f64; RUNGS], admitted: f64) -> (Gate, Option<Limit>) {
        self.demand.tick(asked);
        let total = self.demand.total();
        let (limit, most) = signals
            .iter()
            .fold((None, 0.0_f64), |worst, (limit, used)| if *used > worst.1 { (Some(*limit), *used) } else { worst });
        self.over = if most > 1.0 { self.over + 1 } else { 0 };
        if self.over >= OVER_TICKS {
            // Something must go: less than came, less than was let in, less than was to be let in.
            let before = self.budget.unwrap_or(f64::INFINITY).min(admitted.max(total * 0.01));
            self.budget = Some((before * CUT).max(0.01));
            self.met.iter_mut().zip(signals).for_each(|(met, (_, used))| *met |= *used > 1.0);
            // What was just cut takes a tick to show.
            (self.calm, self.over) = (0, 0);
        } else if let Some(budget) = self.budget.as_mut().filter(|_| most <= 1.0) {
            self.calm = if total <= *budget { self.calm + 1 } else { 0 };
            let is_near = self.met.iter().zip(signals).any(|(met, (_, used))| *met && *used >= NEAR);
            let grown = budget.max(admitted);
            *budget = if is_near { grown * GROWTH_NEAR } else { grown.mul_add(GROWTH, 1.0) };
            if self.calm >= CALM_TICKS {
                (self.budget, self.met, self.calm) = (None, [false; 3], 0);
            }
        }
        let gate = self.budget.map_or(Gate::OPEN, |budget| self.demand.gate(|_| budget));
        (gate, limit.filter(|_| most > 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::super::ladder::rung;
    use super::*;

    const CALM: Signals = [(Limit::QueueTime, 0.1), (Limit::Memory, 0.5), (Limit::Backlog, 0.0)];

    /// A node that can take so many jobs a tick; what is over makes a queue.
    struct Node {
        overload: Overload,
        gate: Gate,
        waits: f64,
        done: f64,
        asked: f64,
    }

    const ROOM: f64 = 100.0;

    impl Node {
        fn tick(&mut self, offered: usize) {
            let (mut asked, mut admitted) = ([0.0; RUNGS], 0.0);
            for n in 0..offered {
                let rung = rung(n % 10, &format!("tenant-{}", n / 10), 0);
                asked[rung] += 1.0;
                admitted += f64::from(u8::from(self.gate.lets_in(rung, n as u64)));
            }
            self.waits += admitted;
            let done = self.waits.min(ROOM);
            self.waits -= done;
            self.done += done;
            self.asked += offered as f64;
            // A tick's work of queue is what the target allows.
            let signals = [(Limit::QueueTime, self.waits / ROOM), (Limit::Memory, 0.0), (Limit::Backlog, 0.0)];
            (self.gate, _) = self.overload.tick(&signals, &asked, admitted);
        }
    }

    #[test]
    fn at_twice_what_it_can_take_a_node_stays_busy_and_its_queue_short_and_two_ticks_later_all_are_let_in() {
        let mut node = Node { overload: Overload::default(), gate: Gate::OPEN, waits: 0.0, done: 0.0, asked: 0.0 };
        (0..20).for_each(|_| node.tick(50));
        assert!(node.gate.is_open());
        (0..5).for_each(|_| node.tick(200));
        node.done = 0.0;
        let mut longest: f64 = 0.0;
        for _ in 0..200 {
            node.tick(200);
            longest = longest.max(node.waits);
        }
        assert!(node.done >= 0.95 * 200.0 * ROOM, "{}", node.done);
        assert!(longest <= 4.0 * ROOM, "{longest}");
        while node.waits > 0.0 {
            node.tick(50);
        }
        node.tick(50);
        node.tick(50);
        assert!(node.gate.is_open());
    }

    #[test]
    fn a_limit_that_stays_met_shuts_the_gate_more_and_more_from_below() {
        let mut overload = Overload::default();
        let asked = [1.0; RUNGS];
        let full = [(Limit::QueueTime, 0.1), (Limit::Memory, 1.2), (Limit::Backlog, 0.0)];
        let mut admitted = RUNGS as f64;
        let mut shut = 0.0;
        assert!(overload.tick(&full, &asked, admitted).0.is_open(), "once is no overload");
        for _ in 0..10 {
            let (gate, limit) = overload.tick(&full, &asked, admitted);
            assert_eq!(limit, Some(Limit::Memory));
            assert!(gate.shut() > shut);
            shut = gate.shut();
            admitted = (0..RUNGS).filter(|rung| gate.lets_in(*rung, 0)).count() as f64;
            assert_eq!(overload.tick(&full, &asked, admitted).0, gate, "the cut takes a tick to show");
        }
        assert!(shut > 0.9);
    }

    /// A node that is over the limit of its queue for two ticks, and what it lets in then.
    fn cut(asked: &[f64; RUNGS]) -> (Overload, Gate) {
        let mut overload = Overload::default();
        let over = [(Limit::QueueTime, 3.0), CALM[1], CALM[2]];
        overload.tick(&over, asked, 160.0);
        let (gate, _) = overload.tick(&over, asked, 160.0);
        (overload, gate)
    }

    #[test]
    fn near_the_limit_that_it_met_a_node_lets_in_very_little_more_and_well_below_it_more() {
        let asked = [1.0; RUNGS];
        let (mut overload, shut) = cut(&asked);
        let near = [(Limit::QueueTime, 0.9), CALM[1], CALM[2]];
        let (a_little, limit) = overload.clone().tick(&near, &asked, 112.0);
        let (more, _) = overload.tick(&CALM, &asked, 112.0);
        assert_eq!(limit, None);
        assert!(more.shut() < a_little.shut() && a_little.shut() <= shut.shut() && !more.is_open());
        assert!(a_little.shut() > shut.shut() - 0.05, "{} of {}", a_little.shut(), shut.shut());
    }

    /// Ticks with these signals until nothing is refused any more.
    fn ticks_to_open(signals: &Signals) -> usize {
        let asked = [10.0; RUNGS];
        let (mut overload, mut gate) = cut(&asked);
        (0..1_000)
            .take_while(|_| {
                let admitted: usize =
                    (0..RUNGS).map(|rung| (0..10).filter(|nth| gate.lets_in(rung, *nth)).count()).sum();
                gate = overload.tick(signals, &asked, admitted as f64).0;
                !gate.is_open()
            })
            .count()
    }

    #[test]
    fn memory_that_stays_at_three_quarters_keeps_nobody_out_when_the_disk_has_long_been_quick_again() {
        let beside = [(Limit::QueueTime, 0.1), (Limit::Memory, 0.75), (Limit::Backlog, 0.0)];
        assert_eq!(ticks_to_open(&beside), ticks_to_open(&CALM));
        let near = [(Limit::QueueTime, 0.75), (Limit::Memory, 0.75), (Limit::Backlog, 0.0)];
        let ticks = ticks_to_open(&near);
        assert!((20..400).contains(&ticks), "it takes longer, and ends: {ticks}");
    }
}
