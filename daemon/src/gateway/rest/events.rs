//! `GET /api/v1/events`: what happens to jobs and workflows, as it is applied on this node.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bravo_api::convert::workflows as convert;
use bravo_api::json::{EventsQuery, JobEventAnswer, WorkflowEventAnswer};
use bravo_model::happened::Happened;
use bravo_model::workflow::WorkflowId;
use bravo_model::{Code, JobId, Name, Refusal};
use http::HeaderMap;
use tokio::sync::OwnedSemaphorePermit;

use super::extract::Asked;
use crate::events::{Noted, Place, Watcher};
use crate::gateway::app::App;
use crate::gateway::front::InFlight;
use crate::gateway::problem::Refused;
use crate::telemetry::events::RequestShed;

/// Events that are taken from the feed at a time.
const AT_ONCE: usize = 500;

/// A stream under way.
struct Stream {
    app: Arc<App>,
    watcher: Watcher,
    queue: Option<Name>,
    project: Option<Name>,
    ready: VecDeque<Noted>,
    _place: OwnedSemaphorePermit,
}

pub(super) async fn follow(
    State(app): State<Arc<App>>,
    Asked(query): Asked<EventsQuery>,
    in_flight: InFlight,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let name = |field: &str, text: Option<String>| text.map(|text| Name::parse(field, &text)).transpose();
    let (queue, project) = (name("queue", query.queue)?, name("project_id", query.project_id)?);
    let after = places(&headers, app.cluster.partitions())?;
    let place = app.waiting.clone().try_acquire_owned().map_err(|_| {
        RequestShed { reason: "limits.waiting_leases_max" }.emit();
        Refusal::retry_after(Code::Shed, "as many calls wait at this node as may", 1_000)
    })?;
    let watcher = app.cluster.feed.watch(after);
    in_flight.leave();
    let stream = Stream { app, watcher, queue, project, ready: VecDeque::new(), _place: place };
    let events = futures_util::stream::unfold(stream, |mut stream| async move {
        let event = stream.next().await?;
        Some((Ok::<_, Infallible>(event), stream))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(Duration::from_secs(15))).into_response())
}

impl Stream {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if self.watcher.has_missed() {
                let detail = r#"{"detail":"some events are not kept any more; read the jobs' states"}"#;
                return Some(Event::default().event("missed").data(detail));
            }
            while let Some(noted) = self.ready.pop_front() {
                self.watcher.at(&noted);
                if self.wants(&noted.happened) {
                    let id = id(self.watcher.places());
                    return Some(shown(noted).id(id));
                }
            }
            tokio::select! {
                more = self.watcher.next(AT_ONCE) => self.ready = more?.into(),
                () = self.app.drain.cancelled() => return None,
            }
        }
    }

    /// A filter by queue leaves workflows out: they are in none.
    fn wants(&self, happened: &Happened) -> bool {
        let (queue, project) = match happened {
            Happened::Job(event) => (Some(&event.queue), &event.project),
            Happened::Workflow { project, .. } => (None, project),
        };
        self.queue.as_ref().is_none_or(|wanted| queue == Some(wanted))
            && self.project.as_ref().is_none_or(|wanted| wanted == project)
    }
}

fn shown(noted: Noted) -> Event {
    let partition = noted.partition;
    let (name, data) = match noted.happened {
        Happened::Job(event) => {
            let id = JobId { partition, seq: event.seq };
            (event.kind.to_owned(), serde_json::to_string(&JobEventAnswer::new(id, event)))
        }
        Happened::Workflow { seq, number, event, task, .. } => {
            let task = |_| task.clone().map(String::from);
            let event = convert::event(WorkflowId { partition, seq }, number, event, task);
            (event.event.clone(), serde_json::to_string(&WorkflowEventAnswer::from(event)))
        }
    };
    Event::default().event(name).data(data.unwrap_or_default())
}

fn id(places: &[Place]) -> String {
    postcard::to_stdvec(places).map(|bytes| URL_SAFE_NO_PAD.encode(bytes)).unwrap_or_default()
}

fn places(headers: &HeaderMap, partitions: u16) -> Result<Option<Vec<Place>>, Refusal> {
    let Some(value) = headers.get("last-event-id") else { return Ok(None) };
    let bytes = value.to_str().ok().and_then(|text| URL_SAFE_NO_PAD.decode(text.trim()).ok());
    let places: Option<Vec<Place>> = bytes.and_then(|bytes| postcard::from_bytes(&bytes).ok());
    let places = places.filter(|places| places.len() == usize::from(partitions));
    places.map(Some).ok_or_else(|| Refusal::new(Code::InvalidArgument, "Last-Event-ID: not an id of this stream"))
}
