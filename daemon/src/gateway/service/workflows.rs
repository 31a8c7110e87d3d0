//! Workflows: start, look at, switch, signal, add to, follow.

use std::collections::BTreeSet;
use std::sync::Arc;

use bravo_api::convert::reads::{Freshness, Page};
use bravo_api::convert::workflows as convert;
use bravo_api::json::RawJson;
use bravo_api::workflow as definition;
use bravo_api::{FieldError, Rejection, proto};
use bravo_model::command::{AddTasks, Idempotency, When};
use bravo_model::view::WorkflowFilter;
use bravo_model::workflow::{NewTask, NewWorkflow, Plan, TemplateRef, Workflow, WorkflowId, cost};
use bravo_model::{Code, Command, Envelope, JobId, Name, Refusal, Reply, limits};
use bytes::Bytes;
use futures_util::future::join_all;
use serde_json::Value;

use super::list::{Cursor, merge};
use super::quotas::{self, Added};
use super::reads::{Kind, earlier, or_stale, read as read_group, read_shared, wrong_answer};
use super::templates::{blocking, parts, ready};
use super::wrong_reply;
use crate::cluster::Repeat;
use crate::gateway::app::App;
use crate::gateway::call::{Call, hash};
use crate::gateway::depth;
use crate::gateway::rate::Charged;
use crate::raft::types::{GroupId, META_GROUP, partition_group};
use crate::routing;
use crate::transport::wire::{Answer, EventsRead, Query, WorkflowRead};

/// Starts a workflow. `digest` is the hash of the request's body, asked for where a key came with it.
pub(crate) async fn start(
    app: &Arc<App>,
    call: &Call,
    request: proto::StartWorkflowRequest,
    digest: impl FnOnce() -> [u8; 16],
) -> Result<proto::WorkflowStatusResponse, Rejection> {
    let project = convert::project(&request.project_id)?;
    call.caller.may_write(&project)?;
    let prepared = match prepare(app, call, request).await {
        Ok(new) => charged(app, new).await.map_err(Into::into),
        Err(rejection) => Err(rejection),
    };
    let partition = match &call.key {
        Some(key) => routing::key_home(project.as_str(), key.text(), app.cluster.partitions()),
        None => app.placement.free_partition(&app.cluster, 0),
    };
    let digest = if call.key.is_some() { digest() } else { [0; 16] };
    let idempotency = call.remembered(project.as_str(), digest);
    let group = partition_group(partition);
    let (charged, new) = match prepared {
        Ok((charged, new)) if call.key.is_some() => {
            (quotas::unless_repeated(app, charged, group, idempotency).await, new)
        }
        Ok(prepared) => prepared,
        // A repetition gets the first answer, though its template may have gone since, or its project have all it may.
        Err(refused)
            if call.key.is_some() && [Code::InvalidArgument, Code::RateLimited].contains(&refused.refusal.code) =>
        {
            return first_answer(app, call, partition, idempotency).await?.ok_or(refused);
        }
        Err(refused) => return Err(refused),
    };
    let envelope = call.envelope(Some(idempotency), Command::StartWorkflow(Box::new(new)));
    let reply = app.cluster.propose(group, &envelope, Repeat::Safe, call.deadline).await;
    Ok(status_of(partition, &quotas::settle(app, charged, reply)?)?)
}

/// Charges a workflow's project for what comes of it.
async fn charged(app: &App, new: NewWorkflow) -> Result<(Charged, NewWorkflow), Refusal> {
    let NewWorkflow { project, input, plan, .. } = &new;
    let mut added = added(app, project, &plan.tasks, input.clone()).await?;
    added.bytes += input.len() as u64 + cost::bytes(plan.on_failure.as_deref());
    Ok((quotas::take(app, [(project, added)])?, new))
}

/// What comes of tasks and what they take, if their project has a quota: else nobody asks. What waits for people or
/// time alone is work too, and counts as one job.
async fn added(app: &App, project: &Name, tasks: &[NewTask], input: Bytes) -> Result<Added, Refusal> {
    if tasks.is_empty() || !quotas::bounds(app, project) {
        return Ok(Added::default());
    }
    let tasks = tasks.to_vec();
    blocking(move || Added { jobs: cost::jobs(&tasks, &input).max(1), bytes: cost::bytes(&tasks) }).await
}

