//! Quotas: put, look at, delete; and whether a project may have more.
//!
//! What a project has is the sum of what this node's replicas count, so that nothing is asked of other nodes. A replica
//! is a moment behind its leader: a project can pass a bound by what is taken in within that moment.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use bravo_api::Timestamp;
use bravo_api::json::{QuotaAnswer, QuotaListAnswer};
use bravo_model::command::Idempotency;
use bravo_model::quota::{Quota, Usage};
use bravo_model::{Code, Command, Name, Refusal, Reply};

use super::reads::wrong_answer;
use super::spread::spread;
use super::wrong_reply;
use crate::cluster::Repeat;
use crate::gateway::app::App;
use crate::gateway::call::{Call, hash};
use crate::gateway::rate::{Charge, Charged, Projects, SharedRate};
use crate::query;
use crate::raft::types::{GroupId, META_GROUP};
use crate::telemetry::events::RateLimited;
use crate::transport::wire::{Answer, Query};

/// What a call adds to a project.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Added {
    /// Jobs.
    pub(crate) jobs: u64,
    /// Their payloads' bytes.
    pub(crate) bytes: u64,
}

/// The rates of projects, and when this node began to keep them.
pub(crate) struct Rates {
    began: Instant,
    projects: Projects,
}

impl Default for Rates {
    fn default() -> Self {
        Self { began: Instant::now(), projects: Projects::default() }
    }
}

impl Rates {
    /// Gives back what a call was charged that was refused after all.
    pub(crate) fn give_back(&self, charged: Charged) {
        self.projects.give_back(charged);
    }

    /// Gives back what a call was charged for so many jobs of each project.
    pub(crate) fn give_back_some(&self, charged: Charged, back: impl Fn(&Name) -> u64) {
        self.projects.give_back_some(charged, back);
    }
}

/// Whether anything bounds what a project has.
pub(crate) fn bounds(app: &App, project: &Name) -> bool {
    app.cluster.group(META_GROUP).is_some_and(|meta| query::quota(&meta.shared, project).is_some())
}

