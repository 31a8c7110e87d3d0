//! `/api/v1/workflows…`: start, look at, switch, signal, add to, follow.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use bravo_api::convert::workflows::list_workflows;
use bravo_api::json::{self, AddTasksBody, ListWorkflowsQuery, RawJson, ReadQuery, StartWorkflowBody, WorkflowAnswer};
use bravo_api::json::{WorkflowEventAnswer, WorkflowListAnswer, WorkflowStatusAnswer};
use bravo_api::proto;
use bravo_model::{Code, Refusal};
use http::header::LOCATION;
use http::{HeaderMap, HeaderValue, StatusCode};

use super::extract::{Asked, Workflow};
use crate::gateway::app::App;
use crate::gateway::body::Taken;
use crate::gateway::call::{Call, hash};
use crate::gateway::front::InFlight;
use crate::gateway::problem::{self, Answered, Refused};
use crate::gateway::service::follow::Follow;
use crate::gateway::service::workflows;

/// Start a workflow.
#[utoipa::path(
    post,
    path = "/api/v1/workflows",
    tag = "workflows",
    operation_id = "startWorkflow",
    params(("Idempotency-Key" = Option<String>, Header)),
    request_body = StartWorkflowBody,
    responses((status = 201, description = "Started, durably.", body = WorkflowStatusAnswer, headers(("Location" = String)))),
)]
pub(super) async fn start(State(app): State<Arc<App>>, call: Call, body: Taken) -> Answered {
    let mut request = json::parse::<StartWorkflowBody>(&body.bytes)?.into_message();
    call.caller.fill(&mut request.project_id);
    let digest = || hash(&[&body.bytes]);
    let answer = WorkflowStatusAnswer::from(workflows::start(&app, &call, request, digest).await?);
    let mut response = problem::json(StatusCode::CREATED, &answer)?;
    if let Ok(place) = HeaderValue::from_str(&format!("/api/v1/workflows/{}", answer.id)) {
        response.headers_mut().insert(LOCATION, place);
    }
    Ok(response)
}

/// Read a workflow with its tasks.
#[utoipa::path(
    get,
    path = "/api/v1/workflows/{id}",
    tag = "workflows",
    operation_id = "getWorkflow",
    params(("id" = String, Path, description = "The workflow."), ReadQuery),
    responses((status = 200, description = "The workflow.", body = WorkflowAnswer)),
)]
pub(super) async fn read(
    State(app): State<Arc<App>>,
    call: Call,
    Workflow(id): Workflow,
    query: Asked<ReadQuery>,
) -> Answered {
    problem::ok(&WorkflowAnswer::whole(workflows::read(&app, &call, id, query.freshness()?).await?))
}

/// List workflows, newest first; those that are parts of others are not among them.
#[utoipa::path(
    get,
    path = "/api/v1/workflows",
    tag = "workflows",
    operation_id = "listWorkflows",
    params(ListWorkflowsQuery),
    responses((status = 200, description = "A page, without tasks.", body = WorkflowListAnswer)),
)]
pub(super) async fn list(State(app): State<Arc<App>>, call: Call, Asked(query): Asked<ListWorkflowsQuery>) -> Answered {
    let (filter, page) = list_workflows(query.into_message()?)?;
    problem::ok(&WorkflowListAnswer::from(workflows::list(&app, &call, filter, &page).await?))
}

/// End a workflow now; workers that hold jobs of it are told.
#[utoipa::path(
    post,
    path = "/api/v1/workflows/{id}/cancel",
    tag = "workflows",
    operation_id = "cancelWorkflow",
    params(("id" = String, Path, description = "The workflow."), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, description = "How it stands.", body = WorkflowStatusAnswer)),
)]
pub(super) async fn cancel(State(app): State<Arc<App>>, call: Call, Workflow(id): Workflow) -> Answered {
    problem::ok(&WorkflowStatusAnswer::from(workflows::cancel(&app, &call, id).await?))
}

/// Let nothing new begin; what runs goes on.
#[utoipa::path(
    post,
    path = "/api/v1/workflows/{id}/pause",
    tag = "workflows",
    operation_id = "pauseWorkflow",
    params(("id" = String, Path, description = "The workflow."), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, description = "How it stands.", body = WorkflowStatusAnswer)),
)]
pub(super) async fn pause(State(app): State<Arc<App>>, call: Call, Workflow(id): Workflow) -> Answered {
    problem::ok(&WorkflowStatusAnswer::from(workflows::pause(&app, &call, id, true).await?))
}

