//! `GET /api/v1/events`: what happens to jobs and workflows, as it is applied on this node.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use bravo_api::json::{EventsQuery, event_text};
use bravo_api::proto::WatchResponse;
use bravo_model::{Code, Refusal};
use http::HeaderMap;

use super::extract::Asked;
use crate::gateway::app::App;
use crate::gateway::call::Call;
use crate::gateway::front::InFlight;
use crate::gateway::problem::Refused;
use crate::gateway::service::events::Watch;

/// Follow what happens to jobs and workflows, from now on or after Last-Event-ID.
#[utoipa::path(
    get,
    path = "/api/v1/events",
    tag = "jobs",
    operation_id = "events",
    params(("Last-Event-ID" = Option<String>, Header), EventsQuery),
    responses((status = 200, description = "Server-sent events: id, event (such as job.succeeded) and JSON data. The event `missed` says that some are not kept any more. The stream has no end.", body = String, content_type = "text/event-stream")),
)]
pub(super) async fn follow(
    State(app): State<Arc<App>>,
    Asked(query): Asked<EventsQuery>,
    call: Call,
    in_flight: InFlight,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let invalid = |_| Refusal::new(Code::InvalidArgument, "Last-Event-ID: not one of this stream");
    let after = headers.get("last-event-id").map(|value| value.to_str().map_err(invalid)).transpose()?;
    let (queue, project) = (query.queue.unwrap_or_default(), query.project_id.unwrap_or_default());
    let watch = Watch::start(&app, &call.caller, &queue, &project, ("Last-Event-ID", after))?;
    in_flight.leave();
    let events = futures_util::stream::unfold(watch, |mut watch| async move {
        let event = shown(watch.next().await?);
        Some((Ok::<_, Infallible>(event), watch))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(Duration::from_secs(15))).into_response())
}

fn shown(WatchResponse { cursor, event }: WatchResponse) -> Event {
    let (name, data) = event.map(event_text).unwrap_or_default();
    let shown = Event::default().event(name).data(data);
    if cursor.is_empty() { shown } else { shown.id(cursor) }
}