/// What a start under this key was answered first; none if there was none.
async fn first_answer(
    app: &Arc<App>,
    call: &Call,
    partition: u16,
    idempotency: Idempotency,
) -> Result<Option<proto::WorkflowStatusResponse>, Refusal> {
    let query = Query::Kept(idempotency);
    match read_group(app, call, partition_group(partition), query, Freshness::Linearizable).await? {
        Answer::Kept(None) => Ok(None),
        Answer::Kept(Some(Reply::Refused(refusal))) => Err(refusal),
        Answer::Kept(Some(reply)) => status_of(partition, &reply).map(Some),
        _ => Err(wrong_answer()),
    }
}

/// The workflow that is asked for: its template looked up, its input filled in, its tasks checked.
pub(crate) async fn prepare(
    app: &Arc<App>,
    call: &Call,
    request: proto::StartWorkflowRequest,
) -> Result<NewWorkflow, Rejection> {
    depth::check_text(
        "body",
        [&request.requirements, &request.tasks, &request.input, &request.on_failure].map(|t| &t[..]),
    )?;
    let project = convert::project(&request.project_id)?;
    if request.name.len() > limits::TITLE_BYTES_MAX {
        return Err(wrong("name", format!("at most {} bytes", limits::TITLE_BYTES_MAX)));
    }
    let bytes = request.tasks.len() + request.input.len() + request.requirements.len();
    if bytes > limits::WORKFLOW_BYTES_MAX {
        let detail = format!("{bytes} bytes, at most {} are taken", limits::WORKFLOW_BYTES_MAX);
        return Err(Refusal::new(Code::PayloadTooLarge, detail).into());
    }
    if request.retention_ms.is_some_and(|ms| !(1..=limits::HORIZON_MS_MAX).contains(&ms)) {
        return Err(wrong("retention_ms", format!("1 to {}", limits::HORIZON_MS_MAX)));
    }
    let title = request.name.clone();
    let made = make(app, call, request).await?;
    let queues = definition::queues(&made.plan.tasks, made.plan.on_failure.as_deref());
    app.definitions.refuse_unknown(&app.cluster, queues.into_iter())?;
    Ok(NewWorkflow {
        name: title,
        project,
        template: made.template,
        input: made.input,
        deadline: made.deadline_ms.map(When::In),
        retention_ms: made.retention_ms.unwrap_or(app.workflow_retention_ms),
        plan: made.plan,
    })
}

/// What a workflow is made of.
struct Made {
    template: Option<TemplateRef>,
    input: Bytes,
    deadline_ms: Option<u64>,
    retention_ms: Option<u64>,
    plan: Plan,
}

async fn make(app: &Arc<App>, call: &Call, request: proto::StartWorkflowRequest) -> Result<Made, Rejection> {
    let proto::StartWorkflowRequest { template, template_version, requirements, tasks, input, on_failure, .. } =
        request;
    let given = [!template.is_empty(), !requirements.is_empty(), !tasks.is_empty()];
    if given.into_iter().filter(|given| *given).count() != 1 {
        return Err(invalid("exactly one of template, requirements and tasks says what is to be done"));
    }
    if !tasks.is_empty() {
        let parts = parts(app, call, &tasks).await?;
        let on_failure = Some(on_failure).filter(|text| !text.is_empty()).map(RawJson);
        let tasks = RawJson(tasks);
        let plan = blocking(move || definition::plan(&tasks, on_failure.as_ref(), &parts)).await??;
        let input = if input.is_empty() { Bytes::from_static(b"null") } else { input };
        let (deadline_ms, retention_ms) = (request.deadline_ms, request.retention_ms);
        return Ok(Made { template: None, input, deadline_ms, retention_ms, plan });
    }
    if !on_failure.is_empty() {
        return Err(wrong("on_failure", "goes with tasks; a template has its own"));
    }
    let (name, at, given) = if template.is_empty() {
        let (name, input) = required(&requirements, &input)?;
        (name, "requirements", Some(input))
    } else {
        let given = if input.is_empty() { None } else { Some(json("input", &input)?) };
        (template, "input", given)
    };
    let field = if at == "input" { "template" } else { "requirements.type" };
    let name = Name::parse(field, &name).map_err(|refusal| wrong(field, refusal.detail))?;
    let ready = ready(app, call, field, &name, template_version).await?;
    let checked = ready.clone();
    let (input, errors) = blocking(move || checked.compiled.prepare(at, given)).await?;
    if !errors.is_empty() {
        return Err(Rejection::invalid(errors));
    }
    let template = &ready.compiled.template;
    Ok(Made {
        template: Some(ready.template.clone()),
        input: input.to_string().into(),
        deadline_ms: request.deadline_ms.or(template.deadline_ms),
        retention_ms: request.retention_ms.or(template.retention_ms),
        plan: ready.plan.clone(),
    })
}

