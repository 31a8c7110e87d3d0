//! `EnqueueStream`: batch after batch, many under way at a time, each answered under its own id.

use std::sync::Arc;
use std::time::Duration;

use bravo_api::DEFAULT_PROJECT;
use bravo_api::convert::jobs as checked;
use bravo_api::proto::{self, enqueue_result::Outcome};
use bravo_model::{Code, Refusal};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tonic::{Status, Streaming};

use super::digest;
use super::jobs::ENQUEUE;
use crate::gateway::app::App;
use crate::gateway::call::Call;
use crate::gateway::service;
use crate::routing;
use crate::telemetry::events::RequestShed;

/// Batches of one stream that are under way; the rest waits in the connection's window.
const BATCHES_MAX: usize = 64;

/// Answers batches until the caller half-closes the stream or the node takes its leave.
pub(super) fn run(
    app: Arc<App>,
    call: Call,
    batches: Streaming<proto::EnqueueBatch>,
) -> BoxStream<'static, Result<proto::EnqueueResult, Status>> {
    let leave = app.drain.clone().cancelled_owned();
    let answer = move |batch: Result<proto::EnqueueBatch, Status>| {
        let (app, call) = (app.clone(), call.clone());
        async move {
            let mut batch = batch?;
            batch.jobs.iter_mut().for_each(|job| call.caller.fill(&mut job.project_id));
            let id = batch.id;
            let key_prefix = better_prefix(&app, &batch);
            let outcome = match enqueue(&app, &call, batch).await {
                Ok(response) => Outcome::Enqueued(response),
                Err(refusal) => Outcome::Problem(refusal.into()),
            };
            Ok(proto::EnqueueResult { id, outcome: Some(outcome), key_prefix })
        }
    };
    batches.take_until(leave).map(answer).buffer_unordered(BATCHES_MAX).boxed()
}

/// A prefix for the keys of the caller's next batches, if those of this one go elsewhere than they had better.
fn better_prefix(app: &App, batch: &proto::EnqueueBatch) -> String {
    let Some((prefix, _)) = batch.idempotency_key.split_once('/') else { return String::new() };
    let project = batch.jobs.first().map_or("", |job| job.project_id.as_str());
    let project = if project.is_empty() { DEFAULT_PROJECT } else { project };
    let partitions = app.cluster.partitions();
    let wanted = app.placement.free_partition(&app.cluster, 0);
    let is_there = |prefix: &str| routing::key_home(project, prefix, partitions) == wanted;
    if is_there(prefix) {
        return String::new();
    }
    let draws = std::iter::repeat_with(|| format!("{:016x}", rand::random::<u64>()));
    draws.take(16 * usize::from(partitions)).find(|draw| is_there(draw)).unwrap_or_default()
}

async fn enqueue(app: &Arc<App>, call: &Call, batch: proto::EnqueueBatch) -> Result<proto::EnqueueResponse, Refusal> {
    app.door.holds(&app.cluster, &call.caller)?;
    let Ok(_place) = app.in_flight.try_acquire() else {
        RequestShed { reason: "limits.requests_in_flight_max" }.emit();
        return Err(Refusal::retry_after(Code::Shed, "this node works on as many requests as it may", 100));
    };
    let call =
        call.part(Duration::from_millis(app.limits.request_timeout_ms)).keyed(ENQUEUE, &batch.idempotency_key)?;
    let call = call.kept(batch.key_kept_ms);
    let body = call.key.as_ref().map_or([0; 16], |_| digest_of(&batch.jobs));
    let jobs = checked::new_jobs(batch.jobs)?;
    let late = || Refusal::retry_after(Code::DeadlineExceeded, "no answer in time; the outcome is unknown", 100);
    let work = service::enqueue::enqueue(app, &call, jobs, || body);
    tokio::time::timeout_at(call.deadline.into(), work).await.unwrap_or_else(|_| Err(late()))
}

/// The hash of the jobs alone: one key may come by stream and by call.
pub(super) fn digest_of(jobs: &[proto::NewJob]) -> [u8; 16] {
    digest(&proto::EnqueueRequest { jobs: jobs.to_vec(), idempotency_key: String::new() })
}
