//! The plain rule of two thresholds: half as many again above 70 % use, a fifth less below 30 %.

use crate::Observation;

/// The wish and why.
pub(crate) fn decide(seen: &Observation, min: u32, max: u32) -> (u32, String) {
    let now = seen.replicas.max(1);
    // Waiting jobs are load as well: a pool that is behind is used in full, however many of its agents still start.
    let load = (f64::from(seen.busy) + f64::from(seen.queue)) / f64::from(now);
    let (wish, side) = if load > 0.7 {
        ((f64::from(now) * 1.5).ceil() as u32, "above 0.7: half as many again")
    } else if load < 0.3 {
        ((f64::from(now) * 0.8) as u32, "below 0.3: a fifth less")
    } else {
        (now, "between 0.3 and 0.7: as many as now")
    };
    let wish = wish.clamp(min, max);
    (
        wish,
        format!(
            "{wish} agents: {} busy and {} waiting jobs on {now} agents are a load of {load:.2}, {side}",
            seen.busy, seen.queue
        ),
    )
}
