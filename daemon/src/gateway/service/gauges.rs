//! Refreshes the gauges that are read off the state when somebody asks for the metrics.

use std::collections::BTreeMap;

use bravo_model::{JobState, Name};

use crate::gateway::app::App;
use crate::query;
use crate::raft::group::Group;
use crate::raft::types::META_GROUP;
use crate::telemetry::samples::{PartitionSample, QueueSample};
use crate::transport::wire::QueueCounts;

/// Writes the gauges of partitions and queues.
pub(crate) fn refresh(app: &App) {
    let mut queues: BTreeMap<Name, Vec<(JobState, u64)>> = BTreeMap::new();
    for group in app.cluster.groups().iter().filter(|group| group.shared.group != META_GROUP) {
        partition(group);
        if !group.shared.is_leader() {
            continue;
        }
        for queue in query::queues(&group.shared) {
            let jobs = by_state(&queue);
            queues.entry(queue.name).or_default().extend(jobs);
        }
    }
    let definitions = app.definitions.get(&app.cluster);
    let agent_type = |name: &Name| definitions.get(name)?.config.agent_type.as_ref().map(Name::to_string);
    app.gauges.publish(queues.into_iter().map(|(name, jobs)| QueueSample {
        agent_type: agent_type(&name),
        queue: name.into(),
        jobs,
    }));
}

fn by_state(queue: &QueueCounts) -> [(JobState, u64); 5] {
    [
        (JobState::Ready, queue.ready),
        (JobState::Scheduled, queue.scheduled),
        (JobState::Blocked, queue.blocked),
        (JobState::Leased, queue.leased),
        (JobState::Dead, queue.dead),
    ]
}

fn partition(group: &Group) {
    let metrics = group.metrics();
    let sample = PartitionSample {
        partition: group.shared.partition.into(),
        is_leader: group.shared.is_leader(),
        term: metrics.current_term,
        last_log: metrics.last_log_index.unwrap_or(0),
        commit: metrics.local_committed.map_or(0, |id| id.index),
        last_applied: group.shared.applied(),
    };
    sample.emit();
}