/// End a pause.
#[utoipa::path(
    post,
    path = "/api/v1/workflows/{id}/resume",
    tag = "workflows",
    operation_id = "resumeWorkflow",
    params(("id" = String, Path, description = "The workflow."), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, description = "How it stands.", body = WorkflowStatusAnswer)),
)]
pub(super) async fn resume(State(app): State<Arc<App>>, call: Call, Workflow(id): Workflow) -> Answered {
    problem::ok(&WorkflowStatusAnswer::from(workflows::pause(&app, &call, id, false).await?))
}

/// Go on with a failed or cancelled workflow from what did not succeed.
#[utoipa::path(
    post,
    path = "/api/v1/workflows/{id}/retry",
    tag = "workflows",
    operation_id = "retryWorkflow",
    params(("id" = String, Path, description = "The workflow."), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, description = "How it stands.", body = WorkflowStatusAnswer)),
)]
pub(super) async fn retry(State(app): State<Arc<App>>, call: Call, Workflow(id): Workflow) -> Answered {
    problem::ok(&WorkflowStatusAnswer::from(workflows::retry(&app, &call, id).await?))
}

/// Tell a workflow something; it is kept if no task waits for it yet.
#[utoipa::path(
    post,
    path = "/api/v1/workflows/{id}/signals/{name}",
    tag = "workflows",
    operation_id = "signalWorkflow",
    params(("id" = String, Path, description = "The workflow."), ("name" = String, Path, description = "The signal; of an approval: the task's id."), ("Idempotency-Key" = Option<String>, Header)),
    request_body = RawJson,
    responses((status = 200, description = "How it stands.", body = WorkflowStatusAnswer)),
)]
pub(super) async fn signal(
    State(app): State<Arc<App>>,
    call: Call,
    Path((id, name)): Path<(String, String)>,
    body: Taken,
) -> Answered {
    let answer = workflows::signal(&app, &call, id.parse()?, name, body.bytes.clone()).await?;
    problem::ok(&WorkflowStatusAnswer::from(answer))
}

/// Add tasks to a workflow under the lease of one of its running tasks.
#[utoipa::path(
    post,
    path = "/api/v1/workflows/{id}/tasks",
    tag = "workflows",
    operation_id = "addTasks",
    params(("id" = String, Path, description = "The workflow."), ("Idempotency-Key" = Option<String>, Header)),
    request_body = AddTasksBody,
    responses((status = 200, description = "How it stands.", body = WorkflowStatusAnswer)),
)]
pub(super) async fn add_tasks(
    State(app): State<Arc<App>>,
    call: Call,
    Workflow(id): Workflow,
    body: Taken,
) -> Answered {
    let body: AddTasksBody = json::parse(&body.bytes)?;
    let request = proto::AddTasksRequest {
        id: id.to_string(),
        lease_token: body.lease_token,
        job_id: body.job_id.unwrap_or_default(),
        task_id: body.task_id.unwrap_or_default(),
        tasks: body.tasks.0,
    };
    problem::ok(&WorkflowStatusAnswer::from(workflows::add_tasks(&app, &call, id, request).await?))
}

/// Follow a workflow until it is over.
#[utoipa::path(
    get,
    path = "/api/v1/workflows/{id}/events",
    tag = "workflows",
    operation_id = "workflowEvents",
    params(("id" = String, Path, description = "The workflow."), ("Last-Event-ID" = Option<String>, Header)),
    responses((status = 200, description = "Server-sent events: id, event (such as task.succeeded) and JSON data. The stream ends with the workflow.", body = String, content_type = "text/event-stream"), (status = 204, description = "The workflow is over, and there was nothing after Last-Event-ID.")),
)]
pub(super) async fn events(
    State(app): State<Arc<App>>,
    call: Call,
    Workflow(id): Workflow,
    in_flight: InFlight,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let after = last_event_id(&headers)?;
    workflows::must_be_there(&app, &call, id).await?;
    let nothing_more = |read: workflows::Events| read.over && read.events.is_empty();
    if after > 0 && workflows::events_here(&app, id, after).await?.is_some_and(nothing_more) {
        // Tells a browser's EventSource that there is nothing to come back for.
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let follow = Follow::start(&app, &call.caller, id, after)?;
    in_flight.leave();
    let events = futures_util::stream::unfold(follow, |mut follow| async move {
        let event = follow.next().await?;
        Some((Ok::<_, Infallible>(sse(event)), follow))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(Duration::from_secs(15))).into_response())
}

fn sse(event: proto::WorkflowEvent) -> Event {
    let answer = WorkflowEventAnswer::from(event);
    let data = serde_json::to_string(&answer).unwrap_or_default();
    Event::default().id(answer.id.to_string()).event(answer.event).data(data)
}

fn last_event_id(headers: &HeaderMap) -> Result<u32, Refusal> {
    let Some(value) = headers.get("last-event-id") else { return Ok(0) };
    let number = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    number.ok_or_else(|| Refusal::new(Code::InvalidArgument, "Last-Event-ID: not an id of this stream"))
}
