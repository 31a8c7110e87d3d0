//! The past of an agent type as people carry it about: what is remembered of its arrivals, written as plain numbers.
//!
//! It leaves with `State::past` and comes in with `State::of_past`, here or in another cluster. So who moves to Bravo need
//! not wait four weeks for its forecasts, and what a cluster remembers can be replayed.

use crate::history::{History, ROLLUP_TICKS, ROLLUPS_MAX, TICKS_MAX};
use crate::sim::Trace;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Past {
    /// Seconds of a tick.
    pub tick_s: f64,
    /// Arrivals of twenty ticks each, before those of `ticks`; the oldest first.
    pub older: Vec<u32>,
    /// Arrivals by tick, the oldest first.
    pub ticks: Vec<u32>,
    /// Mean seconds that a job takes, where it is known.
    pub service_s: Option<f64>,
    /// Seconds that an agent takes to start, where it is known.
    pub boot_s: Option<f64>,
}

impl Past {
    /// That of a trace, spread evenly over ticks; what is older than is remembered is left out.
    pub fn of_trace(trace: &Trace, tick_s: f64) -> Self {
        let mut sums = vec![0.0];
        sums.extend(trace.counts.iter().scan(0.0, |sum, count| {
            *sum += count;
            Some(*sum)
        }));
        // The arrivals before a time, in ticks.
        let until = |tick: usize| {
            let bin = tick as f64 * tick_s / trace.bin_s;
            let whole = (bin as usize).min(trace.counts.len());
            let open = trace.counts.get(whole).map_or(0.0, |count| count * (bin - whole as f64));
            (sums[whole] + open + 1e-9).floor()
        };
        let count = (trace.counts.len() as f64 * trace.bin_s / tick_s) as usize;
        let first = count.saturating_sub(ROLLUPS_MAX * ROLLUP_TICKS as usize);
        let ticks: Vec<u32> = (first..count).map(|tick| (until(tick + 1) - until(tick)) as u32).collect();
        let mut older = ticks.len().saturating_sub(TICKS_MAX);
        older -= older % ROLLUP_TICKS as usize;
        let roll_ups = ticks[..older].chunks_exact(ROLLUP_TICKS as usize);
        let older_sums = roll_ups.map(|of| of.iter().fold(0, |sum: u32, n| sum.saturating_add(*n))).collect();
        let (jobs, work) = trace.counts.iter().zip(&trace.services).fold((0.0, 0.0), |(jobs, work), (n, service)| {
            service.map_or((jobs, work), |service| (jobs + n, work + n * service))
        });
        let service_s = (jobs > 0.0).then(|| work / jobs);
        Self { tick_s, older: older_sums, ticks: ticks[older..].to_vec(), service_s, boot_s: None }
    }

    /// A trace of it, to be replayed: what is known by twenty ticks is spread evenly over them.
    pub fn trace(&self) -> Trace {
        let spread = |sum: &u32| std::iter::repeat_n(f64::from(*sum) / ROLLUP_TICKS as f64, ROLLUP_TICKS as usize);
        let older = self.older.iter().flat_map(spread);
        let counts: Vec<f64> = older.chain(self.ticks.iter().map(|n| f64::from(*n))).collect();
        let services = vec![None; counts.len()];
        Trace { bin_s: self.tick_s, counts, services }
    }

    /// The history in which this is all that ever was.
    pub(crate) fn history(&self) -> History {
        let mut history = History::of_older(&self.older);
        for arrivals in &self.ticks {
            history.push(*arrivals);
        }
        history
    }
}
