//! Quotas: put, look at, delete; and whether a project may have more.
//!
//! What a project has is the sum of what this node's replicas count, so that nothing is asked of other nodes. A replica
//! is a moment behind its leader: a project can pass a bound by what is taken in within that moment.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use bravo_api::Timestamp;
use bravo_api::json::{QuotaAnswer, QuotaListAnswer};
use bravo_model::quota::{Quota, Usage};
use bravo_model::{Code, Command, Name, Refusal, Reply};
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, RateLimiter};
use parking_lot::Mutex;

use super::reads::wrong_answer;
use super::spread::spread;
use super::wrong_reply;
use crate::cluster::Repeat;
use crate::gateway::app::App;
use crate::gateway::call::{Call, hash};
use crate::query;
use crate::raft::types::META_GROUP;
use crate::telemetry::events::RateLimited;
use crate::transport::wire::{Answer, Query};

/// The rates of projects that have one; as many as have quotas at most.
#[derive(Default)]
pub(crate) struct Rates(Mutex<HashMap<Name, (Share, Arc<DefaultDirectRateLimiter>)>>);

/// This node's part of a project's rate.
#[derive(Clone, Copy, PartialEq)]
struct Share {
    version: u64,
    per_second: NonZeroU32,
}

impl Rates {
    fn of(&self, project: &Name, share: Share) -> Arc<DefaultDirectRateLimiter> {
        let mut all = self.0.lock();
        match all.get(project) {
            Some((known, limiter)) if *known == share => limiter.clone(),
            _ => {
                if all.len() as u64 >= bravo_model::limits::QUOTAS_MAX {
                    all.clear();
                }
                let limiter = Arc::new(RateLimiter::direct(governor::Quota::per_second(share.per_second)));
                all.insert(project.clone(), (share, limiter.clone()));
                limiter
            }
        }
    }
}

/// Refuses work that would take its project over its quota.
pub(crate) fn check(app: &App, project: &Name, jobs: usize, bytes: usize) -> Result<(), Refusal> {
    let Some(quota) = app.cluster.group(META_GROUP).and_then(|meta| query::quota(&meta.shared, project)) else {
        return Ok(());
    };
    let refused = |refusal| {
        RateLimited { limit: "quota" }.emit();
        refusal
    };
    if quota.jobs_max.is_some() || quota.bytes_max.is_some() {
        quota.check(usage(app, project), jobs as u64, bytes as u64).map_err(refused)?;
    }
    let Some(rate) = quota.jobs_per_second else { return Ok(()) };
    let nodes = u32::try_from(app.cluster.members().len().max(1)).unwrap_or(u32::MAX);
    let per_second = NonZeroU32::new(rate.div_ceil(nodes)).unwrap_or(NonZeroU32::MIN);
    let limiter = app.quota_rates.of(project, Share { version: quota.version, per_second });
    // More at once than a second's worth pass as a second's worth, or they never would.
    let jobs = u32::try_from(jobs).unwrap_or(u32::MAX).min(per_second.get());
    let Some(jobs) = NonZeroU32::new(jobs) else { return Ok(()) };
    let wait_ms = match limiter.check_n(jobs) {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(until)) => until.wait_time_from(DefaultClock::default().now()).as_millis(),
        Err(_) => 1_000,
    };
    let detail = format!("project {project} may have {rate} jobs taken in a second");
    let wait_ms = u64::try_from(wait_ms).unwrap_or(u64::MAX).saturating_add(1);
    Err(refused(Refusal::retry_after(Code::RateLimited, detail, wait_ms)))
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
