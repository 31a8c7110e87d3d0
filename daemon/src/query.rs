//! Reads of one group's state, on whichever replica is asked.

use bravo_model::audit;
use bravo_model::command::QueueDefinition;
use bravo_model::key::ApiKey;
use bravo_model::quota::{Quota, Usage};
use bravo_model::workflow::Event;
use bravo_model::{JobState, Name, Read, view};

use crate::raft::group::GroupState;
use crate::transport::wire::{Answer, EventsRead, Query, QueueCounts, ScheduleRead, TemplateRead, Why, WorkflowRead};

/// Tasks that are read before their size is looked at.
const TASKS_AT_ONCE: usize = 100;
/// Bytes after which an answer ends and another one goes on.
const ANSWER_BYTES: usize = 4 << 20;
/// Events of one answer.
const EVENTS_AT_ONCE: usize = 1_000;
/// Due rows, and tasks of workflows, that are looked at for what is known to come.
const KNOWN_LOOKS: (usize, usize) = (5_000, 1_000);

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
        Query::JobRecord(seq) => Answer::Job(view::job(state, *seq).map(|job| Box::new((job, None, None)))),
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
        Query::Templates(known) => match view::template_changes(state) {
            changes if changes == *known => Answer::Templates { changes, templates: None },
            _ => {
                let (changes, templates) = view::templates(state);
                Answer::Templates { changes, templates: Some(templates) }
            }
        },
        Query::Workflow(seq, from) => Answer::Workflow(workflow(state, *seq, *from).map(Box::new)),
        Query::Workflows { filter, before, limit } => {
            let (workflows, next) = view::workflows(state, filter, *before, *limit as usize);
            Answer::Workflows { workflows, next }
        }
        Query::WorkflowEvents(seq, after) => Answer::WorkflowEvents(workflow_events(state, *seq, *after)),
        Query::Schedule(name) => Answer::Schedules(schedule(shared, state, name).into_iter().collect()),
        Query::Schedules => {
            let names = view::schedules(state).into_iter().map(|schedule| schedule.name);
            Answer::Schedules(
                names.filter_map(|name| schedule(shared, state, &name)).map(ScheduleRead::brief).collect(),
            )
        }
        Query::Artifact(project, path, version) => {
            Answer::Artifact(view::artifact(state, project, path, *version).map(Box::new))
        }
        Query::Artifacts { project, prefix, after, limit } => {
            let (page, more) = view::artifacts(state, project, prefix, after.as_deref(), *limit as usize);
            Answer::Artifacts(page, more)
        }
        Query::Referred(chunks) => Answer::Referred(chunks.iter().map(|hash| view::is_referred(state, hash)).collect()),
        Query::Lifecycle(project) => Answer::Lifecycles(view::lifecycle(state, project).into_iter().collect()),
        Query::Lifecycles => Answer::Lifecycles(view::lifecycles(state)),
        Query::Stays(ids) => Answer::Stays(ids.iter().map(|id| view::stays(state, id)).collect()),
        Query::Key(id) => Answer::Keys(view::key(state, id).into_iter().collect()),
        Query::Quota(project) => Answer::Quotas(view::quota(state, project).into_iter().collect()),
        Query::Quotas => Answer::Quotas(view::quotas(state)),
        Query::Keys => Answer::Keys(view::keys(state)),
        Query::Audit { after, since, actor, limit } => {
            let wanted = |entry: &audit::Entry| actor.as_ref().is_none_or(|actor| *actor == entry.of.actor);
            let (entries, next) = view::audit(state, (*after, *since), *limit as usize, wanted);
            Answer::Audit(entries, next)
        }
        Query::Scalings => Answer::Scalings(view::scalings(state)),
        Query::ScalingMemory(agent_type) => Answer::ScalingMemory(view::scaling_memory(state, agent_type)),
        Query::ScalingMemories => Answer::ScalingMemories(view::scaling_memories(state)),
        Query::Coming(slot_ms, slots) => {
            let coming = known(shared, state, (*slot_ms, *slots)).coming;
            Answer::Coming(coming.into_iter().map(|((queue, slot), jobs)| (queue, slot, jobs)).collect())
        }
        Query::Known(slot_ms, slots) => Answer::Known(Box::new(known(shared, state, (*slot_ms, *slots)))),
        Query::Claimed(keys) => {
            let is_claimed = |(queue, project, key): &(_, _, String)| view::is_claimed(state, queue, project, key);
            Answer::Claimed(keys.iter().map(is_claimed).collect())
        }
        Query::Kept(idempotency) => Answer::Kept(view::kept(state, idempotency)),
        Query::Webhook(project, name) => Answer::Webhooks(view::webhook(state, project, name).into_iter().collect()),
        Query::Webhooks(project) => Answer::Webhooks(view::webhooks_of(state, project)),
        Query::AllWebhooks => Answer::Subscriptions(view::webhooks(state)),
        Query::Subscriptions => Answer::Subscriptions(view::subscriptions(state)),
        Query::TaskIds(seq) => Answer::TaskIds(task_ids(state, *seq)),
        Query::Template(name, version) => {
            Answer::Template(view::template(state, name, *version).map(|(head, version, of)| TemplateRead {
                head,
                version,
                of,
            }))
        }
    }
}

