//! Schedules: put, look at, pause, delete.

use std::sync::Arc;

use bravo_api::convert::reads::Freshness;
use bravo_api::convert::schedules as convert;
use bravo_api::{Rejection, proto};
use bravo_model::schedule::{NewSchedule, Target};
use bravo_model::{Code, Command, Envelope, Name, Refusal, Reply, limits};
use futures_util::future::join_all;

use super::reads::{Kind, earlier, or_stale, read as read_group, read_shared, wrong_answer};
use super::{workflows, wrong_reply};
use crate::cluster::Repeat;
use crate::gateway::app::App;
use crate::gateway::call::{Call, hash};
use crate::gateway::depth;
use crate::raft::types::partition_group;
use crate::routing;
use crate::transport::wire::{Answer, Query, ScheduleRead};

/// How late a tick may be unless the schedule says otherwise.
const CATCH_UP_MS_DEFAULT: u64 = 60_000;

/// Makes a schedule, or replaces it.
pub(crate) async fn put(
    app: &Arc<App>,
    call: &Call,
    mut request: proto::PutScheduleRequest,
) -> Result<proto::PutScheduleResponse, Rejection> {
    use proto::put_schedule_request::Target as Asked;
    let name = name_of(&request.name)?;
    call.names(&name);
    check_source(&request.source)?;
    match &mut request.target {
        Some(Asked::Job(job)) => call.caller.fill(&mut job.project_id),
        Some(Asked::Workflow(workflow)) => call.caller.fill(&mut workflow.project_id),
        None => {}
    }
    let target = match request.target {
        Some(Asked::Job(job)) => {
            let job = convert::job(job)?;
            depth::check_text("job", [job.payload.bytes.as_ref(), job.metadata.as_ref()])?;
            let named = std::iter::once(("job.queue".to_owned(), &job.queue));
            app.definitions.refuse_unknown(&app.cluster, named)?;
            Target::Job(Box::new(job))
        }
        Some(Asked::Workflow(asked)) => {
            Target::Workflow(Box::new(workflows::prepare(app, call, asked).await.map_err(within_workflow)?))
        }
        None => {
            return Err(
                Refusal::new(Code::InvalidArgument, "exactly one of job and workflow says what a tick starts").into()
            );
        }
    };
    call.caller.may_write(target.project())?;
    let timezone = if request.timezone.is_empty() { "UTC".into() } else { request.timezone };
    let new = NewSchedule {
        name: name.clone(),
        cron: request.cron,
        timezone,
        overlap: convert::overlap(&request.overlap)?,
        catch_up_ms: request.catch_up_ms.unwrap_or(CATCH_UP_MS_DEFAULT),
        paused: request.paused,
        target,
        source: request.source,
    };
    let reply = propose(app, call, &name, Command::PutSchedule(Box::new(new))).await?;
    let Reply::SchedulePut { created } = reply else { return Err(wrong_reply(&reply).into()) };
    let schedule = Some(read(app, call, &name, Freshness::Linearizable).await?);
    Ok(proto::PutScheduleResponse { schedule, created })
}

/// What is shown of a target is JSON, and no larger than a target.
fn check_source(source: &[u8]) -> Result<(), Refusal> {
    if source.len() > limits::WORKFLOW_BYTES_MAX {
        let detail = format!("source: at most {} bytes", limits::WORKFLOW_BYTES_MAX);
        return Err(Refusal::new(Code::PayloadTooLarge, detail));
    }
    depth::check_text("source", [source])?;
    match serde_json::from_slice::<serde::de::IgnoredAny>(source) {
        Err(error) if !source.is_empty() => {
            Err(Refusal::new(Code::InvalidArgument, format!("source: not JSON: {error}")))
        }
        _ => Ok(()),
    }
}

/// One schedule.
pub(crate) async fn read(
    app: &Arc<App>,
    call: &Call,
    name: &Name,
    freshness: Freshness,
) -> Result<proto::Schedule, Refusal> {
    let home = home(app, name);
    match read_group(app, call, partition_group(home), Query::Schedule(name.clone()), freshness).await? {
        Answer::Schedules(found) => {
            let found = found.into_iter().find(|one| call.caller.sees(one.target.project()));
            found.map(|one| shown(home, one)).ok_or_else(|| no_schedule(name))
        }
        _ => Err(wrong_answer()),
    }
}

/// All schedules, by name.
pub(crate) async fn list(
    app: &Arc<App>,
    call: &Call,
    freshness: Freshness,
) -> Result<proto::ListSchedulesResponse, Refusal> {
    let freshness = or_stale(freshness);
    let partitions = 0..app.cluster.partitions();
    let reads = partitions.map(|partition| async move {
        let group = partition_group(partition);
        (partition, read_shared(app, call, Kind::Analytics, group, Query::Schedules, freshness).await)
    });
    let (mut schedules, mut oldest) = (Vec::new(), None);
    for (partition, answer) in join_all(reads).await {
        let (Answer::Schedules(found), as_of) = answer? else { return Err(wrong_answer()) };
        oldest = earlier(oldest, as_of);
        let found = found.into_iter().filter(|one| call.caller.sees(one.target.project()));
        schedules.extend(found.map(|one| shown(partition, one)));
    }
    schedules.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(proto::ListSchedulesResponse { schedules, as_of_ms: oldest.unwrap_or_default() })
}

/// Pauses a schedule, or lets it go on.
pub(crate) async fn pause(app: &Arc<App>, call: &Call, name: &Name, paused: bool) -> Result<proto::Schedule, Refusal> {
    call.names(name);
    done(propose(app, call, name, Command::PauseSchedule { name: name.clone(), paused }).await?)?;
    read(app, call, name, Freshness::Linearizable).await
}

/// Deletes a schedule.
pub(crate) async fn delete(app: &Arc<App>, call: &Call, name: &Name) -> Result<(), Refusal> {
    call.names(name);
    done(propose(app, call, name, Command::DeleteSchedule(name.clone())).await?)
}

/// A schedule's name, checked.
pub(crate) fn name_of(text: &str) -> Result<Name, Refusal> {
    Name::parse("schedule", text)
}

async fn propose(app: &Arc<App>, call: &Call, name: &Name, command: Command) -> Result<Reply, Refusal> {
    let body = hash(&[&Envelope::plain(command.clone()).encode()]);
    let idempotency = Some(call.remembered("", body));
    let group = partition_group(home(app, name));
    app.cluster.propose(group, &call.envelope(idempotency, command), Repeat::Safe, call.deadline).await
}

fn home(app: &App, name: &Name) -> u16 {
    routing::schedule_home(name, app.cluster.partitions())
}

fn shown(partition: u16, read: ScheduleRead) -> proto::Schedule {
    let ScheduleRead { schedule, target, source, now } = read;
    proto::Schedule { source, ..convert::schedule(partition, schedule, &target, now) }
}

fn done(reply: Reply) -> Result<(), Refusal> {
    match reply {
        Reply::Done => Ok(()),
        other => Err(wrong_reply(&other)),
    }
}

/// What is wrong with the workflow that a tick starts, by its place in the schedule.
fn within_workflow(mut rejection: Rejection) -> Rejection {
    if !rejection.errors.is_empty() {
        rejection.errors.iter_mut().for_each(|error| error.path.insert_str(0, "workflow."));
        return Rejection::invalid(rejection.errors);
    }
    if rejection.refusal.code == Code::InvalidArgument {
        rejection.refusal.detail.insert_str(0, "workflow: ");
    }
    rejection
}

fn no_schedule(name: &Name) -> Refusal {
    Refusal::new(Code::NotFound, format!("there is no schedule {name}"))
}
