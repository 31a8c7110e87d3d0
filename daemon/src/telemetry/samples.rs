//! Gauges: how things stand, written when somebody asks or at a steady pace.

use super::{labels, metric};
use bravo_model::JobState;
use metrics::{SharedString, gauge};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};

/// How one partition stands on this node.
#[derive(Debug, Clone, Copy)]
pub struct PartitionSample {
    /// The partition.
    pub partition: u32,
    /// Whether this node leads it.
    pub is_leader: bool,
    /// The term.
    pub term: u64,
    /// Index of the last entry in the log.
    pub last_log: u64,
    /// Index of the last entry known to be committed.
    pub commit: u64,
    /// Index of the last entry applied.
    pub last_applied: u64,
}

impl PartitionSample {
    /// Writes the gauges.
    pub fn emit(&self) {
        let partition = SharedString::from(self.partition.to_string());
        let pairs = [
            (metric::RAFT_IS_LEADER, u64::from(self.is_leader)),
            (metric::RAFT_TERM, self.term),
            (metric::RAFT_LAST_LOG, self.last_log),
            (metric::RAFT_COMMIT, self.commit),
            (metric::RAFT_LAST_APPLIED, self.last_applied),
        ];
        for (name, value) in pairs {
            gauge!(name, "partition" => partition.clone()).set(value as f64);
        }
    }
}

/// The shared log on disk.
#[derive(Debug, Clone, Copy)]
pub struct LogSample {
    /// Segments.
    pub segments: u64,
}

impl LogSample {
    /// Writes the gauge.
    pub fn emit(self) {
        gauge!(metric::LOG_SEGMENTS).set(self.segments as f64);
    }
}

/// How much admission keeps out, from 0 to 1.
#[derive(Debug, Clone, Copy)]
pub struct AdmissionSample {
    /// Of what comes to the node.
    pub node: f64,
    /// Of the queue that keeps out most.
    pub queues: f64,
}

impl AdmissionSample {
    /// Writes the gauges.
    pub fn emit(self) {
        gauge!(metric::ADMISSION_SHUT, "scope" => "node").set(self.node);
        gauge!(metric::ADMISSION_SHUT, "scope" => "queues").set(self.queues);
    }
}

/// The pool of one agent type.
#[derive(Debug, Clone, Copy)]
pub struct PoolSample<'a> {
    /// The type.
    pub agent_type: &'a str,
    /// Agents that are there.
    pub current: u32,
    /// Agents that should be.
    pub recommended: u32,
}

impl PoolSample<'_> {
    /// Writes the gauges.
    pub fn emit(&self) {
        let agent_type = labels::queue(self.agent_type);
        gauge!(metric::SCALING_CURRENT, "agent_type" => agent_type.clone()).set(f64::from(self.current));
        gauge!(metric::SCALING_RECOMMENDED, "agent_type" => agent_type).set(f64::from(self.recommended));
    }
}

/// The jobs of one queue in the partitions that this node leads.
#[derive(Debug, Clone)]
pub struct QueueSample {
    /// The queue.
    pub queue: String,
    /// Its `agent_type`, where it has one.
    pub agent_type: Option<String>,
    /// Jobs by state.
    pub jobs: Vec<(JobState, u64)>,
}

/// A gauge of a queue: its metric, its first label, its second one.
type Series = (&'static str, SharedString, SharedString);

/// The gauges of all queues. It remembers which ones it wrote, since a queue that is gone, or whose
/// partitions are led elsewhere now, must read 0 here or it would be counted twice.
#[derive(Debug, Default)]
pub struct QueueGauges {
    written: Mutex<BTreeSet<Series>>,
}

impl QueueGauges {
    /// Writes the gauges of these queues and zeroes those of all others.
    pub fn publish(&self, samples: impl IntoIterator<Item = QueueSample>) {
        let mut values: BTreeMap<Series, u64> = BTreeMap::new();
        for sample in samples {
            // Queues beyond the bound share a label: they add up.
            let queue = labels::queue(&sample.queue);
            let agent_type = sample.agent_type.map_or_else(|| queue.clone(), |name| labels::queue(&name));
            for (state, count) in sample.jobs {
                let state_label = SharedString::const_str(state.as_str());
                *values.entry((metric::QUEUE_JOBS, queue.clone(), state_label)).or_default() += count;
                if state == JobState::Ready {
                    *values.entry((metric::TASK_QUEUE_SIZE, agent_type.clone(), queue.clone())).or_default() += count;
                }
            }
        }
        let mut written = self.written.lock();
        for series in written.iter().filter(|series| !values.contains_key(series)) {
            set(series, 0);
        }
        for (series, value) in &values {
            set(series, *value);
        }
        written.extend(values.into_keys());
    }
}

fn set((name, first, second): &Series, value: u64) {
    let labels = if *name == metric::QUEUE_JOBS { ["queue", "state"] } else { ["agent_type", "queue"] };
    gauge!(*name, labels[0] => first.clone(), labels[1] => second.clone()).set(value as f64);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::recorded;

    #[test]
    fn a_queue_that_is_led_elsewhere_reads_zero() {
        let text = recorded(|| {
            let gauges = QueueGauges::default();
            let jobs = vec![(JobState::Ready, 4), (JobState::Leased, 1)];
            gauges.publish([QueueSample { queue: "mail".into(), agent_type: Some("mailer".into()), jobs }]);
            gauges.publish([QueueSample { queue: "bills".into(), agent_type: None, jobs: vec![(JobState::Ready, 2)] }]);
        });
        assert!(text.contains(r#"bravo_queue_jobs{queue="mail",state="ready"} 0"#), "{text}");
        assert!(text.contains(r#"agent_task_queue_size{agent_type="mailer",queue="mail"} 0"#), "{text}");
        assert!(text.contains(r#"agent_task_queue_size{agent_type="bills",queue="bills"} 2"#), "{text}");
    }

    #[test]
    fn a_partition_is_told_by_its_number() {
        let sample =
            PartitionSample { partition: 3, is_leader: true, term: 2, last_log: 9, commit: 8, last_applied: 7 };
        let text = recorded(|| sample.emit());
        assert!(text.contains(r#"bravo_raft_is_leader{partition="3"} 1"#), "{text}");
        assert!(text.contains(r#"bravo_raft_last_applied{partition="3"} 7"#), "{text}");
    }
}