fn known(shared: &GroupState, rows: &impl Read, slots: (u64, u32)) -> view::Known {
    view::known(rows, shared.clock.now(), slots, KNOWN_LOOKS)
}

/// A workflow with as many of its tasks from a place on as fit into one answer.
fn workflow(rows: &impl Read, seq: u64, from: u32) -> Option<WorkflowRead> {
    let workflow = view::workflow(rows, seq)?;
    let rows = &view::opened(rows, seq);
    let input = view::workflow_input(rows, seq).unwrap_or_default();
    let (mut tasks, mut bytes, mut place) = (Vec::new(), 0, from);
    let mut next = None;
    loop {
        let part = view::tasks(rows, &workflow, place, TASKS_AT_ONCE);
        let Some(last) = part.last().map(|task| task.place) else { break };
        let of =
            |task: &view::TaskView| task.result.as_ref().map_or(0, bytes::Bytes::len) + task.spec.input.len() + 256;
        bytes += part.iter().map(of).sum::<usize>();
        tasks.extend(part);
        place = last.saturating_add(1);
        if last >= workflow.tasks.saturating_sub(1) {
            break;
        }
        if bytes > ANSWER_BYTES {
            next = Some(place);
            break;
        }
    }
    Some(WorkflowRead { workflow, input, tasks, next })
}

fn workflow_events(rows: &impl Read, seq: u64, after: u32) -> Option<EventsRead> {
    let workflow = view::workflow(rows, seq)?;
    let rows = &view::opened(rows, seq);
    let named = |(number, event): (u32, Event)| {
        let id = event.task.and_then(|(task, _)| view::task_id(rows, seq, task));
        (number, event, id)
    };
    let events: Vec<_> = view::events(rows, seq, after, EVENTS_AT_ONCE).into_iter().map(named).collect();
    let over = workflow.status.is_final() && events.len() < EVENTS_AT_ONCE;
    Some(EventsRead { events, over })
}

fn schedule(shared: &GroupState, rows: &impl Read, name: &Name) -> Option<ScheduleRead> {
    let (schedule, target, source) = view::schedule(rows, name)?;
    Some(ScheduleRead { schedule, target, source, now: shared.clock.now() })
}

fn task_ids(rows: &impl Read, seq: u64) -> Option<Vec<Name>> {
    let workflow = view::workflow(rows, seq)?;
    let rows = &view::opened(rows, seq);
    Some((0..workflow.tasks).filter_map(|place| view::task_id(rows, seq, place)).collect())
}

/// The job with payload and result, of one moment.
async fn job(shared: &GroupState, seq: u64) -> Answer {
    let keys = [view::payload_key(seq), view::result_key(seq)];
    let (job, mut values) = shared.payloads(&keys, |state| view::job(state, seq)).await;
    let (result, payload) = (values.pop().flatten(), values.pop().flatten());
    Answer::Job(job.map(|job| Box::new((job, payload, result))))
}

/// All queues' counts.
pub fn queues(shared: &GroupState) -> Vec<QueueCounts> {
    view::queues(&*shared.state.read()).into_iter().map(|queue| counts(shared, queue)).collect()
}

/// How often templates were changed (meta).
pub fn template_changes(shared: &GroupState) -> u64 {
    view::template_changes(&*shared.state.read())
}

/// One API key (meta).
pub fn key(shared: &GroupState, id: &Name) -> Option<ApiKey> {
    view::key(&*shared.state.read(), id)
}

/// A project's quota (meta).
pub fn quota(shared: &GroupState, project: &Name) -> Option<Quota> {
    view::quota(&*shared.state.read(), project)
}

/// What a project has in a partition.
pub fn usage(shared: &GroupState, project: &Name) -> Usage {
    view::usage(&*shared.state.read(), project)
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
        finished: queue.count(JobState::Succeeded) + queue.count(JobState::Cancelled),
        oldest_ready_at: queue.oldest_ready_at,
        version: queue.version,
        now: shared.clock.now(),
        flow: queue.flow,
        open: queue.open_by_priority,
        paused: queue.paused,
    }
}