/// Refuses work that would take a project over its quota; if none is refused, all are charged for it.
pub(crate) fn take<'a>(app: &App, added: impl IntoIterator<Item = (&'a Name, Added)>) -> Result<Charged, Refusal> {
    let Some(meta) = app.cluster.group(META_GROUP) else { return Ok(Charged::default()) };
    let refused = |refusal| {
        RateLimited { limit: "quota" }.emit();
        refusal
    };
    let mut charges = Vec::new();
    for (project, Added { jobs, bytes }) in added {
        let Some(quota) = query::quota(&meta.shared, project) else { continue };
        if quota.jobs_max.is_some() || quota.bytes_max.is_some() {
            quota.check(usage(app, project), jobs, bytes).map_err(refused)?;
        }
        if let Some(per_second) = quota.jobs_per_second.and_then(NonZeroU32::new) {
            let nodes = u32::try_from(app.cluster.member_count()).unwrap_or(u32::MAX);
            charges.push(Charge { project, rate: SharedRate { version: quota.version, per_second, nodes }, jobs });
        }
    }
    app.quota_rates.projects.take(&charges, app.quota_rates.began.elapsed()).map_err(|too_soon| {
        let which = charges.get(too_soon.charge);
        let detail = which.map_or_else(String::new, |Charge { project, rate, .. }| {
            format!("project {project} may have {} jobs taken in a second", rate.per_second)
        });
        let wait_ms = u64::try_from(too_soon.wait.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        refused(Refusal::retry_after(Code::RateLimited, detail, wait_ms))
    })
}

/// The same for one project and a call that may be the repetition of one that was taken: that gets the first answer,
/// though its project have all it may by now.
pub(crate) async fn take_unless_known(
    app: &Arc<App>,
    call: &Call,
    added: (&Name, Added),
    (group, idempotency): (GroupId, Option<&Idempotency>),
) -> Result<Charged, Refusal> {
    let taken = take(app, [added]);
    let Some(idempotency) = idempotency.filter(|_| call.key.is_some()) else { return taken };
    let refusal = match taken {
        Ok(charged) => return Ok(unless_repeated(app, charged, group, *idempotency).await),
        Err(refusal) => refusal,
    };
    match app.cluster.read(group, Query::Kept(*idempotency), call.deadline).await? {
        Answer::Kept(Some(_)) => Ok(Charged::default()),
        Answer::Kept(None) => Err(refusal),
        _ => Err(wrong_answer()),
    }
}

/// What is charged for a call under its caller's key: nothing, if this node knows that it repeats one that was taken.
pub(crate) async fn unless_repeated(app: &App, charged: Charged, group: GroupId, idempotency: Idempotency) -> Charged {
    if charged.is_empty() || kept_here(app, group, idempotency).await.is_none() {
        return charged;
    }
    app.quota_rates.give_back(charged);
    Charged::default()
}

/// What is kept under a key, as far as this node's own replica knows.
pub(crate) async fn kept_here(app: &App, group: GroupId, idempotency: Idempotency) -> Option<Reply> {
    match app.cluster.read_stale(group, &Query::Kept(idempotency)).await {
        Ok(Answer::Kept(kept)) => kept,
        _ => None,
    }
}

/// Gives back what a call was charged that changed nothing; one of which nobody knows what became of it stays charged.
pub(crate) fn settle<T>(app: &App, charged: Charged, answer: Result<T, Refusal>) -> Result<T, Refusal> {
    answer.inspect_err(|refusal| {
        if refusal.code.http_status() < 500 || refusal.code == Code::Shed {
            app.quota_rates.give_back(charged);
        }
    })
}

/// What a project has, as this node's replicas count it.
fn usage(app: &App, project: &Name) -> Usage {
    let groups = app.cluster.groups().iter().filter(|group| group.shared.group != META_GROUP);
    groups.map(|group| query::usage(&group.shared, project)).fold(Usage::default(), Usage::plus)
}

/// Makes or replaces a project's quota.
pub(crate) async fn put(app: &Arc<App>, call: &Call, quota: Quota) -> Result<QuotaAnswer, Refusal> {
    let project = quota.project.clone();
    call.names(&project);
    if quota.jobs_per_second == Some(0) {
        return Err(Refusal::new(Code::InvalidArgument, "jobs_per_second: at least 1, or absent"));
    }
    let wanted = match propose(app, call, Command::PutQuota(Box::new(quota))).await? {
        Reply::Version(version) => version,
        other => return Err(wrong_reply(&other)),
    };
    let knows =
        |answer: &Answer| matches!(answer, Answer::Quotas(found) if found.iter().any(|quota| quota.version >= wanted));
    spread(app, Query::Quota(project.clone()), knows).await;
    read(app, call, &project).await
}

/// A project's quota, and what is used of it.
pub(crate) async fn read(app: &Arc<App>, call: &Call, project: &Name) -> Result<QuotaAnswer, Refusal> {
    if !call.caller.sees(project) {
        return Err(no_quota(project));
    }
    match app.cluster.read(META_GROUP, Query::Quota(project.clone()), call.deadline).await? {
        Answer::Quotas(found) => {
            let quota = found.into_iter().next().ok_or_else(|| no_quota(project))?;
            Ok(QuotaAnswer::of(quota, usage(app, project)))
        }
        _ => Err(wrong_answer()),
    }
}

/// All quotas that the caller may see.
pub(crate) async fn list(app: &Arc<App>, call: &Call) -> Result<QuotaListAnswer, Refusal> {
    let as_of = Timestamp(app.cluster.now(META_GROUP));
    match app.cluster.read(META_GROUP, Query::Quotas, call.deadline).await? {
        Answer::Quotas(found) => {
            let seen = found.into_iter().filter(|quota| call.caller.sees(&quota.project));
            let shown = |quota: Quota| {
                let used = usage(app, &quota.project);
                QuotaAnswer::of(quota, used)
            };
            Ok(QuotaListAnswer { quotas: seen.map(shown).collect(), next_cursor: None, as_of })
        }
        _ => Err(wrong_answer()),
    }
}

/// Deletes a project's quota.
pub(crate) async fn delete(app: &Arc<App>, call: &Call, project: Name) -> Result<(), Refusal> {
    call.names(&project);
    match propose(app, call, Command::DeleteQuota(project.clone())).await? {
        Reply::Done => {}
        other => return Err(wrong_reply(&other)),
    }
    spread(app, Query::Quota(project), |answer| matches!(answer, Answer::Quotas(found) if found.is_empty())).await;
    Ok(())
}

async fn propose(app: &Arc<App>, call: &Call, command: Command) -> Result<Reply, Refusal> {
    let body = hash(&[&bravo_model::Envelope::plain(command.clone()).encode()]);
    let envelope = call.envelope(Some(call.remembered("", body)), command);
    app.cluster.propose(META_GROUP, &envelope, Repeat::Safe, call.deadline).await
}

fn no_quota(project: &Name) -> Refusal {
    Refusal::new(Code::NotFound, format!("project {project} has no quota"))
}
