//! Follows the events of one workflow on this node's replica, as they are applied here.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bravo_api::proto;
use bravo_model::workflow::WorkflowId;
use bravo_model::{Code, Refusal};
use tokio::sync::OwnedSemaphorePermit;

use super::workflows::{events_here, group};
use crate::gateway::app::App;
use crate::gateway::auth::{Caller, KEY_EVERY};
use crate::telemetry::events::RequestShed;

/// Entries that are applied within this time are looked at together.
const PACE: Duration = Duration::from_millis(20);
/// A workflow that was started a moment ago may not be on this replica yet.
const APPEARS: Duration = Duration::from_secs(10);

/// One stream's place.
pub(crate) struct Follow {
    app: Arc<App>,
    caller: Caller,
    id: WorkflowId,
    after: u32,
    ready: VecDeque<proto::WorkflowEvent>,
    over: bool,
    since: tokio::time::Instant,
    _place: OwnedSemaphorePermit,
}

impl Follow {
    /// From the event after a number on. Streams take a place among the calls that wait.
    pub(crate) fn start(app: &Arc<App>, caller: &Caller, id: WorkflowId, after: u32) -> Result<Self, Refusal> {
        let place = app.waiting.clone().try_acquire_owned().map_err(|_| {
            RequestShed { reason: "limits.waiting_leases_max" }.emit();
            Refusal::retry_after(Code::Shed, "as many calls wait at this node as may", 1_000)
        })?;
        let since = tokio::time::Instant::now();
        Ok(Self {
            app: app.clone(),
            caller: caller.clone(),
            id,
            after,
            ready: VecDeque::new(),
            over: false,
            since,
            _place: place,
        })
    }

    /// The next event; none when the workflow is over, or the node takes its leave.
    pub(crate) async fn next(&mut self) -> Option<proto::WorkflowEvent> {
        let group = self.app.cluster.group(group(&self.app, self.id).ok()?)?.clone();
        let mut applied = group.shared.watch_applied();
        loop {
            if let Some(event) = self.ready.pop_front() {
                self.after = event.id;
                return Some(event);
            }
            if self.over {
                return None;
            }
            applied.borrow_and_update();
            match events_here(&self.app, self.id, self.after).await.ok()? {
                Some(read) => {
                    self.over = read.over;
                    self.ready = read.events.into();
                    if self.over || !self.ready.is_empty() {
                        continue;
                    }
                }
                None if self.since.elapsed() > APPEARS => return None,
                None => {}
            }
            // A stream outlives the check at its start.
            self.app.door.holds(&self.app.cluster, &self.caller).ok()?;
            tokio::select! {
                changed = applied.changed() => changed.ok()?,
                () = tokio::time::sleep(KEY_EVERY) => {}
                () = self.app.drain.cancelled() => return None,
            }
            tokio::time::sleep(PACE).await;
        }
    }
}
