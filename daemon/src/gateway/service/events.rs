//! Follows what happens to jobs and workflows, as it is applied on this node.

use std::collections::VecDeque;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bravo_api::convert::events::event;
use bravo_api::proto::watch_response::Event;
use bravo_api::proto::{MissedEvents, WatchResponse};
use bravo_model::happened::Happened;
use bravo_model::{Code, Name, Refusal};
use tokio::sync::OwnedSemaphorePermit;

use crate::events::{Noted, Place, Watcher};
use crate::gateway::app::App;
use crate::gateway::auth::{Caller, KEY_EVERY};
use crate::telemetry::events::RequestShed;

/// Events that are taken from the feed at a time.
const AT_ONCE: usize = 500;

/// A stream under way.
pub(crate) struct Watch {
    app: Arc<App>,
    watcher: Watcher,
    caller: Caller,
    nothing: bool,
    queue: Option<Name>,
    project: Option<Name>,
    ready: VecDeque<Noted>,
    _place: OwnedSemaphorePermit,
}

impl Watch {
    /// From now on, or behind the cursor of an earlier stream, which the caller knows as `what`. Empty filters
    /// let everything pass; one by queue leaves workflows out, since they are in none. Streams take a place
    /// among the calls that wait.
    pub(crate) fn start(
        app: &Arc<App>,
        caller: &Caller,
        queue: &str,
        project: &str,
        (what, cursor): (&str, Option<&str>),
    ) -> Result<Self, Refusal> {
        let name = |field: &str, text: &str| (!text.is_empty()).then(|| Name::parse(field, text)).transpose();
        let (queue, mut project) = (name("queue", queue)?, name("project_id", project)?);
        // Nothing ever happens in another project.
        let nothing = !caller.narrow(&mut project);
        let after = cursor.map(|cursor| places(what, cursor, app.cluster.partitions())).transpose()?;
        let place = app.waiting.clone().try_acquire_owned().map_err(|_| {
            RequestShed { reason: "limits.waiting_leases_max" }.emit();
            Refusal::retry_after(Code::Shed, "as many calls wait at this node as may", 1_000)
        })?;
        let watcher = app.cluster.feed.watch(after);
        Ok(Self {
            app: app.clone(),
            caller: caller.clone(),
            watcher,
            nothing,
            queue,
            project,
            ready: VecDeque::new(),
            _place: place,
        })
    }

    /// The next event; none when the node takes its leave.
    pub(crate) async fn next(&mut self) -> Option<WatchResponse> {
        loop {
            if self.watcher.has_missed() {
                return Some(WatchResponse { cursor: String::new(), event: Some(Event::Missed(MissedEvents {})) });
            }
            while let Some(noted) = self.ready.pop_front() {
                self.watcher.at(&noted);
                if self.wants(&noted.happened) {
                    let cursor = cursor(self.watcher.places());
                    return Some(WatchResponse { cursor, event: Some(event(noted.partition, noted.happened)) });
                }
            }
            if self.app.door.holds(&self.app.cluster, &self.caller).is_err() {
                return None;
            }
            tokio::select! {
                more = self.watcher.next(AT_ONCE) => self.ready = more?.into(),
                () = tokio::time::sleep(KEY_EVERY) => {}
                () = self.app.drain.cancelled() => return None,
            }
        }
    }

    fn wants(&self, happened: &Happened) -> bool {
        !self.nothing
            && self.queue.as_ref().is_none_or(|wanted| happened.queue() == Some(wanted))
            && self.project.as_ref().is_none_or(|wanted| wanted == happened.project())
    }
}

fn cursor(places: &[Place]) -> String {
    postcard::to_stdvec(places).map(|bytes| URL_SAFE_NO_PAD.encode(bytes)).unwrap_or_default()
}

fn places(what: &str, cursor: &str, partitions: u16) -> Result<Vec<Place>, Refusal> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor.trim()).ok();
    let places: Option<Vec<Place>> = bytes.and_then(|bytes| postcard::from_bytes(&bytes).ok());
    let places = places.filter(|places| places.len() == usize::from(partitions));
    places.ok_or_else(|| Refusal::new(Code::InvalidArgument, format!("{what}: not one of this stream")))
}
