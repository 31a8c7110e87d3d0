//! Enqueue: each partition gets its part of the call as one command.
//!
//! ```text
//!   one partition      ──► Enqueue under the key
//!   several, or a key  ──► Reserve under the key at the key's home (finds its reuse with another
//!   that lives elsewhere     body), then each partition's Enqueue under the same key, at once
//! ```
//!
//! Before any of that, `admission` lets the call in or refuses it whole.
//!
//! A call that spans partitions is not atomic. If one partition refuses its part, the others' jobs
//! are cancelled before the refusal is answered, so that nothing of the call is delivered later; a
//! worker may have got some of them in between.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use bravo_api::convert::jobs::enqueued;
use bravo_api::proto;
use bravo_model::command::{Idempotency, NewJob};
use bravo_model::reply::Enqueued;
use bravo_model::{Code, Command, Envelope, Name, Refusal, Reply};
use futures_util::future::join_all;

use super::placement::{Part, split};
use super::quotas::{self, Added};
use super::{claimed, reads, wrong_reply};
use crate::admission::Admitted;
use crate::cluster::Repeat;
use crate::gateway::app::App;
use crate::gateway::call::Call;
use crate::gateway::depth;
use crate::gateway::rate::Charged;
use crate::raft::types::partition_group;
use crate::routing;
use crate::transport::wire::{Answer, Query};

/// Partitions that are tried for jobs that may go anywhere when one has too much to do.
const TRIES: usize = 3;

/// Takes jobs in. `digest` is the hash of the request's body, asked for where a key came with it.
pub(crate) async fn enqueue(
    app: &Arc<App>,
    call: &Call,
    jobs: Vec<NewJob>,
    digest: impl FnOnce() -> [u8; 16],
) -> Result<proto::EnqueueResponse, Refusal> {
    jobs.iter().try_for_each(|job| call.caller.may_write(&job.project))?;
    let texts = jobs.iter().filter(|job| job.payload.json).map(|job| job.payload.bytes.as_ref());
    depth::check_text("payload", texts.chain(jobs.iter().map(|job| job.metadata.as_ref())))?;
    let named = jobs.iter().enumerate().map(|(place, job)| (format!("jobs[{place}].queue"), &job.queue));
    app.definitions.refuse_unknown(&app.cluster, named).map_err(|rejection| rejection.refusal)?;
    let Some(key) = &call.key else {
        let admitted = match admit(app, &jobs) {
            Ok(admitted) => admitted,
            Err(refusal) => claimed::admit(app, call, &jobs, refusal).await?,
        };
        let began = Instant::now();
        let answer = anywhere(app, call, jobs).await;
        return answered(app, admitted, began, answer);
    };
    let scope = jobs.first().map_or_else(String::new, |job| job.project.to_string());
    let home = routing::idempotency_home(&scope, key.text(), app.cluster.partitions());
    let keyed = Keyed { app, call, scope, home, digest: digest() };
    let admitted = match admit(app, &jobs) {
        Ok(admitted) => admitted,
        // A repetition gets the first answer, however much there is to do: those jobs are accepted.
        Err(_) if keyed.is_known().await? => Admitted::default(),
        Err(refusal) => claimed::admit(app, call, &jobs, refusal).await?,
    };
    let began = Instant::now();
    let answer = keyed.enqueue(jobs).await;
    let mut answer = answered(app, admitted, began, answer)?;
    if let Some(Idempotency { key, .. }) = keyed.idempotency("") {
        app.admission.first_told(key, &mut answer).await;
    }
    Ok(answer)
}

/// Estimates for the answer; what was counted as let in is not, if the call was refused after all.
fn answered(
    app: &App,
    admitted: Admitted,
    began: Instant,
    answer: Result<proto::EnqueueResponse, Refusal>,
) -> Result<proto::EnqueueResponse, Refusal> {
    match answer {
        Ok(mut answer) => {
            app.admission.answered(admitted, began.elapsed(), &mut answer);
            Ok(answer)
        }
        Err(refusal) => {
            app.admission.take_back(&admitted);
            Err(refusal)
        }
    }
}

