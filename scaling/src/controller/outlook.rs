//! What is expected until a quarter of an hour from now.

use super::Controller;
use crate::advice::Point;
use crate::erlang::{Variability, smallest_pool};
use crate::forecast::quantile;
use crate::history::ROLLUP_TICKS;
use crate::observation::due_between;

const HORIZON_S: f64 = 900.0;
/// Points of an outlook, besides the first.
const STEPS: u32 = 4;
/// Seconds of the window that the last point is for.
const FAR_S: f64 = 300.0;

impl Controller {
    /// What is expected until a quarter of an hour from now.
    pub fn predict_load(&self) -> Vec<Point> {
        let (tick_s, service_s) = (self.settings.tick_s, self.state.service.mean_s());
        let near = (self.near_load(quantile(&self.model.near(), 0.5)), self.p90s.0);
        let far = (self.far_load(quantile(&self.model.far(), 0.5)), self.p90s.1);
        let far = if self.state.history.seen < 3 * ROLLUP_TICKS { near } else { far };
        let first_s = self.lead() as f64 * tick_s + tick_s;
        let (min, max) = self.bounds();
        let point = |i: u32| {
            let part = f64::from(i) / f64::from(STEPS);
            let at = |of: (f64, f64)| of.0 * (1.0 - part) + of.1 * part;
            // What is known to come in the window of the point is the least that will.
            let (from_s, to_s) = (at((first_s - tick_s, HORIZON_S - FAR_S)), at((first_s + tick_s, HORIZON_S)));
            let known = due_between(&self.due, from_s, to_s) * service_s / (to_s - from_s).max(tick_s);
            let p50 = at((near.0, far.0)).max(known);
            let p90 = at((near.1, far.1)).max(p50);
            let of = Variability { arrivals: 1.0, service: self.state.service.scv() };
            let agents = smallest_pool(p90, service_s, of, self.settings.late_s(), 0.05, min, max);
            let used = p50.min(f64::from(agents)) / f64::from(agents.max(1));
            Point {
                in_s: at((first_s, HORIZON_S.max(first_s))),
                p50,
                p90,
                cpu: (used * self.state.usage.cpu_each()).min(1.0),
                memory: self.state.usage.memory_each().unwrap_or(used).min(1.0),
                workflows: p50 * self.state.usage.workflows_each(),
                agents,
            }
        };
        (0..=STEPS).map(point).collect()
    }
}
