//! Workers seen at this node lately.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// A worker that was not heard of for this long is gone.
const AGE: Duration = Duration::from_secs(60);
/// Workers remembered at a time.
const WORKERS_MAX: usize = 10_000;

/// What is known of one worker.
#[derive(Clone, Debug)]
struct Seen {
    queues: Vec<String>,
    at: Instant,
}

/// The registry.
#[derive(Default)]
pub(crate) struct Workers {
    seen: Mutex<HashMap<String, Seen>>,
}

impl Workers {
    /// A worker asked for jobs of a queue.
    pub(crate) fn asked(&self, worker: &str, queue: &str) {
        let mut all = self.seen.lock();
        if let Some(seen) = all.get_mut(worker) {
            seen.at = Instant::now();
            if !seen.queues.iter().any(|known| known == queue) {
                seen.queues.push(queue.into());
            }
            return;
        }
        if all.len() >= WORKERS_MAX {
            all.retain(|_, seen| seen.at.elapsed() < AGE);
        }
        if all.len() < WORKERS_MAX {
            all.insert(worker.into(), Seen { queues: vec![queue.into()], at: Instant::now() });
        }
    }

    /// Whether a worker asked for jobs of the queue lately.
    pub(crate) fn serve(&self, queue: &str) -> bool {
        let all = self.seen.lock();
        all.values().any(|seen| seen.at.elapsed() < AGE && seen.queues.iter().any(|known| known == queue))
    }
}