/// Whether the jobs may come in: within their projects' quotas, and in time.
pub(super) fn admit(app: &App, jobs: &[NewJob]) -> Result<Admitted, Refusal> {
    let charged = take_quotas(app, jobs)?;
    // What is turned away costs its projects nothing.
    app.admission.admit(jobs).inspect_err(|_| app.quota_rates.give_back(charged))
}

/// Each project's share of the call is held against its quota.
fn take_quotas(app: &App, jobs: &[NewJob]) -> Result<Charged, Refusal> {
    let mut shares: BTreeMap<&Name, Added> = BTreeMap::new();
    for job in jobs {
        let Added { jobs, bytes } = shares.entry(&job.project).or_default();
        *jobs += 1;
        *bytes += job.payload.bytes.len() as u64;
    }
    quotas::take(app, shares)
}

/// Which jobs go to their queue's home, as it has a limit that counts across it.
pub(super) fn is_homed(app: &App) -> impl Fn(&NewJob) -> bool {
    let definitions = app.definitions.get(&app.cluster);
    move |job| definitions.get(&job.queue).is_some_and(|definition| definition.config.is_homed())
}

/// Without a key: jobs that may go anywhere try another partition when one has too much to do.
async fn anywhere(app: &Arc<App>, call: &Call, jobs: Vec<NewJob>) -> Result<proto::EnqueueResponse, Refusal> {
    let total = jobs.len();
    let mut is_free = false;
    let mut parts = split(jobs, app.cluster.partitions(), is_homed(app), || {
        is_free = true;
        app.placement.free_partition(&app.cluster, 0)
    });
    if parts.len() > 1 {
        let proposals = join_all(parts.into_iter().map(|part| propose(app, call, part, None))).await;
        return together(app, call, proposals, total).await;
    }
    let Some(mut part) = parts.pop() else { return Ok(proto::EnqueueResponse::default()) };
    for attempt in 1.. {
        let retry = is_free && attempt < TRIES;
        let again = retry.then(|| part.jobs.clone());
        match propose(app, call, part, None).await {
            (partition, _, Ok(answers)) => return Ok(response(answers.into_iter().map(|one| (partition, one)))),
            (_, places, Err(refusal)) => match again {
                Some(jobs) if refusal.code == Code::Shed => {
                    part = Part { partition: app.placement.free_partition(&app.cluster, attempt), places, jobs };
                }
                _ => return Err(refusal),
            },
        }
    }
    Ok(proto::EnqueueResponse::default())
}

/// A call under an idempotency key.
struct Keyed<'a> {
    app: &'a Arc<App>,
    call: &'a Call,
    scope: String,
    home: u16,
    digest: [u8; 16],
}