/// The template that requirements name, and the input that they are; members of `input` go over them.
fn required(requirements: &Bytes, input: &Bytes) -> Result<(String, Value), Rejection> {
    let Value::Object(mut members) = json("requirements", requirements)? else {
        return Err(wrong("requirements", "an object"));
    };
    let Some(name) = members.get("type").and_then(Value::as_str).map(str::to_owned) else {
        return Err(wrong("requirements.type", "names the template"));
    };
    if !input.is_empty() {
        let Value::Object(more) = json("input", input)? else {
            return Err(wrong("input", "an object, where requirements are given too"));
        };
        members.extend(more);
    }
    Ok((name, Value::Object(members)))
}

/// A workflow with all its tasks.
pub(crate) async fn read(
    app: &Arc<App>,
    call: &Call,
    id: WorkflowId,
    freshness: Freshness,
) -> Result<proto::Workflow, Refusal> {
    let group = group(app, id)?;
    let mut whole: Option<proto::Workflow> = None;
    let mut from = Some(0);
    while let Some(place) = from {
        let query = Query::Workflow(id.seq, place);
        let (answer, _) = read_shared(app, call, Kind::WorkflowStatus, group, query, freshness).await?;
        let Answer::Workflow(found) = answer else { return Err(wrong_answer()) };
        let found = found.filter(|found| call.caller.sees(&found.workflow.project));
        let WorkflowRead { workflow, input, tasks, next } = *found.ok_or_else(|| no_workflow(id))?;
        let whole = whole.get_or_insert_with(|| proto::Workflow { input, ..convert::summary(id.partition, workflow) });
        whole.tasks.extend(tasks.into_iter().map(|task| convert::task(id.partition, task)));
        from = next;
    }
    whole.ok_or_else(|| no_workflow(id))
}

/// A page of workflows, newest first.
pub(crate) async fn list(
    app: &Arc<App>,
    call: &Call,
    mut filter: WorkflowFilter,
    page: &Page,
) -> Result<proto::ListWorkflowsResponse, Refusal> {
    if !call.caller.narrow(&mut filter.project) {
        let as_of_ms = app.cluster.now(META_GROUP);
        return Ok(proto::ListWorkflowsResponse { as_of_ms, ..proto::ListWorkflowsResponse::default() });
    }
    let partitions = app.cluster.partitions();
    let cursor = match &page.cursor {
        Some(text) => Cursor::decode(text, partitions)?,
        None => Cursor::start(partitions, u64::MAX),
    };
    let freshness = or_stale(page.freshness);
    let limit = u32::try_from(page.limit).unwrap_or(u32::MAX);
    let reads = (0..partitions).zip(&cursor.0).filter_map(|(partition, before)| {
        let query = Query::Workflows { filter: filter.clone(), before: Some((*before)?), limit };
        Some(async move {
            let group = partition_group(partition);
            Ok::<_, Refusal>((partition, read_shared(app, call, Kind::WorkflowStatus, group, query, freshness).await?))
        })
    });
    let (mut pages, mut oldest) = (Vec::new(), None);
    for answer in join_all(reads).await {
        let (partition, (Answer::Workflows { workflows, next }, as_of)) = answer? else { return Err(wrong_answer()) };
        oldest = earlier(oldest, as_of);
        pages.push((partition, workflows, next));
    }
    let (workflows, cursor) = merge(pages, cursor, page.limit, |one| (u64::MAX - one.started_at, one.seq));
    Ok(proto::ListWorkflowsResponse {
        workflows: workflows.into_iter().map(|(partition, one)| convert::summary(partition, one)).collect(),
        next_cursor: cursor.encode(),
        as_of_ms: oldest.unwrap_or_default(),
    })
}

/// Cancels a workflow; workers that hold jobs of it are told.
pub(crate) async fn cancel(app: &Arc<App>, call: &Call, id: WorkflowId) -> Changed {
    change(app, call, id, Command::CancelWorkflow(id.seq), Repeat::Safe, None).await
}

