//! One job: read, why, cancel, retry.

use std::sync::Arc;

use bravo_api::convert::{self, reads::Freshness};
use bravo_api::proto;
use bravo_model::{Code, Command, JobId, JobState, Name, Refusal, Reply};

use super::quotas::{self, Added};
use super::reads::{Kind, read as read_group, read_shared, wrong_answer};
use super::wrong_reply;
use crate::cluster::Repeat;
use crate::gateway::app::App;
use crate::gateway::call::{Call, hash};
use crate::gateway::rate::Charged;
use crate::raft::types::{GroupId, partition_group};
use crate::transport::wire::{Answer, Query, Why};

/// The job with payload and result.
pub(crate) async fn read(app: &Arc<App>, call: &Call, id: JobId, freshness: Freshness) -> Result<proto::Job, Refusal> {
    let query = Query::Job(id.seq);
    let (answer, _) = read_shared(app, call, Kind::Analytics, group(app, id)?, query, freshness).await?;
    let Answer::Job(found) = answer else { return Err(wrong_answer()) };
    let found = found.filter(|found| call.caller.sees(&found.0.project));
    let (job, payload, result) = *found.ok_or_else(|| no_job(id))?;
    Ok(convert::jobs::job(id.partition, job, payload, result))
}

/// The one reason why the job waits.
pub(crate) async fn why(app: &Arc<App>, call: &Call, id: JobId) -> Result<proto::WhyResponse, Refusal> {
    if call.caller.project.is_some() {
        read(app, call, id, Freshness::Linearizable).await?;
    }
    let answer = read_group(app, call, group(app, id)?, Query::Why(id.seq), Freshness::Linearizable).await?;
    let Answer::Why(why) = answer else { return Err(wrong_answer()) };
    let why = why.ok_or_else(|| no_job(id))?;
    match why.reason.as_str() {
        "deliverable" | "behind" => whose_turn(app, call, id, why).await,
        _ => Ok(proto::WhyResponse { reason: why.reason, detail: why.detail, until_at_ms: why.until }),
    }
}

/// Nothing in the state holds the job but what is in front of it: what does is known to those who hand out jobs.
async fn whose_turn(app: &Arc<App>, call: &Call, id: JobId, why: Why) -> Result<proto::WhyResponse, Refusal> {
    let job = read(app, call, id, Freshness::Linearizable).await?;
    let answer = |reason: &str, detail: &str, until_at_ms| {
        Ok(proto::WhyResponse { reason: reason.into(), detail: detail.into(), until_at_ms })
    };
    let queue = Name::parse("queue", &job.queue)?;
    if let ("open", until) = app.cluster.dispatcher.balance.breaker_of(&app.cluster, &queue) {
        let detail = "too many jobs of this type of agent failed: for a while none is given out";
        return answer("breaker_open", detail, until);
    }
    let fits = super::workers::anyone_fits(app, &job.queue, &job.project_id, &job.requirements).await;
    match (why.reason.as_str(), fits) {
        (_, Some(false)) => {
            let needs: Vec<String> = job.requirements.iter().map(|(label, value)| format!("{label}={value}")).collect();
            let detail = format!("no worker of this queue that may have the job has the labels {}", needs.join(", "));
            answer("no_matching_worker", &detail, None)
        }
        ("behind", _) => answer("behind", &why.detail, why.until),
        (_, Some(true)) => answer("behind", "it is next: a worker will get it with its next lease", why.until),
        (_, None) => answer("no_workers", "no worker asked for jobs of this queue lately; start one", None),
    }
}

/// Cancels a waiting job, asks the worker of a leased one.
pub(crate) async fn cancel(app: &Arc<App>, call: &Call, id: JobId) -> Result<proto::JobStateResponse, Refusal> {
    change(app, call, id, Command::Cancel(id.seq)).await
}

/// Puts a dead or cancelled job back: it counts for its project's quota like one that is new, but for its bytes, which
/// it has all along.
pub(crate) async fn retry(app: &Arc<App>, call: &Call, id: JobId) -> Result<proto::JobStateResponse, Refusal> {
    let (group, idempotency) = (group(app, id)?, call.idempotency("", hash(&[]), ""));
    let answer = read_group(app, call, group, Query::JobRecord(id.seq), Freshness::Linearizable).await?;
    let Answer::Job(found) = answer else { return Err(wrong_answer()) };
    let charged = match found.map(|found| found.0.project).filter(|project| call.caller.sees(project)) {
        Some(project) => {
            let added = (&project, Added { jobs: 1, bytes: 0 });
            quotas::take_unless_known(app, call, added, (group, idempotency.as_ref())).await?
        }
        // The first answer may be kept for longer than the job.
        None if call.key.is_some() => Charged::default(),
        None => return Err(no_job(id)),
    };
    quotas::settle(app, charged, change(app, call, id, Command::Retry(id.seq)).await)
}

async fn change(app: &Arc<App>, call: &Call, id: JobId, command: Command) -> Result<proto::JobStateResponse, Refusal> {
    // A retry that is repeated after the job died again would grant attempts twice.
    let repeat = if matches!(command, Command::Cancel(_)) { Repeat::Safe } else { Repeat::Never };
    let envelope = call.envelope(call.idempotency("", hash(&[]), ""), command);
    match app.cluster.propose(group(app, id)?, &envelope, repeat, call.deadline).await? {
        Reply::State(state) => Ok(state_of(id, state)),
        other => Err(wrong_reply(&other)),
    }
}

fn state_of(id: JobId, state: JobState) -> proto::JobStateResponse {
    proto::JobStateResponse { id: id.to_string(), state: proto::JobState::from(state).into() }
}

fn group(app: &App, id: JobId) -> Result<GroupId, Refusal> {
    if id.partition < app.cluster.partitions() { Ok(partition_group(id.partition)) } else { Err(no_job(id)) }
}

fn no_job(id: JobId) -> Refusal {
    Refusal::new(Code::NotFound, format!("there is no job {id}"))
}
