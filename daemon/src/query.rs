//! Reads of one group's state, on whichever replica is asked.

use bravo_model::{JobState, view};

use crate::raft::group::GroupState;
use crate::transport::wire::{Answer, Query, QueueCounts, TemplateRead, Why};

/// Answers from this replica as it is now.
pub fn answer(shared: &GroupState, query: &Query) -> Answer {
    let state = shared.state.read();
    let state = &*state;
    let counts = |queue: view::QueueView| QueueCounts {
        name: queue.name.clone(),
        ready: queue.count(JobState::Ready),
        scheduled: queue.count(JobState::Scheduled),
        blocked: queue.count(JobState::Blocked),
        leased: queue.count(JobState::Leased),
        dead: queue.count(JobState::Dead),
        oldest_ready_at: queue.oldest_ready_at,
        version: queue.version,
        now: shared.clock.now(),
    };
    match query {
        Query::Job(seq) => {
            Answer::Job(view::job(state, *seq).map(|job| (job, view::payload(state, *seq), view::result(state, *seq))))
        }
        Query::Why(seq) => Answer::Why(view::why(state, *seq).map(|why| Why {
            reason: why.reason.to_owned(),
            detail: why.detail,
            until: why.until,
        })),
        Query::Jobs { filter, after, limit } => {
            let page = view::list(state, filter, *after, *limit as usize);
            Answer::Jobs { jobs: page.jobs, next: page.next }
        }
        Query::Queue(name) => Answer::Queues(view::queue(state, name).map(counts).into_iter().collect()),
        Query::Queues => Answer::Queues(view::queues(state).into_iter().map(counts).collect()),
        Query::Definitions => Answer::Definitions(view::definitions(state)),
        Query::Definition(name) => Answer::Definitions(view::definition(state, name).into_iter().collect()),
        Query::Nodes => Answer::Nodes(view::nodes(state)),
        Query::Formed => Answer::Formed(view::formed(state)),
        Query::Templates(known) => match view::template_changes(state) {
            changes if changes == *known => Answer::Templates { changes, templates: None },
            _ => {
                let (changes, templates) = view::templates(state);
                Answer::Templates { changes, templates: Some(templates) }
            }
        },
        Query::Template(name, version) => {
            Answer::Template(view::template(state, name, *version).map(|(head, version, of)| TemplateRead {
                head,
                version,
                of,
            }))
        }
    }
}