/// Pauses a workflow, or lets it go on.
pub(crate) async fn pause(app: &Arc<App>, call: &Call, id: WorkflowId, paused: bool) -> Changed {
    change(app, call, id, Command::PauseWorkflow { seq: id.seq, paused }, Repeat::Safe, None).await
}

/// Goes on with a failed or cancelled workflow: what is left of it is held against its project's quota.
pub(crate) async fn retry(app: &Arc<App>, call: &Call, id: WorkflowId) -> Changed {
    let workflow = match record(app, call, id).await {
        Ok((workflow, _)) => Some(workflow),
        // The first answer may be kept for longer than the workflow.
        Err(refusal) if refusal.code == Code::NotFound && call.key.is_some() => None,
        Err(refusal) => return Err(refusal),
    };
    let added = workflow
        .as_ref()
        .map(|workflow| (&workflow.project, Added { jobs: u64::from(workflow.open).max(1), bytes: 0 }));
    change(app, call, id, Command::RetryWorkflow(id.seq), Repeat::Never, added).await
}

/// Tells a workflow something.
pub(crate) async fn signal(app: &Arc<App>, call: &Call, id: WorkflowId, name: String, payload: Bytes) -> Changed {
    depth::check_text("payload", [payload.as_ref()])?;
    let payload = if payload.trim_ascii().is_empty() { Bytes::from_static(b"null") } else { payload };
    if serde_json::from_slice::<serde::de::IgnoredAny>(&payload).is_err() {
        return Err(Refusal::new(Code::InvalidArgument, "body: a signal carries JSON"));
    }
    change(app, call, id, Command::Signal { seq: id.seq, name, payload }, Repeat::Never, None).await
}

type Changed = Result<proto::WorkflowStatusResponse, Refusal>;

/// Has a workflow changed, if its project may have what that adds.
async fn change(
    app: &Arc<App>,
    call: &Call,
    id: WorkflowId,
    command: Command,
    repeat: Repeat,
    added: Option<(&Name, Added)>,
) -> Changed {
    let body = hash(&[&Envelope::plain(command.clone()).encode()]);
    let idempotency = match repeat {
        Repeat::Safe => call.idempotency(&id.to_string(), body, ""),
        Repeat::Never => Some(call.remembered(&id.to_string(), body)),
    };
    let group = group(app, id)?;
    let charged = match added {
        Some(added) => quotas::take_unless_known(app, call, added, (group, idempotency.as_ref())).await?,
        None => Charged::default(),
    };
    let envelope = call.envelope(idempotency, command);
    let reply = app.cluster.propose(group, &envelope, repeat, call.deadline).await;
    status_of(id.partition, &quotas::settle(app, charged, reply)?)
}

/// Adds tasks to a workflow under the lease of one of its running tasks.
pub(crate) async fn add_tasks(
    app: &Arc<App>,
    call: &Call,
    id: WorkflowId,
    request: proto::AddTasksRequest,
) -> Result<proto::WorkflowStatusResponse, Rejection> {
    depth::check_text("tasks", [request.tasks.as_ref()])?;
    if request.tasks.len() > limits::WORKFLOW_BYTES_MAX {
        let detail = format!("tasks: at most {} bytes are taken", limits::WORKFLOW_BYTES_MAX);
        return Err(Refusal::new(Code::PayloadTooLarge, detail).into());
    }
    let job = match request.job_id.as_str() {
        "" => None,
        text => match text.parse::<JobId>() {
            Ok(job) if job.partition == id.partition => Some(job.seq),
            _ => return Err(wrong("job_id", "not a job of this workflow")),
        },
    };
    let task = match request.task_id.as_str() {
        "" => None,
        text => Some(Name::parse("task_id", text)?),
    };
    let (workflow, input) = record(app, call, id).await?;
    let answer = read_group(app, call, group(app, id)?, Query::TaskIds(id.seq), Freshness::Linearizable).await?;
    let Answer::TaskIds(known) = answer else { return Err(wrong_answer().into()) };
    let known: BTreeSet<String> = known.ok_or_else(|| no_workflow(id))?.into_iter().map(String::from).collect();
    let parts = parts(app, call, &request.tasks).await?;
    let tasks = RawJson(request.tasks);
    let there = known.clone();
    let tasks = blocking(move || definition::added(&tasks, &parts, &there)).await??;
    app.definitions.refuse_unknown(&app.cluster, definition::queues(&tasks, None).into_iter())?;
    // Adding the same tasks again changes nothing, and costs nothing.
    let new: Vec<NewTask> = tasks.iter().filter(|task| !known.contains(task.id.as_str())).cloned().collect();
    let project = workflow.project;
    let added = added(app, &project, &new, input).await?;
    let add = AddTasks { seq: id.seq, job, task, token: request.lease_token, tasks };
    Ok(change(app, call, id, Command::AddTasks(Box::new(add)), Repeat::Safe, Some((&project, added))).await?)
}

