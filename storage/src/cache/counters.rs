//! What became of each request, per tier.

use std::sync::atomic::{AtomicU64, Ordering};

use metrics::{Counter, counter};

/// Requests so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheCounts {
    /// Found in memory.
    pub memory_hits: u64,
    /// Found on disk.
    pub disk_hits: u64,
    /// Found nowhere.
    pub misses: u64,
    /// Found, but too old.
    pub expired: u64,
}

pub(super) enum Outcome {
    MemoryHit,
    DiskHit,
    Miss,
    Expired,
}

/// `bravo_cache_requests_total{tier,result}`, with handles made once.
pub(super) struct Counters {
    memory_hit: Counted,
    memory_miss: Counted,
    disk: Option<(Counted, Counted)>,
    expired: Counted,
}

struct Counted {
    metric: Counter,
    count: AtomicU64,
}

impl Counted {
    fn new(tier: &'static str, result: &'static str) -> Self {
        let metric = counter!("bravo_cache_requests_total", "tier" => tier, "result" => result);
        Self { metric, count: AtomicU64::new(0) }
    }

    fn add(&self) {
        self.metric.increment(1);
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

impl Counters {
    pub(super) fn new(disk: bool) -> Self {
        Self {
            memory_hit: Counted::new("memory", "hit"),
            memory_miss: Counted::new("memory", "miss"),
            disk: disk.then(|| (Counted::new("disk", "hit"), Counted::new("disk", "miss"))),
            expired: Counted::new("any", "expired"),
        }
    }

    pub(super) fn add(&self, outcome: Outcome) {
        match outcome {
            Outcome::MemoryHit => return self.memory_hit.add(),
            Outcome::Expired => return self.expired.add(),
            Outcome::DiskHit | Outcome::Miss => self.memory_miss.add(),
        }
        if let Some((hit, miss)) = &self.disk {
            if matches!(outcome, Outcome::DiskHit) { hit.add() } else { miss.add() }
        }
    }

    pub(super) fn counts(&self) -> CacheCounts {
        let disk_hits = self.disk.as_ref().map_or(0, |(hit, _)| hit.get());
        CacheCounts {
            memory_hits: self.memory_hit.get(),
            disk_hits,
            misses: self.memory_miss.get() - disk_hits.min(self.memory_miss.get()),
            expired: self.expired.get(),
        }
    }
}
