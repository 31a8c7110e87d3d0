//! Reads of one group's state, on whichever replica is asked.

use bravo_model::command::QueueDefinition;
use bravo_model::{JobState, view};

use crate::raft::group::GroupState;
use crate::transport::wire::{Answer, Query, QueueCounts, Why};

/// Answers from this replica as it is now.
pub async fn answer(shared: &GroupState, query: &Query) -> Answer {
    if let Query::Job(seq) = query {
        return job(shared, *seq).await;
    }
    let state = shared.state.read();
    let state = &*state;
    match query {
        // Answered above.
        Query::Job(_) => Answer::Job(None),
        Query::Why(seq) => Answer::Why(view::why(state, *seq).map(|why| Why {
            reason: why.reason.to_owned(),
            detail: why.detail,
            until: why.until,
        })),
        Query::Jobs { filter, after, limit } => {
            let page = view::list(state, filter, *after, *limit as usize);
            Answer::Jobs { jobs: page.jobs, next: page.next }
        }
        Query::Queue(name) => {
            Answer::Queues(view::queue(state, name).map(|queue| counts(shared, queue)).into_iter().collect())
        }
        Query::Queues => Answer::Queues(view::queues(state).into_iter().map(|queue| counts(shared, queue)).collect()),
        Query::Definitions => Answer::Definitions(view::definitions(state)),
        Query::Definition(name) => Answer::Definitions(view::definition(state, name).into_iter().collect()),
        Query::Nodes => Answer::Nodes(view::nodes(state)),
        Query::Formed => Answer::Formed(view::formed(state)),
    }
}

/// The job with payload and result, of one moment.
async fn job(shared: &GroupState, seq: u64) -> Answer {
    let keys = [view::payload_key(seq), view::result_key(seq)];
    let (job, mut values) = shared.payloads(&keys, |state| view::job(state, seq)).await;
    let (result, payload) = (values.pop().flatten(), values.pop().flatten());
    Answer::Job(job.map(|job| (job, payload, result)))
}

/// All queues' counts.
pub fn queues(shared: &GroupState) -> Vec<QueueCounts> {
    view::queues(&*shared.state.read()).into_iter().map(|queue| counts(shared, queue)).collect()
}

/// All queues' definitions (meta).
pub fn definitions(shared: &GroupState) -> Vec<QueueDefinition> {
    view::definitions(&*shared.state.read())
}

fn counts(shared: &GroupState, queue: view::QueueView) -> QueueCounts {
    QueueCounts {
        name: queue.name.clone(),
        ready: queue.count(JobState::Ready),
        scheduled: queue.count(JobState::Scheduled),
        blocked: queue.count(JobState::Blocked),
        leased: queue.count(JobState::Leased),
        dead: queue.count(JobState::Dead),
        oldest_ready_at: queue.oldest_ready_at,
        version: queue.version,
        now: shared.clock.now(),
    }
}