/// Events of a workflow after a number, as this node's replica has them; none: there is no such workflow here.
pub(crate) async fn events_here(app: &App, id: WorkflowId, after: u32) -> Result<Option<Events>, Refusal> {
    match app.cluster.read_stale(group(app, id)?, &Query::WorkflowEvents(id.seq, after)).await? {
        Answer::WorkflowEvents(found) => Ok(found.map(|found| Events::of(id, found))),
        _ => Err(wrong_answer()),
    }
}

/// For a caller who is bound to a project, another one's workflow is not there.
async fn must_be_seen(app: &Arc<App>, call: &Call, id: WorkflowId) -> Result<(), Refusal> {
    if call.caller.project.is_none() { Ok(()) } else { record(app, call, id).await.map(drop) }
}

/// A workflow without its tasks, and its input.
async fn record(app: &Arc<App>, call: &Call, id: WorkflowId) -> Result<(Workflow, Bytes), Refusal> {
    // From a task on that no workflow has: without any.
    let query = Query::Workflow(id.seq, u32::MAX);
    match read_group(app, call, group(app, id)?, query, Freshness::Linearizable).await? {
        Answer::Workflow(Some(found)) if call.caller.sees(&found.workflow.project) => Ok((found.workflow, found.input)),
        Answer::Workflow(_) => Err(no_workflow(id)),
        _ => Err(wrong_answer()),
    }
}

/// See that a workflow is there, at its leader.
pub(crate) async fn must_be_there(app: &Arc<App>, call: &Call, id: WorkflowId) -> Result<(), Refusal> {
    must_be_seen(app, call, id).await?;
    let query = Query::WorkflowEvents(id.seq, u32::MAX - 1);
    match read_group(app, call, group(app, id)?, query, Freshness::Linearizable).await? {
        Answer::WorkflowEvents(Some(_)) => Ok(()),
        Answer::WorkflowEvents(None) => Err(no_workflow(id)),
        _ => Err(wrong_answer()),
    }
}

/// Some events of a workflow.
pub(crate) struct Events {
    /// In order.
    pub(crate) events: Vec<proto::WorkflowEvent>,
    /// These were the last.
    pub(crate) over: bool,
}

impl Events {
    fn of(id: WorkflowId, read: EventsRead) -> Self {
        let event = |(number, event, task): (u32, _, Option<Name>)| {
            convert::event(id, number, event, |_| task.clone().map(String::from))
        };
        Self { events: read.events.into_iter().map(event).collect(), over: read.over }
    }
}

fn status_of(partition: u16, reply: &Reply) -> Changed {
    match reply {
        Reply::Workflow { seq, status } => Ok(proto::WorkflowStatusResponse {
            id: WorkflowId { partition, seq: *seq }.to_string(),
            status: proto::WorkflowStatus::from(*status).into(),
        }),
        other => Err(wrong_reply(other)),
    }
}

/// The group that holds a workflow.
pub(crate) fn group(app: &App, id: WorkflowId) -> Result<GroupId, Refusal> {
    if id.partition < app.cluster.partitions() { Ok(partition_group(id.partition)) } else { Err(no_workflow(id)) }
}

fn no_workflow(id: WorkflowId) -> Refusal {
    Refusal::new(Code::NotFound, format!("there is no workflow {id}"))
}

fn json(path: &str, text: &[u8]) -> Result<Value, Rejection> {
    serde_json::from_slice(text).map_err(|error| wrong(path, error.to_string()))
}

fn wrong(path: &str, detail: impl Into<String>) -> Rejection {
    Rejection::invalid(vec![FieldError::new(path, detail)])
}

fn invalid(detail: impl Into<String>) -> Rejection {
    Refusal::new(Code::InvalidArgument, detail).into()
}
