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

use std::collections::{BTreeMap, BTreeSet};
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
        let taken = match admit(app, &jobs, |place| place) {
            Ok(taken) => taken,
            Err(refusal) => claimed::admit(app, call, &jobs, refusal).await?,
        };
        let began = Instant::now();
        let answer = anywhere(app, call, jobs).await;
        return answered(app, taken, began, answer);
    };
    let scope = jobs.first().map_or_else(String::new, |job| job.project.to_string());
    let home = routing::idempotency_home(&scope, key.text(), app.cluster.partitions());
    let keyed = Keyed { app, call, scope, home, digest: digest() };
    let taken = match admit(app, &jobs, |place| place) {
        // A repetition makes no jobs.
        Ok(taken) if !taken.charged.is_empty() && keyed.is_done_here(&jobs).await => {
            taken.take_back(app);
            Taken::default()
        }
        Ok(taken) => taken,
        // It gets the first answer, however much there is to do: those jobs are accepted.
        Err(_) if keyed.is_known().await? => Taken::default(),
        Err(refusal) => claimed::admit(app, call, &jobs, refusal).await?,
    };
    let began = Instant::now();
    let answer = keyed.enqueue(jobs).await;
    let mut answer = answered(app, taken, began, answer)?;
    if let Some(Idempotency { key, .. }) = keyed.idempotency("") {
        app.admission.first_told(key, &mut answer).await;
    }
    Ok(answer)
}

/// Jobs of a call that may come in, and what their projects were charged for them.
#[derive(Default)]
pub(super) struct Taken {
    admitted: Admitted,
    charged: Charged,
    /// Where they stand in the call, and whose they are; none if nobody was charged.
    places: Vec<(usize, Name)>,
}

impl Taken {
    /// The same for a call of which these were only some jobs, at these places.
    pub(super) fn among(self, places: &[usize]) -> Self {
        Self { admitted: self.admitted.among(places), ..self }
    }

    /// They did not come in.
    fn take_back(self, app: &App) {
        app.admission.take_back(&self.admitted);
        app.quota_rates.give_back(self.charged);
    }
}

/// Estimates for the answer. What was counted as let in is not, if the call was refused after all, and what did not
/// become a job costs its project nothing.
fn answered(
    app: &App,
    Taken { admitted, charged, places }: Taken,
    began: Instant,
    answer: Result<proto::EnqueueResponse, Refusal>,
) -> Result<proto::EnqueueResponse, Refusal> {
    let mut answer = match answer {
        Ok(answer) => answer,
        Err(refusal) => {
            app.admission.take_back(&admitted);
            return quotas::settle(app, charged, Err(refusal));
        }
    };
    let is_duplicate = |place: usize| answer.jobs.get(place).is_some_and(|job| job.duplicate);
    let mut duplicates: BTreeMap<&Name, u64> = BTreeMap::new();
    for (_, project) in places.iter().filter(|(place, _)| is_duplicate(*place)) {
        *duplicates.entry(project).or_default() += 1;
    }
    if !duplicates.is_empty() {
        app.quota_rates.give_back_some(charged, |project| duplicates.get(project).copied().unwrap_or(0));
    }
    app.admission.answered(admitted, began.elapsed(), &mut answer);
    Ok(answer)
}

/// Whether the jobs may come in: within their projects' quotas, and in time. `place` says where each stands in its call.
pub(super) fn admit(app: &App, jobs: &[NewJob], place: impl Fn(usize) -> usize) -> Result<Taken, Refusal> {
    let charged = take_quotas(app, jobs)?;
    match app.admission.admit_some(jobs, &place) {
        Ok(admitted) => {
            let counted: &[NewJob] = if charged.is_empty() { &[] } else { jobs };
            let places = counted.iter().enumerate().map(|(at, job)| (place(at), job.project.clone())).collect();
            Ok(Taken { admitted, charged, places })
        }
        Err(refusal) => {
            app.quota_rates.give_back(charged);
            Err(refusal)
        }
    }
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

    /// Whether all that the call makes was made before, as far as this node's replicas know.
    async fn is_done_here(&self, jobs: &[NewJob]) -> bool {
        let kept = async |partition: u16, part: &'static str| match self.idempotency(part) {
            Some(idempotency) => quotas::kept_here(self.app, partition_group(partition), idempotency).await,
            None => None,
        };
        match kept(self.home, "").await {
            Some(Reply::Enqueued(_)) => return true,
            Some(Reply::Done) => {}
            _ => return false,
        }
        let (is_homed, partitions) = (is_homed(self.app), self.app.cluster.partitions());
        let partition = |job: &NewJob| routing::job_partition(job, is_homed(job), partitions).unwrap_or(self.home);
        for partition in jobs.iter().map(partition).collect::<BTreeSet<u16>>() {
            let part = part_name(partition, self.home);
            if !matches!(kept(partition, part).await, Some(Reply::Enqueued(_))) {
                return false;
            }
        }
        true
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
            let name = part_name(part.partition, self.home);
            propose(self.app, self.call, part, self.idempotency(name))
        });
        together(self.app, self.call, join_all(proposals).await, total).await
    }

    async fn propose(&self, envelope: &Envelope) -> Result<Reply, Refusal> {
        self.app.cluster.propose(partition_group(self.home), envelope, Repeat::Safe, self.call.deadline).await
    }
}

/// What tells a part's key from that of the call: at home the key itself stands for the reservation.
fn part_name(partition: u16, home: u16) -> &'static str {
    if partition == home { "part" } else { "" }
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