impl Keyed<'_> {
    fn idempotency(&self, part: &str) -> Option<Idempotency> {
        self.call.idempotency(&self.scope, self.digest, part)
    }

    async fn enqueue(&self, jobs: Vec<NewJob>) -> Result<proto::EnqueueResponse, Refusal> {
        let total = jobs.len();
        let parts = split(jobs, self.app.cluster.partitions(), is_homed(self.app), || self.home);
        match <[Part; 1]>::try_from(parts) {
            Ok([part]) if part.partition == self.home => self.at_home(part).await,
            Ok([part]) => self.spread(vec![part], total).await,
            Err(parts) => self.spread(parts, total).await,
        }
    }

    /// Whether the key came before, and its call was not refused.
    async fn is_known(&self) -> Result<bool, Refusal> {
        let Some(idempotency) = self.idempotency("") else { return Ok(false) };
        let query = Query::Kept(idempotency);
        match self.app.cluster.read(partition_group(self.home), query, self.call.deadline).await? {
            Answer::Kept(kept) => Ok(kept.is_some()),
            _ => Err(reads::wrong_answer()),
        }
    }

    /// All jobs go to the key's home: one command finds out all there is.
    async fn at_home(&self, part: Part) -> Result<proto::EnqueueResponse, Refusal> {
        let envelope = self.call.envelope(self.idempotency(""), Command::Enqueue(part.jobs));
        match self.propose(&envelope).await? {
            Reply::Enqueued(answers) => Ok(response(answers.into_iter().map(|one| (self.home, one)))),
            // The same call went to several partitions before, as its queue was configured otherwise.
            Reply::Done => Err(Refusal::new(
                Code::Conflict,
                "the queue was configured anew since this key first came; look for the first call's jobs",
            )),
            other => Err(wrong_reply(&other)),
        }
    }

    /// Notes the key at its home, then hands each part in under the same key.
    async fn spread(&self, parts: Vec<Part>, total: usize) -> Result<proto::EnqueueResponse, Refusal> {
        let reserve = self.call.envelope(self.idempotency(""), Command::Reserve);
        match self.propose(&reserve).await? {
            Reply::Done => {}
            // The same call went to the home alone before, as its queue was configured otherwise.
            Reply::Enqueued(answers) => return Ok(response(answers.into_iter().map(|one| (self.home, one)))),
            other => return Err(wrong_reply(&other)),
        }
        let proposals = parts.into_iter().map(|part| {
            // At home the key itself stands for the reservation.
            let name = if part.partition == self.home { "part" } else { "" };
            propose(self.app, self.call, part, self.idempotency(name))
        });
        together(self.app, self.call, join_all(proposals).await, total).await
    }

    async fn propose(&self, envelope: &Envelope) -> Result<Reply, Refusal> {
        self.app.cluster.propose(partition_group(self.home), envelope, Repeat::Safe, self.call.deadline).await
    }
}

/// A part's partition, the places of its jobs in the call, and what became of them.
type Proposed = (u16, Vec<usize>, Result<Vec<Enqueued>, Refusal>);

async fn propose(app: &Arc<App>, call: &Call, part: Part, idempotency: Option<Idempotency>) -> Proposed {
    let Part { partition, places, jobs } = part;
    let envelope = call.envelope(idempotency, Command::Enqueue(jobs));
    let reply = app.cluster.propose(partition_group(partition), &envelope, Repeat::Never, call.deadline).await;
    let answers = reply.and_then(|reply| match reply {
        Reply::Enqueued(answers) if answers.len() == places.len() => Ok(answers),
        other => Err(wrong_reply(&other)),
    });
    (partition, places, answers)
}

/// Puts the parts' answers back in the call's order; if one was refused, undoes the others.
async fn together(
    app: &Arc<App>,
    call: &Call,
    proposals: Vec<Proposed>,
    total: usize,
) -> Result<proto::EnqueueResponse, Refusal> {
    let mut refusal = None;
    let mut all = Vec::with_capacity(total);
    for (partition, places, answers) in proposals {
        match answers {
            Ok(answers) => all.extend(places.into_iter().zip(answers).map(|(place, one)| (place, partition, one))),
            // A failure whose outcome is unknown says more than a refusal.
            Err(new) if refusal.as_ref().is_none_or(|old: &Refusal| old.code.http_status() < 500) => {
                refusal = Some(new);
            }
            Err(_) => {}
        }
    }
    let Some(refusal) = refusal else {
        all.sort_unstable_by_key(|(place, ..)| *place);
        return Ok(response(all.into_iter().map(|(_, partition, one)| (partition, one))));
    };
    let fresh = all.iter().filter(|(.., one)| !one.duplicate);
    let cancels = fresh.map(|(_, partition, one)| {
        let envelope = Envelope::plain(Command::Cancel(one.seq));
        let group = partition_group(*partition);
        async move { app.cluster.propose(group, &envelope, Repeat::Safe, call.deadline).await }
    });
    join_all(cancels).await;
    Err(refusal)
}

fn response(answers: impl Iterator<Item = (u16, Enqueued)>) -> proto::EnqueueResponse {
    proto::EnqueueResponse { jobs: answers.map(|(partition, one)| enqueued(partition, one, None)).collect() }
}
