//! The rule of Kubernetes that the backtest shows beside ours: 70 % CPU and five waiting jobs for each agent.
//!
//! It is the horizontal pod autoscaler v2 with its behaviour blocks: up after 60 s of the same wish by at most
//! 100 % in 15 s, down after 300 s by at most 10 % in 60 s.

use std::collections::VecDeque;

use crate::Observation;

/// The state of the rule.
#[derive(Debug, Default)]
pub struct Hpa {
    wishes: VecDeque<(f64, u32)>,
    used: VecDeque<f64>,
    sizes: VecDeque<(f64, u32)>,
}

impl Hpa {
    fn by_cpu(&mut self, seen: &Observation, busy_s: f64, tick_s: f64, now: u32) -> u32 {
        let ready = f64::from(seen.ready);
        self.used.push_back((busy_s / ready.max(1.0) / tick_s).min(1.0));
        if self.used.len() > 2 {
            self.used.pop_front();
        }
        let mut ratio = self.used.iter().sum::<f64>() / self.used.len() as f64 / 0.70;
        if (ratio - 1.0).abs() <= 0.1 || seen.ready == 0 {
            return now;
        }
        if ratio > 1.0 && seen.booting > 0 {
            let all = ready + f64::from(seen.booting);
            ratio *= ready / all;
            return if ratio <= 1.1 { now } else { (ratio * all).ceil() as u32 };
        }
        (ratio * ready).ceil() as u32
    }

    /// The wish for the next tick; `busy_s` is what its CPU metric stands for.
    pub fn decide(&mut self, seen: &Observation, busy_s: f64, tick_s: f64, min: u32, max: u32) -> u32 {
        let (t, now) = (seen.t, seen.replicas.max(1));
        let wish = self.by_cpu(seen, busy_s, tick_s, now).max(seen.queue.div_ceil(5)).clamp(min, max);
        self.wishes.push_back((t, wish));
        while self.wishes.front().is_some_and(|(at, _)| *at <= t - 300.0) {
            self.wishes.pop_front();
        }
        let low = self.wishes.iter().filter(|(at, _)| *at > t - 60.0).map(|(_, wish)| *wish).min().unwrap_or(wish);
        let high = self.wishes.iter().map(|(_, wish)| *wish).max().unwrap_or(wish);
        let wish = if now < low { low } else { now.min(high) };
        self.sizes.push_back((t, now));
        while self.sizes.front().is_some_and(|(at, _)| *at < t - 60.0) {
            self.sizes.pop_front();
        }
        if wish > now {
            let base = self.sizes.iter().filter(|(at, _)| *at >= t - 15.0).map(|(_, size)| *size).min().unwrap_or(now);
            wish.min(base * 2)
        } else if wish < now {
            let base = self.sizes.iter().map(|(_, size)| *size).max().unwrap_or(now);
            now.min(wish.max((f64::from(base) * 0.9) as u32))
        } else {
            wish
        }
    }
}
