//! A controller that knows every job beforehand: what can be had at best, nearly.
//!
//! It opens an agent only for a job that would wait past nine tenths of the objective, starts it just in time,
//! uses again the one that was idle for the shortest time, and lets it go over gaps longer than a start.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::pool::Jobs;

/// When an agent is free, and which.
#[derive(PartialEq)]
struct Busy(f64, usize);

impl Eq for Busy {}

impl PartialOrd for Busy {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Busy {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0).then(self.1.cmp(&other.1))
    }
}

/// What the world of a backtest is like.
#[derive(Clone, Copy, Debug)]
pub struct World {
    /// Seconds that an agent takes to start.
    pub boot_s: f64,
    /// A job that waits longer is late.
    pub late_s: f64,
    /// Seconds between two decisions.
    pub tick_s: f64,
    /// The smallest pool.
    pub min: u32,
    /// The largest pool.
    pub max: u32,
}

/// One wish for each tick.
pub fn clairvoyant(jobs: &Jobs, world: &World) -> Vec<u32> {
    let slack = 0.9 * world.late_s;
    let mut busy: BinaryHeap<Reverse<Busy>> = BinaryHeap::new();
    let mut idle: Vec<Busy> = Vec::new();
    let mut held: Vec<(f64, f64)> = Vec::new();
    let mut previous: f64 = 0.0;
    for (&arrival, &service) in jobs.arrivals.iter().zip(&jobs.services) {
        let now = arrival.max(previous);
        previous = now;
        while busy.peek().is_some_and(|first| first.0.0 <= now) {
            idle.extend(busy.pop().map(|first| first.0));
        }
        let (agent, start) = if let Some(last) = idle.pop_if(|last| now - last.0 <= world.boot_s) {
            (last.1, now)
        } else if let Some(Reverse(first)) = (busy.len() >= world.max as usize
            || busy.peek().is_some_and(|first| first.0.0 <= arrival + slack))
        .then(|| busy.pop())
        .flatten()
        {
            previous = first.0;
            (first.1, first.0)
        } else {
            idle.clear();
            held.push((now, now));
            (held.len() - 1, now)
        };
        held[agent].1 = start + service;
        busy.push(Reverse(Busy(start + service, agent)));
    }
    let ticks = (jobs.end_s / world.tick_s) as usize + 2;
    let mut change = vec![0i64; ticks + 1];
    for (start, stop) in held {
        change[((start - world.boot_s) / world.tick_s).floor().max(0.0) as usize] += 1;
        change[ticks.min((stop / world.tick_s).ceil() as usize)] -= 1;
    }
    let mut size = 0;
    let wishes = change[..ticks].iter().map(|step| {
        size += step;
        size.clamp(i64::from(world.min), i64::from(world.max)) as u32
    });
    wishes.collect()
}
